package schema

import "encoding/binary"

// place is a field in the order in which the keys of an object mostly come, with the
// beginning of its key side by side with those of its neighbours.
type place struct {
	head, tail uint64 // the first 16 bytes of the literal, zeros after its end
	f          *node
	n          int32 // bytes of the literal
	over       uint8 // bits of head beyond its end
	over2      uint8 // bits of tail beyond its end
}

// reach is how many places are looked at for a key.
const reach = 8

func newPlaces(fields []*node) []place {
	ps := make([]place, len(fields))
	for i, f := range fields {
		var word [16]byte
		n := copy(word[:], f.literal)
		ps[i] = place{
			head: binary.LittleEndian.Uint64(word[:]), tail: binary.LittleEndian.Uint64(word[8:]), f: f,
			n: int32(len(f.literal)), over: uint8(64 - 8*min(n, 8)), over2: uint8(64 - 8*max(n-8, 0)),
		}
		f.place = int32(i)
	}
	return ps
}

// following returns the field whose key is written at i as it mostly is, and the index
// after that, if its place is one of the next after prev's, or after the one that prev
// leaps to. prev may be nil.
func (n *node) following(prev *node, buf []byte, i int) (*node, int) {
	from := int32(0)
	if prev != nil {
		if from = prev.place + 1; prev.leap > 0 {
			from = prev.leap
		}
	}
	b := buf[i : i+16]
	w, w2 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	for k, end := int(from), min(int(from)+reach, len(n.places)); k < end; k++ {
		p := &n.places[k]
		if (w^p.head)<<(p.over&63) != 0 {
			continue
		}
		at := i + int(p.n)
		if p.n <= 8 || (w2^p.tail)<<(p.over2&63) == 0 && (p.n <= 16 || at < len(buf) && string(buf[i+16:at]) == p.f.literal[16:]) {
			return p.f, at
		}
	}
	return nil, 0
}

// came learns that the key of f came after that of prev, where following did not find
// it. Where the same key is that far away twice, it will be looked for there. Fields that turn out to be in the wrong order change places, so many times in a
// batch: keys that come in no order at all must not cost more than they have to.
func (n *node) came(prev, f *node) {
	switch {
	case prev == nil || prev == f:
	case f.place < prev.place && n.moves < len(n.places):
		n.moves++
		ps := n.places
		p := ps[f.place]
		for i := f.place; i < prev.place; i++ { // ends with prev itself
			ps[i] = ps[i+1]
			ps[i].f.place = i
		}
		ps[prev.place+1] = p
		f.place = prev.place + 1
		prev.leap = 0
	case f.place == prev.far:
		prev.leap = f.place
	default:
		prev.leap, prev.far = 0, f.place
	}
}
