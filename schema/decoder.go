package schema

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Decoded is what units of JSON became. All but Data is valid until the next call
// of the decoder.
type Decoded struct {
	// Data has a column for every field of the schema that has a value in it, and
	// Rescued where anything was rescued. The caller releases it.
	Data *Batch

	RescuedRows int // rows in which something was rescued

	Unit, Sub []int32 // by row: the index of what it came from, and its number within that
	Rejects   []Reject
	Skipped   map[string]int // by the name of the rule

	// Want is nil, or the table's schema with room for what was rescued. With it the
	// same units want no more, unless the table refused some of it.
	Want *Schema
}

// maxTables is how many layouts a decoder keeps, each with its memory.
const maxTables = 32

// A Decoder lays JSON objects out as columns. It keeps its memory from batch to
// batch. One goroutine uses it.
type Decoder struct {
	opt    Options
	keep   int // bytes of memory that stay for the next batch
	cut    cutter
	tables []*table // the latest first
	lay    layout
	out    Decoded
	batch  lineBatch
}

// table is what a decoder knows of one schema.
type table struct {
	schema *Schema
	pinned *Schema
	reader reader
	fields []arrow.Field // by index in reader.root.kids, that of rescued last
	parts  int           // vectors below those of columns, at most
	laid   []*node       // the columns of the last batch
	as     *arrow.Schema // theirs
	check  *reader       // reads what pinned requires; nil: nothing

	missing fault // what the last object lacked
	held    int   // bytes that reader keeps
	tree    int   // bytes of its nodes, which stay
}

// NewDecoder returns a decoder with these rules.
func NewDecoder(opt Options) *Decoder {
	d := &Decoder{opt: opt.withDefaults(), keep: keepBytes}
	d.cut = newCutter(&d.opt)
	d.out.Skipped = map[string]int{}
	return d
}

// Decode lays the units out for a table of schema s, which may be nil. A unit is
// a record, or one of its JSON values; nil is a record without a value. pinned
// may be nil: its required columns must get a value, or the unit is rejected.
//
// What is rejected or skipped depends on the units, the options and pinned alone,
// never on s. The units are at most [MaxBatchBytes] together.
func (d *Decoder) Decode(units [][]byte, s, pinned *Schema) *Decoded {
	size := 0
	for _, u := range units {
		size += len(u)
	}
	if size > MaxBatchBytes {
		panic(fmt.Sprintf("BUG: %d bytes to decode at a time, the limit is %d", size, MaxBatchBytes))
	}
	return d.decode(units, s, pinned, nil)
}

// decode is Decode; fates, if not nil, has what is known of each unit.
func (d *Decoder) decode(units [][]byte, s, pinned *Schema, fates []fate) *Decoded {
	t := d.begin(s, pinned)
	defer d.cut.close() // when a unit panics, what is behind it is as it was
	for i, u := range units {
		switch {
		case fates == nil || fates[i] == fate{}:
			d.unit(t, int32(i), u)
		case fates[i].panicked != "":
			d.reject(int32(i), &Reject{Code: CodePanic, Message: fates[i].panicked, Payload: u})
		default:
			d.unitRescued(t, int32(i), u)
		}
	}
	return d.end(t, s)
}

// begin prepares for a batch.
func (d *Decoder) begin(s, pinned *Schema) *table {
	t := d.table(s, pinned)
	t.reader.begin(s)
	o := &d.out
	o.Unit, o.Sub, o.Rejects, o.Want = o.Unit[:0], o.Sub[:0], o.Rejects[:0], nil
	clear(o.Skipped)
	return t
}

// end makes the batch.
func (d *Decoder) end(t *table, s *Schema) *Decoded {
	o := &d.out
	o.Data = d.layOut(t, len(o.Unit))
	o.RescuedRows = t.reader.rescued.n - t.reader.rescued.nulls
	o.Want = t.reader.want(s)
	d.shrink(t)
	return o
}

// keepBytes is how much memory a decoder keeps from batch to batch, for all tables.
const keepBytes = 16 << 20

// Held returns how many bytes the decoder keeps for the next batch.
func (d *Decoder) Held() int {
	held := cap(d.cut.own)
	for _, t := range d.tables {
		held += t.held + t.tree
	}
	return held
}

// shrink gives memory back, that of tables not used for long first. t was used just
// now. The others together keep an eighth of what it may: a table that evolves leaves
// its earlier schemas behind.
func (d *Decoder) shrink(t *table) {
	t.measure()
	if t.held > d.keep {
		t.free()
	}
	others := 0
	for _, t := range d.tables[1:] {
		if others += t.held; others > d.keep/8 {
			others -= t.held
			t.free()
		}
	}
}

// measure notes how much memory the cells take.
func (t *table) measure() {
	t.held = t.reader.root.held() + t.reader.rescued.held() + t.reader.strays*2*nodeBytes
}

// free gives the memory of all cells back.
func (t *table) free() {
	t.reader.root.free()
	t.reader.rescued.free()
	t.held = 0
}

// unit lays out the rows of a record.
func (d *Decoder) unit(t *table, index int32, rec []byte) {
	o, c := &d.out, &d.cut
	if t.check == nil && c.openPlain(rec) {
		if end := t.reader.row(len(o.Unit), 0); end >= 0 {
			o.Unit = append(o.Unit, index)
			o.Sub = append(o.Sub, 0)
			if end == len(rec) {
				c.close()
				return
			}
			c.accept(end)
		}
	} else {
		skip, whole := c.open(rec)
		if skip != "" {
			o.Skipped[skip]++
			return
		}
		if whole != nil {
			d.reject(index, whole)
			return
		}
	}
	for c.more() {
		if c.careful {
			if _, rej := c.judge(); rej != nil {
				d.reject(index, rej)
				continue
			}
		}
		end := t.read(len(o.Unit), c.at)
		if end < 0 && t.missing.code != "" {
			d.reject(index, c.reject(t.missing, ^end))
			continue
		}
		if end < 0 {
			_, rej := c.judge()
			if rej == nil {
				panic(fmt.Sprintf("BUG: a valid object at byte %d of %d was not laid out", c.at, c.scan.end))
			}
			d.reject(index, rej)
			continue
		}
		o.Unit = append(o.Unit, index)
		o.Sub = append(o.Sub, int32(c.sub))
		c.accept(end)
	}
	if c.sub == 0 {
		o.Skipped[SkipBlank]++
	}
	c.close()
}

func (d *Decoder) reject(index int32, r *Reject) {
	r.Unit = index
	d.out.Rejects = append(d.out.Rejects, *r)
}

// read lays out the object at i and returns the index after it, or invalid. If
// the object lacks what pinned requires, it returns ^end and sets missing.
func (t *table) read(row, i int) int {
	if end := t.required(i); end < 0 {
		return end
	}
	return t.reader.row(row, i)
}

// required tells whether the object at i has what pinned requires. If not, it is as
// read says.
func (t *table) required(i int) int {
	t.missing = fault{}
	r := t.check
	if r == nil {
		return 0
	}
	r.root.reset()
	r.rescued.reset()
	end := r.row(0, i)
	if end < 0 {
		return invalid
	}
	for _, kid := range r.root.kids {
		if !kid.holds(0) {
			t.missing.code = CodeRequired
			t.missing.message = fmt.Sprintf("column %q requires a value of type %s", kid.field.Name, kid.field.Type)
			t.missing.path = string(appendPlainToken(nil, []byte(kid.key)))
			return ^end
		}
	}
	return end
}

// table returns what is known of a schema, or makes it known.
func (d *Decoder) table(s, pinned *Schema) *table {
	for i, t := range d.tables {
		if t.schema == s && t.pinned == pinned {
			copy(d.tables[1:i+1], d.tables[:i])
			d.tables[0] = t
			return t
		}
	}
	t := &table{schema: s, pinned: pinned}
	t.reader.init(&d.cut, s, &d.opt)
	if len(d.tables) > 0 { // most schemas have evolved from the last one
		last := d.tables[0]
		t.reader.root.inherit(&last.reader.root)
		t.reader.rescued.inherit(&last.reader.rescued)
		last.measure()
	}
	for _, kid := range t.reader.root.kids {
		t.fields = append(t.fields, kid.field.ArrowField())
	}
	t.fields = append(t.fields, t.reader.rescued.field.ArrowField())
	t.parts = t.reader.root.vectors()
	t.tree = t.reader.root.tree()
	if required := requiredOf(pinned); required != nil {
		t.check = &reader{}
		t.check.init(&d.cut, required, &d.opt)
		t.tree += t.check.root.tree()
	}
	if len(d.tables) < maxTables {
		d.tables = append(d.tables, nil)
	}
	copy(d.tables[1:], d.tables)
	d.tables[0] = t
	return t
}

// requiredOf returns the columns of s that must have a value and are not filled
// by firehosed itself, or nil.
func requiredOf(s *Schema) *Schema {
	if s == nil {
		return nil
	}
	var r Schema
	for i := range s.Fields {
		if f := &s.Fields[i]; f.Required && !IsMeta(f) {
			r.Fields = append(r.Fields, *f)
		}
	}
	if len(r.Fields) == 0 {
		return nil
	}
	return &r
}

// init makes a reader for the columns of s.
func (r *reader) init(cut *cutter, s *Schema, opt *Options) {
	r.cut = cut
	r.root = node{kind: Struct}
	var declared *Type
	if opt.Declared != nil {
		declared = &Type{Kind: Struct, Fields: opt.Declared.Fields}
	}
	var fields []Field
	if s != nil {
		fields = s.Fields
	}
	r.root.addFields(fields, declared)
	f := s.Column(Rescued)
	if f == nil {
		f = &Field{Name: Rescued, Type: &Type{Kind: String}}
	}
	r.rescued = node{kind: String, field: f}
}

// begin prepares for a batch.
func (r *reader) begin(s *Schema) {
	r.root.reset()
	r.rescued.reset()
	r.news, r.kept, r.lined = false, 0, false
	var fields []Field
	if s != nil {
		fields = s.Fields
	}
	used := Leaves(fields)
	if s.Column(Rescued) == nil {
		used++
	}
	r.room = used < r.cut.scan.opt.MaxColumns
}

// layOut makes the record batch.
func (d *Decoder) layOut(t *table, rows int) *Batch {
	r, l := &t.reader, &d.lay
	size, same, at := 0, true, 0
	see := func(n *node) {
		if n.finish(rows); n.has() {
			size += n.size(rows)
			same = same && at < len(t.laid) && t.laid[at] == n
			at++
		}
	}
	for _, kid := range r.root.kids {
		see(kid)
	}
	see(&r.rescued)
	if !same || at < len(t.laid) || t.as == nil {
		t.lay()
	}
	b := newBatch(t.as, rows)
	b.slab = memory.NewResizableBuffer(d.opt.Mem)
	b.slab.Resize(size)
	if cap(b.parts) < t.parts {
		b.parts = make([]Vector, 0, t.parts)
	}
	b.cols = slices.Grow(b.cols, len(t.laid))[:len(t.laid)]
	b.arrays = slices.Grow(b.arrays, len(t.laid))[:len(t.laid)]
	*l = layout{slab: b.slab.Bytes(), parts: b.parts}
	for i, n := range t.laid {
		l.vector(&b.cols[i], n, rows)
	}
	b.parts = l.parts
	*l = layout{}
	return b
}

// lay notes which columns have a value.
func (t *table) lay() {
	var fields []arrow.Field
	t.laid = t.laid[:0]
	for i, kid := range append(slices.Clip(t.reader.root.kids), &t.reader.rescued) {
		if kid.has() {
			t.laid, fields = append(t.laid, kid), append(fields, t.fields[i])
		}
	}
	t.as = arrow.NewSchema(fields, nil)
}
