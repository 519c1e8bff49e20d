package parquetfile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/schema"
)

// TestPacked: a batch of a decoder, which has no room for values that are not there, becomes the
// same file as its Arrow arrays, which have: whole, and some rows of it in any order.
func TestPacked(t *testing.T) {
	typ, err := schema.ParseType(`struct<b: boolean, i: int, l: long, f: float, m: decimal(20, 3), t: timestamptz, s: string, u: uuid, x: fixed[2],
		o: struct<a: long, s: string, n: list<string>>, li: list<list<long>>, ls: list<struct<b: boolean, s: string>>, mp: map<string, struct<v: double>>>`)
	if err != nil {
		t.Fatal(err)
	}
	s := schema.Numbered(nil, &schema.Schema{Fields: typ.Fields})
	parts := []string{
		`"b":%t`, `"i":%d`, `"l":-%d`, `"f":%d.5`, `"m":%d.125`, `"t":"2026-01-02T03:04:%02dZ"`, `"s":"text %d"`, `"u":"00112233-4455-6677-8899-aabbccddee%02d"`, `"x":"AQI="`,
		`"o":{"a":%d}`, `"o":{"s":"in %d","n":["x",null,"%d"]}`, `"o":{"n":[]}`, `"li":[[%d,null],[],null,[%d]]`, `"ls":[{"b":true},null,{"s":"%d"}]`, `"ls":[]`, `"mp":{"k %d":{"v":1.5},"q":null}`,
	}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		some := 1 + r.IntN(8)
		units := make([][]byte, 1+r.IntN(300))
		for i := range units {
			var members []string
			for k, p := range parts {
				if r.IntN(8) < some && !strings.Contains(strings.Join(members, ","), p[:4]) {
					n := strings.Count(p, "%")
					args := []any{i % 60, i + k}[:n]
					if k == 0 {
						args = []any{i%3 == 0}
					}
					members = append(members, fmt.Sprintf(p, args...))
				}
			}
			units[i] = []byte("{" + strings.Join(members, ",") + "}")
		}
		o := schema.NewDecoder(schema.Options{}).Decode(units, s, nil)
		if len(o.Rejects) > 0 || o.RescuedRows > 0 {
			t.Fatalf("%d rejects, %d rows with rescued values", len(o.Rejects), o.RescuedRows)
		}
		plain := array.NewRecordBatch(o.Data.Schema(), o.Data.Columns(), o.Data.NumRows())
		for _, rows := range [][]int32{nil, chosen(r, len(units)), chosen(r, len(units)), {int32(len(units) - 1)}} {
			file := func(rec arrow.RecordBatch) []byte {
				var out bytes.Buffer
				w, err := New(&out, s, Options{PageIndex: true})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := w.WriteRows(rec, rows); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := w.Close(); err != nil {
					t.Fatal(err)
				}
				return out.Bytes()
			}
			if got, want := file(o.Data), file(plain); !bytes.Equal(got, want) {
				t.Errorf("seed %d, rows %v: %d bytes of the batch, %d of its arrays, are not the same", seed, rows, len(got), len(want))
			}
		}
		plain.Release()
		o.Data.Release()
	}
}
