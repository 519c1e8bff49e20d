//go:build !race && !checked

package schema

import (
	"encoding/binary"
	"unsafe"
)

// A source is a text that is read without a look at its end, and putWord and putByte
// write without one. What is unsafe in this package is here, and in the kernels of simd_amd64.go where the
// build has them; a build with the race detector, or with the tag checked, has the same
// with checks (unsafe_checked.go), and the fuzz tests run in both.
//
// Reading stays within the memory of the text because behind every text there are pad bytes
// that may be read, of which the first is zero, and
//   - whatever walks over a text stops at a zero byte, as no token of JSON has one: it never
//     begins to read beyond it;
//   - nothing looks further ahead than pad bytes from there: a key is looked up by a word at a
//     time, up to what ends it, and its literal is compared 16 bytes at a time, and only on while all
//     before are equal, of which none is zero.
//
// Writing stays within the column because putWord and putByte are only called after the
// capacity has been compared.
type source struct{ p unsafe.Pointer }

// checked tells whether this build checks what is read and written: not this one.
const checked = false

func sourceOf(text []byte) source { return source{unsafe.Pointer(unsafe.SliceData(text))} }

// byte returns the byte at i.
func (s source) byte(i int) byte { return *(*byte)(unsafe.Add(s.p, i)) }

// half returns the two bytes from i on, the first one lower.
func (s source) half(i int) uint16 {
	return binary.LittleEndian.Uint16((*[2]byte)(unsafe.Add(s.p, i))[:])
}

// word returns the eight bytes from i on, the first one lowest.
func (s source) word(i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(s.p, i))[:])
}

// putWord writes the eight bytes of w at i, up to the capacity of dst.
func putWord(dst []byte, i int, w uint64) {
	binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(dst)), i))[:], w)
}

// putByte writes c at i, up to the capacity of dst.
func putByte(dst []byte, i int, c byte) {
	*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(dst)), i)) = c
}

// view returns text as a string, which is valid as long as text does not change.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
