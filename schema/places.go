package schema

import "encoding/binary"

// place is a field in the order in which the keys of an object mostly come, with the
// beginning of its key side by side with those of its neighbours.
type place struct {
	head, headMask uint64 // the first 8 bytes of the key's literal, and which of them it has
	tail, tailMask uint64 // the second 8 bytes
	n              int    // bytes of the literal
	f              *node  // nil: the start of the object, or the end of the places
	next           *place // where the key after it is looked for first: that with f's follow
	literal        source // if it has more than 16 bytes; zeros after it
}

// reach is how many places are looked at for a key.
const reach = 8

// newPlaces returns the places of fields, the start of an object before them, and one at
// their end that no key has.
func newPlaces(fields []*node) []place {
	ps := make([]place, len(fields)+2)
	for i, f := range fields {
		ps[i+1] = placeOf(f)
		f.place, f.follow = int32(i+1), int32(i+2)
	}
	ps[len(fields)+1] = place{head: ^uint64(0), headMask: ^uint64(0)} // is no UTF-8
	ps[0].next = &ps[1]
	link(ps, 1, len(ps)-1)
	return ps
}

// link says what comes after the places from to to-1, as their fields have it.
func link(ps []place, from, to int) {
	for i := from; i < to; i++ {
		ps[i].next = &ps[ps[i].f.follow]
	}
}

// addPlace makes the last place that of f.
func (n *node) addPlace(f *node) {
	last := len(n.places) - 1
	ps := append(n.places, n.places[last])
	ps[last] = placeOf(f)
	f.place, f.follow = int32(last), int32(last+1)
	n.places, ps[0].next = ps, &ps[1]
	link(ps, 1, last+1)
}

func placeOf(f *node) place {
	var word, mask [16]byte
	literal := f.literal()
	n := copy(word[:], literal)
	for k := range n {
		mask[k] = 0xff
	}
	p := place{
		head: binary.LittleEndian.Uint64(word[:]), headMask: binary.LittleEndian.Uint64(mask[:]),
		tail: binary.LittleEndian.Uint64(word[8:]), tailMask: binary.LittleEndian.Uint64(mask[8:]),
		f: f, n: len(literal),
	}
	if p.n > 16 {
		p.literal = sourceOf(append(literal, make([]byte, 8)...))
	}
	return p
}

// literal returns the key as it is mostly written, with its colon.
func (n *node) literal() []byte {
	return append(appendQuoted([]byte{'"'}, []byte(n.key)), '"', ':')
}

// goesOn tells whether the literal, whose first 16 bytes are at i, is there as a whole.
func (p *place) goesOn(src source, i int) bool {
	for k := 16; k < p.n; k += 8 {
		x := src.word(i+k) ^ p.literal.word(k)
		if over := k + 8 - p.n; over > 0 {
			x <<= 8 * over & 63
		}
		if x != 0 {
			return false
		}
	}
	return true
}

// placed returns the place of f; nil: the start.
func (n *node) placed(f *node) *place {
	if f == nil {
		return &n.places[0]
	}
	return &n.places[f.place]
}

// following returns the field whose key is written at i as it mostly is, and the index
// after that, if its place is one of those after that of prev, which may be nil.
func (n *node) following(prev *node, src source, i int) (*node, int) {
	from := 1
	if prev != nil {
		from = int(prev.follow)
	}
	w, w2 := src.word(i), src.word(i+8)
	for k, end := from, min(from+reach, len(n.places)-1); k < end; k++ {
		p := &n.places[k]
		if (w^p.head)&p.headMask|(w2^p.tail)&p.tailMask == 0 && (p.n <= 16 || p.goesOn(src, i)) {
			return p.f, i + p.n
		}
	}
	return nil, 0
}

// came learns that the key of f came after that of prev, where following did not find
// it. Where the same key is that far away twice, it will be looked for there. Fields that
// turn out to be in the wrong order change places, so many times in a batch: keys that
// come in no order at all must not cost more than they have to.
func (n *node) came(prev, f *node) {
	switch {
	case prev == nil || prev == f:
	case f.place < prev.place && n.moves < len(n.places)-2:
		n.moves++
		ps, from := n.places, f.place
		p := ps[from]
		for i := from; i < prev.place; i++ { // ends with prev itself
			ps[i] = ps[i+1]
			g := ps[i].f
			if g.follow == g.place+1 {
				g.follow--
			}
			g.place = i
		}
		ps[prev.place+1] = p
		f.place = prev.place + 1
		f.follow = f.place + 1
		prev.follow = f.place
		link(ps, int(from), int(f.place)+1)
	case f.place == prev.far:
		prev.follow = f.place
		n.placed(prev).next = n.placed(f)
	default:
		prev.follow, prev.far = prev.place+1, f.place
		n.placed(prev).next = &n.places[prev.follow]
	}
}
