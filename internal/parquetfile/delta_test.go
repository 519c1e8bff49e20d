package parquetfile

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/firehosed/firehosed/schema"
)

// undelta reads n values, by the letter of the specification. bits is 32 or 64.
func undelta(t *testing.T, b []byte, n, bits int) []int64 {
	t.Helper()
	uvarint := func() uint64 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			t.Fatal("the text ends in a number")
		}
		b = b[k:]
		return v
	}
	zigzag := func() int64 {
		v := uvarint()
		return int64(v>>1) ^ -int64(v&1)
	}
	block, minis := int(uvarint()), int(uvarint())
	if total := int(uvarint()); total != n {
		t.Fatalf("%d values, want %d", total, n)
	}
	if block%128 != 0 || block/minis%32 != 0 {
		t.Fatalf("a block of %d values has %d parts", block, minis)
	}
	last := zigzag()
	out := []int64{last}
	for len(out) < n {
		least := zigzag()
		widths := b[:minis]
		b = b[minis:]
		for _, width := range widths {
			if len(out) >= n {
				if width != 0 {
					t.Fatalf("a part without values has the width %d", width)
				}
				continue
			}
			if int(width) > bits {
				t.Fatalf("a width of %d bits", width)
			}
			per := block / minis
			for i := range per {
				var v uint64
				for bit := range int(width) {
					at := i*int(width) + bit
					v |= uint64(b[at/8]>>(at%8)&1) << bit
				}
				if len(out) == n {
					if v != 0 {
						t.Fatalf("a part is filled up with %d", v)
					}
					continue
				}
				last += least + int64(v)
				if bits == 32 {
					last = int64(int32(last))
				}
				out = append(out, last)
			}
			b = b[per*int(width)/8:]
		}
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes are left over", len(b))
	}
	return out
}

// TestDelta: numbers of every width come back, in both sizes, from every place.
func TestDelta(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 2000 {
		kind, size := schema.Long, 64
		if r.IntN(2) == 0 {
			kind, size = schema.Int, 32
		}
		c := newColumn(&field{typ: prim(kind)})
		width := r.IntN(size + 1)
		var all []int64
		v := int64(r.Uint64())
		for range 1 + r.IntN(500) {
			switch step := int64(r.Uint64() >> 1 >> (64 - max(width, 1))); r.IntN(20) {
			case 0:
				v = []int64{0, math.MaxInt64, math.MinInt64, math.MaxInt32, math.MinInt32}[r.IntN(5)]
			case 1:
				v -= step
			default:
				v += step
			}
			if size == 32 {
				v = int64(int32(v))
				c.fixed = binary.LittleEndian.AppendUint32(c.fixed, uint32(v))
			} else {
				c.fixed = binary.LittleEndian.AppendUint64(c.fixed, uint64(v))
			}
			all = append(all, v)
		}
		c.values = len(all)
		from := r.IntN(len(all))
		to := from + 1 + r.IntN(len(all)-from)
		got := appendDelta([]byte("before"), c, from, to)
		if string(got[:6]) != "before" {
			t.Fatal("what was there is lost")
		}
		if have := undelta(t, got[6:], to-from, size); !slices.Equal(have, all[from:to]) {
			t.Fatalf("%d bits, values %d to %d:\nwritten %v\nread    %v", size, from, to, all[from:to], have)
		}
		if estimate := deltaBits(c); from == 0 && to == len(all) && len(all) > 3*deltaBlock && estimate < 8*(len(got)-6)/len(all)-16 {
			t.Errorf("%d values take %d bytes, at %d bits each", len(all), len(got)-6, estimate)
		}
	}
}
