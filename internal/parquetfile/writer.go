package parquetfile

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/schema"
)

// Writer writes one Parquet file. One goroutine uses it at a time.
type Writer struct {
	pool *Pool
	out  *countingWriter
	set  *columnSet // goes back to the pool with Close and Abort
	rows int64      // in all
	open int64      // rows of the row group being filled
	held int64
	raw  int64 // bytes of values that went into row groups already written
	err  error // ends the file: set by a failed Write or Close
}

// Metrics are what Iceberg's manifest records about a data file. Maps are by field
// id and hold leaf columns only. Columns beyond [Options.MetricColumns] are in none
// of them, those in lists and maps have counts but no bounds.
type Metrics struct {
	Rows         int64
	Size         int64 // bytes of the file
	ColumnSizes  map[int]int64
	ValueCounts  map[int]int64  // nulls and NaNs included
	NullCounts   map[int]int64  // of levels: null and empty parents count
	NaNCounts    map[int]int64  // of float and double columns
	Lower, Upper map[int][]byte // as Iceberg's single-value serialization
	SplitOffsets []int64        // where row groups begin
}

// ErrRequired: rows have no value for a column that has to have one.
var ErrRequired = errors.New("it is null, and the column is required")

var errClosed = errors.New("parquet writer is closed")

// New returns a writer of one file, with a pool of its own. Whoever writes many
// files keeps a [Pool].
func New(w io.Writer, s *schema.Schema, o Options) (*Writer, error) {
	p, err := NewPool(o)
	if err != nil {
		return nil, err
	}
	return p.Writer(w, s)
}

// Write appends the rows of rec, which may be released after that; until a row group is
// written the writer may hold on to its memory. The columns of rec are
// matched by field id; optional columns may be left out and are null. String columns
// may be dictionary<int32, string>. An error means that rec does not fit the schema
// or that the output failed; the file is then good for Abort only.
func (w *Writer) Write(rec arrow.RecordBatch) error {
	return w.WriteRows(rec, nil)
}

// WriteRows is [Writer.Write] of those rows of rec that have the indexes rows, in their
// order; nil: of all. What a partition gets of a batch is spread over it: gathering it
// before would cost more than writing it.
func (w *Writer) WriteRows(rec arrow.RecordBatch, rows []int32) error {
	if w.err != nil {
		return w.err
	}
	n := rec.NumRows()
	if rows != nil {
		n = int64(len(rows))
	}
	if n == 0 {
		return nil
	}
	if err := w.set.add(rec, rows, int(n)); err != nil {
		w.err = err
		return err
	}
	w.rows += n
	w.open += n
	if w.measure() >= w.pool.opts.RowGroupBytes {
		if w.err = w.flush(); w.err == nil {
			w.set.next()
			w.measure()
		}
	}
	return w.err
}

// Rows returns the number of rows written.
func (w *Writer) Rows() int64 { return w.rows }

// Held returns the bytes of memory that the writer takes, most of it for values.
func (w *Writer) Held() int64 { return w.held }

// Size returns the bytes of Parquet put out so far, plus an estimate of what the
// values held will come to.
func (w *Writer) Size() int64 {
	if w.open == 0 {
		return w.out.n
	}
	values, _ := w.set.size()
	if w.raw > 0 {
		return w.out.n + values*w.out.n/w.raw
	}
	return w.out.n + values/firstRatio
}

// firstRatio is what values are guessed to shrink by before a row group has shown it.
const firstRatio = 4

// flush encodes the values held as a row group.
func (w *Writer) flush() error {
	if w.open == 0 {
		return nil
	}
	values := w.measure()
	if err := w.pool.rowGroup(w.out, w.set, w.open, values); err != nil {
		return fmt.Errorf("encode parquet row group: %w", err)
	}
	w.raw += values
	w.open = 0
	return nil
}

// measure notes the memory held, and returns the bytes of the values.
func (w *Writer) measure() (values int64) {
	values, w.held = w.set.size()
	return values
}

// Close writes the rest of the file and returns its metrics. It does not close the
// output. A file without rows is a valid file.
func (w *Writer) Close() (Metrics, error) {
	if w.err != nil {
		return Metrics{}, w.err
	}
	m, err := w.finish()
	if err != nil {
		w.Abort()
		w.err = err
		return Metrics{}, err
	}
	w.release()
	w.err = errClosed
	return m, nil
}

func (w *Writer) finish() (Metrics, error) {
	if err := w.flush(); err != nil {
		return Metrics{}, err
	}
	m := w.set.metrics()
	e := <-w.pool.encoders
	defer func() { w.pool.encoders <- e }()
	if err := e.finish(w.out, &w.set.foot); err != nil {
		return Metrics{}, fmt.Errorf("finish parquet file: %w", err)
	}
	w.set.foot.note(&m)
	m.Rows, m.Size = w.rows, w.out.n
	return m, nil
}

// Abort gives up the file and its memory. Bytes may have gone out. It is safe to
// call at any time, after Close and twice.
func (w *Writer) Abort() {
	w.release()
	if w.err == nil {
		w.err = errClosed
	}
}

func (w *Writer) release() {
	if w.set == nil {
		return
	}
	w.pool.put(w.set)
	w.set, w.held, w.open = nil, 0, 0
}

// countingWriter counts the bytes that reach the output.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
