package parquetfile

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/firehosed/firehosed/schema"
)

// physical is how Parquet stores a type.
type physical uint8

const (
	physBool physical = iota
	physInt32
	physInt64
	physFloat
	physDouble
	physFixed
	physBytes
)

// physicalOf returns how values of a leaf type are stored, and their width in
// column.fixed (0: in column.arena).
func physicalOf(t *schema.Type) (physical, int) {
	switch t.Kind {
	case schema.Bool:
		return physBool, 1
	case schema.Int, schema.Date:
		return physInt32, 4
	case schema.Float:
		return physFloat, 4
	case schema.Double:
		return physDouble, 8
	case schema.String, schema.Binary:
		return physBytes, 0
	case schema.UUID:
		return physFixed, 16
	case schema.Fixed:
		return physFixed, t.Length
	case schema.Decimal:
		return decimalPhysical(t.Precision)
	default:
		return physInt64, 8
	}
}

func decimalPhysical(precision int) (physical, int) {
	switch {
	case precision <= 9:
		return physInt32, 4
	case precision <= 18:
		return physInt64, 8
	default:
		return physFixed, decimalWidth(precision)
	}
}

// decimalWidth is the least number of bytes for decimals of a precision, as the
// specification asks for.
func decimalWidth(precision int) int {
	limit := decimal128.FromI64(1)
	for range precision {
		limit = limit.Mul(decimal128.FromI64(10))
	}
	w := 1
	for bound := decimal128.FromI64(1 << 7); w < 16 && bound.Less(limit); w++ {
		bound = bound.Mul(decimal128.FromI64(1 << 8))
	}
	return w
}

// textHeader is the length in front of each value in column.arena, as in Parquet's
// plain encoding.
const textHeader = 4

// textAt returns the value whose length is at off.
func textAt(arena []byte, off uint32) []byte {
	v := arena[off:]
	return v[textHeader : textHeader+binary.LittleEndian.Uint32(v)]
}

// column is a leaf column of the row group being filled.
type column struct {
	f     *field
	phys  physical
	width int // of a value in fixed
	store
	stats stats  // of the row group
	total *stats // of the row groups before, if there are any
}

// store is the levels of a column, and its values that are there, in order.
type store struct {
	fixed    []byte   // values of fixed width: as Arrow has them, bools as a byte, long decimals as in Parquet
	arena    []byte   // strings and binaries in plain encoding
	offs     []uint32 // if shared, by value: where it is in the arena
	shared   bool     // values are in the arena once; else one after the other, and all of them
	def, rep levels
	values   int

	// known are values of dictionary arrays that the arena has.
	known map[string]uint32
	remap []uint32
}

func newColumn(f *field) *column {
	c := &column{f: f}
	c.phys, c.width = physicalOf(f.typ)
	c.stats = newStats(f)
	return c
}

// maxKnown bounds column.known.
const maxKnown = 1 << 10

// maxArena keeps offsets within 32 bits.
const maxArena = 1<<32 - 1

// seal completes the statistics of the row group.
func (c *column) seal() {
	c.stats.levels, c.stats.values = int64(c.def.n), int64(c.values)
}

// next adds the row group to the file's statistics, and empties the column for another.
func (c *column) next() {
	if c.total == nil { // most files have one row group
		s := newStats(c.f)
		c.total = &s
	}
	c.total.merge(&c.stats)
	c.reset()
}

// whole returns the statistics of the file, once its last row group is sealed.
func (c *column) whole() *stats {
	if c.total == nil {
		return &c.stats
	}
	c.total.merge(&c.stats)
	return c.total
}

// reset empties the column, its row group.
func (c *column) reset() {
	c.stats.reset()
	c.empty()
}

// empty forgets the levels and values, and keeps their memory.
func (s *store) empty() {
	s.fixed, s.arena, s.offs, s.shared, s.values = s.fixed[:0], s.arena[:0], s.offs[:0], false, 0
	s.def.reset()
	s.rep.reset()
	clear(s.known)
}

// used returns the bytes that the values and levels take, held what is allocated.
func (s *store) used() int64 {
	return int64(len(s.fixed) + 4*len(s.offs) + len(s.arena) + s.def.used() + s.rep.used())
}

func (s *store) held() int64 {
	return int64(cap(s.fixed) + 4*cap(s.offs) + cap(s.arena) + 4*cap(s.remap) + s.def.held() + s.rep.held())
}

// held returns the memory that the column takes.
func (c *column) held() int64 {
	n := columnBytes + c.store.held() + int64(c.stats.held())
	if c.total != nil {
		n += statsBytes + int64(c.total.held())
	}
	return n
}

// Sizes of what there is for every column, chunk and so on, in bytes.
const (
	columnBytes = 560
	statsBytes  = 240
	chunkBytes  = 320 // with its bounds
	pageBytes   = 420 // the same
	spaceBytes  = 136
	refBytes    = 16
)

// appendAll appends n values of v from index first on. None of them is null, or v is packed.
func (c *column) appendAll(v *schema.Vector, first, n int) error {
	if n == 0 {
		return nil
	}
	c.values += n
	switch c.phys {
	case physBytes:
		return c.appendBytes(v, first, n, nil)
	case physBool:
		c.appendBools(v, first, n, nil)
	default:
		if c.f.typ.Kind == schema.Decimal {
			return c.appendDecimals(v, first, n, nil)
		}
		c.fixed = append(c.fixed, v.Data[first*c.width:(first+n)*c.width]...)
	}
	return nil
}

// appendSome appends the values of v at the indexes sel: rows, or numbers of values if v is packed.
func (c *column) appendSome(v *schema.Vector, sel []int32) error {
	n := len(sel)
	if n == 0 {
		return nil
	}
	c.values += n
	switch c.phys {
	case physBytes:
		return c.appendBytes(v, 0, n, sel)
	case physBool:
		c.appendBools(v, 0, n, sel)
	default:
		if c.f.typ.Kind == schema.Decimal {
			return c.appendDecimals(v, 0, n, sel)
		}
		c.fixed = gather(c.fixed, v.Data, c.width, sel)
	}
	return nil
}

func gather(dst, src []byte, width int, sel []int32) []byte {
	at := len(dst)
	dst = grow(dst, len(sel)*width)
	out := dst[at:]
	switch width {
	case 8:
		for k, i := range sel {
			binary.LittleEndian.PutUint64(out[8*k:], binary.LittleEndian.Uint64(src[8*int(i):]))
		}
	case 4:
		for k, i := range sel {
			binary.LittleEndian.PutUint32(out[4*k:], binary.LittleEndian.Uint32(src[4*int(i):]))
		}
	default:
		for k, i := range sel {
			copy(out[width*k:width*(k+1)], src[width*int(i):])
		}
	}
	return dst
}

// grow extends b by n bytes of any content.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, max(2*cap(b), len(b)+n)), b...)
	}
	return b[:len(b)+n]
}

// reserve makes room for values of about so many bytes in an empty store at once: growing
// step by step takes twice as much.
func (c *column) reserve(size int64) {
	mem := &c.fixed
	if c.phys == physBytes {
		mem = &c.arena
	}
	if n := int(min(size, maxArena)); cap(*mem) < n {
		*mem = make([]byte, 0, n+n/8)
	}
}

// at returns the k-th index to append.
func at(first, k int, sel []int32) int {
	if sel != nil {
		return int(sel[k])
	}
	return first + k
}

func (c *column) appendBools(v *schema.Vector, first, n int, sel []int32) {
	for k := range n {
		i := at(first, k, sel) + v.Offset
		c.fixed = append(c.fixed, v.Data[i>>3]>>(i&7)&1)
	}
}

// decimals returns the values of v, those of rows without one too unless it is packed.
func decimals(v *schema.Vector) []decimal128.Num {
	n := v.Len
	if v.Packed {
		n -= v.Nulls
	}
	return arrow.Decimal128Traits.CastFromBytes(v.Data)[:n]
}

func (c *column) appendDecimals(from *schema.Vector, first, n int, sel []int32) error {
	var b [16]byte
	all := decimals(from)
	for k := range n {
		v := all[at(first, k, sel)]
		if !v.FitsInPrecision(int32(c.f.typ.Precision)) {
			return fmt.Errorf("column %s: %s does not fit %s", c.f.path, v.ToString(int32(c.f.typ.Scale)), c.f.typ)
		}
		switch c.phys {
		case physInt32:
			c.fixed = binary.LittleEndian.AppendUint32(c.fixed, uint32(v.LowBits()))
		case physInt64:
			c.fixed = binary.LittleEndian.AppendUint64(c.fixed, v.LowBits())
		default:
			bigEndian(&b, v)
			c.fixed = append(c.fixed, b[16-c.width:]...)
		}
		c.stats.decimal(v)
	}
	return nil
}

func bigEndian(b *[16]byte, v decimal128.Num) {
	binary.BigEndian.PutUint64(b[:8], uint64(v.HighBits()))
	binary.BigEndian.PutUint64(b[8:], v.LowBits())
}

// plainSize is what the values take in plain encoding, bools more.
func (c *column) plainSize() int {
	if !c.shared {
		return len(c.fixed) + len(c.arena)
	}
	n := 0
	for _, off := range c.offs {
		n += textHeader + len(textAt(c.arena, off))
	}
	return n
}

// appendBytes appends strings and binaries, dictionary encoded ones included.
func (c *column) appendBytes(v *schema.Vector, first, n int, sel []int32) error {
	if v.Dictionary {
		return c.appendDictionary(v, first, n, sel)
	}
	offs, data := v.Ends, v.Data
	size := textHeader * n
	if sel == nil {
		size += int(offs[first+n]) - int(offs[first])
	} else {
		for _, i := range sel { // which may be far apart, and in any order
			size += int(offs[i+1]) - int(offs[i])
		}
	}
	if err := c.room(size); err != nil {
		return err
	}
	switch {
	case c.shared:
		for k := range n {
			i := at(first, k, sel)
			c.offs = append(c.offs, uint32(len(c.arena)))
			c.appendText(data[offs[i]:offs[i+1]])
		}
	case sel == nil:
		c.appendRun(offs[first:first+n+1], data)
	default:
		for _, i := range sel {
			c.appendText(data[offs[i]:offs[i+1]])
		}
	}
	return nil
}

// appendRun appends the values between offs, for which there is room.
func (c *column) appendRun(offs []int32, data []byte) {
	from := offs[0]
	for _, to := range offs[1:] {
		c.appendText(data[from:to])
		from = to
	}
}

// short is the length up to which a value is copied as two words, whatever follows.
const short = 16

// appendText appends a value for which there is room.
func (c *column) appendText(v []byte) {
	k := len(c.arena)
	dst := c.arena[k : k+textHeader+max(len(v), short)]
	binary.LittleEndian.PutUint32(dst, uint32(len(v)))
	if len(v) <= short && cap(v) >= short {
		w := v[:short]
		binary.LittleEndian.PutUint64(dst[textHeader:], binary.LittleEndian.Uint64(w))
		binary.LittleEndian.PutUint64(dst[textHeader+8:], binary.LittleEndian.Uint64(w[8:]))
	} else {
		copy(dst[textHeader:], v)
	}
	c.arena = c.arena[:k+textHeader+len(v)]
}

// room makes room in the arena for n more bytes.
func (c *column) room(n int) error {
	if len(c.arena)+n > maxArena {
		return fmt.Errorf("column %s: more than 4 GiB in a row group", c.f.path)
	}
	c.arena = grow(c.arena, n+short)[:len(c.arena)]
	return nil
}

// appendDictionary stores each value of the dictionary that is used once.
func (c *column) appendDictionary(v *schema.Vector, first, n int, sel []int32) error {
	indexes := arrow.Int32Traits.CastFromBytes(v.Data)
	dict := &v.Kids[0]
	offs, data, size := dict.Ends, dict.Data, dict.Len
	if cap(c.remap) < size {
		c.remap = make([]uint32, size)
	}
	remap := c.remap[:size]
	const unset = 1<<32 - 1
	for i := range remap {
		remap[i] = unset
	}
	c.share(n)
	for k := range n {
		id := indexes[at(first, k, sel)]
		if int(id) >= size || id < 0 {
			return fmt.Errorf("column %s: index %d of a dictionary of %d", c.f.path, id, size)
		}
		if remap[id] == unset {
			if !dict.IsValid(int(id)) {
				return fmt.Errorf("column %s: the dictionary holds a null", c.f.path)
			}
			off, err := c.intern(data[offs[id]:offs[id+1]])
			if err != nil {
				return err
			}
			remap[id] = off
		}
		c.offs = append(c.offs, remap[id])
	}
	return nil
}

// share turns to offs. Of the values, the last n are still to come.
func (c *column) share(n int) {
	if c.shared {
		return
	}
	c.shared = true
	off := uint32(0)
	for range c.values - n {
		c.offs = append(c.offs, off)
		off += textHeader + uint32(len(textAt(c.arena, off)))
	}
}

// intern returns where v is in the arena.
func (c *column) intern(v []byte) (uint32, error) {
	if off, ok := c.known[string(v)]; ok {
		return off, nil
	}
	if err := c.room(textHeader + len(v)); err != nil {
		return 0, err
	}
	off := uint32(len(c.arena))
	c.appendText(v)
	if len(c.known) < maxKnown {
		if c.known == nil {
			c.known = map[string]uint32{}
		}
		c.known[string(v)] = off
	}
	return off, nil
}
