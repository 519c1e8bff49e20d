package schema

import "encoding/binary"

// validUTF8 is [utf8.Valid], several times as fast where text is not only ASCII.
//
// It is a finite automaton whose states are places in a word: a byte has a word in which the
// next state stands at the place of each state before, so that a step is a load, which does
// not wait for the step before, and a shift. No branch depends on where characters begin,
// which nobody can foresee in text of several scripts.
func validUTF8(b []byte) bool {
	i, state := 0, uint64(0)
	for ; i+16 <= len(b); i += 16 {
		x, y := binary.LittleEndian.Uint64(b[i:]), binary.LittleEndian.Uint64(b[i+8:])
		if (x|y)&topBits == 0 && state&63 == utf8Whole {
			continue
		}
		state = utf8Step(utf8Step(state, x), y)
	}
	for ; i+8 <= len(b); i += 8 {
		state = utf8Step(state, binary.LittleEndian.Uint64(b[i:]))
	}
	switch left := len(b) - i; {
	case left == 0:
	case i+8 <= cap(b): // a character that is cut off goes on with zeros
		state = utf8Step(state, binary.LittleEndian.Uint64(b[i:i+8])&(1<<(8*left)-1))
	default:
		for _, c := range b[i:] {
			state = utf8Steps[c] >> (state & 63)
		}
	}
	return state&63 == utf8Whole
}

// utf8Step returns the state after the eight bytes of w.
func utf8Step(state, w uint64) uint64 {
	state = utf8Steps[uint8(w)] >> (state & 63)
	state = utf8Steps[uint8(w>>8)] >> (state & 63)
	state = utf8Steps[uint8(w>>16)] >> (state & 63)
	state = utf8Steps[uint8(w>>24)] >> (state & 63)
	state = utf8Steps[uint8(w>>32)] >> (state & 63)
	state = utf8Steps[uint8(w>>40)] >> (state & 63)
	state = utf8Steps[uint8(w>>48)] >> (state & 63)
	return utf8Steps[uint8(w>>56)] >> (state & 63)
}

// The states of UTF-8: what may come next (Unicode 15, table 3-7). Each is six bits of a word.
const (
	utf8Whole  = 6 * iota // a character ended
	utf8Broken            // never again valid
	utf8One               // 80 to BF, the last byte
	utf8Two               // 80 to BF, and one more
	utf8Three             // 80 to BF, and two more
	utf8E0                // A0 to BF, and one more
	utf8ED                // 80 to 9F, and one more
	utf8F0                // 90 to BF, and two more
	utf8F4                // 80 to 8F, and two more
)

// utf8Steps has the next state for every byte and state before.
var utf8Steps = func() (steps [256]uint64) { //nolint:gochecknoglobals // a table
	set := func(state uint, from, to int, next uint64) {
		for c := from; c <= to; c++ {
			steps[c] = steps[c]&^(63<<state) | next<<state
		}
	}
	for state := uint(utf8Whole); state <= utf8F4; state += 6 {
		set(state, 0, 255, utf8Broken)
	}
	set(utf8Whole, 0, 0x7F, utf8Whole)
	set(utf8Whole, 0xC2, 0xDF, utf8One)
	set(utf8Whole, 0xE0, 0xEF, utf8Two)
	set(utf8Whole, 0xE0, 0xE0, utf8E0)
	set(utf8Whole, 0xED, 0xED, utf8ED)
	set(utf8Whole, 0xF0, 0xF0, utf8F0)
	set(utf8Whole, 0xF1, 0xF3, utf8Three)
	set(utf8Whole, 0xF4, 0xF4, utf8F4)
	set(utf8One, 0x80, 0xBF, utf8Whole)
	set(utf8Two, 0x80, 0xBF, utf8One)
	set(utf8Three, 0x80, 0xBF, utf8Two)
	set(utf8E0, 0xA0, 0xBF, utf8One)
	set(utf8ED, 0x80, 0x9F, utf8One)
	set(utf8F0, 0x90, 0xBF, utf8Two)
	set(utf8F4, 0x80, 0x8F, utf8Two)
	return steps
}()
