package schema

import "math/bits"

// keyTable finds the field of an object key that came out of turn. It is made once
// for a schema.
type keyTable struct {
	slots []*node // a power of 2, at most a quarter of them taken
}

// newKeyTable returns the table of these fields, whose keys differ.
func newKeyTable(fields []*node) keyTable {
	t := keyTable{slots: make([]*node, 4<<bits.Len(uint(len(fields))))}
	for _, f := range fields {
		i := t.home(sourceOf(quoted(nil, f.key)), 0)
		for t.slots[i] != nil {
			i = t.after(i)
		}
		t.slots[i] = f
	}
	return t
}

// quoted appends a key, the quote that ends it and what is read beyond.
func quoted(dst []byte, key string) []byte {
	return append(append(append(dst, key...), '"'), make([]byte, pad)...)
}

// find returns the field of the key from to end of buf, or nil. The key ends with a quote, and
// there must be 16 bytes more.
func (t *keyTable) find(buf []byte, from, end int) *node {
	for i := t.home(sourceOf(buf), from); t.slots[i] != nil; i = t.after(i) {
		if f := t.slots[i]; f.key == string(buf[from:end]) {
			return f
		}
	}
	return nil
}

// home returns where the key at i is looked for first: by its first 16 bytes, up to a quote, and
// without a branch, as nobody foresees how long it is.
func (t *keyTable) home(src source, i int) int {
	w, w2 := src.word(i), src.word(i+8)
	m, m2 := quotes(w), quotes(w2)
	w &= (m ^ (m - 1)) >> 8
	w2 &= (m2 ^ (m2 - 1)) >> 8 & -uint64(bits.TrailingZeros64(m)>>6) // nothing, where the first word has the end
	h := w*0x9E3779B97F4A7C15 ^ bits.RotateLeft64(w2*0xD6E8FEB86659FD93, 32)
	return int((h^h>>29)*0xBF58476D1CE4E5B9>>40) & (len(t.slots) - 1)
}

// after returns where to look after i.
func (t *keyTable) after(i int) int { return (i + 1) & (len(t.slots) - 1) }

// quotes marks the top bit of every byte of w that is a quote. Only the lowest mark is exact.
func quotes(w uint64) uint64 {
	w ^= ones * '"'
	return (w - ones) &^ w & topBits
}
