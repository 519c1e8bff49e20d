package schema

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// A layout copies finished cells into one piece of memory of a record batch, cut
// to size. The nodes keep theirs for the next batch.
type layout struct {
	slab *memory.Buffer
	used int
	none *memory.Buffer // zeros, for columns without any value: not from the allocator
}

const alignment = 64

func aligned(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// size returns how much memory the cells of rows of n take.
func (n *node) size(rows int) int {
	if n.n == 0 {
		return 0
	}
	size := 0
	if n.nulls > 0 {
		size = aligned(bitmapBytes(rows))
	}
	switch n.kind {
	case Bool:
		return size + aligned(bitmapBytes(rows))
	case String, Binary:
		return size + aligned(4*(rows+1)) + aligned(len(n.data))
	case List, Map:
		below := int(n.ends[rows])
		size += aligned(4 * (rows + 1))
		for _, kid := range n.kids {
			size += kid.size(below)
		}
	case Struct:
		for _, kid := range n.kids {
			size += kid.size(rows)
		}
	default:
		return size + aligned(n.cellBytes()*rows)
	}
	return size
}

func bitmapBytes(rows int) int { return (rows + 7) / 8 }

// cellBytes returns the size of a value of fixed size.
func (n *node) cellBytes() int {
	switch n.kind {
	case Int, Float, Date:
		return 4
	case Decimal:
		return 16
	case UUID, Fixed:
		return n.width
	default:
		return 8
	}
}

// take returns the next size bytes of the slab.
func (l *layout) take(size int) *memory.Buffer {
	b := memory.SliceBuffer(l.slab, l.used, size)
	l.used += aligned(size)
	return b
}

// zeros returns a buffer of size zero bytes.
func (l *layout) zeros(size int) *memory.Buffer {
	if l.none == nil || l.none.Len() < size {
		l.none = memory.NewBufferBytes(make([]byte, max(2*size, 64<<10)))
	}
	return memory.SliceBuffer(l.none, 0, size)
}

// data lays out rows of n as Arrow data of type dt. The caller releases it.
func (l *layout) data(n *node, dt arrow.DataType, rows int) arrow.ArrayData {
	if n.n == 0 {
		return l.nulls(dt, rows)
	}
	bufs := make([]*memory.Buffer, 1, 3)
	if n.nulls > 0 {
		bufs[0] = l.take(bitmapBytes(rows))
		copy(bufs[0].Bytes(), arrow.Uint64Traits.CastToBytes(n.valid))
	}
	var kids []arrow.ArrayData
	switch n.kind {
	case Bool:
		b := l.take(bitmapBytes(rows))
		copy(b.Bytes(), arrow.Uint64Traits.CastToBytes(n.words))
		bufs = append(bufs, b)
	case String, Binary:
		b := l.take(len(n.data))
		copy(b.Bytes(), n.data)
		bufs = append(bufs, l.offsets(n, rows), b)
	case List:
		bufs = append(bufs, l.offsets(n, rows))
		kids = []arrow.ArrayData{l.data(n.kids[0], dt.(*arrow.ListType).Elem(), int(n.ends[rows]))}
	case Map:
		bufs = append(bufs, l.offsets(n, rows))
		kids = []arrow.ArrayData{l.entries(n, dt.(*arrow.MapType).Elem(), int(n.ends[rows]))}
	case Struct:
		kids = l.kids(n, dt, rows)
	default:
		bufs = append(bufs, l.cells(n, rows))
	}
	return finish(dt, rows, bufs, kids, n.nulls)
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

// kids lays out the fields of a struct. It has no others than those of its node.
func (l *layout) kids(n *node, dt arrow.DataType, rows int) []arrow.ArrayData {
	kids := make([]arrow.ArrayData, 0, len(n.kids))
	fields := dt.(*arrow.StructType).Fields()
	next := 0
	for i := range fields {
		if next < len(n.kids) && n.kids[next].at == i {
			kids = append(kids, l.data(n.kids[next], fields[i].Type, rows))
			next++
			continue
		}
		kids = append(kids, l.nulls(fields[i].Type, rows))
	}
	return kids
}

// entries lays out the keys and values of a map.
func (l *layout) entries(n *node, dt arrow.DataType, rows int) arrow.ArrayData {
	st := dt.(*arrow.StructType)
	kids := []arrow.ArrayData{
		l.data(n.kids[0], st.Field(0).Type, rows),
		l.data(n.kids[1], st.Field(1).Type, rows),
	}
	return finish(st, rows, []*memory.Buffer{nil}, kids, 0)
}

func (l *layout) offsets(n *node, rows int) *memory.Buffer {
	b := l.take(4 * (rows + 1))
	copy(b.Bytes(), arrow.Int32Traits.CastToBytes(n.ends[:rows+1]))
	return b
}

// cells lays out values of fixed size.
func (l *layout) cells(n *node, rows int) *memory.Buffer {
	b := l.take(n.cellBytes() * rows)
	switch n.kind {
	case Int, Float, Date:
		for i, dst := 0, arrow.Uint32Traits.CastFromBytes(b.Bytes()); i < rows; i++ {
			dst[i] = uint32(n.words[i])
		}
	case UUID, Fixed:
		copy(b.Bytes(), n.data)
	default:
		copy(b.Bytes(), arrow.Uint64Traits.CastToBytes(n.words))
	}
	return b
}

// nulls lays out rows without any value. All such columns share their zeros.
func (l *layout) nulls(dt arrow.DataType, rows int) arrow.ArrayData {
	if rows == 0 {
		a := array.MakeArrayOfNull(memory.DefaultAllocator, dt, 0)
		defer a.Release()
		a.Data().Retain()
		return a.Data()
	}
	bufs := []*memory.Buffer{l.zeros(bitmapBytes(rows))}
	var kids []arrow.ArrayData
	switch t := dt.(type) {
	case *arrow.StructType:
		for _, f := range t.Fields() {
			kids = append(kids, l.nulls(f.Type, rows))
		}
	case *arrow.ListType:
		bufs = append(bufs, l.zeros(4*(rows+1)))
		kids = []arrow.ArrayData{l.nulls(t.Elem(), 0)}
	case *arrow.MapType:
		bufs = append(bufs, l.zeros(4*(rows+1)))
		kids = []arrow.ArrayData{l.nulls(t.Elem(), 0)}
	case *arrow.StringType, *arrow.BinaryType:
		bufs = append(bufs, l.zeros(4*(rows+1)), l.zeros(0))
	case arrow.FixedWidthDataType:
		bufs = append(bufs, l.zeros((t.BitWidth()*rows+7)/8))
	}
	return finish(dt, rows, bufs, kids, rows)
}
