package parquetfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

// Limits of dictionaries.
const (
	maxDistinct   = 1 << 16
	maxDictionary = 1 << 20 // bytes of its page
	minDictionary = 96      // bytes of values below which the header of a dictionary page costs more than it saves
)

// dictionary numbers the distinct values of a column chunk, in the order in which
// they first come.
type dictionary struct {
	ids   []uint32 // by value
	words []uint64 // by id: values of fixed width
	texts []text   // by id
	size  int      // bytes of the dictionary page
	slots []uint32 // hash table of ids, plus 1
	mask  uint32
	asIs  int // bytes of all values in plain encoding
}

// text is a string or binary of a dictionary.
type text struct {
	head, tail uint64 // as [ends] has them
	off, n     uint32 // where it is in the arena, and its length
}

// build numbers the values of c. It returns false where they take less as they are.
func (d *dictionary) build(c *column) bool {
	if c.phys == physBool || c.phys == physFixed {
		return false
	}
	if d.asIs = c.plainSize(); d.asIs < minDictionary {
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
		ok = d.arena(c)
	}
	const header = 32
	return ok && 8*d.size+c.values*d.width()+8*header <= 6*d.asIs // saves a quarter
}

func (d *dictionary) count() int { return len(d.words) + len(d.texts) }

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
	d.words, d.texts, d.size = d.words[:0], d.texts[:0], 0
}

// goOn says whether a dictionary may still pay after so many values of all.
func (d *dictionary) goOn(seen, all int) bool {
	n := d.count()
	switch {
	case n >= maxDistinct || d.size > maxDictionary:
		return false
	case seen == 1<<11:
		return d.foresee(seen, all, 2)
	case seen == 1<<14:
		return d.foresee(seen, all, 1)
	}
	return true
}

// foresee estimates, if the values come as they have come so far, whether the dictionary
// of all stays below slack times its limits, and saves a quarter of what they take.
func (d *dictionary) foresee(seen, all int, slack float64) bool {
	n, m := float64(d.count()), float64(seen)
	if n >= m-2 { // hardly a value came twice: there may be any number of them
		return false
	}
	// Of p values that are equally frequent, p*(1-exp(-m/p)) are to be expected among m.
	low, high := n, m*m
	for range 40 {
		if p := (low + high) / 2; -p*math.Expm1(-m/p) < n {
			low = p
		} else {
			high = p
		}
	}
	count := -high * math.Expm1(-float64(all)/high)
	size := count * float64(d.size) / n
	coded := size + float64(all)*math.Ceil(math.Log2(count+1))/8
	return count < slack*maxDistinct && size < slack*maxDictionary && coded < slack*0.75*float64(d.asIs)
}

// steps is how many values are numbered between two looks at the limits.
const steps = 1 << 10

func (d *dictionary) fixed(c *column) bool {
	for from := 0; from < c.values; from += steps {
		if !d.goOn(from, c.values) {
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
	for i := uint32(hi^lo) & d.mask; ; i = (i + 1) & d.mask {
		s := d.slots[i]
		if s == 0 {
			d.words = append(d.words, v)
			d.slots[i] = uint32(len(d.words))
			return uint32(len(d.words) - 1)
		}
		if d.words[s-1] == v {
			return s - 1
		}
	}
}

// arena numbers the values of an arena that has them one after the other.
func (d *dictionary) arena(c *column) bool {
	off := uint32(0)
	arena := c.arena[:cap(c.arena)]
	for from := 0; from < c.values; from += steps {
		if !d.goOn(from, c.values) {
			return false
		}
		ids := d.ids[from:min(from+steps, c.values)]
		for i := range ids {
			n := binary.LittleEndian.Uint32(arena[off:])
			ids[i] = d.text(arena, off, n)
			off += textHeader + n
		}
	}
	return true
}

// shared numbers values that were interned: the same offset is the same value.
func (d *dictionary) shared(c *column) bool {
	last, id := uint32(1<<32-1), uint32(0)
	arena := c.arena[:cap(c.arena)]
	for from := 0; from < c.values; from += steps {
		if !d.goOn(from, c.values) {
			return false
		}
		to := min(from+steps, c.values)
		for i, off := range c.offs[from:to] {
			if off != last {
				last, id = off, d.text(arena, off, binary.LittleEndian.Uint32(arena[off:]))
			}
			d.ids[from+i] = id
		}
	}
	return true
}

// text numbers the value of n bytes whose length is at off.
func (d *dictionary) text(arena []byte, off, n uint32) uint32 {
	head, tail := ends(arena, off, n)
	var h uint32
	if n <= short {
		h = mix(head, tail, n)
	} else {
		h = hash(arena[off+textHeader:][:n])
	}
	for i := h & d.mask; ; i = (i + 1) & d.mask {
		s := d.slots[i]
		if s == 0 {
			d.texts = append(d.texts, text{head, tail, off, n})
			d.size += textHeader + int(n)
			d.slots[i] = uint32(len(d.texts))
			return uint32(len(d.texts) - 1)
		}
		t := &d.texts[s-1]
		if t.head == head && t.tail == tail && t.n == n && (n <= short || bytes.Equal(textAt(arena, t.off), textAt(arena, off))) {
			return s - 1
		}
	}
}

// ends returns the first and the last 8 bytes of the value of n bytes whose length is at
// off; of a shorter one all it has, and zeros. Behind the values there is room for that.
func ends(arena []byte, off, n uint32) (head, tail uint64) {
	v := arena[off+textHeader:]
	head = binary.LittleEndian.Uint64(v)
	if n >= 8 {
		return head, binary.LittleEndian.Uint64(v[n-8:])
	}
	return head & (1<<(8*n&63) - 1), 0
}

// mix spreads texts that their ends and their length make up.
func mix(head, tail uint64, n uint32) uint32 {
	hi, lo := bits.Mul64(head^uint64(n)*0x9E3779B97F4A7C15, tail^0xD6E8FEB86659FD93)
	hi, lo = bits.Mul64(hi^lo^head, 0x9E3779B97F4A7C15)
	return uint32(hi ^ lo)
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
		for i := range d.texts {
			t := &d.texts[i]
			dst = append(dst, c.arena[t.off:t.off+textHeader+t.n]...)
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
