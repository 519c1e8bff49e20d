package parquetfile

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// choice holds how each leaf column of a file is encoded, a byte a leaf. It is made
// from the first row group. The zero choice is that of no file.
type choice string

// Values of a choice.
const (
	plain      = 'p'
	dictionary = 'd'
)

func (c choice) dictionary(leaf int) bool { return c != "" && c[leaf] == dictionary }

// Limits of dictionaries.
const (
	maxDistinct = 1 << 15
	judgeAt     = 1 << 14 // values after which a column with mostly new values is given up
)

// choose decides from the values of a row group. A column near the limit stays as it
// was in the last file, so that its encoder can be used again.
func choose(s *columnSet, last choice) choice {
	out := make([]byte, len(s.cols))
	var d distinct
	for i, c := range s.cols {
		out[i] = plain
		if d.pays(c, last.dictionary(i)) {
			out[i] = dictionary
		}
	}
	return choice(out)
}

// distinct counts distinct values by their hashes.
type distinct struct {
	seed  maphash.Seed
	table []uint64
	mask  uint64
}

// pays says whether a dictionary and indexes take less than the values as they are:
// three quarters of it, or, where the last file had one, not more.
func (d *distinct) pays(c *column, was bool) bool {
	n := c.values
	if n == 0 {
		return was // what an all-null column would take does not matter
	}
	if c.phys == physBool || c.phys == physFixed {
		return false
	}
	d.reset(n)
	count, size := 0, 0
	asIs := len(c.fixed)
	if c.phys == physBytes {
		if asIs = d.text(c, &count, &size); asIs < 0 {
			return false
		}
	} else if !d.fixed(c, &count) {
		return false
	} else {
		size = count * c.width
	}
	const header = 48 // of a dictionary page
	coded := size + n*bits.Len(uint(count-1))/8 + header
	if was {
		return coded <= asIs
	}
	return 4*coded <= 3*asIs
}

func (d *distinct) reset(n int) {
	size := 1 << bits.Len(uint(2*min(n, maxDistinct)))
	if cap(d.table) < size {
		d.table = make([]uint64, size)
		d.seed = maphash.MakeSeed()
	}
	d.table = d.table[:size]
	clear(d.table)
	d.mask = uint64(size - 1)
}

// add returns 1 if the hash is new.
func (d *distinct) add(h uint64) int {
	h |= 1 // not 0
	for i := h >> 1 & d.mask; ; i = (i + 1) & d.mask {
		switch d.table[i] {
		case h:
			return 0
		case 0:
			d.table[i] = h
			return 1
		}
	}
}

func tooMany(count, seen int) bool {
	return count >= maxDistinct || seen == judgeAt && 2*count > seen
}

func (d *distinct) fixed(c *column, count *int) bool {
	for i := range c.values {
		var v uint64
		if c.width == 8 {
			v = binary.LittleEndian.Uint64(c.fixed[8*i:])
		} else {
			v = uint64(binary.LittleEndian.Uint32(c.fixed[4*i:]))
		}
		hi, lo := bits.Mul64(v^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
		*count += d.add(hi ^ lo)
		if tooMany(*count, i+1) {
			return false
		}
	}
	return true
}

// text returns the size of all values as they are, or -1 if too many are distinct.
func (d *distinct) text(c *column, count, size *int) int {
	asIs := 0
	last := ref{n: 1<<32 - 1}
	for i, r := range c.refs {
		asIs += int(r.n) + 4
		if r != last {
			last = r
			if d.add(maphash.Bytes(d.seed, c.arena[r.off:r.off+r.n])) > 0 {
				*count++
				*size += int(r.n) + 4
			}
		}
		if tooMany(*count, i+1) || *size > maxDictionary {
			return -1
		}
	}
	return asIs
}
