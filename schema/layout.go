package schema

import (
	"encoding/binary"

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
	if n.nulls == rows || n.n == 0 {
		return 0
	}
	size := 0
	if n.nulls > 0 {
		size = aligned(bitmapBytes(rows))
	}
	switch n.kind {
	case Bool:
		return size + aligned(bitmapBytes(n.values()))
	case String, Binary:
		return size + aligned(4*len(n.ends)) + aligned(len(n.data))
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
		return size + aligned(n.cellBytes()*n.values())
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
		return n.width()
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
	if n.nulls == rows || n.n == 0 {
		return
	}
	v.Nulls, v.at = n.nulls, l.used
	if n.nulls > 0 {
		v.Valid = l.take(bitmapBytes(rows))
		copy(v.Valid, arrow.Uint64Traits.CastToBytes(n.valid))
	}
	switch n.kind {
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
			if next < len(n.kids) && int(n.kids[next].at) == i {
				l.vector(&v.Kids[i], n.kids[next], rows)
				next++
				continue
			}
			v.Kids[i] = Vector{Len: rows, Nulls: rows}
		}
	default:
		l.values(v, n)
	}
}

func (l *layout) ends(v *Vector, n *node, values int) {
	b := l.take(4 * (values + 1))
	copy(b, arrow.Int32Traits.CastToBytes(n.ends[:values+1]))
	v.Ends = arrow.Int32Traits.CastFromBytes(b)
}

// values lays out what n has of a kind that keeps values.
func (l *layout) values(v *Vector, n *node) {
	v.Packed = n.nulls > 0
	switch n.kind {
	case String, Binary:
		l.ends(v, n, n.values())
		v.Data = l.take(len(n.data))
		copy(v.Data, n.data)
	case Bool:
		v.Data = l.take(bitmapBytes(len(n.data)))
		packBits(v.Data, n.data)
	case Int, Float, Date:
		v.Data = l.take(4 * len(n.words))
		dst := arrow.Uint32Traits.CastFromBytes(v.Data)
		for i, w := range n.words {
			dst[i] = uint32(w)
		}
	case UUID, Fixed:
		v.Data = l.take(len(n.data))
		copy(v.Data, n.data)
	default:
		v.Data = l.take(8 * len(n.words))
		copy(v.Data, arrow.Uint64Traits.CastToBytes(n.words))
	}
}

// packBits makes a bitmap of bytes that are 0 or 1.
func packBits(dst, from []byte) {
	for ; len(from) >= 8; from = from[8:] {
		dst[0] = byte(binary.LittleEndian.Uint64(from) * 0x0102040810204080 >> 56)
		dst = dst[1:]
	}
	for i, b := range from {
		if i == 0 {
			dst[0] = 0
		}
		dst[0] |= b << i
	}
}
