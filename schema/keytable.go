package schema

import "math/bits"

// keyTable finds the place of an object key that came out of turn. It is made once
// for a schema.
type keyTable struct {
	slots  []int32 // indexes of places; 0: none. A power of 2, at most an eighth of them taken
	factor uint64  // makes a hash of a head
	shift  uint8   // of a hash of 64 bits, to an index
	long   bool    // the first 8 bytes do not tell keys apart: all of a key is looked at
}

// factors is how many factors are tried: a key that is where it is looked for first is found without a
// step that nobody foresees.
const factors = 16

// newKeyTable returns the table of the places of an object, whose keys differ.
func newKeyTable(places []place) keyTable {
	fields := places[1 : len(places)-1]
	size := bits.Len(uint(len(fields))) + 3
	t := keyTable{slots: make([]int32, 1<<size), shift: uint8(64 - size), factor: 0x9E3779B97F4A7C15}
	heads := make([]uint64, len(fields))
	t.setHeads(heads, fields)
	best, factor := len(fields)+1, t.factor
	for range factors {
		if n := t.fill(heads, fields, best); n < best {
			best, factor = n, t.factor
		}
		if best == 0 {
			break
		}
		t.factor *= 0xD6E8FEB86659FD93
	}
	if t.factor != factor {
		t.factor = factor
		t.fill(heads, fields, best+1)
	}
	return t
}

// setHeads sets the heads of fields. Where two have the same first 8 bytes, all of them is looked at.
func (t *keyTable) setHeads(heads []uint64, fields []place) {
	seen := make(map[uint64]bool, len(fields))
	var text []byte
	for i := range fields {
		text = quoted(text[:0], fields[i].f.key)
		heads[i] = t.head(sourceOf(text), 0)
		if seen[heads[i]] && !t.long {
			t.long = true
			t.setHeads(heads, fields)
			return
		}
		seen[heads[i]] = true
	}
}

// fill puts the places of fields, which begin with the second, into slots, and returns how many are not
// where they are looked for first. It gives up at limit of them.
func (t *keyTable) fill(heads []uint64, fields []place, limit int) int {
	clear(t.slots)
	away := 0
	for i := range fields {
		at := t.slot(heads[i])
		if t.slots[at] != 0 {
			if away++; away == limit {
				break
			}
		}
		for t.slots[at] != 0 {
			at = t.after(at)
		}
		t.slots[at], fields[i].f.slot = int32(i+1), int32(at)
	}
	return away
}

// quoted appends a key, the quote that ends it and what is read beyond.
func quoted(dst []byte, key string) []byte {
	return append(append(append(dst, key...), '"'), make([]byte, pad)...)
}

// find returns the field of the key from to end of buf, or nil. The key ends with a quote, and
// there must be 8 bytes more.
func (n *node) find(buf []byte, from, end int) *node {
	t := &n.byKey
	for i := t.home(sourceOf(buf), from); t.slots[i] != 0; i = t.after(i) {
		if f := n.places[t.slots[i]].f; f.key == string(buf[from:end]) {
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
func (t *keyTable) slot(head uint64) int { return int(head * t.factor >> (t.shift & 63)) }

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
