package parquetfile

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/firehosed/firehosed/schema"
)

// columnSet is the leaf columns of a file, what it takes to fill them from records, and
// what the file's end will say.
type columnSet struct {
	plan  *plan
	cols  []*column
	foot  footer
	batch *batch  // what is laid out is kept there for later; nil: it goes to the columns
	kept  keeping // records of the row group, if they are not in the columns

	scratch []scratch // by depth
	leaves  leafScratch
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
	used, held = s.kept.used, s.kept.used+s.kept.own
	for _, c := range s.cols {
		used += c.used()
		held += c.held()
	}
	return used, held + s.foot.held()
}

// next makes room for another row group.
func (s *columnSet) next() {
	s.kept.release()
	for _, c := range s.cols {
		c.next()
	}
}

// reset makes the columns those of another file.
func (s *columnSet) reset() {
	s.kept.release()
	for _, c := range s.cols {
		c.reset()
		c.total = nil
	}
	s.foot.reset()
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
	whole bool // the rows are all of the array, in order
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
// are of different length. All rows of a record are kept as they are until the row group is
// encoded; some rows are copied, since the others would be kept with them.
func (s *columnSet) add(rec arrow.RecordBatch, rows []int32, n int) error {
	if rows == nil && s.kept.takes(n) && s.cols[0].def.n == 0 {
		return s.keep(rec, n)
	}
	if err := s.settle(); err != nil {
		return err
	}
	return s.lay(rec, &space{n: n, rows: rows, whole: rows == nil})
}

// lay lays out the columns of rec.
func (s *columnSet) lay(rec arrow.RecordBatch, sp *space) error {
	bound, err := s.plan.bind(rec.Schema())
	if err != nil {
		return err
	}
	cols := schema.Vectors(rec)
	for i, f := range s.plan.fields {
		b := &bound[i]
		var v *schema.Vector
		if b.col >= 0 {
			v = &cols[b.col]
		}
		if err := s.field(f, b, v, sp, 0); err != nil {
			return err
		}
	}
	return nil
}

// field appends the values of v at the entries of sp. A nil v is all null.
func (s *columnSet) field(f *field, b *binding, v *schema.Vector, sp *space, depth int) error {
	if v == nil || v.Nulls == v.Len || sp.def == nil && sp.d < f.base() {
		return s.absent(f, sp)
	}
	if f.leaf >= 0 {
		return s.leaf(f, v, sp)
	}
	for len(s.scratch) <= depth+1 {
		s.scratch = append(s.scratch, scratch{})
	}
	if f.typ.Kind == schema.Struct {
		return s.group(f, b, v, sp, depth)
	}
	c, err := s.list(f, v, sp, depth)
	if err != nil {
		return err
	}
	if s.batch != nil {
		s.batch.claim(&c, &space{})
	}
	for i, kid := range f.kids {
		if err := s.field(kid, &b.kids[i], &v.Kids[i], &c, depth+1); err != nil {
			return err
		}
	}
	return nil
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
		return s.leaf(f, nil, sp)
	}
	for _, kid := range f.kids {
		if err := s.absent(kid, sp); err != nil {
			return err
		}
	}
	return nil
}

// leaf appends the values of v to the column of f, or keeps them for later. A nil v
// is all null.
func (s *columnSet) leaf(f *field, v *schema.Vector, sp *space) error {
	if s.batch != nil {
		return s.batch.leaf(f, v, sp, &s.leaves)
	}
	return s.cols[f.leaf].add(v, sp, &s.leaves)
}

// leafScratch is memory for the values of a leaf.
type leafScratch struct {
	def    []byte
	sel    []int32
	before []int32 // rows with a value, by byte of a bitmap
}

// add appends the values of v, or nulls if it is nil.
func (c *column) add(v *schema.Vector, sp *space, t *leafScratch) error {
	switch {
	case c.f.rep == 0:
	case sp.rep == nil:
		c.rep.run(0, sp.n)
	default:
		c.rep.literal(sp.rep)
	}
	switch {
	case v == nil && sp.def == nil:
		c.def.run(sp.d, sp.n)
		return nil
	case v == nil:
		c.def.literal(sp.def)
		return nil
	case sp.def == nil && v.Nulls == 0:
		c.def.run(c.f.def, sp.n)
		if sp.rows == nil {
			return c.appendAll(v, sp.first, sp.n)
		}
		return c.appendSome(v, sp.rows)
	}
	def, err := bump(c.def.next(sp.n), c.f, v, sp)
	if err != nil {
		return err
	}
	c.def.grew(len(def))
	if v.Packed && sp.whole {
		return c.appendAll(v, 0, v.Len-v.Nulls)
	}
	t.sel = present(t.sel, def, c.f.def)
	switch {
	case sp.rows != nil:
		for i, k := range t.sel {
			t.sel[i] = sp.rows[k]
		}
	case sp.first > 0:
		for i := range t.sel {
			t.sel[i] += int32(sp.first)
		}
	}
	if v.Packed {
		t.rank(v)
	}
	return c.appendSome(v, t.sel)
}

// rank makes sel, rows of v that have a value, the numbers of these among all that have one.
func (t *leafScratch) rank(v *schema.Vector) {
	t.before = t.before[:0]
	sum := int32(0)
	for _, b := range v.Valid {
		t.before = append(t.before, sum)
		sum += int32(bits.OnesCount8(b))
	}
	for i, k := range t.sel {
		below := v.Valid[k>>3] & (1<<(k&7) - 1)
		t.sel[i] = t.before[k>>3] + int32(bits.OnesCount8(below))
	}
}

// present returns, in dst, where def is the level given. There is room for 7 more entries
// after def.
func present(dst []int32, def []byte, level uint8) []int32 {
	if cap(dst) < len(def)+8 {
		dst = make([]int32, len(def)+len(def)/2+8)
	}
	dst = dst[:cap(dst)]
	k := 0
	want := uint64(level) * eachByte
	for i := 0; i < len(def); i += 8 {
		m := equalBytes(binary.LittleEndian.Uint64(def[i:i+8:cap(def)]), want)
		if left := len(def) - i; left < 8 {
			m &= 1<<(8*left) - 1
		}
		if m == 0 {
			continue
		}
		for j := range 8 { // without a branch that nobody can foresee
			dst[k] = int32(i + j)
			k += int(m & 1)
			m >>= 8
		}
	}
	return dst[:k]
}

const eachByte = 0x0101010101010101

// equalBytes returns 1 in every byte in which a and b, both below 0x80, are equal.
func equalBytes(a, b uint64) uint64 {
	return ((a^b)+0x7f*eachByte)>>7&eachByte ^ eachByte
}

// group lays out the members of a struct, which share its entries.
func (s *columnSet) group(f *field, b *binding, v *schema.Vector, sp *space, depth int) error {
	c := *sp
	if sp.def == nil && sp.rows == nil && v.Nulls == 0 {
		c.d = f.def
	} else {
		def, err := bump(s.scratch[depth].def, f, v, sp)
		if err != nil {
			return err
		}
		s.scratch[depth].def = def // kept for the memory alone
		c.def = def
	}
	if s.batch != nil {
		s.batch.claim(&c, sp)
	}
	for i, kid := range f.kids {
		var col *schema.Vector
		if k := b.kids[i].col; k >= 0 {
			col = &v.Kids[k]
		}
		if err := s.field(kid, &b.kids[i], col, &c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// list returns the space of what the list or map f holds: an entry for each thing
// held, and one for each list that is empty, null or not there.
func (s *columnSet) list(f *field, v *schema.Vector, sp *space, depth int) (space, error) {
	offs, nulls := v.Ends, v.Nulls > 0
	base, inner := f.base(), f.def+1
	t := &s.scratch[depth]
	def, rep, rows := t.def[:0], t.rep[:0], t.rows[:0]
	dense, next := true, int32(-1) // dense: no entry is without a row, and the rows are in sequence
	gaps := false                  // a row is left out
	for i := range sp.n {
		level, r := sp.level(i), uint8(0)
		if sp.rep != nil {
			r = sp.rep[i]
		}
		var from, to int32
		if level == base {
			switch k := sp.row(i); {
			case !nulls || v.IsValid(k):
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
		gaps = gaps || from != max(next, 0)
		next = to
		for ; from < to; from++ {
			def, rep, rows = append(def, inner), append(rep, r), append(rows, from)
			r = f.rep + 1
		}
	}
	t.def, t.rep, t.rows = def, rep, rows
	whole := !gaps && max(next, 0) == int32(v.Kids[0].Len)
	if dense && len(rows) > 0 {
		return space{n: len(def), d: inner, rep: rep, first: int(rows[0]), whole: whole}, nil
	}
	return space{n: len(def), def: def, rep: rep, rows: rows, whole: whole}, nil
}

// bump returns, in dst, the definition levels of sp, raised where v has a value. There
// is room for 7 more after them.
func bump(dst []byte, f *field, v *schema.Vector, sp *space) ([]byte, error) {
	// Words of 8 entries are written whole, so that dst has room for 7 more.
	if cap(dst) < sp.n+8 {
		dst = make([]byte, sp.n+sp.n/2+8)
	}
	dst = dst[:sp.n]
	valid, off := v.Valid, v.Offset
	if sp.rows == nil && valid != nil && f.optional {
		spread(dst[:sp.n+8], valid, off+sp.first, sp.n)
		if sp.def == nil {
			raiseAll(dst[:sp.n+8], sp.d)
		} else {
			raise(dst[:sp.n+8], sp.def, f.base())
		}
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

// raiseAll adds d to every byte of dst, whose length is rounded up by up to 8.
func raiseAll(dst []byte, d uint8) {
	for i := 0; i+8 <= len(dst); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(dst[i:])+uint64(d)*eachByte)
	}
}

// raise makes dst, which has 1 where there is a value, the levels: those of the parent, and
// one more where the parent is there and has a value. Its length is that of def and 8 more.
func raise(dst, def []byte, base uint8) {
	want := uint64(base) * eachByte
	n := len(def) &^ 7
	for i := 0; i < n; i += 8 {
		d := binary.LittleEndian.Uint64(def[i:])
		v := binary.LittleEndian.Uint64(dst[i:]) & equalBytes(d, want)
		binary.LittleEndian.PutUint64(dst[i:], d+v)
	}
	for i := n; i < len(def); i++ {
		if def[i] != base {
			dst[i] = 0
		}
		dst[i] += def[i]
	}
}

// spread writes n bits of valid from bit off on, a byte each, and up to 7 more.
func spread(dst, valid []byte, off, n int) {
	shift := off & 7
	for i := 0; i < n; i += 8 {
		at := (off + i) >> 3
		b := uint64(valid[at]) >> shift
		if shift > 0 && at+1 < len(valid) {
			b |= uint64(valid[at+1]) << (8 - shift)
		}
		x := (b & 0xff) * eachByte & 0x8040201008040201 // bit i, in byte i
		x = (x + 0x7f*eachByte) >> 7 & eachByte
		binary.LittleEndian.PutUint64(dst[i:], x)
	}
}
