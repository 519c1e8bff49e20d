package s3sink

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/schema"
)

func columnar(t *testing.T) *world {
	w := newWorld(t)
	w.cfg.Framing, w.cfg.BufferSize = Framing{Format: FormatParquet}, 64<<20
	return w
}

// jsonRows writes JSON records as a lane does: decode, evolve, decode again.
func jsonRows(t *testing.T, tab pipeline.Table, d pipeline.Delivery, from int, records ...string) {
	t.Helper()
	b := batch(p0, from, from+len(records), "")
	part := pipeline.Part{Table: "t"}
	for i, r := range records {
		b.Values[i] = []byte(r)
		part.Units = append(part.Units, int32(i))
	}
	dec := decode.NewJSON(decode.Config{})
	r, err := dec.Decode(t.Context(), b, part, tab.Schema())
	if err != nil {
		t.Fatal(err)
	}
	if r.Want != nil {
		r.Data.Release()
		s, err := tab.Evolve(t.Context(), r.Want)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = dec.Decode(t.Context(), b, part, s); err != nil {
			t.Fatal(err)
		}
	}
	defer r.Data.Release()
	if err := d.Write(t.Context(), b, r); err != nil {
		t.Fatal(err)
	}
}

// parquetRows reads the rows of all objects with Arrow's own reader.
func parquetRows(t *testing.T, w *world) (rows []string) {
	t.Helper()
	for _, key := range w.keys() {
		if !strings.HasSuffix(key, ".parquet") {
			t.Errorf("object %s", key)
		}
		data, _, err := w.bucket.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		f, err := file.NewParquetReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		tab, err := r.ReadTable(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(tab.NumRows()) {
			var row []string
			for c := range int(tab.NumCols()) {
				col := tab.Column(c)
				if col.Name() == schema.Rescued && col.Data().Chunk(0).IsNull(i) {
					continue
				}
				row = append(row, col.Name()+"="+col.Data().Chunk(0).ValueStr(i))
			}
			rows = append(rows, strings.Join(row, " "))
		}
		tab.Release()
	}
	slices.Sort(rows)
	return rows
}

// TestParquet: columns are found as records have them, a file has the columns of its
// time, and a key may be a column.
func TestParquet(t *testing.T) {
	w := columnar(t)
	w.cfg.Prefix, w.cfg.ErrorOutputPrefix = "data/day=!{partitionKeyFromQuery:day}/", "failed/!{firehose:error-output-type}/"
	k := w.worker()
	tab := k.table()
	d := k.begin()
	jsonRows(t, tab, d, 0, `{"day":"mon","n":1}`, `{"day":"tue","n":2}`, `{"day":"mon","n":3}`)
	jsonRows(t, tab, d, 3, `{"day":"mon","n":4,"x":true}`, `{"n":5}`)
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 5)}, ""); err != nil {
		t.Fatal(err)
	}
	want := []string{"day=(null) n=5 x=(null)", "day=mon n=1", "day=mon n=3", "day=mon n=4 x=true", "day=tue n=2"} // rescued is null
	if got := parquetRows(t, w); !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
	days := map[string]int{}
	for _, key := range w.keys() {
		days[strings.Split(key, "/")[1]]++
	}
	if days["day=mon"] != 2 || days["day=tue"] != 1 || days["day="+NoKey] != 1 {
		t.Errorf("objects by day: %v", days)
	}
	other := w.worker()
	s := other.table().Schema()
	if s.ID != 2 || len(s.Fields) != 4 || s.Fields[3].Name != "x" || s.Fields[3].ID != 4 {
		t.Errorf("another worker sees %+v", s)
	}
	if m := w.manifest(w.register().Head); m.Claims[0].Rows != 5 || m.Claims[0].Sum == "" {
		t.Errorf("claim %+v", m.Claims[0])
	}
}

// TestEvolveRace: two workers never give one id to two columns, and an answer that is
// lost is found.
func TestEvolveRace(t *testing.T) {
	w := columnar(t)
	want := func(names ...string) *schema.Schema {
		s := &schema.Schema{ID: -1}
		for _, name := range names {
			s.Fields = append(s.Fields, schema.Field{Name: name, Type: &schema.Type{Kind: schema.Long}})
		}
		return s
	}
	k, other := w.worker(), w.worker()
	tab, theirs := k.table(), other.table()
	if _, err := theirs.Evolve(t.Context(), want("a")); err != nil {
		t.Fatal(err)
	}
	k.control.SetFaults(fail("put", "schema/", 2, objstore.Lose))
	s, err := tab.Evolve(t.Context(), want("b"))
	if err != nil {
		s, err = tab.Evolve(t.Context(), want("b")) // the caller does
	}
	if err != nil || len(s.Fields) != 2 || s.Fields[0].Name != "a" || s.Fields[1].Name != "b" || s.Fields[0].ID == s.Fields[1].ID {
		t.Errorf("Evolve = %+v, %v", s, err)
	}
	if s, err = theirs.Evolve(t.Context(), want("b", "c")); err != nil || len(s.Fields) != 3 || s.Fields[2].Name != "c" {
		t.Errorf("Evolve = %+v, %v", s, err)
	}
}

// TestNumbered: fields that are there keep their numbers, nested ones too.
func TestNumbered(t *testing.T) {
	long := &schema.Type{Kind: schema.Long}
	have := &schema.Schema{ID: 4, Fields: []schema.Field{
		{ID: 1, Name: "a", Type: &schema.Type{Kind: schema.Struct, Fields: []schema.Field{{ID: 7, Name: "b", Type: long}}}},
	}}
	next, _, _ := schema.Merge(have, &schema.Schema{ID: -1, Fields: []schema.Field{
		{Name: "a", Type: &schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "c", Type: long}}}},
		{Name: "d", Type: &schema.Type{Kind: schema.List, Fields: []schema.Field{{Name: "element", Type: long}}}},
	}})
	s := schema.Numbered(have, next)
	if s.ID != 5 {
		t.Errorf("id %d", s.ID)
	}
	var ids []string
	var walk func(fields []schema.Field)
	walk = func(fields []schema.Field) {
		for i := range fields {
			ids = append(ids, fmt.Sprint(fields[i].Name, fields[i].ID))
			walk(fields[i].Type.Fields)
		}
	}
	walk(s.Fields)
	if want := []string{"a1", "b7", "c9", "d8", "element10"}; !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
}
