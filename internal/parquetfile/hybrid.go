package parquetfile

import (
	"encoding/binary"
	"math/bits"
)

// appendHybrid appends values of the given width in bits (1 to 32) in Parquet's
// RLE / bit-packed hybrid, without a length in front. No value may need more bits.
func appendHybrid[T uint8 | uint32](dst []byte, v []T, width int) []byte {
	long := longRun(width)
	for len(v) > 0 {
		if n := run(v); n >= long || n == len(v) {
			dst = appendRun(dst, uint32(v[0]), n, width)
			v = v[n:]
			continue
		}
		n := min(8, len(v)) // groups of 8, until a run is worth a header of its own
		for n < len(v) && run(v[n:min(len(v), n+long)]) < min(long, len(v)-n) {
			n = min(n+8, len(v))
		}
		dst = binary.AppendUvarint(dst, uint64((n+7)/8)<<1|1)
		dst = pack(dst, v[:n], width)
		v = v[n:]
	}
	return dst
}

// appendRun appends n times v.
func appendRun(dst []byte, v uint32, n, width int) []byte {
	dst = binary.AppendUvarint(dst, uint64(n)<<1)
	for ; width > 0; width -= 8 {
		dst = append(dst, byte(v))
		v >>= 8
	}
	return dst
}

// longRun is how many equal values of a width take less as a run than bit-packed,
// the header of what follows counted.
func longRun(width int) int { return 8 + (32/width+7)&^7 }

// run returns how many values at the start of v are equal.
func run[T uint8 | uint32](v []T) int {
	if len(v) < 2 || v[1] != v[0] {
		return min(len(v), 1)
	}
	n := 2
	if b, ok := any(v).([]uint8); ok {
		word := uint64(b[0]) * 0x0101010101010101
		for n+8 <= len(b) {
			if x := binary.LittleEndian.Uint64(b[n:]) ^ word; x != 0 {
				return n + bits.TrailingZeros64(x)/8
			}
			n += 8
		}
	}
	for n < len(v) && v[n] == v[0] {
		n++
	}
	return n
}

// pack appends the values bit-packed, the lowest bit first, filled up with zeros to a
// multiple of 8 values.
func pack[T uint8 | uint32](dst []byte, v []T, width int) []byte {
	size := (len(v) + 7) / 8 * width
	at := len(dst)
	dst = grow(dst, size+16) // words are written whole
	out := dst[at:]
	if b, ok := any(v).([]uint8); ok && width == 1 {
		for len(b) >= 8 {
			// Byte i is 0 or 1; the product has it as bit 56+i.
			out[0] = byte(binary.LittleEndian.Uint64(b) * 0x0102040810204080 >> 56)
			b, out = b[8:], out[1:]
		}
		v = v[len(v)-len(b):]
	}
	if width <= 16 {
		for ; len(v) >= 8; v = v[8:] { // two words of four values
			x := v[:8]
			a := uint64(x[0]) | uint64(x[1])<<(width&63) | uint64(x[2])<<(2*width&63) | uint64(x[3])<<(3*width&63)
			b := uint64(x[4]) | uint64(x[5])<<(width&63) | uint64(x[6])<<(2*width&63) | uint64(x[7])<<(3*width&63)
			binary.LittleEndian.PutUint64(out, a|b<<(4*width))
			binary.LittleEndian.PutUint64(out[8:], b>>(64-4*width))
			out = out[width:]
		}
	}
	var word uint64
	n := 0
	for _, x := range v {
		word |= uint64(x) << n
		if n += width; n >= 32 {
			binary.LittleEndian.PutUint32(out, uint32(word))
			out = out[4:]
			word >>= 32
			n -= 32
		}
	}
	binary.LittleEndian.PutUint64(out, word)
	clear(out[8:max(8, at+size-(len(dst)-len(out)))])
	return dst[:at+size]
}
