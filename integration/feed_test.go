package integration

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/iceberg"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

const (
	columns     = 100 // of the table, ours included
	rowsPerFile = 10
	poolRows    = 1009 // distinct rows that the files are cut from
)

// feed fills one table through the product's sink.
type feed struct {
	t      *testing.T
	dir    string
	config iceberg.Config
	sink   *iceberg.Sink
	table  pipeline.Table
	stamp  pipeline.Stamp
	parts  [partitions]pipeline.Partition
	next   int // offset of the next row in every partition

	laid   *arrow.Schema
	pool   []arrow.Array // of poolRows each, by column; nil: made for each file
	offset int           // column of the offsets
	ids    [partitions]arrow.Array
	pid    int // column of the partitions
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	dir := t.TempDir()
	if *keep != "" {
		dir = filepath.Join(*keep, fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano()))
	}
	f := &feed{t: t, dir: dir, config: iceberg.DefaultConfig(), stamp: pipeline.Stamp{Pipeline: "p", Rev: 1}}
	f.config.Warehouse = filepath.Join(dir, "warehouse")
	f.config.CommitsPerSecond, f.config.CatalogPerSecond = 0, 0
	f.config.KeepSnapshots = *retain
	types := []string{"long", "double", "string", "timestamptz", "boolean", "int", "date", "decimal(12, 2)"}
	declared := map[string]string{}
	for i := range columns - len(iceberg.BaseColumns().Fields) {
		declared[fmt.Sprintf("c%02d", i)] = types[i%len(types)]
	}
	f.config.Tables = map[string]iceberg.TableConfig{"t": {Columns: declared}}
	for i := range f.parts {
		f.parts[i] = pipeline.Partition{Kind: "kafka", Stream: "5L6g3nShT-eMCtK--X86sw", Incarnation: "0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d", ID: fmt.Sprint(i)}
	}
	f.sink = f.open()
	var err error
	if f.table, err = f.sink.Table(t.Context(), "t", f.stamp); err != nil {
		t.Fatal(err)
	}
	f.fill()
	return f
}

// open returns a sink of the pipeline as a worker that starts has it.
func (f *feed) open() *iceberg.Sink {
	f.t.Helper()
	bucket, err := objstore.OpenLocal(f.config.ControlLocation("p"))
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := iceberg.New(f.config, pipeline.NewControl(control.New(bucket), "p", "test"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			f.t.Error(err)
		}
	})
	return s
}

// fill lays out the rows that files are cut from, so that a commit costs the test next to nothing.
func (f *feed) fill() {
	sc := f.table.Schema()
	var fields []arrow.Field
	for i := range sc.Fields {
		c := &sc.Fields[i]
		if c.Name == schema.Rescued { // a column without a value is left out
			continue
		}
		af := c.ArrowField()
		fields = append(fields, af)
		switch c.Name {
		case schema.ColOffset:
			f.offset = len(f.pool)
			f.pool = append(f.pool, nil)
		case schema.ColPartition:
			f.pid = len(f.pool)
			f.pool = append(f.pool, nil)
			for p := range f.ids {
				f.ids[p] = arrowColumn(af.Type, rowsPerFile, func(int) string { return fmt.Sprint(p) })
			}
		case schema.ColSub:
			f.pool = append(f.pool, arrowColumn(af.Type, poolRows, func(int) string { return "0" }))
		default:
			f.pool = append(f.pool, arrowColumn(af.Type, poolRows, func(i int) string { return cellText(c.Type.Kind, i) }))
		}
	}
	if n := len(sc.Fields); n != columns {
		f.t.Fatalf("the table has %d columns, want %d", n, columns)
	}
	f.laid = arrow.NewSchema(fields, nil)
}

// number is what value i of a column is made of.
func number(i int) int { return i * 7919 % poolRows }

// cellText returns value i of a column as Arrow parses it.
func cellText(k schema.Kind, i int) string {
	n := number(i)
	switch k {
	case schema.String:
		return fmt.Sprintf("value %d of this column", n)
	case schema.TimestampTZ:
		return time.Unix(1_790_000_000+int64(n), 0).UTC().Format("2006-01-02 15:04:05Z")
	case schema.Date:
		return time.Unix(1_790_000_000, 0).UTC().AddDate(0, 0, n).Format(time.DateOnly)
	case schema.Bool:
		return strconv.FormatBool(n%2 == 0)
	case schema.Double, schema.Decimal:
		return fmt.Sprintf("%d.25", n)
	default:
		return fmt.Sprint(n)
	}
}

func arrowColumn(dt arrow.DataType, n int, val func(int) string) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, dt)
	defer b.Release()
	for i := range n {
		if err := b.AppendValueFromString(val(i)); err != nil {
			panic(err)
		}
	}
	return b.NewArray()
}

// cut returns where in the pool the rows of a partition from an offset on begin.
func cut(offset, p int) int { return (offset*partitions + p*rowsPerFile) % (poolRows - rowsPerFile) }

// rows returns the next rows of a partition.
func (f *feed) rows(p int) pipeline.Rows {
	from := int64(cut(f.next, p))
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	for i := range rowsPerFile {
		b.Append(int64(f.next + i))
	}
	offsets := b.NewArray()
	defer offsets.Release()
	cols := make([]arrow.Array, len(f.pool))
	for i, c := range f.pool {
		switch i {
		case f.offset:
			cols[i] = offsets
		case f.pid:
			cols[i] = f.ids[p]
		default:
			cols[i] = array.NewSlice(c, from, from+rowsPerFile)
			defer cols[i].Release()
		}
	}
	return pipeline.Rows{
		Data: array.NewRecordBatch(f.laid, cols, rowsPerFile),
		Rec:  make([]int32, rowsPerFile), Sub: make([]int32, rowsPerFile),
	}
}

func (f *feed) at(offset int) pipeline.Cursor {
	return pipeline.Cursor{At: pipeline.Position(fmt.Sprintf("%019d", offset)), Epoch: 1}
}

// span returns the next rows of a partition as the source has them.
func (f *feed) span(p int) pipeline.Span {
	s := pipeline.Span{Partition: f.parts[p], From: f.at(f.next), To: f.at(f.next + rowsPerFile)}
	if f.next == 0 {
		s.From = pipeline.Cursor{}
	}
	return s
}

// commit publishes a file of every partition, written at the same time.
func (f *feed) commit() {
	f.t.Helper()
	ctx := f.t.Context()
	d, err := f.table.Begin(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	var g errgroup.Group
	var claims []pipeline.Claim
	for p := range f.parts {
		s := f.span(p)
		claims = append(claims, pipeline.Claim{Span: s, Floor: s.From.At})
		g.Go(func() error {
			r := f.rows(p)
			defer r.Data.Release()
			return d.Write(ctx, &pipeline.Batch{Span: s}, r)
		})
	}
	if err := g.Wait(); err != nil {
		f.t.Fatal(err)
	}
	if err := d.Commit(ctx, f.stamp, claims, pipeline.CutAsked); err != nil {
		f.t.Fatal(err)
	}
	f.next += rowsPerFile
}

// ownCost returns the processor time that the test itself takes for a hundred commits.
func (f *feed) ownCost() time.Duration {
	began := cpuTime()
	for range window {
		for p := range f.parts {
			f.rows(p).Data.Release()
		}
	}
	return cpuTime() - began
}

func (f *feed) maintain() iceberg.Maintenance {
	f.t.Helper()
	done, err := f.sink.Maintain(f.t.Context(), "t")
	if err != nil {
		f.t.Fatal(err)
	}
	return done
}

// want returns what sums.py shall say of the rows.
func (f *feed) want() (rows [][6]int64) {
	for p := range f.parts {
		row := [6]int64{int64(p), int64(f.next), int64(f.next), 0, int64(f.next - 1), 0}
		for offset := 0; offset < f.next; offset += rowsPerFile {
			for i := range rowsPerFile {
				row[5] += int64(number(cut(offset, p) + i))
			}
		}
		rows = append(rows, row)
	}
	return rows
}
