package parquetfile

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
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
	f, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(readBuffer))
	if err != nil {
		return fmt.Errorf("open Parquet file: %w", err)
	}
	block := &Block{Columns: make([]*Column, len(ids))}
	leaf := make([]int, len(ids))
	for i, id := range ids {
		for _, c := range f.Root().Columns() {
			if c.ID() != id {
				continue
			}
			if !c.Leaf() || c.Repeated() {
				return fmt.Errorf("column %s of the Parquet file is nested", c.Name())
			}
			block.Columns[i], leaf[i] = &Column{Name: c.Name()}, c.Index()
		}
	}
	for _, g := range f.RowGroups() {
		if err := readGroup(g, block, leaf, each); err != nil {
			return err
		}
	}
	return nil
}

func readGroup(g parquet.RowGroup, block *Block, leaf []int, each func(*Block) error) (err error) {
	cols := make([]*valueReader, len(leaf))
	defer func() {
		for _, c := range cols {
			if c != nil {
				err = errors.Join(err, c.pages.Close())
			}
		}
	}()
	chunks := g.ColumnChunks()
	for i, c := range block.Columns {
		if c != nil {
			cols[i] = &valueReader{pages: chunks[leaf[i]].Pages()}
		}
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
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    [256]parquet.Value
}

func (v *valueReader) fill(c *Column, n int) error {
	c.Null, c.Ints, c.Bytes = c.Null[:0], c.Ints[:0], c.Bytes[:0]
	for len(c.Null) < n {
		if v.values == nil {
			page, err := v.pages.ReadPage()
			if err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			v.page, v.values = page, page.Values()
		}
		k, err := v.values.ReadValues(v.buf[:min(len(v.buf), n-len(c.Null))])
		for _, val := range v.buf[:k] {
			if err := c.append(val); err != nil {
				return err
			}
		}
		if err == io.EOF {
			parquet.Release(v.page)
			v.page, v.values = nil, nil
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Column) append(v parquet.Value) error {
	var n int64
	var b []byte
	if !v.IsNull() {
		switch v.Kind() {
		case parquet.Boolean:
			if v.Boolean() {
				n = 1
			}
		case parquet.Int32:
			n = int64(v.Int32())
		case parquet.Int64:
			n = v.Int64()
		case parquet.ByteArray, parquet.FixedLenByteArray:
			b = append([]byte{}, v.ByteArray()...) // the page is released before the block is read
		default:
			return fmt.Errorf("values of kind %v are not supported", v.Kind())
		}
	}
	c.Null = append(c.Null, v.IsNull())
	c.Ints = append(c.Ints, n)
	c.Bytes = append(c.Bytes, b)
	return nil
}
