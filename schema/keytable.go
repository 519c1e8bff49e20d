package schema

import "math/bits"

// keyTable finds the place of an object key that came out of turn. It is made once
// for a schema.
type keyTable struct {
	slots []*place // a power of 2, at most a quarter of them taken
	shift uint8    // of a hash of 64 bits, to an index
	long  bool     // the first 8 bytes do not tell keys apart: all of a key is looked at
}

// newKeyTable returns the table of the places of an object, whose keys differ.
func newKeyTable(places []place) keyTable {
	fields := places[1 : len(places)-1]
	size := bits.Len(uint(len(fields))) + 2
	t := keyTable{slots: make([]*place, 1<<size), shift: uint8(64 - size)}
	if !t.fill(fields) {
		t.long = true
		clear(t.slots)
		t.fill(fields)
	}
	return t
}

// fill puts the places of fields into slots. It gives up where two keys have the same first 8
// bytes, unless all of them is looked at.
func (t *keyTable) fill(fields []place) bool {
	heads := make([]uint64, len(t.slots))
	var text []byte
	for i := range fields {
		p := &fields[i]
		text = quoted(text[:0], p.f.key)
		head := t.head(sourceOf(text), 0)
		at := t.slot(head)
		for ; t.slots[at] != nil; at = t.after(at) {
			if heads[at] == head && !t.long {
				return false
			}
		}
		t.slots[at], heads[at], p.f.slot = p, head, int32(at)
	}
	return true
}

// quoted appends a key, the quote that ends it and what is read beyond.
func quoted(dst []byte, key string) []byte {
	return append(append(append(dst, key...), '"'), make([]byte, pad)...)
}

// find returns the field of the key from to end of buf, or nil. The key ends with a quote, and
// there must be 8 bytes more.
func (t *keyTable) find(buf []byte, from, end int) *node {
	for i := t.home(sourceOf(buf), from); t.slots[i] != nil; i = t.after(i) {
		if f := t.slots[i].f; f.key == string(buf[from:end]) {
			return f
		}
	}
	return nil
}

// home returns where the key at i is looked for first.
func (t *keyTable) home(src source, i int) int { return t.slot(t.head(src, i)) }

// head makes one word of the first 8 bytes of the key at i, up to a quote and without a branch, as
// nobody foresees how long it is; or of all of it.
func (t *keyTable) head(src source, i int) uint64 {
	if t.long {
		return longHead(src, i)
	}
	return upToQuote(src.word(i))
}

// slot returns where to look first for a key with this head.
func (t *keyTable) slot(head uint64) int { return int(head * 0x9E3779B97F4A7C15 >> (t.shift & 63)) }

// longHead makes one word of the key at i, up to a quote, an escape or a control character: keys
// often begin alike.
func longHead(src source, i int) uint64 {
	h := uint64(0)
	for {
		w := src.word(i)
		m := special(w)
		if m != 0 {
			w &= (m ^ (m - 1)) >> 8
		}
		if h = (bits.RotateLeft64(h, 29) ^ w) * 0xD6E8FEB86659FD93; m != 0 {
			return h ^ h>>32
		}
		i += 8
	}
}

// upToQuote returns the bytes of w before the first quote, the last byte left out if there is none.
func upToQuote(w uint64) uint64 {
	m := quotes(w)
	return w & ((m ^ (m - 1)) >> 8)
}

// after returns where to look after i.
func (t *keyTable) after(i int) int { return (i + 1) & (len(t.slots) - 1) }

// quotes marks the top bit of every byte of w that is a quote. Only the lowest mark is exact.
func quotes(w uint64) uint64 {
	w ^= ones * '"'
	return (w - ones) &^ w & topBits
}
