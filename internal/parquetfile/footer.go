package parquetfile

import (
	"bufio"
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
func (e *encoder) close(p *plan, m *Metrics) error {
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
		for i, f := range p.leaves {
			c := &meta.RowGroups[g].Columns[e.order[i]]
			e.describe(c, &e.chunks[g*len(p.leaves)+i])
			if f.metrics {
				m.ColumnSizes[f.id] += c.MetaData.TotalCompressedSize
			}
		}
	}
	e.sink.closed = false
	if err := e.footer(meta); err != nil {
		return err
	}
	// parquet-go would clear the row groups for the next file, and with them the
	// column paths that they share with its column writers.
	clear(meta.RowGroups)
	return e.out.Flush()
}

func (e *encoder) describe(c *format.ColumnChunk, k *chunk) {
	c.ColumnIndexOffset, c.ColumnIndexLength, c.OffsetIndexOffset, c.OffsetIndexLength = 0, 0, 0, 0
	c.MetaData.SizeStatistics = format.SizeStatistics{}
	c.MetaData.Statistics = format.Statistics{NullCount: k.nulls, MinValue: k.lo, MaxValue: k.hi}
}

func (e *encoder) footer(meta *format.FileMetaData) error {
	start := e.sink.n
	if err := thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(&e.sink)).Encode(meta); err != nil {
		return fmt.Errorf("encode footer: %w", err)
	}
	tail := binary.LittleEndian.AppendUint32(nil, uint32(e.sink.n-start))
	_, err := e.sink.Write(append(tail, magic...))
	return err
}
