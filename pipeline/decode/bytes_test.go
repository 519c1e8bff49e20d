package decode

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// letters is an Extractor: the first two bytes of a record.
type letters struct{}

func (letters) Names() []string { return []string{"one", "two"} }

func (letters) Extract(dst []string, record []byte) ([]string, error) {
	if len(record) < 2 {
		return nil, errors.New("too short for keys")
	}
	if record[0] == '!' {
		panic("an extractor's bug")
	}
	return append(dst, string(record[:1]), string(record[1:2])), nil
}

func plain(names ...string) *schema.Schema {
	s := &schema.Schema{Fields: []schema.Field{{ID: 1, Name: schema.ColBytes, Type: &schema.Type{Kind: schema.Binary}}}}
	for i, name := range names {
		s.Fields = append(s.Fields, schema.Field{ID: i + 2, Name: name, Type: &schema.Type{Kind: schema.String}})
	}
	return s
}

// laid returns rows as rec.sub[column ...].
func laid(t *testing.T, r pipeline.Rows) (out []string) {
	t.Helper()
	for i := range r.Rec {
		row := cmpText(int(r.Rec[i]), int(r.Sub[i]))
		for _, col := range r.Data.Columns() {
			switch col := col.(type) {
			case *array.Binary:
				row += " " + string(col.Value(i))
			default:
				row += " " + col.ValueStr(i)
			}
		}
		out = append(out, row)
	}
	if int(r.Data.NumRows()) != len(r.Rec) {
		t.Errorf("%d rows of %d", r.Data.NumRows(), len(r.Rec))
	}
	return out
}

func cmpText(rec, sub int) string {
	return strings.Join([]string{string(rune('0' + rec)), string(rune('0' + sub))}, ".")
}

// TestBytes: units of split records keep their numbers, also those after one that is
// rejected or has no value; the columns are those that the table has.
func TestBytes(t *testing.T) {
	b := &pipeline.Batch{
		Values: [][]byte{[]byte("ab1"), []byte("x"), nil, []byte("cd2"), []byte("bad"), []byte(""), []byte("ef")},
		Src:    []int32{0, 0, 0, 2, 2, 3, 4},
		Sub:    []int32{0, 1, 2, 0, 4, 0, 0},
	}
	d := NewBytes(BytesConfig{
		Keys: letters{},
		Check: func(unit []byte) error {
			if len(unit) == 0 {
				return errors.New("empty")
			}
			return nil
		},
		CheckKeys: func(values []string) error {
			if values[1] == "a" {
				return errors.New("no name")
			}
			return nil
		},
	})
	part := pipeline.Part{Table: "t", Units: []int32{0, 1, 2, 3, 4, 5, 6}}
	for range 2 { // nothing is left of the call before
		r, err := d.Decode(t.Context(), b, part, plain(schema.ColQueryKey+"two", schema.ColQueryKey+"one"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"0.0 ab1 b a", "2.0 cd2 d c", "4.0 ef f e"}
		if diff := cmp.Diff(want, laid(t, r)); diff != "" {
			t.Errorf("rows: -want +got\n%s", diff)
		}
		r.Data.Release()
		wantRejects := []pipeline.Reject{
			{Rec: 0, Sub: 1, Code: CodePartitionKeys, Message: "too short for keys", Table: "t", Payload: []byte("x")},
			{Rec: 2, Sub: 4, Code: CodePartitionKeys, Message: "no name", Table: "t", Payload: []byte("bad")},
			{Rec: 3, Sub: 0, Code: CodeRecord, Message: "empty", Table: "t", Payload: []byte("")},
		}
		if diff := cmp.Diff(wantRejects, r.Rejects); diff != "" {
			t.Errorf("rejects: -want +got\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{schema.SkipTombstone: 1}, r.Dropped); diff != "" {
			t.Errorf("dropped: -want +got\n%s", diff)
		}
	}
}

// TestBytesWithoutSchema: what is a row, a reject or a drop does not depend on it.
func TestBytesWithoutSchema(t *testing.T) {
	b := &pipeline.Batch{Values: [][]byte{[]byte("ab"), []byte("x"), nil}}
	d := NewBytes(BytesConfig{Keys: letters{}})
	r, err := d.Decode(t.Context(), b, pipeline.Part{Units: []int32{0, 1, 2}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Data.Release()
	if len(laid(t, r)) != 1 || len(r.Rejects) != 1 || r.Dropped[schema.SkipTombstone] != 1 {
		t.Errorf("%v, %v, %v", r.Rec, r.Rejects, r.Dropped)
	}
}

// TestBytesCareful: a unit that panics is rejected alone, in a careful part only.
func TestBytesCareful(t *testing.T) {
	b := &pipeline.Batch{Values: [][]byte{[]byte("ab"), []byte("!!"), []byte("cd")}}
	part := pipeline.Part{Units: []int32{0, 1, 2}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		NewBytes(BytesConfig{Keys: letters{}}).Decode(t.Context(), b, part, nil)
	}()
	part.Careful = true
	r, err := NewBytes(BytesConfig{Keys: letters{}}).Decode(t.Context(), b, part, plain())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Data.Release()
	if diff := cmp.Diff([]string{"0.0 ab", "2.0 cd"}, laid(t, r)); diff != "" {
		t.Error(diff)
	}
	if len(r.Rejects) != 1 || r.Rejects[0].Code != schema.CodePanic || !strings.Contains(r.Rejects[0].Message, "an extractor's bug") {
		t.Errorf("rejects %+v", r.Rejects)
	}
}

func TestBytesTooMany(t *testing.T) {
	large := bytes.Repeat([]byte("x"), schema.MaxBatchBytes/2+1)
	b := &pipeline.Batch{Values: [][]byte{large, large}}
	_, err := NewBytes(BytesConfig{}).Decode(t.Context(), b, pipeline.Part{Table: "t", Units: []int32{0, 1}}, plain())
	if err == nil || !strings.Contains(err.Error(), "lower the source's largest batch") {
		t.Errorf("%v", err)
	}
}
