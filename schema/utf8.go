package schema

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// validUTF8 is [utf8.Valid], several times as fast where characters have three bytes.
func validUTF8(b []byte) bool {
	i := 0
	if byBlocks && len(b) >= 3+blockBytes {
		if i = validWide(b); i < 0 {
			return false
		}
	}
	for i < len(b) {
		var w uint64
		switch left := len(b) - i; {
		case left >= 8:
			w = binary.LittleEndian.Uint64(b[i:])
		case i+8 <= cap(b): // a character that is cut off goes on with zeros
			w = binary.LittleEndian.Uint64(b[i:i+8]) & (1<<(8*left) - 1)
		default:
			return utf8.Valid(b[i:])
		}
		high := w & topBits
		if high&0x80 == 0 {
			if high != 0 {
				i += bits.TrailingZeros64(high) >> 3
			} else if i += 8; i < len(b) {
				i += plainPrefix(b[i:])
			}
			continue
		}
		n := 6
		if !threes(w) {
			if n = character(w); n == 0 {
				var r rune
				if r, n = utf8.DecodeRune(b[i:]); r == utf8.RuneError && n == 1 {
					return false
				}
			}
		}
		i += n
	}
	return true
}

// character returns the length of the character that w begins with, which is not ASCII; 0 if
// it takes a closer look.
func character(w uint64) int {
	switch {
	case w&0xC0C0F0 == 0x8080E0:
		if lead := w & 0x0F; lead != 0 && lead != 0x0D { // neither longer than it has to be nor a surrogate
			return 3
		}
	case w&0xC0E0 == 0x80C0:
		if w&0x1E != 0 {
			return 2
		}
	case w&0xC0C0C0F8 == 0x808080F0:
		if lead := w & 0x07; lead != 0 && lead < 4 || lead == 0 && w&0x3000 != 0 {
			return 4
		}
	}
	return 0
}

// validWide returns the index of a character up to which b is valid, or -1 if it is not.
func validWide(b []byte) int {
	head := 0 // of three bytes at least, up to a character
	for head < 3 {
		r, n := utf8.DecodeRune(b[head:])
		if r == utf8.RuneError && n == 1 {
			return -1
		}
		head += n
	}
	b = b[head-3:] // its first three bytes may be the end of a character: they are known to be right
	at, ok := wideUTF8(b)
	if !ok {
		return -1
	}
	for k := 1; k <= 3; k++ { // a character may go on behind what was judged
		if b[at-k] >= 0xC0 {
			return head - 3 + at - k
		}
		if b[at-k] < 0x80 {
			break
		}
	}
	return head - 3 + at
}

// threes tells whether w begins with two characters of three bytes, of which neither is
// longer than it has to be or a surrogate: their first bytes are E1 to EF, but not ED.
func threes(w uint64) bool {
	const form, mask = 0x8080E08080E0, 0xC0C0F0C0C0F0
	const nibbles, carry = 0x0F00000F, 0x10000010
	a := w & nibbles
	b := a ^ 0x0D00000D
	return w&mask == form && (a+nibbles)&(b+nibbles)&carry == carry
}

// plainPrefix returns the length of the longest prefix of b that is a multiple of 32 bytes
// and ASCII.
func plainPrefix(b []byte) int {
	i := 0
	for ; i+32 <= len(b); i += 32 {
		w := b[i : i+32 : i+32]
		a, c := binary.LittleEndian.Uint64(w), binary.LittleEndian.Uint64(w[8:])
		d, e := binary.LittleEndian.Uint64(w[16:]), binary.LittleEndian.Uint64(w[24:])
		if (a|c|d|e)&topBits != 0 {
			break
		}
	}
	return i
}
