package decode

import (
	"context"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/transform"
	"github.com/firehosed/firehosed/schema"
)

// TestUnitKeys: a unit that was put with a partition key of its own has it in its rows, through the stages that take it
// apart, whatever the format; the others have their record's.
func TestUnitKeys(t *testing.T) {
	text := array.NewStringBuilder(memory.DefaultAllocator)
	text.AppendStringValues([]string{"first", "second"}, nil)
	meta := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: schema.ColPartitionKey, Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{text.NewArray()}, 2)
	batch := func() *pipeline.Batch { // record 0 is an aggregate of two, record 1 is none
		return &pipeline.Batch{
			Name: "s", Meta: meta, Values: [][]byte{[]byte(`{"n":1} {"n":2}`), []byte(`{"n":3}`), []byte(`{"n":4}`)},
			Src: []int32{0, 0, 1}, Sub: []int32{0, 1, 0}, Keys: [][]byte{[]byte("a"), []byte("b\xff"), nil},
		}
	}
	unpack, err := transform.NewUnpack(transform.UnpackConfig{Deaggregation: transform.SplitJSON})
	if err != nil {
		t.Fatal(err)
	}
	yes := func(context.Context, string, int) (bool, error) { return true, nil }
	route := func(whole bool) pipeline.Stage {
		r, err := NewRoute(RouteConfig{Rules: []Rule{{Table: "t"}}, Whole: whole}, yes)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	s := plain(schema.ColPartitionKey)
	s.Fields[0] = schema.Field{ID: 1, Name: "n", Type: &schema.Type{Kind: schema.Long}}
	f := func(what string, d pipeline.Decoder, s *schema.Schema, want []string, stages ...pipeline.Stage) {
		t.Helper()
		b := batch()
		for _, st := range stages {
			if err := st.Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		r, err := d.Decode(t.Context(), b, b.Parts[0], s)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, laid(t, r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	f("JSON", NewJSON(Config{}), s, []string{"0.0 1 a", "0.1 2 a", "0.2 3 b�", "1.0 4 second"}, route(false))
	f("JSON, taken apart before", NewJSON(Config{}), s, []string{"0.0 1 a", "0.1 2 a", "0.2 3 b�", "1.0 4 second"}, unpack, route(false))
	f("bytes", NewBytes(BytesConfig{}), plain(schema.ColPartitionKey), []string{`0.0 {"n":1} {"n":2} a`, `0.1 {"n":3} b�`, `1.0 {"n":4} second`}, route(true))
	f("bytes, taken apart before", NewBytes(BytesConfig{}), plain(schema.ColPartitionKey), []string{`0.0 {"n":1} a`, `0.1 {"n":2} a`, `0.2 {"n":3} b�`, `1.0 {"n":4} second`}, unpack, route(true))
}

// TestBadTables: a value leads to no table that the sink cannot have.
func TestBadTables(t *testing.T) {
	yes := func(context.Context, string, int) (bool, error) { return true, nil }
	r, err := NewRoute(RouteConfig{
		Rules: []Rule{{Field: "/t", Table: "x.{value}", MaxTables: 9}},
		BadTable: func(name string) string {
			if name == "x.bad" {
				return "it is bad"
			}
			return ""
		},
	}, yes)
	if err != nil {
		t.Fatal(err)
	}
	b := &pipeline.Batch{Name: "s", Values: [][]byte{[]byte(`{"t":"good"}`), []byte(`{"t":"bad"}`), []byte(`{"t":"bad"}`)}}
	if err := r.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if len(b.Parts) != 1 || b.Parts[0].Table != "x.good" || len(b.Rejects) != 2 || b.Rejects[1].Message != "it is bad" || b.Rejects[1].Code != CodeRoute {
		t.Errorf("parts %+v, rejects %+v", b.Parts, b.Rejects)
	}
}
