package parquetfile

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Limits of dictionaries.
const (
	maxDistinct   = 1 << 15
	maxDictionary = 1 << 20 // bytes of its page
	minDictionary = 96      // bytes of values below which the header of a dictionary page costs more than it saves

	// A column is given up at the first mark if hardly a value came twice (by the
	// birthday rule it then has well over 2^16 of them), and at the second if most
	// are new.
	firstMark, firstTwice = 1 << 11, 32
	secondMark            = 1 << 14
)

// dictionary numbers the distinct values of a column chunk, in the order in which
// they first come.
type dictionary struct {
	ids    []uint32 // by value
	hashes []uint32 // by id
	words  []uint64 // by id: values of fixed width
	offs   []uint32 // by id: where a text is in the arena
	size   int      // bytes of the dictionary page
	slots  []uint32 // hash table of ids, plus 1
	mask   uint32
}

// build numbers the values of c. It returns false where they take less as they are.
func (d *dictionary) build(c *column) bool {
	if c.phys == physBool || c.phys == physFixed {
		return false
	}
	asIs := c.plainSize()
	if asIs < minDictionary {
		return false
	}
	d.reset(c.values)
	var ok bool
	switch {
	case c.phys != physBytes:
		ok = d.fixed(c)
	case c.shared:
		ok = d.shared(c)
	default:
		ok = d.text(c)
	}
	const header = 32
	return ok && 8*d.size+c.values*d.width()+8*header <= 6*asIs // saves a quarter
}

func (d *dictionary) count() int { return len(d.hashes) }

// width is the bits of an id. It is never 0, which not every reader expects.
func (d *dictionary) width() int { return max(1, bits.Len(uint(d.count()-1))) }

func (d *dictionary) reset(values int) {
	n := 1 << bits.Len(uint(2*min(values, maxDistinct)))
	if cap(d.slots) < n {
		d.slots = make([]uint32, n)
	}
	d.slots = d.slots[:n]
	clear(d.slots)
	d.mask = uint32(n - 1)
	if cap(d.ids) < values {
		d.ids = make([]uint32, values)
	}
	d.ids = d.ids[:values]
	d.hashes, d.words, d.offs, d.size = d.hashes[:0], d.words[:0], d.offs[:0], 0
}

// goOn says whether a dictionary may still pay after so many values.
func (d *dictionary) goOn(seen int) bool {
	n := d.count()
	switch {
	case n >= maxDistinct || d.size > maxDictionary:
		return false
	case seen == firstMark:
		return seen-n >= firstTwice
	case seen == secondMark:
		return 2*n <= seen
	}
	return true
}

// steps is how many values are numbered between two looks at the limits.
const steps = 1 << 10

func (d *dictionary) fixed(c *column) bool {
	for from := 0; from < c.values; from += steps {
		if !d.goOn(from) {
			return false
		}
		to := min(from+steps, c.values)
		ids := d.ids[from:to]
		if c.width == 8 {
			for i := range ids {
				ids[i] = d.word(binary.LittleEndian.Uint64(c.fixed[8*(from+i):]))
			}
		} else {
			for i := range ids {
				ids[i] = d.word(uint64(binary.LittleEndian.Uint32(c.fixed[4*(from+i):])))
			}
		}
		d.size = c.width * d.count()
	}
	return true
}

func (d *dictionary) word(v uint64) uint32 {
	hi, lo := bits.Mul64(v^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	h := uint32(hi ^ lo)
	for i := h & d.mask; ; i = (i + 1) & d.mask {
		s := d.slots[i]
		if s == 0 {
			d.words = append(d.words, v)
			return d.add(i, h)
		}
		if d.words[s-1] == v {
			return s - 1
		}
	}
}

// add numbers a new value whose slot is i.
func (d *dictionary) add(i, h uint32) uint32 {
	d.hashes = append(d.hashes, h)
	n := uint32(len(d.hashes))
	d.slots[i] = n
	return n - 1
}

// text numbers the values of an arena that has them one after the other.
func (d *dictionary) text(c *column) bool {
	off := uint32(0)
	for from := 0; from < c.values; from += steps {
		if !d.goOn(from) {
			return false
		}
		ids := d.ids[from:min(from+steps, c.values)]
		for i := range ids {
			v := textAt(c.arena, off)
			ids[i] = d.value(c.arena, off, v)
			off += textHeader + uint32(len(v))
		}
	}
	return true
}

// shared numbers values that were interned: the same offset is the same value.
func (d *dictionary) shared(c *column) bool {
	last, id := uint32(1<<32-1), uint32(0)
	for from := 0; from < c.values; from += steps {
		if !d.goOn(from) {
			return false
		}
		to := min(from+steps, c.values)
		for i, off := range c.offs[from:to] {
			if off != last {
				last, id = off, d.value(c.arena, off, textAt(c.arena, off))
			}
			d.ids[from+i] = id
		}
	}
	return true
}

func (d *dictionary) value(arena []byte, off uint32, v []byte) uint32 {
	h := hash(v)
	for i := h & d.mask; ; i = (i + 1) & d.mask {
		s := d.slots[i]
		if s == 0 {
			d.offs = append(d.offs, off)
			d.size += textHeader + len(v)
			return d.add(i, h)
		}
		if d.hashes[s-1] == h && bytes.Equal(textAt(arena, d.offs[s-1]), v) {
			return s - 1
		}
	}
}

// hash spreads texts over a table that never outlives a row group.
func hash(v []byte) uint32 {
	const k0, k1 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
	h := uint64(len(v)) * k0
	for len(v) > 16 {
		hi, lo := bits.Mul64(binary.LittleEndian.Uint64(v)^h, binary.LittleEndian.Uint64(v[8:])^k1)
		h = hi ^ lo
		v = v[16:]
	}
	var a, b uint64
	switch {
	case len(v) >= 8:
		a, b = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[len(v)-8:])
	case len(v) >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[len(v)-4:]))
	case len(v) > 0:
		a = uint64(v[0])<<16 | uint64(v[len(v)/2])<<8 | uint64(v[len(v)-1])
	}
	hi, lo := bits.Mul64(a^h^k1, b^k0)
	h = hi ^ lo
	return uint32(h ^ h>>32)
}

// page appends the dictionary page: the values as they are.
func (d *dictionary) page(dst []byte, c *column) []byte {
	switch {
	case c.phys == physBytes:
		for _, off := range d.offs {
			dst = append(dst, c.arena[off:off+textHeader+uint32(len(textAt(c.arena, off)))]...)
		}
	case c.width == 8:
		for _, v := range d.words {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
	default:
		for _, v := range d.words {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
		}
	}
	return dst
}
