package parquetfile

import (
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	pqschema "github.com/apache/arrow-go/v18/parquet/schema"
)

// readBuffer is how much of a column chunk is asked for at a time.
const readBuffer = 1 << 20

// BlockRows is the most rows that one block of [Read] has.
const BlockRows = 4096

// Column is some rows of a top-level column. Which slice counts depends on the
// Parquet type; Null counts always. It is reused for the next block.
type Column struct {
	Name  string
	Null  []bool
	Ints  []int64  // boolean, int32 and int64 columns
	Bytes [][]byte // byte arrays, fixed or not; valid until the next block
}

// Block is some rows of a file: a Column for each field id asked for, nil where
// the file has no such column.
type Block struct {
	Rows    int
	Columns []*Column
}

// Read reads the top-level columns with the given field ids, and no others, and
// calls each with their rows in order, at most BlockRows at a time. The block is
// valid until each returns; an error of each ends the reading and is returned.
// Columns that are nested or hold floats are refused. Memory is bounded by a few
// pages per column.
func Read(r io.ReaderAt, size int64, ids []int, each func(*Block) error) error {
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled, props.BufferSize = true, readBuffer
	f, err := file.NewParquetReader(io.NewSectionReader(r, 0, size), file.WithReadProps(props))
	if err != nil {
		return fmt.Errorf("open Parquet file: %w", err)
	}
	defer f.Close()
	block := &Block{Columns: make([]*Column, len(ids))}
	leaf := make([]int, len(ids))
	root := f.MetaData().Schema.Root()
	for i := range root.NumFields() {
		node := root.Field(i)
		at := slices.Index(ids, int(node.FieldID()))
		if at < 0 {
			continue
		}
		if node.Type() == pqschema.Group || node.RepetitionType() == parquet.Repetitions.Repeated {
			return fmt.Errorf("column %s of the Parquet file is nested", node.Name())
		}
		block.Columns[at], leaf[at] = &Column{Name: node.Name()}, f.MetaData().Schema.ColumnIndexByName(node.Name())
	}
	for g := range f.NumRowGroups() {
		if err := readGroup(f.RowGroup(g), block, leaf, each); err != nil {
			return err
		}
	}
	return nil
}

func readGroup(g *file.RowGroupReader, block *Block, leaf []int, each func(*Block) error) error {
	cols := make([]*valueReader, len(leaf))
	for i, c := range block.Columns {
		if c == nil {
			continue
		}
		chunk, err := g.Column(leaf[i])
		if err != nil {
			return fmt.Errorf("read column %s: %w", c.Name, err)
		}
		cols[i] = &valueReader{chunk: chunk}
	}
	for left := g.NumRows(); left > 0; {
		block.Rows = int(min(left, BlockRows))
		for i, c := range block.Columns {
			if c == nil {
				continue
			}
			if err := cols[i].fill(c, block.Rows); err != nil {
				return fmt.Errorf("read column %s: %w", c.Name, err)
			}
		}
		if err := each(block); err != nil {
			return err
		}
		left -= int64(block.Rows)
	}
	return nil
}

// valueReader yields the values of one column chunk, whatever its pages are.
type valueReader struct {
	chunk file.ColumnChunkReader
	defs  [256]int16
	bools [256]bool
	words [256]int32
	longs [256]int64
	texts [256]parquet.ByteArray
	fixed [256]parquet.FixedLenByteArray
}

func (v *valueReader) fill(c *Column, n int) error {
	c.Null, c.Ints, c.Bytes = c.Null[:0], c.Ints[:0], c.Bytes[:0]
	for len(c.Null) < n {
		levels, value, err := v.read(min(len(v.defs), n-len(c.Null)))
		if err != nil {
			return err
		}
		if levels == 0 {
			return io.ErrUnexpectedEOF
		}
		most, next := v.chunk.Descriptor().MaxDefinitionLevel(), 0
		for _, def := range v.defs[:levels] {
			var i int64
			var b []byte
			there := most == 0 || def == most
			if there {
				i, b = value(next)
				next++
			}
			c.Null, c.Ints, c.Bytes = append(c.Null, !there), append(c.Ints, i), append(c.Bytes, b)
		}
	}
	return nil
}

// read reads up to n entries, and returns what makes their values.
func (v *valueReader) read(n int) (levels int64, value func(i int) (int64, []byte), err error) {
	batch := int64(n)
	switch c := v.chunk.(type) {
	case *file.BooleanColumnChunkReader:
		levels, _, err = c.ReadBatch(batch, v.bools[:], v.defs[:], nil)
		return levels, func(i int) (int64, []byte) {
			if v.bools[i] {
				return 1, nil
			}
			return 0, nil
		}, err
	case *file.Int32ColumnChunkReader:
		levels, _, err = c.ReadBatch(batch, v.words[:], v.defs[:], nil)
		return levels, func(i int) (int64, []byte) { return int64(v.words[i]), nil }, err
	case *file.Int64ColumnChunkReader:
		levels, _, err = c.ReadBatch(batch, v.longs[:], v.defs[:], nil)
		return levels, func(i int) (int64, []byte) { return v.longs[i], nil }, err
	case *file.ByteArrayColumnChunkReader: // values lie in the page, which is gone with the next one
		levels, _, err = c.ReadBatchInPage(batch, v.texts[:], v.defs[:], nil)
		return levels, func(i int) (int64, []byte) { return 0, append([]byte{}, v.texts[i]...) }, err
	case *file.FixedLenByteArrayColumnChunkReader:
		levels, _, err = c.ReadBatchInPage(batch, v.fixed[:], v.defs[:], nil)
		return levels, func(i int) (int64, []byte) { return 0, append([]byte{}, v.fixed[i]...) }, err
	}
	return 0, nil, fmt.Errorf("values of type %s are not supported", v.chunk.Type())
}
