//go:build !race

package schema

import "testing"

// TestDecodeAllocates: decoding takes memory by the batch, never by the record.
func TestDecodeAllocates(t *testing.T) {
	s := everythingSchema(t)
	d := NewDecoder(Options{Mem: NewSlabs(16 << 20), Padded: true})
	units := make([][]byte, 1024)
	for i := range units {
		text := everythingRows[i%3]
		units[i] = append(make([]byte, 0, len(text)+Padding), text...)
	}
	decode := func() {
		o := d.Decode(units, s, nil)
		if len(o.Rejects) > 0 || o.RescuedRows > 0 {
			t.Fatal(o.Rejects, o.Want)
		}
		o.Data.Release()
	}
	decode()
	if n := testing.AllocsPerRun(20, decode); n > 10 {
		t.Errorf("a batch of %d records takes %v allocations", len(units), n)
	}
}
