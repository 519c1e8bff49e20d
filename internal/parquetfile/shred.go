package parquetfile

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/firehosed/firehosed/schema"
)

// columnSet is the leaf columns of a file, what it takes to fill them from records, and
// what the file's end will say.
type columnSet struct {
	plan *plan
	cols []*column
	foot footer

	scratch []scratch // by depth
	def     []byte    // of a leaf
	sel     []int32
}

// scratch is memory for a space.
type scratch struct {
	def, rep []byte
	rows     []int32
}

func newColumnSet(p *plan, c compress.Codec) *columnSet {
	s := &columnSet{plan: p, cols: make([]*column, len(p.leaves)), foot: newFooter(p, c)}
	for i, f := range p.leaves {
		s.cols[i] = newColumn(f)
	}
	return s
}

// size returns the bytes of the values and levels, and those of the memory held.
func (s *columnSet) size() (used, held int64) {
	for _, c := range s.cols {
		used += c.used()
		held += c.held()
	}
	return used, held + s.foot.held()
}

// next makes room for another row group.
func (s *columnSet) next() {
	for _, c := range s.cols {
		c.next()
	}
}

// metrics are those of the file, once its last row group is sealed.
func (s *columnSet) metrics() Metrics {
	m := Metrics{
		ColumnSizes: map[int]int64{}, ValueCounts: map[int]int64{}, NullCounts: map[int]int64{}, NaNCounts: map[int]int64{},
		Lower: map[int][]byte{}, Upper: map[int][]byte{},
	}
	for _, c := range s.cols {
		if !c.f.metrics {
			continue
		}
		id, all := c.f.id, c.whole()
		m.ValueCounts[id] = all.levels
		m.NullCounts[id] = all.levels - all.values
		if all.order == orderFloat {
			m.NaNCounts[id] = all.nans
		}
		if !c.f.bounds {
			continue
		}
		lower, upper := all.bounds()
		if lower != nil {
			m.Lower[id] = lower
		}
		if upper != nil {
			m.Upper[id] = upper
		}
	}
	return m
}

// space is where the values of a field go: an entry for each pair of levels. Fields
// of a struct share that of the struct, a list makes a new one.
type space struct {
	n     int
	def   []byte  // by entry; nil: all are d
	d     uint8   //
	rep   []byte  // by entry; nil: all are 0
	rows  []int32 // by entry: index in the array, where the definition level says that the parent is there; nil: first, first+1, ...
	first int
}

func (sp *space) row(i int) int {
	if sp.rows != nil {
		return int(sp.rows[i])
	}
	return sp.first + i
}

func (sp *space) level(i int) uint8 {
	if sp.def != nil {
		return sp.def[i]
	}
	return sp.d
}

// add appends n rows of rec: those at the indexes rows, or all. After an error the columns
// are of different length.
func (s *columnSet) add(rec arrow.RecordBatch, rows []int32, n int) error {
	bound, err := s.plan.bind(rec.Schema())
	if err != nil {
		return err
	}
	sp := space{n: n, rows: rows}
	for i, f := range s.plan.fields {
		b := &bound[i]
		var arr arrow.Array
		if b.col >= 0 {
			arr = rec.Column(b.col)
		}
		if err := s.field(f, b, arr, &sp, 0); err != nil {
			return err
		}
	}
	return nil
}

// field appends the values of arr at the entries of sp. A nil arr is all null.
func (s *columnSet) field(f *field, b *binding, arr arrow.Array, sp *space, depth int) error {
	if arr == nil || arr.NullN() == arr.Len() || sp.def == nil && sp.d < f.base() {
		return s.absent(f, sp)
	}
	if f.leaf >= 0 {
		return s.leaf(f, arr, sp)
	}
	for len(s.scratch) <= depth+1 {
		s.scratch = append(s.scratch, scratch{})
	}
	if f.typ.Kind == schema.Struct {
		return s.group(f, b, arr.(*array.Struct), sp, depth)
	}
	c, err := s.list(f, arr, sp, depth)
	if err != nil {
		return err
	}
	kids := inside(arr)
	for i, kid := range f.kids {
		if err := s.field(kid, &b.kids[i], kids[i], &c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// inside returns what a list or map holds.
func inside(arr arrow.Array) []arrow.Array {
	if m, ok := arr.(*array.Map); ok {
		return []arrow.Array{m.Keys(), m.Items()}
	}
	return []arrow.Array{arr.(*array.List).ListValues()}
}

// absent appends nulls for f and all below it.
func (s *columnSet) absent(f *field, sp *space) error {
	if !f.optional {
		for i := range sp.n {
			if sp.level(i) == f.base() {
				return fmt.Errorf("column %s: row %d of the record: %w", f.path, i, ErrRequired)
			}
			if sp.def == nil {
				break
			}
		}
	}
	if f.leaf >= 0 {
		c := s.cols[f.leaf]
		if sp.def == nil {
			c.def.run(sp.d, sp.n)
		} else {
			c.def.literal(sp.def)
		}
		s.repetition(c, sp)
		return nil
	}
	for _, kid := range f.kids {
		if err := s.absent(kid, sp); err != nil {
			return err
		}
	}
	return nil
}

func (s *columnSet) repetition(c *column, sp *space) {
	switch {
	case c.f.rep == 0:
	case sp.rep == nil:
		c.rep.run(0, sp.n)
	default:
		c.rep.literal(sp.rep)
	}
}

// leaf appends the values of arr to the column of f.
func (s *columnSet) leaf(f *field, arr arrow.Array, sp *space) error {
	c := s.cols[f.leaf]
	s.repetition(c, sp)
	if sp.def == nil && sp.rows == nil && arr.NullN() == 0 {
		c.def.run(f.def, sp.n)
		return c.appendAll(arr, sp.first, sp.n)
	}
	if sp.def == nil && arr.NullN() == 0 {
		c.def.run(f.def, sp.n)
		return c.appendSome(arr, sp.rows)
	}
	def, err := s.bump(s.def, f, arr, sp)
	if err != nil {
		return err
	}
	s.def = def
	c.def.literal(def)
	if cap(s.sel) < len(def) {
		s.sel = make([]int32, len(def))
	}
	sel, k := s.sel[:len(def)], 0
	if sp.rows == nil {
		for i, d := range def {
			sel[k] = int32(sp.first + i)
			if d == f.def {
				k++
			}
		}
	} else {
		for i, d := range def {
			sel[k] = sp.rows[i]
			if d == f.def {
				k++
			}
		}
	}
	return c.appendSome(arr, sel[:k])
}

// group lays out the members of a struct, which share its entries.
func (s *columnSet) group(f *field, b *binding, arr *array.Struct, sp *space, depth int) error {
	c := *sp
	if sp.def == nil && sp.rows == nil && arr.NullN() == 0 {
		c.d = f.def
	} else {
		def, err := s.bump(s.scratch[depth].def, f, arr, sp)
		if err != nil {
			return err
		}
		s.scratch[depth].def = def // kept for the memory alone
		c.def = def
	}
	for i, kid := range f.kids {
		var col arrow.Array
		if k := b.kids[i].col; k >= 0 {
			col = arr.Field(k)
		}
		if err := s.field(kid, &b.kids[i], col, &c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// list returns the space of what the list or map f holds: an entry for each thing
// held, and one for each list that is empty, null or not there.
func (s *columnSet) list(f *field, arr arrow.Array, sp *space, depth int) (space, error) {
	d := arr.Data()
	offs := arrow.Int32Traits.CastFromBytes(d.Buffers()[1].Bytes())[d.Offset() : d.Offset()+d.Len()+1]
	nulls := arr.NullN() > 0
	base, inner := f.base(), f.def+1
	t := &s.scratch[depth]
	def, rep, rows := t.def[:0], t.rep[:0], t.rows[:0]
	dense, next := true, int32(-1) // dense: no entry is without a row, and the rows are in sequence
	for i := range sp.n {
		level, r := sp.level(i), uint8(0)
		if sp.rep != nil {
			r = sp.rep[i]
		}
		var from, to int32
		if level == base {
			switch k := sp.row(i); {
			case !nulls || arr.IsValid(k):
				level, from, to = f.def, offs[k], offs[k+1]
			case !f.optional:
				return space{}, fmt.Errorf("column %s: entry %d of the record: %w", f.path, i, ErrRequired)
			}
		}
		if from == to {
			def, rep, rows, dense = append(def, level), append(rep, r), append(rows, -1), false
			continue
		}
		dense = dense && (next < 0 || next == from)
		next = to
		for ; from < to; from++ {
			def, rep, rows = append(def, inner), append(rep, r), append(rows, from)
			r = f.rep + 1
		}
	}
	t.def, t.rep, t.rows = def, rep, rows
	if dense && len(rows) > 0 {
		return space{n: len(def), d: inner, rep: rep, first: int(rows[0])}, nil
	}
	return space{n: len(def), def: def, rep: rep, rows: rows}, nil
}

// bump returns, in dst, the definition levels of sp, raised where arr has a value.
func (s *columnSet) bump(dst []byte, f *field, arr arrow.Array, sp *space) ([]byte, error) {
	// Words of 8 entries are written whole, so that dst has room for 7 more.
	if cap(dst) < sp.n+8 {
		dst = make([]byte, sp.n+sp.n/2+8)
	}
	dst = dst[:sp.n]
	var valid []byte
	off := arr.Data().Offset()
	if arr.NullN() > 0 {
		valid = arr.NullBitmapBytes()
	}
	if sp.def == nil && sp.rows == nil && valid != nil && f.optional {
		spread(dst[:sp.n+8], valid, off+sp.first, sp.n, sp.d)
		return dst, nil
	}
	base := f.base()
	for i := range dst {
		d := sp.level(i)
		if d == base {
			k := off + sp.row(i)
			switch {
			case valid == nil || valid[k>>3]>>(k&7)&1 != 0:
				d = f.def
			case !f.optional:
				return nil, fmt.Errorf("column %s: entry %d of the record: %w", f.path, i, ErrRequired)
			}
		}
		dst[i] = d
	}
	return dst, nil
}

// spread writes d plus the n bits from bit off on, a byte each, and up to 7 more.
func spread(dst, bits []byte, off, n int, d uint8) {
	const ones = 0x0101010101010101
	base := uint64(d) * ones
	shift := off & 7
	for i := 0; i < n; i += 8 {
		at := (off + i) >> 3
		b := uint64(bits[at]) >> shift
		if shift > 0 && at+1 < len(bits) {
			b |= uint64(bits[at+1]) << (8 - shift)
		}
		x := (b & 0xff) * ones & 0x8040201008040201 // bit i, in byte i
		x = (x + 0x7f7f7f7f7f7f7f7f) >> 7 & ones
		binary.LittleEndian.PutUint64(dst[i:], base+x)
	}
}
