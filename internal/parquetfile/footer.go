package parquetfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The footer is written here, from what parquet-go knows about the pages and from
// our own statistics. Its own footer is thrown away, since it cannot be had right:
// bounds of strings are of any length, those of long decimals are in the order of
// unsigned bytes, NaN gets into them through dictionaries, and the page index, which
// cannot be left out, has zeros for columns without bounds.

// chunk is what the footer says about the values of a column in a row group.
type chunk struct {
	nulls  int64
	lo, hi []byte
}

// sink takes the output of parquet-go, until it comes to the footer.
type sink struct {
	out    *bufio.Writer
	n      int64
	closed bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.closed {
		return len(p), nil
	}
	n, err := s.out.Write(p)
	s.n += int64(n)
	return n, err
}

const (
	createdBy  = "firehosed"
	magic      = "PAR1"
	outputSize = 64 << 10 // what is written at once
)

// start makes the encoder ready for a file.
func (e *encoder) start(out io.Writer) {
	if e.out == nil {
		e.out = bufio.NewWriterSize(out, outputSize)
	}
	e.out.Reset(out)
	e.sink = sink{out: e.out}
	e.chunks = e.chunks[:0]
	e.pw.Reset(&e.sink)
}

// note keeps what the footer will say about a row group.
func (e *encoder) note(cols []*column) {
	for _, c := range cols {
		lo, hi := c.stats.chunkBounds()
		if lo == nil || hi == nil || c.f.repeated {
			lo, hi = nil, nil
		}
		e.chunks = append(e.chunks, chunk{nulls: c.stats.levels - c.stats.values, lo: lo, hi: hi})
	}
}

// close ends the file and adds to m what only the encoded file tells.
func (e *encoder) close(m *Metrics) error {
	if e.sink.n == 0 {
		if _, err := io.WriteString(&e.sink, magic); err != nil {
			return err
		}
	}
	e.sink.closed = true
	if err := e.pw.Close(); err != nil {
		return err
	}
	meta := e.pw.File().Metadata()
	for g := range meta.RowGroups {
		m.SplitOffsets = append(m.SplitOffsets, meta.RowGroups[g].FileOffset)
		for i, f := range e.plan.leaves {
			if f.metrics {
				m.ColumnSizes[f.id] += meta.RowGroups[g].Columns[e.order[i]].MetaData.TotalCompressedSize
			}
		}
	}
	if err := e.footer(meta); err != nil {
		return fmt.Errorf("encode footer: %w", err)
	}
	// parquet-go would clear the row groups for the next file, and with them the
	// column paths that they share with its column writers.
	clear(meta.RowGroups)
	e.sink.closed = false
	if _, err := e.sink.Write(e.meta.b); err != nil {
		return err
	}
	return e.out.Flush()
}

// footer puts the end of the file into e.meta.
func (e *encoder) footer(meta *format.FileMetaData) error {
	if e.schema == nil { // the same in every file
		var b bytes.Buffer
		enc := thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(&b))
		for i := range meta.Schema {
			if err := enc.Encode(&meta.Schema[i]); err != nil {
				return err
			}
		}
		e.schema = b.Bytes()
	}
	t := &e.meta
	t.reset()
	t.i32(1, meta.Version)
	t.list(2, typeStruct, len(meta.Schema))
	t.b = append(t.b, e.schema...)
	t.i64(3, meta.NumRows)
	t.list(4, typeStruct, len(meta.RowGroups))
	for g := range meta.RowGroups {
		e.group(t, &meta.RowGroups[g], e.chunks[g*len(e.order):])
	}
	t.field(6, typeBinary)
	t.text(createdBy)
	t.list(7, typeStruct, len(e.order))
	for range e.order {
		t.b = append(t.b, 1<<4|typeStruct, 0, 0) // ordered as the type defines: an empty struct in a union
	}
	t.b = append(t.b, 0)
	t.b = binary.LittleEndian.AppendUint32(t.b, uint32(len(t.b)))
	t.b = append(t.b, magic...)
	return nil
}

func (e *encoder) group(t *compact, g *format.RowGroup, chunks []chunk) {
	t.open()
	t.list(1, typeStruct, len(g.Columns))
	for i := range g.Columns {
		c := &g.Columns[i].MetaData
		t.open()
		t.i64(2, 0) // file_offset, deprecated
		t.field(3, typeStruct)
		t.open()
		t.i32(1, int32(c.Type))
		t.list(2, typeI32, len(c.Encoding))
		for _, enc := range c.Encoding {
			t.integer(int64(enc))
		}
		t.list(3, typeBinary, len(c.PathInSchema))
		for _, name := range c.PathInSchema {
			t.text(name)
		}
		t.i32(4, int32(c.Codec))
		t.i64(5, c.NumValues)
		t.i64(6, c.TotalUncompressedSize)
		t.i64(7, c.TotalCompressedSize)
		t.i64(9, c.DataPageOffset)
		if c.DictionaryPageOffset > 0 {
			t.i64(11, c.DictionaryPageOffset)
		}
		t.field(12, typeStruct)
		e.statistics(t, &chunks[e.leaf[i]])
		t.close()
		t.close()
	}
	t.i64(2, g.TotalByteSize)
	t.i64(3, g.NumRows)
	t.i64(5, g.FileOffset)
	t.i64(6, g.TotalCompressedSize)
	t.field(7, typeI16)
	t.integer(int64(g.Ordinal))
	t.close()
}

func (e *encoder) statistics(t *compact, k *chunk) {
	t.open()
	t.i64(3, k.nulls)
	if k.lo != nil {
		t.bytes(5, k.hi)
		t.bytes(6, k.lo)
	}
	t.close()
}
