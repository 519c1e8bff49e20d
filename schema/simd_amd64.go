//go:build goexperiment.simd && amd64 && !race && !checked

package schema

import (
	"math/bits"
	"simd/archsimd"
	"unsafe"
)

// byBlocks tells whether 16 bytes are looked at in a step. The container image is built with
// GOEXPERIMENT=simd; the CPU must have AVX2, too. Nothing but that question may run a vector
// instruction before it is answered: variables of the package are plain bytes.
var byBlocks = archsimd.X86.AVX2()

// What is unsafe here is loads and stores of 16 bytes. Loads read at most the padding beyond the
// text, see unsafe.go: wideText, like whatever walks over a text; wideQuotes and shortText, which look 48 bytes ahead of a key and
// 32 ahead of the value behind one, that are there; wideUTF8, the last block of a text and three bytes before it.
// Stores are only made where the capacity has been compared, with the block more that an escape may need.

// block is 16 bytes: halves of what most CPUs have, since most texts are short, and
// instructions on whole ones slow down those around them on some.
type block = archsimd.Uint8x16

const blockBytes = 16

func load(p unsafe.Pointer) block { return archsimd.LoadUint8x16((*[blockBytes]uint8)(p)) }

// marks are what ends a run of text: loading them takes less than making them anew.
var marks = [3][blockBytes]uint8{sixteen('"'), sixteen('\\'), sixteen(0x1f)}

// begun is what a text has so far, as far as its top bits go: no byte beyond ASCII, or some.
var begun = [2][blockBytes]uint8{{}, sixteen(0x80)}

func sixteen(c byte) (b [blockBytes]uint8) {
	for i := range b {
		b[i] = c
	}
	return b
}

// wideText is [plainText] by blocks. What comes after an escape is copied once more, to where
// it belongs: nothing waits for what is found in a block before.
func wideText(f *node, src source, i, from int) (end int) {
	k, to, room := len(f.data), unsafe.Pointer(unsafe.SliceData(f.data)), cap(f.data)-2*blockBytes
	quote, escape, control := load(unsafe.Pointer(&marks[0])), load(unsafe.Pointer(&marks[1])), load(unsafe.Pointer(&marks[2]))
	all := load(unsafe.Pointer(&begun[uint(from-i)>>63]))
	for k <= room {
		v := load(unsafe.Add(src.p, i))
		v.Store((*[blockBytes]uint8)(unsafe.Add(to, k)))
		all = all.Or(v)
		m := uint32(v.Equal(quote).Or(v.Equal(escape)).Or(v.Min(control).Equal(v)).ToBits())
		for m != 0 {
			n := bits.TrailingZeros32(m) // k+n is where i+n belongs
			c := src.byte(i + n)
			if c == '"' {
				f.data = f.data[:k+n]
				at := len(f.ends)
				if at >= cap(f.ends) || load(unsafe.Pointer(&begun[0])).AsInt8x16().Greater(all.AsInt8x16()).ToBits() != 0 && !wideUTF8(src, from, i+n) {
					return ^(i + n)
				}
				f.ends = f.ends[:at+1]
				f.ends[at] = int32(k + n)
				f.n++
				return i + n + 1
			}
			if src.half(i+n) == '\\'|'/'<<8 { // what follows is one byte before where it was
				load(unsafe.Add(src.p, i+n+1)).Store((*[blockBytes]uint8)(unsafe.Add(to, k+n)))
				m &= m - 1
				k--
				continue
			}
			e := escapes[src.byte(i+n+1)]
			if c != '\\' || e == 0 {
				f.data = f.data[:k+n]
				return ^(i + n)
			}
			*(*byte)(unsafe.Add(to, k+n)) = e
			load(unsafe.Add(src.p, i+n+2)).Store((*[blockBytes]uint8)(unsafe.Add(to, k+n+1)))
			m &^= 3 * (m & -m)
			over := int(uint(n+1) / blockBytes) // 1 if the letter is in the next block
			i, k = i+over, k+over-1
		}
		i, k = i+blockBytes, k+blockBytes
	}
	f.data = f.data[:k]
	return ^i
}

// wideQuotes tells which of the sight bytes at i are quotes.
func wideQuotes(src source, i int) uint64 {
	quote := load(unsafe.Pointer(&marks[0]))
	return uint64(load(unsafe.Add(src.p, i)).Equal(quote).ToBits()) |
		uint64(load(unsafe.Add(src.p, i+blockBytes)).Equal(quote).ToBits())<<16 |
		uint64(load(unsafe.Add(src.p, i+2*blockBytes)).Equal(quote).ToBits())<<32
}

// shortBytes is how long a text shortText reads may be.
const shortBytes = 2 * blockBytes

// shortText reads a string of n bytes, at most shortBytes, whose first byte is at i, into the next row if it ends there and
// has nothing but ASCII and no escapes, without a branch for its length. It returns the index after the quote; 0 if
// it is something else, or there is no room.
func shortText(f *node, src source, i, n int) (end int) {
	k, at := len(f.data), len(f.ends)
	if at >= cap(f.ends) || k > cap(f.data)-shortBytes || src.byte(i+n) != '"' {
		return 0
	}
	to := unsafe.Add(unsafe.Pointer(unsafe.SliceData(f.data)), k)
	v, w := load(unsafe.Add(src.p, i)), load(unsafe.Add(src.p, i+blockBytes))
	v.Store((*[blockBytes]uint8)(to))
	w.Store((*[blockBytes]uint8)(unsafe.Add(to, blockBytes)))
	escape, control := load(unsafe.Pointer(&marks[1])), load(unsafe.Pointer(&marks[2])).AsInt8x16()
	// as a signed number, a byte beyond ASCII is less than a control character
	m := uint64(v.Equal(escape).Or(v.AsInt8x16().Max(control).Equal(control)).ToBits()) |
		uint64(w.Equal(escape).Or(w.AsInt8x16().Max(control).Equal(control)).ToBits())<<blockBytes
	if m&(1<<(n&63)-1) != 0 {
		return 0
	}
	f.data = f.data[:k+n]
	f.ends = f.ends[:at+1]
	f.ends[at] = int32(k + n)
	f.n++
	return i + n + 1
}

// What a byte and the one before it can be wrong with, a bit each. A pair is wrong if a
// bit is set by the high and the low half of the first and by the high half of the second
// (Keiser and Lemire, Validating UTF-8 In Less Than One Instruction Per Byte, 2020).
const (
	tooShort  = 1 << iota // a first byte without the next
	tooLong               // a next byte after ASCII
	longThree             // E0 80 to E0 9F
	tooLarge              // F4 90 and more
	surrogate             // ED A0 and more
	longTwo               // C0, C1
	longFour              // F0 80 to F0 8F, F5 and more
	twoNext               // a next byte after a next byte: right if it is the third or fourth
	always    = tooShort | tooLong | twoNext
)

// pairs are the three tables, one half byte each.
var pairs = [3][blockBytes]uint8{
	{
		tooLong, tooLong, tooLong, tooLong, tooLong, tooLong, tooLong, tooLong, twoNext, twoNext, twoNext, twoNext,
		tooShort | longTwo, tooShort, tooShort | longThree | surrogate, tooShort | tooLarge | longFour,
	},
	{
		always | longThree | longTwo | longFour, always | longTwo, always, always, always | tooLarge,
		always | tooLarge | longFour, always | tooLarge | longFour, always | tooLarge | longFour,
		always | tooLarge | longFour, always | tooLarge | longFour, always | tooLarge | longFour,
		always | tooLarge | longFour, always | tooLarge | longFour,
		always | tooLarge | longFour | surrogate, always | tooLarge | longFour, always | tooLarge | longFour,
	},
	{
		tooShort, tooShort, tooShort, tooShort, tooShort, tooShort, tooShort, tooShort,
		tooLong | longTwo | twoNext | longThree | longFour, tooLong | longTwo | twoNext | longThree | tooLarge,
		tooLong | longTwo | twoNext | surrogate | tooLarge, tooLong | longTwo | twoNext | surrogate | tooLarge,
		tooShort, tooShort, tooShort, tooShort,
	},
}

// upTo[n:] marks all bytes of a block but the last n.
var upTo = func() (m [2 * blockBytes]uint8) {
	for i := range blockBytes {
		m[i] = 0xff
	}
	return m
}()

// wideUTF8 tells whether the text from from to to of a record is UTF-8. A quote is before it and behind it, as
// it stands in the record, and no byte of a character further before: a block is compared with the three bytes before it.
func wideUTF8(src source, from, to int) bool {
	first, second, third := load(unsafe.Pointer(&pairs[0])), load(unsafe.Pointer(&pairs[1])), load(unsafe.Pointer(&pairs[2]))
	low, top := archsimd.BroadcastUint8x16(0x0f), archsimd.BroadcastUint8x16(0x80)
	threes, fours := archsimd.BroadcastUint8x16(0xE0-0x80), archsimd.BroadcastUint8x16(0xF0-0x80)
	zero, wrong := load(unsafe.Pointer(&begun[0])), load(unsafe.Pointer(&begun[0]))
	for ; from <= to; from += blockBytes {
		p := unsafe.Add(src.p, from)
		now, one, two, three := load(p), load(unsafe.Add(p, -1)), load(unsafe.Add(p, -2)), load(unsafe.Add(p, -3))
		found := first.PermuteOrZero(one.AsUint16x8().ShiftAllRight(4).AsUint8x16().And(low).AsInt8x16()).
			And(second.PermuteOrZero(one.And(low).AsInt8x16())).
			And(third.PermuteOrZero(now.AsUint16x8().ShiftAllRight(4).AsUint8x16().And(low).AsInt8x16()))
		next := two.SubSaturated(threes).Or(three.SubSaturated(fours)).And(top) // has to be the third or fourth of a character
		counts := load(unsafe.Pointer(&upTo[max(0, from+blockBytes-1-to)&(blockBytes-1)]))
		wrong = wrong.Or(next.Xor(found).And(counts))
	}
	return wrong.Equal(zero).ToBits() == 0xffff
}
