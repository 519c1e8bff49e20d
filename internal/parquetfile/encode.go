package parquetfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/format"
)

// encoder turns the columns of a row group into pages. It holds memory and nothing of
// a file, so that a pool needs no more of them than there are processors.
type encoder struct {
	opts  *Options
	codec compress.Codec
	out   []byte // the pages of a column
	dict  dictionary
	body  []byte // of a page: levels and values
	small []byte // the same, compressed
	head  compact
	def   []byte // levels of the column, if they have to be spelled out
	rep   []byte
	file  *bufio.Writer // of the encoder that writes a row group

	texts  texts // of a page
	store  store // of a column that is put together from kept records
	leaves leafScratch
}

// chunk is what the file says about a column of a row group. Places are within the
// chunk until it is written.
type chunk struct {
	f                  *field
	phys               physical
	levels             int
	enc                int32 // of the values: encPlain, encDelta, or encRLEDict
	typ                int32 // of the data pages
	count              int   // of them
	begin, data, bytes int64 // where the first page and the first data page are; the size of all
	raw                int64 // bytes before compression
	nulls              int64
	lo, hi             []byte
	pages              []page  // of data, if there is to be an index
	bloom              []byte  // the bits of a filter; nil: none
	index              indexes // where the index and the filter are
}

// Encodings and page types of Parquet.
const (
	encPlain     = 0
	encRLE       = 3
	encDelta     = 5
	encRLEDict   = 8
	pageData     = 0
	pageDict     = 2
	pageDataV2   = 3
	outputSize   = 64 << 10 // what is written at once
	keepScratch  = 16 << 20 // of memory that grew for a row group
	levelsHeader = 4
)

func newEncoder(o *Options, c compress.Codec) *encoder {
	return &encoder{opts: o, codec: c, file: bufio.NewWriterSize(nil, outputSize)}
}

// finish writes the end of the file.
func (e *encoder) finish(w *countingWriter, foot *footer) error {
	e.out = e.out[:0]
	if w.n == 0 {
		e.out = append(e.out, magic...)
	}
	e.out = foot.indexes(e.out, w.n, &e.head)
	for _, g := range foot.open {
		foot.group(g.begin, g.rows, g.chunks)
	}
	e.head.reset()
	foot.end(&e.head)
	_, err := w.Write(append(e.out, e.head.b...))
	return err
}

// shrink gives back what few row groups need.
func (e *encoder) shrink() {
	if cap(e.body)+cap(e.small)+cap(e.def)+cap(e.rep)+cap(e.out) > keepScratch {
		e.body, e.small, e.def, e.rep, e.out = nil, nil, nil, nil, nil
	}
	if 4*cap(e.dict.ids) > keepScratch {
		e.dict.ids = nil
	}
	if e.store.held() > keepScratch {
		e.store = store{}
	}
}

// leaf makes the pages of c, the column with that number in set, in e.out. What was kept
// of it is put together in the encoder's own store.
func (e *encoder) leaf(c *column, number int, set *columnSet) (chunk, error) {
	if len(set.kept.batches) == 0 {
		return e.column(c)
	}
	c.store, e.store = e.store, c.store
	defer func() { c.store, e.store = e.store, c.store }()
	c.empty()
	if err := set.kept.fill(c, number, &e.leaves); err != nil {
		return chunk{}, err
	}
	return e.column(c)
}

// column makes the pages of c.
func (e *encoder) column(c *column) (chunk, error) {
	k := chunk{f: c.f, phys: c.phys, levels: c.def.n, typ: pageData}
	if e.opts.PageVersion == 2 {
		k.typ = pageDataV2
	}
	e.out = e.out[:0]
	k.enc = e.encoding(c)
	e.bounds(c, k.enc == encRLEDict)
	c.seal()
	k.nulls = c.stats.levels - c.stats.values
	if !c.f.repeated {
		k.lo, k.hi = c.stats.chunkBounds()
	}
	if k.enc == encRLEDict {
		e.body = e.dict.page(e.body[:0], c)
		if err := e.page(&k, pageDict, e.dict.count(), 0); err != nil {
			return k, err
		}
	}
	if e.opts.blooms(c.f) {
		k.bloom = e.bloom(c, k.enc == encRLEDict)
	}
	k.data = int64(len(e.out))
	err := e.data(&k, c)
	k.bytes = int64(len(e.out))
	return k, err
}

// encoding decides how the values of c are written. A dictionary, which is then in
// e.dict, and differences each have to save something on the other.
func (e *encoder) encoding(c *column) int32 {
	coded := e.dict.build(c)
	delta := 0
	if e.opts.Delta {
		delta = deltaBits(c) * c.values / 8
	}
	switch {
	case coded && (delta == 0 || 3*(e.dict.size+e.dict.width()*c.values/8) < 4*delta):
		return encRLEDict
	case delta > 0 && (coded || 2*delta < c.width*c.values): // less than that a codec finds by itself
		return encDelta
	}
	return encPlain
}

// bounds completes the statistics: values of a dictionary are enough. Those of decimals
// are complete.
func (e *encoder) bounds(c *column, coded bool) {
	if c.phys != physBytes {
		e.fixedBounds(c, coded)
		return
	}
	if c.stats.order != orderBytes {
		return
	}
	switch {
	case coded:
		for i := range e.dict.texts {
			c.stats.bytes(textAt(c.arena, e.dict.texts[i].off))
		}
		return
	case c.shared:
		for _, off := range c.offs {
			c.stats.bytes(textAt(c.arena, off))
		}
		return
	}
	for a := c.arena; len(a) > 0; {
		v := textAt(a, 0)
		c.stats.bytes(v)
		a = a[textHeader+len(v):]
	}
}

// fixedBounds is bounds for values of a fixed width.
func (e *encoder) fixedBounds(c *column, coded bool) {
	if c.values == 0 || c.stats.order == orderDecimal || c.stats.order == orderNone {
		return
	}
	if coded {
		var word [8]byte
		before := c.stats
		for _, v := range e.dict.words {
			binary.LittleEndian.PutUint64(word[:], v)
			c.stats.fixed(word[:c.width], c.width)
		}
		if c.stats.nans == before.nans {
			return
		}
		c.stats = before // NaNs have to be counted
	}
	c.stats.fixed(c.fixed, c.width)
}

// data writes the data pages. A page ends at a row, when it has its size.
func (e *encoder) data(k *chunk, c *column) error {
	all, same := c.def.one()
	var def, rep []byte
	if !same {
		def = c.def.spell(&e.def)
	}
	if c.f.rep > 0 {
		rep = c.rep.spell(&e.rep)
	}
	cur := cursor{c: c, enc: k.enc, dict: &e.dict}
	const most = 1 << 12
	n, row := c.def.n, int64(0)
	block := min(max(e.opts.PageBytes/8*n/(c.plainSize()+1), 1), most) // levels between two looks at the size
	for at := 0; at < n; {
		from, first := at, cur
		if cur.left() < e.opts.PageBytes { // one page has the rest
			at = n
			cur.end()
		}
		for at < n && cur.bytes-first.bytes < e.opts.PageBytes {
			to := min(at+block, n)
			for c.f.rep > 0 && to < n && rep[to] != 0 {
				to++
			}
			there := to - at
			switch {
			case same && all < c.f.def:
				there = 0
			case !same && c.f.def > 0:
				there = bytes.Count(def[at:to], []byte{c.f.def})
			}
			cur.skip(there)
			at = to
		}
		p := page{row: row, rows: at - from, levels: at - from, nulls: at - from - (cur.value - first.value)}
		e.body = e.body[:0]
		if c.f.rep > 0 {
			p.rows = bytes.Count(rep[from:at], []byte{0})
			e.levels(rep[from:at], c.f.rep)
		}
		p.reps = len(e.body)
		switch {
		case c.f.def == 0:
		case same:
			e.run(all, at-from, c.f.def)
		default:
			e.levels(def[from:at], c.f.def)
		}
		p.defs = len(e.body) - p.reps
		e.body = first.appendTo(e.body, cur)
		if e.opts.PageIndex {
			first.bounds(&p, cur.value)
		}
		if err := e.dataPage(k, &p); err != nil {
			return err
		}
		row += int64(p.rows)
	}
	return nil
}

// levels appends levels up to most.
func (e *encoder) levels(v []byte, most uint8) {
	at := e.levelsHead()
	e.body = appendHybrid(e.body, v, bits.Len8(most))
	e.levelsEnd(at)
}

// run is levels for n times v.
func (e *encoder) run(v uint8, n int, most uint8) {
	at := e.levelsHead()
	e.body = appendRun(e.body, uint32(v), n, bits.Len8(most))
	e.levelsEnd(at)
}

// levelsHead makes room for the length of levels, which only pages of version 1 have.
func (e *encoder) levelsHead() int {
	if e.opts.PageVersion == 1 {
		e.body = append(e.body, make([]byte, levelsHeader)...)
	}
	return len(e.body)
}

func (e *encoder) levelsEnd(at int) {
	if e.opts.PageVersion == 1 {
		binary.LittleEndian.PutUint32(e.body[at-levelsHeader:], uint32(len(e.body)-at))
	}
}

// page appends e.body as a page of n values, compressed: a dictionary, or data of version
// 1. They begin at the first-th byte.
func (e *encoder) page(k *chunk, typ int32, n, first int) error {
	body, err := e.compress(0, first, k.phys == physBytes && (typ == pageDict || k.enc == encPlain))
	if err != nil {
		return err
	}
	t := &e.head
	t.reset()
	t.pageHead(typ, len(e.body), body)
	if typ == pageDict {
		t.field(7, typeStruct)
		t.open()
		t.i32(1, int32(n))
		t.i32(2, encPlain)
	} else {
		t.field(5, typeStruct)
		t.open()
		t.i32(1, int32(n))
		t.i32(2, k.enc)
		t.i32(3, encRLE)
		t.i32(4, encRLE)
	}
	t.close()
	t.b = append(t.b, 0)
	k.raw += int64(len(t.b) + len(e.body))
	e.out = append(append(e.out, t.b...), body...)
	return nil
}

// pageHead is what the headers of all pages begin with; parts is what follows them.
func (t *compact) pageHead(typ int32, raw int, parts ...[]byte) {
	size, sum := 0, uint32(0)
	for _, p := range parts {
		size += len(p)
		sum = crc32.Update(sum, crc32.IEEETable, p)
	}
	t.i32(1, typ)
	t.i32(2, int32(raw))
	t.i32(3, int32(size))
	t.i32(4, int32(sum))
}

// dataPage appends e.body as the data page p.
func (e *encoder) dataPage(k *chunk, p *page) error {
	k.count++
	p.at = int64(len(e.out))
	var err error
	if e.opts.PageVersion == 1 {
		err = e.page(k, pageData, p.levels, p.reps+p.defs)
	} else {
		err = e.page2(k, p)
	}
	if p.size = int64(len(e.out)) - p.at; e.opts.PageIndex {
		k.pages = append(k.pages, *p)
	}
	return err
}

// page2 appends e.body as a data page of version 2: levels are not compressed, and values
// only if that saves something.
func (e *encoder) page2(k *chunk, p *page) error {
	values, err := e.compress(p.reps+p.defs, 0, k.phys == physBytes && k.enc == encPlain)
	if err != nil {
		return err
	}
	levels, raw := e.body[:p.reps+p.defs], e.body[p.reps+p.defs:]
	compressed := len(values) < len(raw)
	if !compressed {
		values = raw
	}
	t := &e.head
	t.reset()
	t.pageHead(pageDataV2, len(e.body), levels, values)
	t.field(8, typeStruct)
	t.open()
	t.i32(1, int32(p.levels))
	t.i32(2, int32(p.nulls))
	t.i32(3, int32(p.rows))
	t.i32(4, k.enc)
	t.i32(5, int32(p.defs))
	t.i32(6, int32(p.reps))
	t.bool(7, compressed)
	t.close()
	t.b = append(t.b, 0)
	k.raw += int64(len(t.b) + len(e.body))
	e.out = append(append(append(e.out, t.b...), levels...), values...)
	return nil
}

// compress returns what becomes of e.body from a place on. The values begin at the
// first-th byte of that, and texts tells whether they are texts, plainly encoded.
func (e *encoder) compress(from, first int, texts bool) ([]byte, error) {
	if texts {
		e.body = slices.Grow(e.body, ahead)
	}
	body := e.body[from:]
	if len(body) > maxPage {
		return nil, fmt.Errorf("a page of %d bytes is larger than Parquet allows", len(body))
	}
	if e.codec.CompressionCodec() == format.Uncompressed {
		return body, nil
	}
	var err error
	if zstd, ok := e.codec.(zstdCodec); ok && texts {
		e.small, err = zstd.EncodeTexts(&e.texts, e.small[:cap(e.small)], body, first)
	} else {
		e.small, err = e.codec.Encode(e.small[:cap(e.small)], body)
	}
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return e.small, nil
}

// maxPage is what a page header has room for.
const maxPage = 1<<31 - 1

// cursor is a place among the values of a column.
type cursor struct {
	c     *column
	enc   int32
	dict  *dictionary // of encRLEDict
	value int         // number of the next value
	off   int         // of the next value in an arena that is not shared
	bytes int         // what the values before take in pages
}

// left returns what the values from here on take in pages, if that is known at once.
func (u *cursor) left() int {
	c, n := u.c, u.c.values-u.value
	switch {
	case u.enc == encRLEDict:
		return n*u.dict.width()/8 + 1
	case c.phys == physBool:
		return n/8 + 1
	case c.phys != physBytes:
		return n * c.width
	case c.shared:
		return maxPage
	}
	return len(c.arena) - u.off
}

// end moves on behind the last value.
func (u *cursor) end() { u.bytes, u.value, u.off = u.bytes+u.left(), u.c.values, len(u.c.arena) }

// skip moves on by n values.
func (u *cursor) skip(n int) {
	c := u.c
	switch {
	case u.enc == encRLEDict:
		u.bytes += n*u.dict.width()/8 + 1
	case c.phys == physBool:
		u.bytes += n/8 + 1
	case c.phys != physBytes:
		u.bytes += n * c.width
	case c.shared:
		for _, off := range c.offs[u.value : u.value+n] {
			u.bytes += textHeader + len(textAt(c.arena, off))
		}
	default:
		off := u.off
		for range n {
			off += textHeader + int(binary.LittleEndian.Uint32(c.arena[off:]))
		}
		u.bytes += off - u.off
		u.off = off
	}
	u.value += n
}

// appendTo appends the values up to another place, as in a data page.
func (u *cursor) appendTo(dst []byte, to cursor) []byte {
	c, end := u.c, to.value
	switch {
	case u.enc == encDelta:
		return appendDelta(dst, c, u.value, end)
	case u.enc == encRLEDict:
		width := u.dict.width()
		return appendHybrid(append(dst, byte(width)), u.dict.ids[u.value:end], width)
	case c.phys == physBool:
		return pack(dst, c.fixed[u.value:end], 1)
	case c.phys != physBytes:
		return append(dst, c.fixed[u.value*c.width:end*c.width]...)
	case c.shared:
		for _, off := range c.offs[u.value:end] {
			dst = append(dst, c.arena[off:off+textHeader+uint32(len(textAt(c.arena, off)))]...)
		}
		return dst
	default:
		return append(dst, c.arena[u.off:to.off]...)
	}
}
