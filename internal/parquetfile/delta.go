package parquetfile

import (
	"encoding/binary"
	"math/bits"
)

// Parquet's DELTA_BINARY_PACKED: what an integer has more than the one before it, in blocks
// whose least difference is taken off, packed in as many bits as the greatest of a quarter
// block then needs. Numbers that rise (times, offsets, counters) take a few bits each, and
// in an eighth of the time that a codec takes to find out as much.
const (
	deltaBlock = 128
	deltaMini  = 32 // values of a quarter block, which have their width in common
	deltaMinis = deltaBlock / deltaMini
)

// deltaSample is how many values are looked at, in blocks from all over the column.
const deltaSample = 32 * deltaBlock

// deltaBits returns how many bits a value of c takes as a difference, about. It is more
// than a value has by itself if c has no integers, or too few to tell.
func deltaBits(c *column) int {
	const no = 1 << 10
	if c.phys != physInt32 && c.phys != physInt64 || c.values <= deltaBlock {
		return no
	}
	step := max(deltaBlock, (c.values-1)/(deltaSample/deltaBlock))
	total, n := 0, 0
	var d [deltaBlock]uint64
	for at := 0; at+deltaBlock < c.values; at += step {
		last := c.integer(at)
		least := differences(d[:], c, at+1, last)
		for m := range deltaMinis {
			total += deltaMini * widthOf(d[m*deltaMini:(m+1)*deltaMini], least)
		}
		n += deltaBlock
		total += 8 * (3 + deltaMinis)
	}
	return (total + n - 1) / n
}

// integer returns value i, if c has integers.
func (c *column) integer(i int) uint64 {
	if c.width == 8 {
		return binary.LittleEndian.Uint64(c.fixed[8*i:])
	}
	return uint64(int64(int32(binary.LittleEndian.Uint32(c.fixed[4*i:]))))
}

// differences fills d with what the values from number i on have more than those before
// them, last being the one before the first, and returns the least.
func differences(d []uint64, c *column, i int, last uint64) (least uint64) {
	low := int64(1<<63 - 1)
	if c.width == 8 {
		b := c.fixed[8*i : 8*(i+len(d))]
		for k := range d {
			v := binary.LittleEndian.Uint64(b[8*k:])
			d[k] = v - last
			low = min(low, int64(d[k]))
			last = v
		}
		return uint64(low)
	}
	b := c.fixed[4*i : 4*(i+len(d))]
	for k := range d {
		v := uint64(int64(int32(binary.LittleEndian.Uint32(b[4*k:]))))
		d[k] = uint64(int64(int32(v - last))) // wraps around as the values do: readers add in 32 bits
		low = min(low, int64(d[k]))
		last = v
	}
	return uint64(low)
}

// widthOf returns the bits that the greatest of d needs without least.
func widthOf(d []uint64, least uint64) int {
	all := uint64(0)
	for _, v := range d {
		all |= v - least
	}
	return bits.Len64(all)
}

// appendDelta appends the values of c from number from up to, not including, to.
func appendDelta(dst []byte, c *column, from, to int) []byte {
	dst = binary.AppendUvarint(dst, deltaBlock)
	dst = binary.AppendUvarint(dst, deltaMinis)
	dst = binary.AppendUvarint(dst, uint64(to-from))
	last := c.integer(from)
	dst = binary.AppendVarint(dst, int64(last))
	var block [deltaBlock]uint64
	for at := from + 1; at < to; {
		d := block[:min(deltaBlock, to-at)]
		least := differences(d, c, at, last)
		at += len(d)
		last = c.integer(at - 1)
		dst = binary.AppendVarint(dst, int64(least))
		widths := len(dst)
		dst = append(dst, make([]byte, deltaMinis)...) // of quarters without values: 0
		for m := 0; m*deltaMini < len(d); m++ {
			mini := d[m*deltaMini : min((m+1)*deltaMini, len(d))]
			width := widthOf(mini, least)
			dst[widths+m] = byte(width)
			dst = packWords(dst, mini, least, width)
		}
	}
	return dst
}

// packWords appends a quarter block: its values without least in so many bits each, the
// lowest first, and zeros for those that are not there.
func packWords(dst []byte, v []uint64, least uint64, width int) []byte {
	size := deltaMini * width / 8
	at := len(dst)
	dst = grow(dst, size+8) // words are written whole
	out := dst[at:]
	clear(out)
	var word uint64
	n := 0
	for _, x := range v {
		x -= least
		word |= x << n
		if n += width; n >= 64 {
			binary.LittleEndian.PutUint64(out, word)
			out = out[8:]
			n -= 64
			word = x >> (width - n) // Go: 0 if that is 64
		}
	}
	binary.LittleEndian.PutUint64(out, word)
	return dst[:at+size]
}
