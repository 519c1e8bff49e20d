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
		for n = unlike(v, n); n < len(v) && run(v[n:min(len(v), n+long)]) < min(long, len(v)-n); n = unlike(v, n) {
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

// unlike returns where, from n on by groups of 8, there are not 8 bytes any more that differ:
// mostly they do, and no run has to be looked for.
func unlike[T uint8 | uint32](v []T, n int) int {
	if b, ok := any(v).([]uint8); ok {
		for n+8 <= len(b) && binary.LittleEndian.Uint64(b[n:]) != uint64(b[n])*eachByte {
			n += 8
		}
	}
	return n
}

// run returns how many values at the start of v are equal.
func run[T uint8 | uint32](v []T) int {
	if len(v) < 2 || v[1] != v[0] {
		return min(len(v), 1)
	}
	n := 2
	if b, ok := any(v).([]uint8); ok {
		word := uint64(b[0]) * eachByte
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
	if b, ok := any(v).([]uint8); ok {
		w := width & 63
		for len(b) >= 8 { // 8 values of a word move together, by twos
			x := binary.LittleEndian.Uint64(b)
			x = x&0x00ff00ff00ff00ff | x>>8&0x00ff00ff00ff00ff<<w
			x = x&0x0000ffff0000ffff | x>>16&0x0000ffff0000ffff<<(2*w&63)
			binary.LittleEndian.PutUint64(out, x&0xffffffff|x>>32<<(4*w&63))
			b, out = b[8:], out[width:]
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
