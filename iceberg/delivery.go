package iceberg

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	icego "github.com/apache/iceberg-go"
	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/pipeline"
)

// delivery is the data files of one commit, while they are written. Each source
// partition has files of its own, so that lanes encode at the same time and the rows
// of a file are in the order of the log.
type delivery struct {
	t      *table
	change *change
	life   context.Context // of the files being written: ends with Abort
	end    context.CancelCauseFunc

	next   atomic.Int64 // number of the next file
	held   atomic.Int64 // bytes in encoders
	output atomic.Int64 // bytes of Parquet so far
	files  atomic.Int64 // open
	full   atomic.Bool

	mu struct {
		sync.Mutex
		lanes  map[pipeline.Partition]*lane
		done   []icego.DataFile
		dirs   []*layout // under which files were written
		born   time.Time // of the oldest file
		closed bool
	}
}

var _ pipeline.Delivery = (*delivery)(nil)

var errEnded = errors.New("delivery has ended")

// Begin implements [pipeline.Table].
func (t *table) Begin(ctx context.Context) (pipeline.Delivery, error) {
	d := &delivery{t: t, change: newChange(kindData, newID())}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	d.mu.lanes = map[pipeline.Partition]*lane{}
	return d, nil
}

// Write implements [pipeline.Delivery].
func (d *delivery) Write(ctx context.Context, b *pipeline.Batch, r pipeline.Rows) error {
	stop := context.AfterFunc(ctx, func() { d.end(context.Cause(ctx)) }) // an upload that hangs ends with ctx, and the delivery with it
	defer stop()
	l := d.lane(b.Span.Partition)
	if l == nil {
		return errEnded
	}
	if err := l.write(ctx, r.Data); err != nil {
		d.end(err)
		err = fmt.Errorf("write rows of %v for table %s: %w", b.Span.Partition, d.t.name, err)
		if errors.Is(err, parquetfile.ErrRequired) { // judged before the column was pinned
			return &pipeline.Halt{
				Class: string(Stricter), Detail: err.Error(),
				Remedy: "make the column optional until the records that have no value for it are in the table",
			}
		}
		return err
	}
	return nil
}

// lane returns the files of a partition, nil when the delivery has ended.
func (d *delivery) lane(p pipeline.Partition) *lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil
	}
	l := d.mu.lanes[p]
	if l == nil {
		l = newLane(d)
		d.mu.lanes[p] = l
	}
	return l
}

// Size implements [pipeline.Delivery].
func (d *delivery) Size() (held, output int64, full bool) {
	return d.held.Load(), d.output.Load(), d.full.Load()
}

// Commit implements [pipeline.Delivery].
func (d *delivery) Commit(ctx context.Context, st pipeline.Stamp, claims []pipeline.Claim, cause string) error {
	files, err := d.finish(ctx, cause)
	if err != nil {
		return fmt.Errorf("finish files of table %s: %w", d.t.name, err)
	}
	if err := d.t.turn.take(ctx); err != nil {
		return err
	}
	defer d.t.turn.give()
	d.change.claims, d.change.files = claims, files
	s := staged{files: files, born: d.mu.born}
	for _, dir := range d.mu.dirs {
		s.schemas = append(s.schemas, dir.iceberg)
	}
	return d.t.commitData(ctx, d.change, st, s)
}

// Abort implements [pipeline.Delivery]. Files that were finished stay where they
// are: maintenance removes them.
func (d *delivery) Abort(ctx context.Context) error {
	d.end(errEnded)
	d.mu.Lock()
	d.mu.closed = true
	lanes := d.mu.lanes
	d.mu.lanes = nil
	d.mu.Unlock()
	var errs []error
	for _, l := range lanes {
		errs = append(errs, l.abort(context.WithoutCancel(ctx)))
	}
	d.held.Store(0)
	return errors.Join(errs...)
}

// finish closes all files, some at a time, and makes sure that each is in the store
// with its whole length.
func (d *delivery) finish(ctx context.Context, cause string) ([]icego.DataFile, error) {
	d.mu.Lock()
	d.mu.closed = true
	lanes := d.mu.lanes
	d.mu.lanes = nil
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { d.end(context.Cause(ctx)) })
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, l := range lanes {
		for _, f := range l.takeAll() {
			g.Go(func() error { return d.close(gctx, f, cause) })
		}
	}
	if err := g.Wait(); err != nil {
		d.end(err)
		for _, l := range lanes {
			_ = l.abort(context.WithoutCancel(ctx))
		}
		return nil, err
	}
	d.held.Store(0)
	return d.mu.done, nil
}

// close finishes one file and books it.
func (d *delivery) close(ctx context.Context, f *dataFile, reason string) error {
	failpoint.Hit("file.beforeClose")
	df, err := f.close(ctx)
	if err != nil {
		return err
	}
	failpoint.Hit("file.afterVerify")
	d.t.sink.obs.file(d.t.name, df.FileSizeBytes(), d.t.sink.cfg.TargetFileSize, reason)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.done = append(d.mu.done, df)
	return nil
}

// started books a new file and the layout it is written under.
func (d *delivery) started(l *layout) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.born.IsZero() {
		d.mu.born = time.Now()
	}
	if !slices.Contains(d.mu.dirs, l) {
		d.mu.dirs = append(d.mu.dirs, l)
	}
}

// lane is the files of one source partition. Batches of a partition come one after
// the other; the mutex is for Abort.
type lane struct {
	d *delivery

	mu struct {
		sync.Mutex
		laid   *arrow.Schema        // of the last batch,
		layout *layout              // and what its files are written under
		open   map[string]*dataFile // by partition value; "" where the table is not partitioned
		order  []string             // of open, oldest first
	}
}

func newLane(d *delivery) *lane {
	l := &lane{d: d}
	l.mu.open = map[string]*dataFile{}
	return l
}

func (l *lane) write(ctx context.Context, rec arrow.RecordBatch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.arrange(ctx, rec.Schema()); err != nil {
		return err
	}
	parts, err := l.mu.layout.split(rec)
	if err != nil {
		return err
	}
	for i := range parts {
		if err := l.writePart(ctx, &parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// arrange finds the layout that the rows fit, and ends the files of another.
func (l *lane) arrange(ctx context.Context, laid *arrow.Schema) error {
	if l.mu.layout != nil && (l.mu.laid == laid || l.mu.layout.takes(laid)) {
		l.mu.laid = laid
		return nil
	}
	next, err := l.d.t.layoutFor(laid)
	if err != nil {
		return err
	}
	for len(l.mu.order) > 0 {
		if err := l.roll(ctx, l.mu.order[0], EndSchema); err != nil {
			return err
		}
	}
	l.mu.layout, l.mu.laid = next, laid
	return nil
}

func (l *lane) writePart(ctx context.Context, p *part) error {
	f := l.mu.open[p.key]
	if f == nil {
		if l.d.files.Load() >= int64(l.d.t.sink.cfg.OpenFiles) {
			l.d.full.Store(true)
			if len(l.mu.order) > 0 {
				if err := l.roll(ctx, l.mu.order[0], EndOpen); err != nil {
					return err
				}
			}
		}
		var err error
		if f, err = l.d.create(l.mu.layout, p); err != nil {
			return err
		}
		l.mu.open[p.key] = f
		l.mu.order = append(l.mu.order, p.key)
	}
	if err := f.write(p.rec, p.rows); err != nil {
		return err
	}
	failpoint.Hit("file.midRowGroup")
	if f.size >= l.d.t.sink.cfg.TargetFileSize {
		l.d.full.Store(true)
		return l.roll(ctx, p.key, EndSize)
	}
	return nil
}

// roll finishes one file.
func (l *lane) roll(ctx context.Context, key, reason string) error {
	f := l.mu.open[key]
	l.drop(key)
	return l.d.close(ctx, f, reason)
}

func (l *lane) drop(key string) {
	delete(l.mu.open, key)
	for i, k := range l.mu.order {
		if k == key {
			l.mu.order = append(l.mu.order[:i], l.mu.order[i+1:]...)
			return
		}
	}
}

// takeAll returns the open files and forgets them, except that abort still ends
// those that are not closed by then.
func (l *lane) takeAll() []*dataFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*dataFile
	for _, key := range l.mu.order {
		out = append(out, l.mu.open[key])
	}
	return out
}

func (l *lane) abort(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.mu.open {
		errs = append(errs, f.abort(ctx))
	}
	l.mu.open, l.mu.order = map[string]*dataFile{}, nil
	return errors.Join(errs...)
}
