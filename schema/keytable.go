package schema

import (
	"encoding/binary"
	"math/bits"
)

// keyTable finds the field of an object key that came out of turn. It is made once
// for a schema.
type keyTable struct {
	slots []keySlot // a power of 2, at most half of them taken
}

// keySlot is free if it has no field.
type keySlot struct {
	words [2]uint64
	n     int // length of the key
	f     *node
}

// newKeyTable returns the table of these fields, whose keys differ.
func newKeyTable(fields []*node) keyTable {
	t := keyTable{slots: make([]keySlot, 2<<bits.Len(uint(len(fields))))}
	for _, f := range fields {
		padded := append([]byte(f.key), make([]byte, pad)...)
		w := keyWords(padded, 0, len(f.key))
		for i := t.home(w, len(f.key)); ; i = (i + 1) & (len(t.slots) - 1) {
			if s := &t.slots[i]; s.f == nil {
				*s = keySlot{w, len(f.key), f}
				break
			}
		}
	}
	return t
}

// find returns the field of the key from to end of buf, or nil. There must be 8 bytes
// more in buf.
func (t *keyTable) find(buf []byte, from, end int) *node {
	n := end - from
	w := keyWords(buf, from, end)
	for i := t.home(w, n); ; i = (i + 1) & (len(t.slots) - 1) {
		s := &t.slots[i]
		if s.f == nil {
			return nil
		}
		if s.words == w && s.n == n && (n <= 16 || s.f.key == string(buf[from:end])) {
			return s.f
		}
	}
}

// keyWords returns the first and the last 8 bytes of a key, which are all of it up to
// a length of 16.
func keyWords(buf []byte, from, end int) [2]uint64 {
	head := binary.LittleEndian.Uint64(buf[from:])
	if n := end - from; n < 8 {
		head &= 1<<(8*n) - 1
		return [2]uint64{head, 0}
	}
	return [2]uint64{head, binary.LittleEndian.Uint64(buf[end-8:])}
}

func (t *keyTable) home(w [2]uint64, n int) int {
	hi, lo := bits.Mul64(w[0]^uint64(n)*0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	hi2, lo2 := bits.Mul64(w[1]^hi^lo, 0x9E3779B97F4A7C15)
	return int(hi2^lo2) & (len(t.slots) - 1)
}
