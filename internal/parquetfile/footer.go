package parquetfile

import (
	"encoding/binary"

	"github.com/parquet-go/parquet-go/compress"
)

const (
	createdBy = "firehosed"
	magic     = "PAR1"
)

// footer collects the end of a file while its row groups are written.
type footer struct {
	plan   *plan
	codec  int32
	groups compact // what is known of the row groups
	count  int
	rows   int64
	starts []int64 // where row groups begin
	sizes  []int64 // by leaf: bytes of the pages
	open   []openGroup
}

// openGroup is a row group whose pages get an index.
type openGroup struct {
	begin, rows int64
	chunks      []chunk
}

// newFooter returns the footer of a file without row groups.
func newFooter(p *plan, c compress.Codec) footer {
	f := footer{plan: p, codec: int32(c.CompressionCodec()), sizes: make([]int64, len(p.leaves))}
	f.reset()
	return f
}

// reset makes the footer that of another file.
func (f *footer) reset() {
	f.groups.reset()
	f.count, f.rows, f.starts = 0, 0, f.starts[:0]
	clear(f.sizes)
	clear(f.open)
	f.open = f.open[:0]
}

// held returns the bytes of memory.
func (f *footer) held() int64 {
	n := cap(f.groups.b) + 8*len(f.sizes)
	for i := range f.open {
		n += chunkBytes * len(f.open[i].chunks)
		for j := range f.open[i].chunks {
			n += pageBytes * len(f.open[i].chunks[j].pages)
		}
	}
	return int64(n)
}

// group adds a row group that begins at an offset of the file.
func (f *footer) group(begin, rows int64, chunks []chunk) {
	t := &f.groups
	t.open()
	t.list(1, typeStruct, len(chunks))
	var raw, size int64
	for i := range chunks {
		k := &chunks[i]
		raw += k.raw
		size += k.bytes
		f.sizes[i] += k.bytes
		f.column(k)
	}
	t.i64(2, raw)
	t.i64(3, rows)
	t.i64(5, begin)
	t.i64(6, size)
	if f.count < 1<<15 {
		t.field(7, typeI16)
		t.integer(int64(f.count))
	}
	t.close()
	f.starts = append(f.starts, begin)
	f.rows += rows
	f.count++
}

// column adds the next column of the row group.
func (f *footer) column(k *chunk) {
	t := &f.groups
	t.open()
	t.i64(2, 0) // file_offset, deprecated
	t.field(3, typeStruct)
	t.open()
	t.i32(1, k.phys.parquet())
	if k.enc == encPlain {
		t.integers(2, encPlain, encRLE)
	} else {
		t.integers(2, encPlain, encRLE, int64(k.enc))
	}
	t.list(3, typeBinary, len(k.f.names))
	for _, name := range k.f.names {
		t.text(name)
	}
	t.i32(4, f.codec)
	t.i64(5, int64(k.levels))
	t.i64(6, k.raw)
	t.i64(7, k.bytes)
	t.i64(9, k.data)
	if k.enc == encRLEDict {
		t.i64(11, k.begin)
	}
	t.field(12, typeStruct)
	t.open()
	t.i64(3, k.nulls)
	if k.lo != nil && k.hi != nil {
		t.bytes(5, k.hi)
		t.bytes(6, k.lo)
	}
	t.close()
	t.pageStats(k)
	if k.index.bloomSize > 0 {
		t.i64(14, k.index.bloom)
		t.i32(15, int32(k.index.bloomSize))
	}
	t.close()
	if k.index.offsetsSize > 0 {
		t.i64(4, k.index.offsets)
		t.i32(5, int32(k.index.offsetsSize))
	}
	if k.index.columnsSize > 0 {
		t.i64(6, k.index.columns)
		t.i32(7, int32(k.index.columnsSize))
	}
	t.close()
}

// pageStats say how many pages have which encoding: readers drop row groups by a
// dictionary only if all pages are known to use it.
func (t *compact) pageStats(k *chunk) {
	if k.enc == encRLEDict {
		t.list(13, typeStruct, 2)
		t.pageStat(pageDict, encPlain, 1)
	} else {
		t.list(13, typeStruct, 1)
	}
	t.pageStat(int64(k.typ), int64(k.enc), k.count)
}

func (t *compact) pageStat(page, enc int64, n int) {
	t.open()
	t.i32(1, int32(page))
	t.i32(2, int32(enc))
	t.i32(3, int32(n))
	t.close()
}

// end appends the footer with its length and the magic number to t.
func (f *footer) end(t *compact) {
	start := len(t.b)
	t.i32(1, 2) // version
	t.list(2, typeStruct, f.plan.elements)
	t.b = append(t.b, f.plan.schema...)
	t.i64(3, f.rows)
	t.list(4, typeStruct, f.count)
	t.b = append(t.b, f.groups.b...)
	t.field(6, typeBinary)
	t.text(createdBy)
	t.list(7, typeStruct, len(f.plan.leaves))
	for range f.plan.leaves {
		t.b = append(t.b, 1<<4|typeStruct, 0, 0) // ordered as the type defines: an empty struct in a union
	}
	t.b = append(t.b, 0)
	t.b = binary.LittleEndian.AppendUint32(t.b, uint32(len(t.b)-start))
	t.b = append(t.b, magic...)
}

// note adds to m what only the encoded file tells.
func (f *footer) note(m *Metrics) {
	m.SplitOffsets = append(m.SplitOffsets, f.starts...)
	for i, leaf := range f.plan.leaves {
		if leaf.metrics && f.count > 0 {
			m.ColumnSizes[leaf.id] = f.sizes[i]
		}
	}
}
