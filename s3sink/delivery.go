package s3sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/pipeline"
)

// delivery is the objects of one commit, while they are staged. There is one open object
// for what the prefix evaluates to, which lanes share, and more where lanes would wait for
// one another; what reaches its size is ended, and the next one begun.
type delivery struct {
	t       *table
	id      uuid.UUID // of the commit
	version int64
	before  int             // objects that the delivery before had open at a time
	life    context.Context // of the uploads: ends with Abort
	end     context.CancelCauseFunc

	held   atomic.Int64 // bytes in memory
	output atomic.Int64 // bytes before compression so far
	full   atomic.Bool

	mu struct {
		sync.Mutex
		open    map[string][]*openObject // by group
		order   []*openObject            // of open, oldest first
		groups  map[string]struct{}      // seen
		most    int                      // that were open at a time
		all     []*openObject            // ever begun
		done    []object
		tallies map[pipeline.Partition]*tally
		born    time.Time // of the oldest object
		closed  bool
	}
}

var _ pipeline.Delivery = (*delivery)(nil)

var errEnded = errors.New("delivery has ended")

// Begin implements [pipeline.Table].
func (t *table) Begin(ctx context.Context) (pipeline.Delivery, error) {
	d := &delivery{t: t, id: uuid.Must(uuid.NewV7())}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	t.mu.Lock()
	d.version, d.before = max(t.mu.rev, 1), t.mu.open
	t.mu.Unlock()
	d.mu.open, d.mu.groups = map[string][]*openObject{}, map[string]struct{}{}
	d.mu.tallies = map[pipeline.Partition]*tally{}
	return d, nil
}

// Write implements [pipeline.Delivery].
func (d *delivery) Write(ctx context.Context, b *pipeline.Batch, r pipeline.Rows) error {
	stop := context.AfterFunc(ctx, func() { d.end(context.Cause(ctx)) }) // an upload that hangs ends with ctx, and the delivery with it
	defer stop()
	if err := d.write(ctx, b, &r); err != nil {
		d.end(err)
		return fmt.Errorf("write rows of %v for table %s: %w", b.Span.Partition, d.t.name, err)
	}
	return nil
}

func (d *delivery) write(ctx context.Context, b *pipeline.Batch, r *pipeline.Rows) error {
	if len(r.Rec) == 0 {
		return nil
	}
	if err := d.count(b, r); err != nil {
		return err
	}
	switch {
	case d.t.dead():
		return d.writeDead(ctx, b, r)
	case d.t.columnar():
		return d.writeColumns(ctx, b, r)
	}
	bytes, err := payloads(r.Data)
	if err != nil {
		return err
	}
	framer := d.t.sink.framer
	line := func(dst []byte, row int) []byte { return framer.Append(dst, bytes.Value(row)) }
	for _, s := range d.t.shares(r.Data) {
		err := d.writeTo(ctx, &s, d.first(b, r, &s), nil, func(o *openObject, i int) (int, error) { return o.frame(&s, i, line) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) writeColumns(ctx context.Context, b *pipeline.Batch, r *pipeline.Rows) error {
	lay, err := d.t.layoutFor(r.Data.Schema())
	if err != nil {
		return err
	}
	for _, s := range d.t.shares(r.Data) {
		err := d.writeTo(ctx, &s, d.first(b, r, &s), lay, func(o *openObject, _ int) (int, error) { return s.n, o.encode(r.Data, &s) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) writeDead(ctx context.Context, b *pipeline.Batch, r *pipeline.Rows) error {
	letters, err := asDeadLetters(r.Data)
	if err != nil {
		return err
	}
	for _, s := range d.t.deadShares(letters) {
		line, err := d.t.sink.line(letters, b, r, s.failed)
		if err != nil {
			return err
		}
		err = d.writeTo(ctx, &s, d.first(b, r, &s), nil, func(o *openObject, i int) (int, error) { return o.frame(&s, i, line) })
		if err != nil {
			return err
		}
	}
	return nil
}

// first returns the time of a share's first record.
func (d *delivery) first(b *pipeline.Batch, r *pipeline.Rows, s *share) time.Time {
	if b.Times == nil {
		return d.t.sink.now()
	}
	return time.UnixMicro(b.Times[r.Rec[s.row(0)]])
}

// count adds the rows of a batch to what the manifest says of their partition.
func (d *delivery) count(b *pipeline.Batch, r *pipeline.Rows) error {
	places, err := d.t.sink.places(b)
	if err != nil {
		return err
	}
	bytes, err := d.t.sink.hashed(d.t.name, r.Data)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return errEnded
	}
	t := d.mu.tallies[b.Span.Partition]
	if t == nil {
		t = &tally{}
		d.mu.tallies[b.Span.Partition] = t
	}
	return t.add(places, r, bytes)
}

// writeTo writes a share into objects of its prefix. write puts rows from the i-th on
// into one and returns the next row.
func (d *delivery) writeTo(ctx context.Context, s *share, first time.Time, l *layout, write func(o *openObject, i int) (int, error)) error {
	for i := 0; i < s.n; {
		o, err := d.object(ctx, s)
		if err != nil {
			return err
		}
		if i, err = d.writeInto(ctx, o, i, first, l, write); err != nil {
			return err
		}
	}
	return nil
}

// writeInto writes to one object, whose turn it has, and gives the turn back. It ends an
// object that is full.
func (d *delivery) writeInto(ctx context.Context, o *openObject, i int, first time.Time, l *layout, write func(o *openObject, i int) (int, error)) (int, error) {
	defer o.turn.give()
	switch {
	case o.out == nil:
		if err := o.begin(first, l); err != nil {
			return i, err
		}
	case o.layout != l:
		return i, d.close(ctx, o, EndSchema)
	}
	i, err := write(o, i)
	d.weigh()
	if err != nil || !o.full() {
		return i, err
	}
	return i, d.close(ctx, o, EndSize)
}

// patience is how long a lane waits for an object before it begins another of the same
// prefix: longer than a write of few records takes.
const patience = 10 * time.Millisecond

// object returns an open object of a prefix with its turn taken. Where all of them are
// busy it begins another, up to one for each processor. If too many are open, it ends the
// one that is open for longest, and the delivery is to be committed soon.
func (d *delivery) object(ctx context.Context, s *share) (*openObject, error) {
	for width := 1; ; {
		o, oldest, err := d.pick(s, width)
		switch {
		case err != nil:
			return nil, err
		case oldest != nil:
			d.full.Store(true)
			if err := d.endOldest(ctx, oldest); err != nil {
				return nil, err
			}
			continue
		}
		wait := patience
		if width == d.t.sink.width {
			wait = time.Hour // for as long as it takes
		}
		taken, err := o.turn.takeWithin(ctx, wait)
		if err != nil {
			return nil, err
		}
		if taken && !o.ended {
			return o, nil
		} else if taken { // another lane has ended it
			o.turn.give()
		} else {
			width = min(width+1, d.t.sink.width)
		}
	}
}

// pick returns an object of a prefix that nobody writes to, if there is one, or else a
// new one, if there are less than width, or else any. If there are too many in all for a
// new one, it returns the oldest.
func (d *delivery) pick(s *share, width int) (o, oldest *openObject, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil, nil, errEnded
	}
	have := d.mu.open[s.group]
	for _, o := range have {
		if len(o.turn) == 0 {
			return o, nil, nil
		}
	}
	most := d.t.sink.cfg.MaxPartitions
	switch {
	case len(have) < width && len(d.mu.order) < most:
		return d.begin(s), nil, nil
	case len(have) == 0:
		return nil, d.mu.order[0], nil
	}
	return have[len(d.mu.all)%len(have)], nil, nil
}

func (d *delivery) endOldest(ctx context.Context, o *openObject) error {
	if err := o.turn.take(ctx); err != nil {
		return err
	}
	defer o.turn.give()
	return d.close(ctx, o, EndPartitions)
}

// plainBytes is what the open objects of a delivery hold together before it is compressed,
// as far as blocks of 32 to 256 KiB allow.
const plainBytes = 32 << 20

// begin books a new object. d.mu is held.
func (d *delivery) begin(s *share) *openObject {
	o := &openObject{
		d: d, group: s.group, values: s.values, failed: s.failed, index: len(d.mu.all), turn: newTurn(),
		block: plainBytes / max(1, len(d.mu.order), d.before),
	}
	d.mu.open[s.group] = append(d.mu.open[s.group], o)
	d.mu.groups[s.group] = struct{}{}
	d.mu.order, d.mu.all = append(d.mu.order, o), append(d.mu.all, o)
	d.mu.most = max(d.mu.most, len(d.mu.order))
	if d.mu.born.IsZero() {
		d.mu.born = d.t.sink.now()
	}
	return o
}

// close ends an object whose turn the caller has. One without rows leaves nothing.
func (d *delivery) close(ctx context.Context, o *openObject, reason string) error {
	if o.ended {
		return nil
	}
	var done []object
	if o.out == nil {
		o.ended = true
	} else {
		entry, err := o.finish(ctx)
		if err != nil {
			return err
		}
		d.t.sink.obs.object(d.t.name, entry.Bytes, d.t.sink.objectSize, reason)
		done = []object{entry}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.done = append(d.mu.done, done...)
	isIt := func(x *openObject) bool { return x == o }
	d.mu.open[o.group] = slices.DeleteFunc(d.mu.open[o.group], isIt)
	d.mu.order = slices.DeleteFunc(d.mu.order, isIt)
	return nil
}

// weigh notices that a delivery is large enough: its objects are full on average.
func (d *delivery) weigh() {
	d.mu.Lock()
	n := max(len(d.mu.groups), d.mu.most)
	d.mu.Unlock()
	if d.output.Load() >= int64(n)*d.t.sink.objectSize {
		d.full.Store(true)
	}
}

// Size implements [pipeline.Delivery]. Parts on their way and below a part's size are
// held, and what compressors and encoders take.
func (d *delivery) Size() (held, output int64, full bool) {
	return d.held.Load(), d.output.Load(), d.full.Load()
}

// Commit implements [pipeline.Delivery].
func (d *delivery) Commit(ctx context.Context, st pipeline.Stamp, claims []pipeline.Claim, cause string) error {
	if err := d.finish(ctx, cause); err != nil {
		_ = d.Abort(ctx) // nothing of it is in any manifest; what stays behind is cleaned up
		return fmt.Errorf("finish objects of table %s: %w", d.t.name, err)
	}
	if err := d.t.turn.take(ctx); err != nil {
		return err
	}
	defer d.t.turn.give()
	d.t.event(ctx, "commit.staged")
	m := &manifest{Kind: kindData, ID: d.id.String(), Objects: d.mu.done}
	m.claim(claims, d.mu.tallies)
	c := &commit{m: m, claims: claims, born: d.mu.born}
	err := d.t.commit(ctx, c, st)
	if len(c.tried) == 0 { // no manifest names its uploads, and none ever will
		_ = d.Abort(ctx)
	}
	return err
}

// finish ends all objects, some at a time.
func (d *delivery) finish(ctx context.Context, cause string) error {
	d.mu.Lock()
	d.mu.closed = true
	open := slices.Clone(d.mu.order)
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { d.end(context.Cause(ctx)) })
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(d.t.sink.completers)
	for _, o := range open {
		g.Go(func() error {
			if err := o.turn.take(gctx); err != nil {
				return err
			}
			defer o.turn.give()
			return d.close(gctx, o, cause)
		})
	}
	err := g.Wait()
	d.t.mu.Lock()
	d.t.mu.open = d.mu.most
	d.t.mu.Unlock()
	slices.SortFunc(d.mu.done, func(a, b object) int { return cmp.Compare(a.Key, b.Key) })
	return err
}

// Abort implements [pipeline.Delivery]. What it cannot give up is cleaned up by age.
func (d *delivery) Abort(ctx context.Context) error {
	d.end(errEnded)
	ctx = context.WithoutCancel(ctx)
	d.mu.Lock()
	d.mu.closed = true
	all := d.mu.all
	d.mu.all, d.mu.order, d.mu.open = nil, nil, nil
	d.mu.Unlock()
	var errs []error
	for _, o := range all {
		if err := o.turn.take(ctx); err != nil { // nobody writes for long: their uploads have ended
			errs = append(errs, err)
			continue
		}
		errs = append(errs, o.abort(ctx))
		o.turn.give()
	}
	return errors.Join(errs...)
}
