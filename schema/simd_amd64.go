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

// What is unsafe here is loads and stores of 16 bytes: wideText reads at most the padding
// beyond the text, see unsafe.go, and stores only where it has compared the capacity;
// wideUTF8 reads whole blocks within b.

// block is 16 bytes: halves of what most CPUs have, since most texts are short, and
// instructions on whole ones slow down those around them on some.
type block = archsimd.Uint8x16

const blockBytes = 16

func load(p unsafe.Pointer) block { return archsimd.LoadUint8x16((*[blockBytes]uint8)(p)) }

// marks are what ends a run of text: loading them takes less than making them anew.
var marks = [3][blockBytes]uint8{sixteen('"'), sixteen('\\'), sixteen(0x1f)}

func sixteen(c byte) (b [blockBytes]uint8) {
	for i := range b {
		b[i] = c
	}
	return b
}

// wideText is [plainText] by blocks. What comes after an escape is copied once more, to where
// it belongs: nothing waits for what is found in a block before.
func wideText(f *node, src source, row, i int, high uint64) (end int) {
	data, at := f.data, len(f.ends)
	if at == cap(f.ends) {
		return ^i
	}
	k := len(data)
	to := unsafe.Pointer(unsafe.SliceData(data))
	quote, escape, control := load(unsafe.Pointer(&marks[0])), load(unsafe.Pointer(&marks[1])), load(unsafe.Pointer(&marks[2]))
	var all block
	for k+2*blockBytes <= cap(data) {
		v := load(unsafe.Add(src.p, i))
		v.Store((*[blockBytes]uint8)(unsafe.Add(to, k)))
		all = all.Or(v)
		m := uint32(v.Equal(quote).Or(v.Equal(escape)).Or(v.Min(control).Equal(v)).ToBits())
		for ; m != 0; m &= m - 1 {
			n := bits.TrailingZeros32(m) // k+n is where i+n belongs
			if c := src.byte(i + n); c != '"' {
				e := escapes[src.byte(i+n+1)]
				if c != '\\' || e == 0 {
					f.data = f.data[:k+n]
					return ^(i + n)
				}
				putByte(data, k+n, e)
				load(unsafe.Add(src.p, i+n+2)).Store((*[blockBytes]uint8)(unsafe.Add(to, k+n+1)))
				k--
				m &^= 2 << n
				if n == blockBytes-1 {
					i, k = i+1, k+1
				}
				continue
			}
			f.data = f.data[:k+n]
			var zero archsimd.Int8x16
			if (high != 0 || zero.Greater(all.AsInt8x16()).ToBits() != 0) && !validUTF8(data[f.ends[at-1]:k+n]) {
				return ^(i + n)
			}
			f.ends = f.ends[:at+1]
			f.ends[at] = int32(k + n)
			f.n = row + 1
			return i + n + 1
		}
		i, k = i+blockBytes, k+blockBytes
	}
	f.data = f.data[:k]
	return ^i
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

// wideUTF8 looks at whole blocks of b, which begins at a character and has three bytes before
// the first block. It returns the index of the first byte that it did not judge; ok is
// false if what is before it is not valid UTF-8.
func wideUTF8(b []byte) (from int, ok bool) {
	base := unsafe.Pointer(unsafe.SliceData(b))
	first, second, third := archsimd.LoadUint8x16(&pairs[0]), archsimd.LoadUint8x16(&pairs[1]), archsimd.LoadUint8x16(&pairs[2])
	low, top := archsimd.BroadcastUint8x16(0x0f), archsimd.BroadcastUint8x16(0x80)
	threes, fours := archsimd.BroadcastUint8x16(0xE0-0x80), archsimd.BroadcastUint8x16(0xF0-0x80)
	wrong := archsimd.BroadcastUint8x16(0)
	i := 3
	for ; i+blockBytes <= len(b); i += blockBytes {
		p := unsafe.Add(base, i)
		now, one, two, three := load(p), load(unsafe.Add(p, -1)), load(unsafe.Add(p, -2)), load(unsafe.Add(p, -3))
		found := first.PermuteOrZero(one.AsUint16x8().ShiftAllRight(4).AsUint8x16().And(low).AsInt8x16()).
			And(second.PermuteOrZero(one.And(low).AsInt8x16())).
			And(third.PermuteOrZero(now.AsUint16x8().ShiftAllRight(4).AsUint8x16().And(low).AsInt8x16()))
		next := two.SubSaturated(threes).Or(three.SubSaturated(fours)).And(top) // has to be the third or fourth of a character
		wrong = wrong.Or(next.Xor(found))
	}
	return i, wrong.Equal(archsimd.BroadcastUint8x16(0)).ToBits() == 0xffff
}
