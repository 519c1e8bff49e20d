package decode

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Many lanes decode with the memory of few, and none gets another's rows.
func TestPoolIsShared(t *testing.T) {
	const lanes, rounds = 16, 20
	p := NewPool(ownBytes, ownBytes/4, lanes)
	s := table(t, "a: long, b: string")
	declared := map[string]*schema.Schema{"dated": {Fields: []schema.Field{{Name: "c", Type: &schema.Type{Kind: schema.Date}}}}}
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			j := NewJSON(Config{Tables: declared, Pool: p})
			name := []string{"plain", "dated"}[lane%2]
			for round := range rounds {
				b := &pipeline.Batch{}
				for i := range 50 {
					b.Values = append(b.Values, fmt.Appendf(nil, `{"a":%d,"b":"%d.%d"}`, i, lane, round))
				}
				b.Values = append(b.Values, nil, fmt.Appendf(nil, `%d.%d`, lane, round))
				rows, err := j.Decode(t.Context(), b, all(b, name), s)
				if err != nil {
					t.Error(err)
					return
				}
				got := strings.Join(text(t, rows.Data), "\n")
				if n := strings.Count(got, fmt.Sprintf(`"b":"%d.%d"`, lane, round)); n != 50 || len(rows.Rec) != 50 || rows.Dropped["tombstone"] != 1 ||
					len(rows.Rejects) != 1 || string(rows.Rejects[0].Payload) != fmt.Sprintf("%d.%d", lane, round) {
					t.Errorf("lane %d, round %d: %d of its own rows, %v", lane, round, n, rows)
				}
				rows.Data.Release()
			}
		})
	}
	wg.Wait()
	if cap(p.turns) > runtime.GOMAXPROCS(0) {
		t.Errorf("%d decoders work at a time", cap(p.turns))
	}
	if n := len(p.mu.idle); n == 0 || n > 2*runtime.GOMAXPROCS(0) { // one for each declaration and processor
		t.Errorf("%d decoders for %d lanes", n, lanes)
	}
}

// What a lane was told stays as it was while others use the decoder.
func TestPoolResultsStay(t *testing.T) {
	p := NewPool(ownBytes, ownBytes/4, 1)
	one, other := NewJSON(Config{Pool: p}), NewJSON(Config{Pool: p})
	decode := func(j *JSON, recs ...string) pipeline.Rows {
		b := &pipeline.Batch{}
		for _, r := range recs {
			b.Values = append(b.Values, []byte(r))
		}
		rows, err := j.Decode(t.Context(), b, all(b, "t"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	rows := decode(one, `{"a":1}`, ` `, `x`)
	before := fmt.Sprint(rows.Rec, rows.Sub, rows.Rejects, rows.Dropped, rows.Want.Fields)
	decode(other, `[]`, `[]`, `[]`, `{"b":""}`, `{"c":""} {"c":""}`).Data.Release()
	if after := fmt.Sprint(rows.Rec, rows.Sub, rows.Rejects, rows.Dropped, rows.Want.Fields); after != before {
		t.Errorf("%s became %s", before, after)
	}
	rows.Data.Release()
	if len(p.mu.idle) != 1 {
		t.Errorf("%d decoders, one at a time was used", len(p.mu.idle))
	}
}

// Idle memory stays below the limit: what was used last stays longest.
func TestPoolKeep(t *testing.T) {
	b := &pipeline.Batch{Values: [][]byte{[]byte(`{"a":1}`)}}
	decode := func(p *Pool, opt schema.Options) {
		rows, err := NewJSON(Config{Options: opt, Pool: p}).Decode(t.Context(), b, all(b, "t"), table(t, "a: long"))
		if err != nil {
			t.Fatal(err)
		}
		rows.Data.Release()
	}
	p := NewPool(ownBytes, ownBytes/4, 1)
	decode(p, schema.Options{})
	held := p.mu.idle[0].d.Held()
	if held < 1<<10 {
		t.Fatalf("a decoder says that it holds %d bytes, one column takes more", held)
	}
	p = NewPool(held*5/2, 0, 1)
	for depth := range 5 {
		decode(p, schema.Options{MaxDepth: depth + 1})
	}
	if n := len(p.mu.idle); n != 2 || p.mu.idle[1].opt.MaxDepth != 5 {
		t.Errorf("%d decoders are kept where two have room", n)
	}
	p = NewPool(1, 0, 1)
	decode(p, schema.Options{})
	if len(p.mu.idle) != 0 {
		t.Error("a decoder is kept that has no room")
	}
}
