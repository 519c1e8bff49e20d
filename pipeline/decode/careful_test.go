package decode

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// A decoder that panics gives its turn back and is of no use any more. A careful part
// finds the units: one that panics for this table only is rescued, one that cannot be
// judged is rejected.
func TestCarefulPart(t *testing.T) {
	bad := schema.Field{ID: 90, Name: "f", Type: &schema.Type{Kind: schema.Fixed, Length: -1}}
	good := table(t, "a: long")
	s := &schema.Schema{ID: good.ID, Fields: append(slices.DeleteFunc(slices.Clone(good.Fields), func(f schema.Field) bool { return f.Name == schema.ColIngestedAt }), bad)}
	bad.Required = true
	b := &pipeline.Batch{
		Values: [][]byte{[]byte(`{"a":1}`), []byte(`{"a":2,"f":"x"}`), nil, []byte(`{"a":3}`)},
		Src:    []int32{4, 6, 7, 9},
	}
	j := NewJSON(Config{})
	panics := func(part pipeline.Part) (v any) {
		defer func() { v = recover() }()
		_, _ = j.Decode(t.Context(), b, part, s)
		return nil
	}
	for range 2 * runtime.GOMAXPROCS(0) {
		if panics(all(b, "t")) == nil {
			t.Fatal("a type that no schema can have does not panic")
		}
		if n := len(j.cfg.Pool.mu.idle); n > 1 {
			t.Fatalf("%d idle decoders: one that panicked among them", n)
		}
		part := all(b, "t")
		part.Careful = true
		rows, err := j.Decode(t.Context(), b, part, s)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(rows.Rec, rows.Sub, rows.Rejects, rows.Dropped, " ", strings.Join(text(t, rows.Data), " "))
		want := `[4 6 9] [0 0 0] [] map[tombstone:1] {"_fh_rescued":null,"_fh_sub":0,"a":1} ` +
			`{"_fh_rescued":"{\"/a\":\"2\",\"/f\":\"\\\"x\\\"\"}","_fh_sub":0,"a":null} {"_fh_rescued":null,"_fh_sub":0,"a":3}`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		rows.Data.Release()

		part.Pinned = &schema.Schema{Fields: []schema.Field{bad}}
		rows, err = j.Decode(t.Context(), b, part, good)
		if err != nil {
			t.Fatal(err)
		}
		var rejects []string
		for _, r := range rows.Rejects {
			rejects = append(rejects, fmt.Sprintf("%d.%d %s %s %s", r.Rec, r.Sub, r.Code, r.Table, r.Payload))
		}
		if got, want := strings.Join(rejects, "; "), `4.0 required t {"a":1}; 6.0 panic t {"a":2,"f":"x"}; 9.0 required t {"a":3}`; got != want || len(rows.Rec) > 0 {
			t.Errorf("rejects %s\nwant    %s", got, want)
		}
		rows.Data.Release()
	}
}
