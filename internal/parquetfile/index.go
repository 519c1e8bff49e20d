package parquetfile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go/bloom"
)

// page is what is known about a data page.
type page struct {
	at, size   int64 // where its header is; bytes, header included
	row        int64 // its first one
	rows       int
	levels     int
	nulls      int
	reps, defs int    // bytes of its levels
	lo, hi     []byte // bounds, if it has values and they have an order
	order      stats
}

// indexes is where in the file the index of a chunk's pages and its filter are; sizes of 0:
// there is none.
type indexes struct {
	columns, offsets, bloom             int64
	columnsSize, offsetsSize, bloomSize int
}

// bounds notes the least and the greatest of the values up to number end, not included.
func (u *cursor) bounds(p *page, end int) {
	c := u.c
	p.order = newStats(c.f)
	s := &p.order
	if s.order == orderNone || end == u.value {
		return
	}
	switch {
	case u.enc == encRLEDict && c.phys == physBytes:
		for _, id := range u.dict.ids[u.value:end] {
			s.bytes(textAt(c.arena, u.dict.texts[id].off))
		}
	case c.phys == physBytes && c.shared:
		for _, off := range c.offs[u.value:end] {
			s.bytes(textAt(c.arena, off))
		}
	case c.phys == physBytes:
		for off, n := uint32(u.off), end-u.value; n > 0; n-- {
			v := textAt(c.arena, off)
			s.bytes(v)
			off += textHeader + uint32(len(v))
		}
	case s.order == orderDecimal:
		for b := c.fixed[u.value*c.width : end*c.width]; len(b) > 0; b = b[c.width:] {
			s.decimal(decimalOf(c.phys, b[:c.width]))
		}
	default:
		s.fixed(c.fixed[u.value*c.width:end*c.width], c.width)
	}
	p.lo, p.hi = s.pageBounds()
}

// decimalOf returns a decimal as it is stored.
func decimalOf(phys physical, b []byte) decimal128.Num {
	switch phys {
	case physInt32:
		return decimal128.FromI64(int64(int32(binary.LittleEndian.Uint32(b))))
	case physInt64:
		return decimal128.FromI64(int64(binary.LittleEndian.Uint64(b)))
	}
	var wide [16]byte
	if b[0] >= 0x80 {
		for i := range wide {
			wide[i] = 0xff
		}
	}
	copy(wide[16-len(b):], b)
	return decimal128.New(int64(binary.BigEndian.Uint64(wide[:8])), binary.BigEndian.Uint64(wide[8:]))
}

// pageBounds are bounds as an index has them: long values may be cut there.
func (s *stats) pageBounds() (lo, hi []byte) {
	if s.any && s.order == orderBytes {
		return s.bounds()
	}
	return s.chunkBounds()
}

// filters writes the filters of the row group, behind its columns.
func (g *rowGroup) filters(t *compact) error {
	for i := range g.chunks {
		k := &g.chunks[i]
		if k.bloom == nil {
			continue
		}
		t.reset()
		t.bloomHead(len(k.bloom))
		k.index.bloom, k.index.bloomSize = g.out.n, len(t.b)+len(k.bloom)
		if _, err := g.out.Write(append(t.b, k.bloom...)); err != nil {
			return err
		}
		k.bloom = nil
	}
	return nil
}

// indexes appends to dst, which will be written at an offset of the file, the indexes of
// all pages: those of bounds first, then those of places. Libraries read each kind at once.
func (f *footer) indexes(dst []byte, at int64, t *compact) []byte {
	for _, g := range f.open {
		for i := range g.chunks {
			if k := &g.chunks[i]; k.indexable() {
				t.reset()
				t.columnIndex(k)
				k.index.columns, k.index.columnsSize = at+int64(len(dst)), len(t.b)
				dst = append(dst, t.b...)
			}
		}
	}
	for _, g := range f.open {
		for i := range g.chunks {
			if k := &g.chunks[i]; len(k.pages) > 0 {
				t.reset()
				t.offsetIndex(k)
				k.index.offsets, k.index.offsetsSize = at+int64(len(dst)), len(t.b)
				dst = append(dst, t.b...)
			}
		}
	}
	return dst
}

// offsetIndex is Parquet's OffsetIndex.
func (t *compact) offsetIndex(k *chunk) {
	t.list(1, typeStruct, len(k.pages))
	for i := range k.pages {
		p := &k.pages[i]
		t.open()
		t.i64(1, p.at)
		t.i32(2, int32(p.size))
		t.i64(3, p.row)
		t.close()
	}
	t.b = append(t.b, 0)
}

// indexable tells whether every page with values has bounds: those of NaNs alone have none,
// and values without an order neither.
func (k *chunk) indexable() bool {
	return len(k.pages) > 0 && !slices.ContainsFunc(k.pages, func(p page) bool {
		return p.nulls < p.levels && (p.lo == nil || p.hi == nil)
	})
}

// columnIndex is Parquet's ColumnIndex.
func (t *compact) columnIndex(k *chunk) {
	t.list(1, typeTrue, len(k.pages))
	for i := range k.pages {
		null := byte(typeFalse)
		if k.pages[i].nulls == k.pages[i].levels {
			null = typeTrue
		}
		t.b = append(t.b, null)
	}
	for id, bound := range []func(p *page) []byte{func(p *page) []byte { return p.lo }, func(p *page) []byte { return p.hi }} {
		t.list(2+id, typeBinary, len(k.pages))
		for i := range k.pages {
			t.text(string(bound(&k.pages[i])))
		}
	}
	t.i32(4, k.boundaryOrder())
	t.list(5, typeI64, len(k.pages))
	for i := range k.pages {
		t.integer(int64(k.pages[i].nulls))
	}
	t.b = append(t.b, 0)
}

// boundaryOrder tells whether the bounds of pages rise (1), fall (2), or neither (0).
func (k *chunk) boundaryOrder() int32 {
	rise, fall := true, true
	var last *page
	for i := range k.pages {
		p := &k.pages[i]
		if p.lo == nil {
			continue
		}
		if last != nil {
			lo, hi := last.compare(p)
			rise, fall = rise && lo <= 0 && hi <= 0, fall && lo >= 0 && hi >= 0
		}
		last = p
	}
	switch {
	case rise:
		return 1
	case fall:
		return 2
	}
	return 0
}

// compare compares the bounds of two pages.
func (p *page) compare(o *page) (lo, hi int) {
	a, b := &p.order, &o.order
	switch a.order {
	case orderInt:
		return cmp.Compare(a.minInt, b.minInt), cmp.Compare(a.maxInt, b.maxInt)
	case orderFloat:
		return cmp.Compare(a.minFloat, b.minFloat), cmp.Compare(a.maxFloat, b.maxFloat)
	case orderDecimal:
		return a.minDec.Cmp(b.minDec), a.maxDec.Cmp(b.maxDec)
	default:
		return bytes.Compare(p.lo, o.lo), bytes.Compare(p.hi, o.hi)
	}
}

// bloomBits is how many bits of a filter there are for a value: one lookup in a hundred of a
// value that is not there finds it.
const bloomBits = 10

// maxBloom bounds a filter. Iceberg's write.parquet.bloom-filter-max-bytes.
const maxBloom = 1 << 20

// bloom returns the bits of a split block Bloom filter of the values, those of the
// dictionary if the column has one.
func (e *encoder) bloom(c *column, coded bool) []byte {
	var hash bloom.XXH64
	n := c.values
	if coded {
		n = e.dict.count()
	}
	if n == 0 {
		return nil
	}
	blocks := min(bloom.NumSplitBlocksOf(int64(n), bloomBits), maxBloom/bloom.BlockSize)
	f := make(bloom.SplitBlockFilter, max(blocks, 1))
	switch {
	case c.phys == physBytes && coded:
		for i := range e.dict.texts {
			f.Insert(hash.Sum64(textAt(c.arena, e.dict.texts[i].off)))
		}
	case c.phys == physBytes && c.shared:
		for _, off := range c.offs {
			f.Insert(hash.Sum64(textAt(c.arena, off)))
		}
	case c.phys == physBytes:
		for a := c.arena; len(a) > 0; {
			v := textAt(a, 0)
			f.Insert(hash.Sum64(v))
			a = a[textHeader+len(v):]
		}
	case coded && c.width == 8:
		for _, v := range e.dict.words {
			f.Insert(hash.Sum64Uint64(v))
		}
	case coded:
		for _, v := range e.dict.words {
			f.Insert(hash.Sum64Uint32(uint32(v)))
		}
	default:
		for b := c.fixed; len(b) > 0; b = b[c.width:] {
			f.Insert(hash.Sum64(b[:c.width]))
		}
	}
	return f.Bytes()
}

// bloomHead is Parquet's BloomFilterHeader.
func (t *compact) bloomHead(size int) {
	t.i32(1, int32(size))
	for id := 2; id <= 4; id++ { // split blocks, xxHash, uncompressed: unions of empty structs
		t.field(id, typeStruct)
		t.open()
		t.field(1, typeStruct)
		t.b = append(t.b, 0)
		t.close()
	}
	t.b = append(t.b, 0)
}
