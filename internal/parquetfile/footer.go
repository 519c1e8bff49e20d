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
}

// group is a row group that is being written.
type group struct {
	begin, rows, raw, bytes int64
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
}

func (f *footer) held() int64 { return int64(cap(f.groups.b) + 8*len(f.sizes)) }

// open begins a row group at an offset of the file.
func (f *footer) open(begin, rows int64, columns int) group {
	f.groups.open()
	f.groups.list(1, typeStruct, columns)
	return group{begin: begin, rows: rows}
}

// column adds the next column of the row group.
func (f *footer) column(g *group, leaf int, k *chunk) {
	g.raw += k.raw
	g.bytes += k.bytes
	f.sizes[leaf] += k.bytes
	t := &f.groups
	t.open()
	t.i64(2, 0) // file_offset, deprecated
	t.field(3, typeStruct)
	t.open()
	t.i32(1, k.phys.parquet())
	if k.coded {
		t.integers(2, encPlain, encRLE, encRLEDict)
	} else {
		t.integers(2, encPlain, encRLE)
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
	if k.coded {
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
	t.close()
	t.close()
}

// pageStats say how many pages have which encoding: readers drop row groups by a
// dictionary only if all pages are known to use it.
func (t *compact) pageStats(k *chunk) {
	enc := int64(encPlain)
	if k.coded {
		enc = encRLEDict
		t.list(13, typeStruct, 2)
		t.pageStat(pageDict, encPlain, 1)
	} else {
		t.list(13, typeStruct, 1)
	}
	t.pageStat(pageData, enc, k.pages)
}

func (t *compact) pageStat(page, enc int64, n int) {
	t.open()
	t.i32(1, int32(page))
	t.i32(2, int32(enc))
	t.i32(3, int32(n))
	t.close()
}

// close ends the row group.
func (f *footer) close(g *group) {
	t := &f.groups
	t.i64(2, g.raw)
	t.i64(3, g.rows)
	t.i64(5, g.begin)
	t.i64(6, g.bytes)
	if f.count < 1<<15 {
		t.field(7, typeI16)
		t.integer(int64(f.count))
	}
	t.close()
	f.starts = append(f.starts, g.begin)
	f.rows += g.rows
	f.count++
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
