//go:build !race

package parquetfile

import (
	"fmt"
	"io"
	"testing"

	"github.com/firehosed/firehosed/schema"
)

// TestWriteAllocates: what batches take on their way into a file does not grow with their
// records: not while they are kept, nor when their row group is encoded.
func TestWriteAllocates(t *testing.T) {
	typ, err := schema.ParseType(`struct<id: long, x: double, on: boolean, name: string, in: struct<tags: list<string>, at: timestamptz>>`)
	if err != nil {
		t.Fatal(err)
	}
	s := schema.Numbered(nil, &schema.Schema{Fields: typ.Fields})
	pool, err := NewPool(Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := schema.NewDecoder(schema.Options{Padded: true, Mem: schema.NewSlabs(64 << 20)})
	const rows, batches = 1024, 12
	units := make([][]byte, rows)
	for i := range units {
		text := fmt.Appendf(nil, `{"id":%d,"x":%d.25,"on":%t,"name":"name of the %d-th","in":{"tags":["a","tag %d"],"at":"2026-11-30T10:11:12Z"}}`, i, i, i%3 == 0, i, i%50)
		units[i] = append(make([]byte, 0, len(text)+schema.Padding), text...)
	}
	write := func() {
		w, err := pool.Writer(io.Discard, s)
		if err != nil {
			t.Fatal(err)
		}
		for range batches {
			o := d.Decode(units, s, nil)
			err := w.Write(o.Data)
			o.Data.Release()
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if n := testing.AllocsPerRun(5, write); n > rows*batches/100 {
		t.Errorf("a file of %d records takes %v allocations", rows*batches, n)
	}
}
