package schema

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
)

// A layout copies finished cells into one piece of memory of a record batch, cut
// to size. The nodes keep theirs for the next batch.
type layout struct {
	slab  []byte
	used  int
	parts []Vector // of the batch
}

const alignment = 64

func aligned(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// size returns how much memory the cells of rows of n take.
func (n *node) size(rows int) int {
	if n.n == 0 {
		return 0
	}
	size, values := 0, rows-n.nulls
	if n.nulls > 0 {
		size = aligned(bitmapBytes(rows))
	}
	switch n.kind {
	case Bool:
		return size + aligned(bitmapBytes(values))
	case String, Binary:
		return size + aligned(4*(values+1)) + aligned(len(n.data))
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
		return size + aligned(n.cellBytes()*values)
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
func (l *layout) take(size int) []byte {
	b := l.slab[l.used : l.used+size : l.used+size]
	l.used += aligned(size)
	return b
}

// kids returns n vectors for what is below another.
func (l *layout) kids(n int) []Vector {
	at := len(l.parts)
	l.parts = l.parts[: at+n : cap(l.parts)]
	return l.parts[at : at+n : at+n]
}

// vectors returns how many kids n and what is below it may have.
func (n *node) vectors() int {
	if n.kind != Struct && n.kind != List && n.kind != Map {
		return 0
	}
	sum := len(n.kids)
	if n.kind == Struct && n.field != nil {
		sum = len(n.field.Type.Fields)
	}
	for _, kid := range n.kids {
		sum += kid.vectors()
	}
	return sum
}

// vector lays rows of n out in v.
func (l *layout) vector(v *Vector, n *node, rows int) {
	*v = Vector{Len: rows, Nulls: rows}
	if n.n == 0 || rows == 0 {
		return
	}
	v.Nulls, v.at = n.nulls, l.used
	if n.nulls > 0 {
		v.Valid = l.take(bitmapBytes(rows))
		copy(v.Valid, arrow.Uint64Traits.CastToBytes(n.valid))
	}
	switch n.kind {
	case Bool:
		l.bits(v, n)
	case String, Binary:
		l.texts(v, n)
	case List, Map:
		l.ends(v, n, rows)
		v.Kids = l.kids(len(n.kids))
		for i, kid := range n.kids {
			l.vector(&v.Kids[i], kid, int(n.ends[rows]))
		}
	case Struct: // has no others than those of its node
		v.Kids = l.kids(len(n.field.Type.Fields))
		next := 0
		for i := range v.Kids {
			if next < len(n.kids) && n.kids[next].at == i {
				l.vector(&v.Kids[i], n.kids[next], rows)
				next++
				continue
			}
			v.Kids[i] = Vector{Len: rows, Nulls: rows}
		}
	default:
		l.cells(v, n)
	}
}

func (l *layout) ends(v *Vector, n *node, rows int) {
	b := l.take(4 * (rows + 1))
	copy(b, arrow.Int32Traits.CastToBytes(n.ends[:rows+1]))
	v.Ends = arrow.Int32Traits.CastFromBytes(b)
}

// texts lays out texts and bytes.
func (l *layout) texts(v *Vector, n *node) {
	if n.nulls == 0 {
		l.ends(v, n, v.Len)
	} else {
		v.Packed = true
		v.Ends = arrow.Int32Traits.CastFromBytes(l.take(4 * (v.Len - n.nulls + 1)))
		v.Ends[0] = 0
		k := 1
		for i, w := range n.valid[:(v.Len+63)>>6] {
			for ends := n.ends[i<<6+1:]; w != 0; w &= w - 1 {
				v.Ends[k] = ends[bits.TrailingZeros64(w)]
				k++
			}
		}
	}
	v.Data = l.take(len(n.data))
	copy(v.Data, n.data)
}

// bits lays out booleans.
func (l *layout) bits(v *Vector, n *node) {
	v.Data = l.take(bitmapBytes(v.Len - n.nulls))
	if n.nulls == 0 {
		copy(v.Data, arrow.Uint64Traits.CastToBytes(n.words))
		return
	}
	v.Packed = true
	clear(v.Data)
	k := 0
	for i, w := range n.valid[:(v.Len+63)>>6] {
		for ; w != 0; w &= w - 1 {
			v.Data[k>>3] |= byte(n.words[i]>>bits.TrailingZeros64(w)&1) << (k & 7)
			k++
		}
	}
}

// cells lays out values of fixed size.
func (l *layout) cells(v *Vector, n *node) {
	size := n.cellBytes()
	v.Data = l.take(size * (v.Len - n.nulls))
	v.Packed = n.nulls > 0
	switch {
	case n.kind == Int || n.kind == Float || n.kind == Date:
		dst, k := arrow.Uint32Traits.CastFromBytes(v.Data), 0
		for from, to := range v.runs() {
			for _, w := range n.words[from:to] {
				dst[k] = uint32(w)
				k++
			}
		}
	case n.nulls == 0 && n.width == 0:
		copy(v.Data, arrow.Uint64Traits.CastToBytes(n.words))
	case n.nulls == 0:
		copy(v.Data, n.data)
	case size == 8:
		dst, k := arrow.Uint64Traits.CastFromBytes(v.Data), 0
		for i, w := range n.valid[:(v.Len+63)>>6] {
			for cells := n.words[i<<6:]; w != 0; w &= w - 1 {
				dst[k] = cells[bits.TrailingZeros64(w)]
				k++
			}
		}
	default:
		src, dst := n.data, v.Data
		if n.width == 0 {
			src = arrow.Uint64Traits.CastToBytes(n.words)
		}
		for from, to := range v.runs() {
			dst = dst[copy(dst, src[size*from:size*to]):]
		}
	}
}
