package schema

import (
	"iter"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// A Vector is a column, or a part of one, as Arrow lays it out unless it is Packed. Its memory
// belongs to the record batch that it is of.
type Vector struct {
	Len    int
	Nulls  int     // if it is Len, there is nothing in what follows
	Offset int     // where the first row is among the bits of Valid, and of a Bool's Data
	Valid  []byte  // a bit for each row, 1: it has a value; nil: all have
	Ends   []int32 // String, Binary, List, Map: Len+1 of them, where a row begins and, one later, ends
	Data   []byte  // texts and bytes one after the other; a Bool's bits; else the values, as wide as they are, from the first row on
	Kids   []Vector
	// Kids are the fields of a struct, each with Len rows; the elements of a list; the keys and
	// the values of a map; or, if Dictionary is true, the texts that Data has the indexes of, as
	// int32.
	Dictionary bool

	// Packed says that Ends and Data have the rows with a value and no others, Len-Nulls of
	// them as they follow each other: a batch of a [Decoder] has no room for what is not there,
	// but for a list or a map, whose Ends are those of all rows.
	Packed bool

	at int // of its memory in that of a Batch
}

// runs returns from where to where rows have a value.
func (v *Vector) runs() iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		if v.Nulls == 0 {
			yield(0, v.Len)
			return
		}
		for i := 0; i < v.Len; {
			from := i
			for i < v.Len && v.IsValid(i) {
				i++
			}
			if from < i && !yield(from, i) {
				return
			}
			for i < v.Len && !v.IsValid(i) {
				i++
			}
		}
	}
}

// IsValid tells whether row i has a value.
func (v *Vector) IsValid(i int) bool {
	i += v.Offset
	return v.Nulls == 0 || v.Nulls < v.Len && v.Valid[i>>3]>>(i&7)&1 != 0
}

// A Batch is an [arrow.RecordBatch] that a [Decoder] made, over one piece of memory. Its
// arrays are made when somebody asks for them: a column costs half a dozen objects, which
// is more than its rows where records are wide. [Vectors] needs none.
type Batch struct {
	refs   atomic.Int64
	schema *arrow.Schema
	rows   int
	slab   *memory.Buffer // nil: all columns are those of base, or arrays
	base   *Batch         // has the first columns; nil: there is none
	mu     sync.Mutex     // of arrays
	*lists                // nil once it is released
}

// lists are what a batch has for every column. The next batch has their memory, but never the
// batch itself: whoever still holds that is told so, and does not touch another's.
type lists struct {
	cols   []Vector
	parts  []Vector      // what cols have below them
	arrays []arrow.Array // by column; nil: not made yet
}

var _ arrow.RecordBatch = (*Batch)(nil)

// idle are lists that no batch has.
var idle = sync.Pool{New: func() any { return new(lists) }} //nolint:gochecknoglobals // scratch memory

// newBatch returns an empty batch that the caller releases.
func newBatch(s *arrow.Schema, rows int) *Batch {
	b := &Batch{schema: s, rows: rows, lists: idle.Get().(*lists)}
	b.refs.Store(1)
	return b
}

// With returns a batch of the columns of b and others after them; s has the fields of all.
// The caller releases it, and both b and cols when it likes.
func (b *Batch) With(s *arrow.Schema, cols []arrow.Array) *Batch {
	w := newBatch(s, b.rows)
	b.Retain()
	w.base = b
	w.cols = append(w.cols, b.cols...)
	w.arrays = append(w.arrays, make([]arrow.Array, len(b.cols))...)
	for _, col := range cols {
		col.Retain()
		w.cols = append(w.cols, vectorOf(col))
		w.arrays = append(w.arrays, col)
	}
	return w
}

// Vectors returns the columns of a record batch. They are valid as long as it is, and
// nobody may change them.
func Vectors(rec arrow.RecordBatch) []Vector {
	if b, ok := rec.(*Batch); ok {
		return b.cols
	}
	cols := make([]Vector, rec.NumCols())
	for i := range cols {
		cols[i] = vectorOf(rec.Column(i))
	}
	return cols
}

// vectorOf returns the vector of an array.
func vectorOf(arr arrow.Array) Vector {
	d := arr.Data()
	v := Vector{Len: arr.Len(), Nulls: arr.NullN(), Offset: d.Offset()}
	if v.Nulls == v.Len {
		return v
	}
	if v.Nulls > 0 {
		v.Valid = arr.NullBitmapBytes()
	}
	bytesOf := func(i int) []byte {
		if b := d.Buffers()[i]; b != nil {
			return b.Bytes()
		}
		return nil
	}
	ends := func() []int32 {
		return arrow.Int32Traits.CastFromBytes(bytesOf(1))[v.Offset : v.Offset+v.Len+1]
	}
	switch arr := arr.(type) {
	case *array.Dictionary:
		v.Dictionary = true
		indices := arr.Indices().Data()
		v.Data = indices.Buffers()[1].Bytes()[4*indices.Offset():]
		v.Kids = []Vector{vectorOf(arr.Dictionary())}
	case *array.Struct:
		v.Kids = make([]Vector, arr.NumField())
		for i := range v.Kids {
			v.Kids[i] = vectorOf(arr.Field(i))
		}
	case *array.Map: // before lists, of which it is one
		v.Ends, v.Kids = ends(), []Vector{vectorOf(arr.Keys()), vectorOf(arr.Items())}
	case *array.List:
		v.Ends, v.Kids = ends(), []Vector{vectorOf(arr.ListValues())}
	case array.BinaryLike:
		v.Ends, v.Data = ends(), bytesOf(2)
	default:
		v.Data = bytesOf(1)
		if w, ok := arr.DataType().(arrow.FixedWidthDataType); ok && w.BitWidth() >= 8 {
			v.Data = v.Data[v.Offset*w.BitWidth()/8:]
		}
	}
	return v
}

// Retain implements [arrow.RecordBatch].
func (b *Batch) Retain() { b.refs.Add(1) }

// Release implements [arrow.RecordBatch].
func (b *Batch) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("BUG: a record batch is released once too often")
	}
	for _, a := range b.arrays {
		if a != nil {
			a.Release()
		}
	}
	l := b.lists
	clear(l.arrays)
	clear(l.cols)
	clear(l.parts)
	l.arrays, l.cols, l.parts = l.arrays[:0], l.cols[:0], l.parts[:0]
	if b.slab != nil {
		b.slab.Release()
	}
	if b.base != nil {
		b.base.Release()
	}
	b.slab, b.base, b.lists = nil, nil, nil
	idle.Put(l)
}

// Size returns the bytes of the values of a batch as the decoder made it.
func (b *Batch) Size() int {
	if b.slab == nil {
		return 0
	}
	return b.slab.Len()
}

// Schema implements [arrow.RecordBatch].
func (b *Batch) Schema() *arrow.Schema { return b.schema }

// NumRows implements [arrow.RecordBatch].
func (b *Batch) NumRows() int64 { return int64(b.rows) }

// NumCols implements [arrow.RecordBatch].
func (b *Batch) NumCols() int64 { return int64(len(b.cols)) }

// ColumnName implements [arrow.RecordBatch].
func (b *Batch) ColumnName(i int) string { return b.schema.Field(i).Name }

// Column implements [arrow.RecordBatch].
func (b *Batch) Column(i int) arrow.Array {
	if b.base != nil && i < len(b.base.cols) {
		return b.base.Column(i)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.arrays[i] == nil {
		data := dataMaker{b.slab, 0}.data(&b.cols[i], b.schema.Field(i).Type)
		defer data.Release()
		b.arrays[i] = array.MakeFromData(data)
	}
	return b.arrays[i]
}

// Columns implements [arrow.RecordBatch].
func (b *Batch) Columns() []arrow.Array {
	cols := make([]arrow.Array, len(b.cols))
	for i := range cols {
		cols[i] = b.Column(i)
	}
	return cols
}

// plain returns the same as a record batch of arrays. The caller releases it.
func (b *Batch) plain() arrow.RecordBatch {
	return array.NewRecordBatch(b.schema, b.Columns(), int64(b.rows))
}

// SetColumn implements [arrow.RecordBatch].
func (b *Batch) SetColumn(i int, col arrow.Array) (arrow.RecordBatch, error) {
	rec := b.plain()
	defer rec.Release()
	return rec.SetColumn(i, col)
}

// NewSlice implements [arrow.RecordBatch].
func (b *Batch) NewSlice(i, j int64) arrow.RecordBatch {
	rec := b.plain()
	defer rec.Release()
	return rec.NewSlice(i, j)
}

// MarshalJSON implements [arrow.RecordBatch].
func (b *Batch) MarshalJSON() ([]byte, error) {
	rec := b.plain()
	defer rec.Release()
	return rec.MarshalJSON()
}

// dataMaker makes Arrow data of vectors in slab.
type dataMaker struct {
	slab *memory.Buffer
	at   int // of the next buffer
}

// take returns the next size bytes of the slab.
func (a *dataMaker) take(size int) *memory.Buffer {
	b := memory.SliceBuffer(a.slab, a.at, size)
	a.at += aligned(size)
	return b
}

// data returns v as Arrow data of type dt. The caller releases it. Buffers come in the order
// in which [layout.vector] put them.
func (a dataMaker) data(v *Vector, dt arrow.DataType) arrow.ArrayData {
	if v.Nulls == v.Len {
		return nulls(dt, v.Len)
	}
	a.at = v.at
	bufs := make([]*memory.Buffer, 1, 3)
	if v.Valid != nil {
		bufs[0] = a.take(len(v.Valid))
	}
	if v.Packed {
		return finish(dt, v.Len, append(bufs, a.spread(v, dt)...), nil, v.Nulls)
	}
	if v.Ends != nil {
		bufs = append(bufs, a.take(4*len(v.Ends)))
	}
	var kids []arrow.ArrayData
	switch t := dt.(type) {
	case *arrow.StructType:
		for i := range v.Kids {
			kids = append(kids, a.data(&v.Kids[i], t.Field(i).Type))
		}
	case *arrow.ListType:
		kids = append(kids, a.data(&v.Kids[0], t.Elem()))
	case *arrow.MapType:
		kids = append(kids, a.entries(v.Kids, t.Elem().(*arrow.StructType)))
	default:
		bufs = append(bufs, a.take(len(v.Data)))
	}
	return finish(dt, v.Len, bufs, kids, v.Nulls)
}

// spread returns the buffers of v, which is packed, with room for every row.
func (a *dataMaker) spread(v *Vector, dt arrow.DataType) []*memory.Buffer {
	if v.Ends != nil {
		ends := make([]int32, v.Len+1)
		k := 0
		for i := range v.Len {
			if v.IsValid(i) {
				k++
			}
			ends[i+1] = v.Ends[k]
		}
		a.at += aligned(4 * len(v.Ends))
		return []*memory.Buffer{memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(ends)), a.take(len(v.Data))}
	}
	width := dt.(arrow.FixedWidthDataType).BitWidth()
	data := make([]byte, (width*v.Len+7)/8)
	k := 0
	for from, to := range v.runs() {
		if width >= 8 {
			k += copy(data[width/8*from:width/8*to], v.Data[k:])
			continue
		}
		for i := from; i < to; i++ {
			data[i>>3] |= v.Data[k>>3] >> (k & 7) & 1 << (i & 7)
			k++
		}
	}
	return []*memory.Buffer{memory.NewBufferBytes(data)}
}

// entries returns the keys and values of a map.
func (a dataMaker) entries(kids []Vector, st *arrow.StructType) arrow.ArrayData {
	return finish(st, kids[0].Len, []*memory.Buffer{nil}, []arrow.ArrayData{
		a.data(&kids[0], st.Field(0).Type),
		a.data(&kids[1], st.Field(1).Type),
	}, 0)
}

// finish makes the data and gives up its own references to the parts.
func finish(dt arrow.DataType, rows int, bufs []*memory.Buffer, kids []arrow.ArrayData, nulls int) arrow.ArrayData {
	d := array.NewData(dt, rows, bufs, kids, nulls, 0)
	for _, b := range bufs {
		if b != nil {
			b.Release()
		}
	}
	for _, k := range kids {
		k.Release()
	}
	return d
}

// nulls returns rows without any value.
func nulls(dt arrow.DataType, rows int) arrow.ArrayData {
	a := array.MakeArrayOfNull(memory.DefaultAllocator, dt, rows)
	defer a.Release()
	a.Data().Retain()
	return a.Data()
}
