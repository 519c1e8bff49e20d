package parquetfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/format"
)

// encoder turns the columns of a row group into pages. It holds memory and nothing of
// a file, so that a pool needs no more of them than there are processors.
type encoder struct {
	codec compress.Codec
	pages int // bytes at which a page ends
	out   *bufio.Writer
	at    int64 // where in the file the next byte goes
	dict  dictionary
	body  []byte // of a page: levels and values
	small []byte // the same, compressed
	head  compact
	def   []byte // levels of the column
	rep   []byte
}

// chunk is what the footer says about a column of a row group.
type chunk struct {
	f                  *field
	phys               physical
	levels             int
	coded              bool  // the pages hold numbers of a dictionary
	pages              int   // of data
	begin, data, bytes int64 // where the first page and the first data page are; the size of all
	raw                int64 // bytes before compression
	nulls              int64
	lo, hi             []byte
}

// Encodings and page types of Parquet.
const (
	encPlain     = 0
	encRLE       = 3
	encRLEDict   = 8
	pageData     = 0
	pageDict     = 2
	outputSize   = 64 << 10 // what is written at once
	keepScratch  = 16 << 20 // of memory that grew for a row group
	levelsHeader = 4
)

func newEncoder(o *Options, c compress.Codec) *encoder {
	return &encoder{codec: c, pages: o.PageBytes, out: bufio.NewWriterSize(nil, outputSize)}
}

// rowGroup writes the columns, completes their statistics, and notes in foot what
// the file's end has to say.
func (e *encoder) rowGroup(w *countingWriter, cols []*column, rows int64, foot *footer) error {
	e.out.Reset(w)
	defer e.out.Reset(io.Discard)
	defer e.shrink()
	e.at = w.n
	if e.at == 0 {
		if err := e.write([]byte(magic)); err != nil {
			return err
		}
	}
	g := foot.open(e.at, rows, len(cols))
	for i, c := range cols {
		k, err := e.column(c)
		if err != nil {
			return fmt.Errorf("column %s: %w", c.f.path, err)
		}
		foot.column(&g, i, &k)
	}
	foot.close(&g)
	return e.out.Flush()
}

// finish writes the end of the file.
func (e *encoder) finish(w *countingWriter, foot *footer) error {
	e.head.reset()
	if w.n == 0 {
		e.head.b = append(e.head.b, magic...)
	}
	foot.end(&e.head)
	_, err := w.Write(e.head.b)
	return err
}

// shrink gives back what few row groups need.
func (e *encoder) shrink() {
	if cap(e.body)+cap(e.small)+cap(e.def)+cap(e.rep) > keepScratch {
		e.body, e.small, e.def, e.rep = nil, nil, nil, nil
	}
	if 4*cap(e.dict.ids) > keepScratch {
		e.dict.ids = nil
	}
}

func (e *encoder) write(p []byte) error {
	n, err := e.out.Write(p)
	e.at += int64(n)
	return err
}

// column writes the pages of c.
func (e *encoder) column(c *column) (chunk, error) {
	k := chunk{f: c.f, phys: c.phys, levels: c.def.n, begin: e.at}
	k.coded = e.dict.build(c)
	e.bounds(c, k.coded)
	c.seal()
	k.nulls = c.stats.levels - c.stats.values
	if !c.f.repeated {
		k.lo, k.hi = c.stats.chunkBounds()
	}
	if k.coded {
		e.body = e.dict.page(e.body[:0], c)
		if err := e.page(&k, pageDict, e.dict.count()); err != nil {
			return k, err
		}
	}
	k.data = e.at
	err := e.data(&k, c)
	k.bytes = e.at - k.begin
	return k, err
}

// bounds completes the statistics of texts: those of a dictionary are enough.
func (e *encoder) bounds(c *column, coded bool) {
	if c.phys != physBytes || c.stats.order != orderBytes {
		return
	}
	offs := c.offs
	if coded {
		offs = e.dict.offs
	}
	if coded || c.shared {
		for _, off := range offs {
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

// data writes the data pages. A page ends at a row, when it has its size.
func (e *encoder) data(k *chunk, c *column) error {
	e.def = spell(e.def, &c.def)
	e.rep = spell(e.rep, &c.rep)
	cur := cursor{c: c}
	if k.coded {
		cur.dict = &e.dict
	}
	const most = 1 << 12
	n := c.def.n
	block := min(max(e.pages/8*n/(c.plainSize()+1), 1), most) // levels between two looks at the size
	for at := 0; at < n; {
		from, first := at, cur
		for at < n && cur.bytes-first.bytes < e.pages {
			to := min(at+block, n)
			for c.f.rep > 0 && to < n && e.rep[to] != 0 {
				to++
			}
			there := to - at
			if c.f.def > 0 {
				there = bytes.Count(e.def[at:to], []byte{c.f.def})
			}
			cur.skip(there)
			at = to
		}
		e.body = e.body[:0]
		if c.f.rep > 0 {
			e.levels(e.rep[from:at], c.f.rep)
		}
		if c.f.def > 0 {
			e.levels(e.def[from:at], c.f.def)
		}
		e.body = first.appendTo(e.body, cur.value)
		k.pages++
		if err := e.page(k, pageData, at-from); err != nil {
			return err
		}
	}
	return nil
}

// spell returns all levels of l, in dst.
func spell(dst []byte, l *levels) []byte {
	if cap(dst) < l.n {
		dst = make([]byte, l.n+l.n/4)
	}
	dst = dst[:l.n]
	r := reader{l: l}
	r.read(dst)
	return dst
}

// levels appends levels up to max with their length in front.
func (e *encoder) levels(v []byte, max uint8) {
	at := len(e.body)
	e.body = append(e.body, make([]byte, levelsHeader)...)
	width := 1
	for max>>width > 0 {
		width++
	}
	e.body = appendHybrid(e.body, v, width)
	binary.LittleEndian.PutUint32(e.body[at:], uint32(len(e.body)-at-levelsHeader))
}

// page compresses e.body and writes it as a page of n values.
func (e *encoder) page(k *chunk, typ int32, n int) error {
	if len(e.body) > maxPage {
		return fmt.Errorf("a page of %d bytes is larger than Parquet allows", len(e.body))
	}
	body := e.body
	if e.codec.CompressionCodec() != format.Uncompressed {
		var err error
		if e.small, err = e.codec.Encode(e.small[:cap(e.small)], body); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		body = e.small
	}
	t := &e.head
	t.reset()
	t.i32(1, typ)
	t.i32(2, int32(len(e.body)))
	t.i32(3, int32(len(body)))
	t.i32(4, int32(crc32.ChecksumIEEE(body)))
	if typ == pageDict {
		t.field(7, typeStruct)
		t.open()
		t.i32(1, int32(n))
		t.i32(2, encPlain)
	} else {
		t.field(5, typeStruct)
		t.open()
		t.i32(1, int32(n))
		enc := int32(encPlain)
		if k.coded {
			enc = encRLEDict
		}
		t.i32(2, enc)
		t.i32(3, encRLE)
		t.i32(4, encRLE)
	}
	t.close()
	t.b = append(t.b, 0)
	k.raw += int64(len(t.b) + len(e.body))
	if err := e.write(t.b); err != nil {
		return err
	}
	return e.write(body)
}

// maxPage is what a page header has room for.
const maxPage = 1<<31 - 1

// cursor is a place among the values of a column.
type cursor struct {
	c     *column
	dict  *dictionary // not nil: values are its numbers
	value int         // number of the next value
	off   int         // of the next value in an arena that is not shared
	bytes int         // what the values before take in pages
}

// skip moves on by n values.
func (u *cursor) skip(n int) {
	c := u.c
	switch {
	case u.dict != nil:
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

// appendTo appends the values up to number end, not included, as in a data page.
func (u *cursor) appendTo(dst []byte, end int) []byte {
	c := u.c
	switch {
	case u.dict != nil:
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
		to := *u
		to.skip(end - u.value)
		return append(dst, c.arena[u.off:to.off]...)
	}
}
