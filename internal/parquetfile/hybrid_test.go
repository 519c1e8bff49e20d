package parquetfile

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/firehosed/firehosed/schema"
)

// unhybrid reads n values of a width, by the letter of the specification.
func unhybrid(t *testing.T, b []byte, width, n int) []uint32 {
	t.Helper()
	var out []uint32
	for len(out) < n {
		head, k := binary.Uvarint(b)
		if k <= 0 || head>>1 == 0 {
			t.Fatalf("header %x after %d of %d values", b[:min(len(b), 8)], len(out), n)
		}
		b = b[k:]
		if head&1 == 0 {
			var v uint32
			for i := range (width + 7) / 8 {
				v |= uint32(b[i]) << (8 * i)
			}
			b = b[(width+7)/8:]
			for range head >> 1 {
				out = append(out, v)
			}
			continue
		}
		groups := int(head >> 1)
		for i := range groups * 8 {
			var v uint32
			for bit := range width {
				at := i*width + bit
				v |= uint32(b[at/8]>>(at%8)&1) << bit
			}
			out = append(out, v)
		}
		b = b[groups*width:]
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes are left over", len(b))
	}
	if len(out) >= n+8 {
		t.Fatalf("%d values for %d: more than the last group is filled up", len(out), n)
	}
	for _, v := range out[n:] {
		if v != 0 {
			t.Fatalf("the last group is filled up with %d", v)
		}
	}
	return out[:n]
}

// stretch returns values of a width with runs of all lengths among them.
func stretch(r *rand.Rand, width int) []uint32 {
	var v []uint32
	for range 1 + r.IntN(12) {
		x := r.Uint32N(1 << width)
		for range r.IntN(60) {
			v = append(v, x)
		}
		for range r.IntN(30) {
			v = append(v, r.Uint32N(1<<width))
		}
	}
	return append(v, 0)
}

func TestHybrid(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for width := 1; width <= 20; width++ {
		for range 300 {
			v := stretch(r, width)
			if got := unhybrid(t, appendHybrid(nil, v, width), width, len(v)); !slices.Equal(got, v) {
				t.Fatalf("width %d: wrote %v, read %v", width, v, got)
			}
			if width > 8 {
				continue
			}
			levels := make([]uint8, len(v))
			for i := range v {
				levels[i] = uint8(v[i])
			}
			prefix := []byte("before")
			b := appendHybrid(slices.Clone(prefix), levels, width)
			if got := unhybrid(t, b[len(prefix):], width, len(v)); !slices.Equal(got, v) || string(b[:len(prefix)]) != "before" {
				t.Fatalf("width %d, levels: wrote %v, read %v", width, v, got)
			}
		}
	}
}

// TestHybridIsSmall holds appendHybrid to what runs and packing are for.
func TestHybridIsSmall(t *testing.T) {
	same, turns := make([]uint8, 10_000), make([]uint8, 10_000)
	for i := range turns {
		turns[i] = uint8(i / 3 % 2)
	}
	if n := len(appendHybrid(nil, same, 1)); n > 4 {
		t.Errorf("10000 equal levels take %d bytes", n)
	}
	if n := len(appendHybrid(nil, turns, 1)); n > 1260 {
		t.Errorf("10000 levels of a bit take %d bytes", n)
	}
}

// TestDictionary checks when a dictionary is given up, and what it says it takes.
func TestDictionary(t *testing.T) {
	long := &field{typ: prim(schema.Long), path: "c"}
	for _, c := range []struct {
		name   string
		values int
		value  func(i int) uint64
		want   bool
	}{
		{"few", 10_000, func(i int) uint64 { return uint64(i % 100) }, true},
		{"all new", 10_000, func(i int) uint64 { return uint64(i) }, false},
		{"new at first, then again and again", 40_000, func(i int) uint64 { return uint64(i % 3_000) }, false}, // the birthday rule sees no pair
		{"drawn from 5000", 40_000, func(i int) uint64 { return uint64(i) * 0x9E3779B97F4A7C15 >> 40 % 5000 }, true},
		{"drawn from a million", 40_000, func(i int) uint64 { return uint64(i) * 0x9E3779B97F4A7C15 >> 40 % 1_000_000 }, false},
		{"three values", 3, func(int) uint64 { return 7 }, false},
	} {
		col := newColumn(long)
		for i := range c.values {
			col.fixed = binary.LittleEndian.AppendUint64(col.fixed, c.value(i))
			col.values++
		}
		var d dictionary
		if got := d.build(col); got != c.want {
			t.Errorf("%s: dictionary %t with %d entries", c.name, got, d.count())
			continue
		}
		if !c.want {
			continue
		}
		if n := len(d.page(nil, col)); n != d.size {
			t.Errorf("%s: a page of %d bytes, said %d", c.name, n, d.size)
		}
		for i, id := range d.ids {
			if d.words[id] != c.value(i) {
				t.Fatalf("%s: value %d is %d, want %d", c.name, i, d.words[id], c.value(i))
			}
		}
	}
}
