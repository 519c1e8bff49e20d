package iceberg

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	icego "github.com/apache/iceberg-go"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/parquetfile"
)

// dataFile is one Parquet file being written. One goroutine uses it at a time.
type dataFile struct {
	d      *delivery
	layout *layout
	part   *part
	path   string
	bucket objstore.Bucket
	key    string
	out    objstore.Writer
	enc    *parquetfile.Writer
	sort   *sorter // nil: rows stay in the order of the log
	held   int64   // as booked in the delivery
	size   int64   // bytes of output, as booked
	ended  bool
}

// create begins a file for the rows of a partition value.
func (d *delivery) create(l *layout, p *part) (*dataFile, error) {
	path := fmt.Sprintf("%s/data/fh-%s/%d.parquet", l.location, d.change.id, d.next.Add(1)-1)
	b, key, err := d.t.sink.storage.at(d.life, path)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("file.beforeCreate")
	out, err := b.Create(d.life, key)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	enc, err := d.t.sink.pool.Writer(out, l.ours)
	if err != nil {
		_ = out.Abort(d.life)
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	d.started(l)
	d.files.Add(1)
	f := &dataFile{d: d, layout: l, part: &part{key: p.key, values: p.values}, path: path, bucket: b, key: key, out: out, enc: enc}
	if len(l.order) > 0 {
		f.sort = &sorter{by: l.order, limit: d.t.sink.rowGroupBytes()}
	}
	return f, nil
}

// write appends the rows of rec that have the indexes rows; nil: all.
func (f *dataFile) write(rec arrow.RecordBatch, rows []int32) error {
	if f.sort == nil {
		return f.encode(rec, rows)
	}
	sorted, order, err := f.sort.add(rec, rows)
	if err != nil {
		return fmt.Errorf("encode rows into %s: %w", f.path, err)
	}
	if sorted == nil {
		f.book(f.enc.Held()+f.sort.held, f.enc.Size())
		return nil
	}
	defer sorted.Release()
	return f.encode(sorted, order)
}

func (f *dataFile) encode(rec arrow.RecordBatch, rows []int32) error {
	if err := f.enc.WriteRows(rec, rows); err != nil {
		return fmt.Errorf("encode rows into %s: %w", f.path, err)
	}
	f.book(f.enc.Held(), f.enc.Size())
	return nil
}

// book tells the delivery how much the file holds and has put out.
func (f *dataFile) book(held, size int64) {
	f.d.held.Add(held - f.held)
	f.d.output.Add(size - f.size)
	f.held, f.size = held, size
}

// close finishes the file, and returns its manifest entry when the store shows all
// of it.
func (f *dataFile) close(ctx context.Context) (icego.DataFile, error) {
	if f.sort != nil {
		rest, order, err := f.sort.flush()
		if err != nil {
			return nil, fmt.Errorf("finish %s: %w", f.path, err)
		}
		if rest != nil {
			err = f.encode(rest, order)
			rest.Release()
			if err != nil {
				return nil, err
			}
		}
	}
	m, err := f.enc.Close()
	if err != nil {
		return nil, fmt.Errorf("finish %s: %w", f.path, err)
	}
	failpoint.Hit("file.afterClose")
	size, err := f.out.Close(ctx)
	if err == nil {
		err = failpoint.Err("file.afterUpload")
	}
	if err != nil {
		return nil, fmt.Errorf("finish %s: %w", f.path, err)
	}
	f.end(size)
	o, err := f.bucket.Stat(ctx, f.key)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", f.path, err)
	}
	if o.Size != size || m.Size != size {
		return nil, fmt.Errorf("verify %s: the store has %d bytes, %d were written, %d encoded", f.path, o.Size, size, m.Size)
	}
	return f.entry(m, size)
}

func (f *dataFile) abort(ctx context.Context) error {
	if f.ended {
		return nil
	}
	f.end(f.size)
	if f.sort != nil {
		f.sort.drop()
	}
	f.enc.Abort()
	return f.out.Abort(ctx)
}

func (f *dataFile) end(size int64) {
	f.ended = true
	f.book(0, size)
	f.d.files.Add(-1)
}

// entry describes the file to the table.
func (f *dataFile) entry(m parquetfile.Metrics, size int64) (icego.DataFile, error) {
	logical := map[int]string{}
	for i := range f.layout.parts {
		if p := &f.layout.parts[i]; p.logical != "" {
			logical[p.id] = p.logical
		}
	}
	b, err := icego.NewDataFileBuilder(f.layout.spec, icego.EntryContentData, f.path, icego.ParquetFile,
		f.part.values, logical, nil, m.Rows, size)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", f.path, err)
	}
	b.ColumnSizes(m.ColumnSizes).ValueCounts(m.ValueCounts).NullValueCounts(m.NullCounts).NaNValueCounts(m.NaNCounts).
		LowerBoundValues(m.Lower).UpperBoundValues(m.Upper).SplitOffsets(m.SplitOffsets)
	if f.sort != nil && f.sort.runs == 1 && f.layout.orderID != 0 { // with more, only its row groups are in order
		b.SortOrderID(f.layout.orderID)
	}
	return b.Build(), nil
}
