package schema

import (
	"encoding/binary"
	"math"
)

// place is a field in the order in which the keys of an object mostly come, with the
// beginning of its key side by side with those of its neighbours.
type place struct {
	head, headMask uint64 // the first 8 bytes of the key's literal, and which of them it has
	tail, tailMask uint64 // the second 8 bytes
	n              int32  // bytes of the literal
	kind           Kind   // of f
	f              *node  // nil: the start of the object
	next           *place // where the key after it is looked for first: that with f's follow
	literal        source // if it has more than 16 bytes; zeros after it
}

// reach is how many places after the one expected a key may be without being out of order.
const reach = 8

// newPlaces returns the places of fields, the start of an object before them, and one at
// their end that no key has.
func newPlaces(fields []*node) []place {
	ps := make([]place, len(fields)+2)
	for i, f := range fields {
		ps[i+1] = placeOf(f)
		f.place, f.follow = int32(i+1), int32(i+2)
	}
	// No UTF-8 is like the key of the last one. Where something else is, it is as if the key had been there before.
	ps[len(fields)+1] = place{head: ^uint64(0), headMask: ^uint64(0), f: &node{n: math.MaxInt}}
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
	n.places = append(n.places, n.places[last])
	n.places[last] = placeOf(f)
	f.place, f.follow = int32(last), int32(last+1)
	n.byKey = newKeyTable(n.places)
	n.scatter(n.scattered)
}

// scatter says whether keys come in an order that nobody foresees. Then each is looked up at
// once: no place leads to another, but all to the last one, which no key has.
func (n *node) scatter(is bool) {
	ps := n.places
	last := len(ps) - 1
	if n.scattered = is; !is {
		ps[0].next = &ps[1]
		link(ps, 1, last)
		return
	}
	for i := range ps {
		ps[i].next = &ps[last]
	}
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
		f: f, n: int32(len(literal)), kind: f.kind,
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
	last := int(p.n) - 8 // the last word overlaps the one before
	for k := 16; k < last; k += 8 {
		if src.word(i+k) != p.literal.word(k) {
			return false
		}
	}
	return src.word(i+last) == p.literal.word(last)
}

// placed returns the place of f; nil: the start.
func (n *node) placed(f *node) *place {
	if f == nil {
		return &n.places[0]
	}
	return &n.places[f.place]
}

// ahead returns the place at which the key at i is looked for first.
func (n *node) ahead(src source, i int) *place {
	return &n.places[n.byKey.slots[n.byKey.slot(upToQuote(src.word(i+1)))]]
}

// lookup returns the place of the field whose key is written at i as it mostly is, after that of
// q; nil: there is none. Mostly it is the first one that comes into question.
//
//go:noinline
func (n *node) lookup(q *place, src source, i int) *place {
	if p := n.ahead(src, i); n.scattered && p.f != nil &&
		(src.word(i)^p.head)&p.headMask|(src.word(i+8)^p.tail)&p.tailMask == 0 && p.n <= 16 {
		return p
	}
	return n.search(q, src, i)
}

// is tells whether the key of p is at i as it mostly is.
func (p *place) is(src source, i int) bool {
	return (src.word(i)^p.head)&p.headMask|(src.word(i+8)^p.tail)&p.tailMask == 0 && (p.n <= 16 || p.goesOn(src, i))
}

// search is lookup for every case.
func (n *node) search(q *place, src source, i int) *place {
	t := &n.byKey
	for at := t.home(src, i+1); ; at = t.after(at) {
		k := t.slots[at]
		if k == 0 {
			return nil
		}
		if p := &n.places[k]; p.is(src, i) {
			n.learn(q.f, p.f)
			return &n.places[t.slots[at]] // it may be another now
		}
	}
}

// learn notes that the key of f came after that of prev, where it was not expected; nil: as the
// first one.
func (n *node) learn(prev, f *node) {
	n.turns++
	switch {
	case prev == nil || n.scattered:
	case uint(f.place-prev.follow) >= reach:
		n.came(prev, f)
	case f.place == prev.far: // the same one twice
		prev.follow = f.place
		n.placed(prev).next = n.placed(f)
	default:
		prev.far = f.place
	}
}

// came learns that the key of f came after that of prev, out of order. Where the same key is
// that far away twice, it will be looked for there. Fields that turn out to be in the wrong order
// change places, so many times in a batch: keys that come in no order at all must not cost more
// than they have to.
func (n *node) came(prev, f *node) {
	switch {
	case prev == f:
	case f.place < prev.place && int(n.moves) < len(n.places)-2:
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
			n.byKey.slots[g.slot] = i
		}
		ps[prev.place+1] = p
		f.place = prev.place + 1
		n.byKey.slots[f.slot] = f.place
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
