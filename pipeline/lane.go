package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/failpoint"
)

// lane carries one partition from its reader into the tables.
type lane struct {
	p    *Pipeline
	src  Lane
	part Partition // as the log calls it
	high Position
	revs []revFrom // ascending; the newest one not above a position is in force there

	apply turn // one batch at a time, live or read again
	steps map[int64][]Steps

	pos struct {
		sync.Mutex
		done  Cursor // every batch below has been offered to every table
		back  int    // counts the times that done went back
		fed   map[*table]bool
		acked Position
		when  time.Time // of the last ack
		gone  bool      // given away
		halt  *Halt
		err   error
	}
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// run starts reading. ctx only lends its values: the lane ends in stop.
func (l *lane) run(ctx context.Context) {
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.pos.fed = map[*table]bool{}
	again := func(what string, f func(context.Context) error) {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				err := f(ctx)
				if err == nil || ctx.Err() != nil {
					return
				} else if errors.Is(err, errRewound) {
					continue
				}
				l.failed(err)
				if errors.Is(err, ErrStale) {
					l.p.lookAtLog()
				}
				l.p.log.Warn(what, "partition", l.part, "err", err)
				pause(ctx, l.p.cfg.Retry)
			}
		})
	}
	again("reading stopped", l.live)
	again("catching up stopped", l.catchUp)
}

// failed books an error, which may be a halt of the partition; nil: it reads again.
func (l *lane) failed(err error) {
	l.pos.Lock()
	defer l.pos.Unlock()
	l.pos.err, l.pos.halt = err, nil
	errors.As(err, &l.pos.halt)
}

// standing returns a halt that is still waiting for an operator.
func (l *lane) standing() *Halt {
	l.pos.Lock()
	defer l.pos.Unlock()
	return l.pos.halt
}

// live reads on from where the lane stands and offers everything to everyone.
func (l *lane) live(ctx context.Context) error {
	if l.standing() != nil { // watchLog starts the lane anew when an operator has decided
		<-ctx.Done()
		return ctx.Err()
	}
	s := Start{At: l.at(), High: l.high}
	r, err := l.src.Open(ctx, s)
	if err != nil {
		return fmt.Errorf("open at %q: %w", s.At.At, err)
	}
	defer func() { _ = r.Close() }()
	l.failed(nil)
	for {
		if !l.clear(ctx) {
			return ctx.Err()
		}
		if l.rewind(ctx) {
			return errRewound
		}
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read at %q: %w", l.at().At, err)
		}
		span := b.Span
		if err := l.offer(ctx, b, nil); err != nil {
			return fmt.Errorf("deliver [%q, %q): %w", span.From.At, span.To.At, err)
		}
	}
}

var errRewound = errors.New("going back to the first row that every table lacks")

// clear waits while the pipeline is paused, or while no table that this lane feeds
// takes rows: reading on would only fetch what has to be fetched again.
func (l *lane) clear(ctx context.Context) bool {
	for l.p.paused.Load() || l.blocked() {
		if !pause(ctx, min(l.p.cfg.Retry, 100*time.Millisecond)) {
			return false
		}
	}
	return ctx.Err() == nil
}

func (l *lane) blocked() bool {
	fed := l.feeds()
	return len(fed) > 0 && !slices.ContainsFunc(fed, func(t *table) bool { return t.up() })
}

// rewind takes the lane back when every table that it feeds lags, or has nothing
// of it on the way: then there is nobody for whom it should run ahead of a second
// reader.
func (l *lane) rewind(ctx context.Context) bool {
	if late, _ := l.p.late(l.part); len(late) == 0 || !l.apply.take(ctx) {
		return false
	}
	defer l.apply.give()
	late, from := l.p.late(l.part)
	for _, t := range l.feeds() {
		if t.holds(l.part) || !t.up() {
			return false
		}
	}
	if len(late) == 0 {
		return false
	}
	l.pos.Lock()
	if from.At < l.pos.done.At {
		l.pos.done = from
		l.pos.back++
	}
	l.pos.Unlock()
	for _, t := range late { // after the position: low must see one or the other
		t.unlag(l.part, t.gen)
	}
	return true
}

func (l *lane) feeds() []*table {
	l.pos.Lock()
	ts := slices.Collect(maps.Keys(l.pos.fed))
	l.pos.Unlock()
	return slices.DeleteFunc(ts, func(t *table) bool { return t.gone() }) // its lock comes before the lane's
}

// catchUp brings what tables have let go, with a second reader, so that a table
// in trouble never holds the lane.
func (l *lane) catchUp(ctx context.Context) error {
	for pause(ctx, l.p.cfg.Retry) {
		late, from := l.p.late(l.part)
		if len(late) == 0 || l.p.paused.Load() {
			continue
		}
		if err := l.follow(ctx, late, from); err != nil && ctx.Err() == nil {
			return fmt.Errorf("catch up from %q: %w", from.At, err)
		}
	}
	return nil
}

func (l *lane) follow(ctx context.Context, late []lateTable, from Cursor) error {
	r, err := l.p.src.Open(ctx, l.src.Partition(), Start{At: from})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	for {
		wait, cancel := context.WithTimeout(ctx, l.p.cfg.Retry)
		b, err := r.Next(wait)
		cancel()
		if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
		span := b.Span
		if err := l.offer(ctx, b, late); err != nil {
			return fmt.Errorf("deliver [%q, %q): %w", span.From.At, span.To.At, err)
		}
		if late, from = l.p.late(l.part); len(late) == 0 || from.At < span.To.At {
			return nil // all have caught up, or one fell behind this reader
		}
	}
}

// offer takes b through the stages and offers its rows to the tables: to all
// that keep up, or, for a batch read again, to those in late. Each part of the
// batch goes by the revision in force there.
func (l *lane) offer(ctx context.Context, b *Batch, late []lateTable) error {
	defer func() { b.Release() }() // segments add to it
	if !l.apply.take(ctx) {
		return ctx.Err()
	}
	defer l.apply.give()
	b.Span.Partition = l.part
	for _, seg := range l.segments(b) {
		if err := l.judge(ctx, seg.b, seg.rev, late); err != nil {
			return err
		}
		done := l.at()
		for _, t := range late {
			t.caughtUp(seg.b.Span, done, t.gen)
		}
		if late == nil {
			l.pos.Lock()
			l.pos.done = seg.b.Span.To
			l.pos.Unlock()
		}
	}
	return nil
}

type segment struct {
	b   *Batch
	rev int64
}

// segments cuts a batch where a revision begins. Nearly always there is one.
func (l *lane) segments(b *Batch) []segment {
	rev, next := l.inForce(b.Span.From.At)
	if next == "" || next >= b.Span.To.At {
		return []segment{{b, rev}}
	}
	var out []segment
	lo, from := 0, b.Span.From
	for {
		hi, to := len(b.Values), b.Span.To
		if next != "" && next < b.Span.To.At {
			hi, to = lo, Cursor{At: next}
			for hi < len(b.Values) && b.Cursor(hi).At < next {
				hi++
			}
		}
		out = append(out, segment{b.slice(lo, hi, from, to), rev})
		if to == b.Span.To {
			return out
		}
		lo, from = hi, to
		rev, next = l.inForce(from.At)
	}
}

// inForce returns the revision in force at a position, and where the next begins.
func (l *lane) inForce(at Position) (rev int64, next Position) {
	for i := len(l.revs) - 1; i >= 0; i-- {
		if l.revs[i].from <= at {
			return l.revs[i].rev, next
		}
		next = l.revs[i].from
	}
	panic(fmt.Sprintf("BUG: no revision in force at %q of %v", at, l.part))
}

// slice returns records lo to hi of a batch as it came from the reader.
func (b *Batch) slice(lo, hi int, from, to Cursor) *Batch {
	s := *b
	s.Span.From, s.Span.To = from, to
	s.Values, s.Times = b.Values[lo:hi:hi], b.Times[lo:hi:hi]
	s.Cursor = func(i int) Cursor { return b.Cursor(lo + i) }
	if b.Meta != nil {
		s.Meta = b.Meta.NewSlice(int64(lo), int64(hi)) // the memory is the reader's
		whole := b.Release
		meta := s.Meta
		b.Release = func() { meta.Release(); whole() }
	}
	return &s
}

// course is one of the ways that a batch takes: by the steps of a revision to a sink.
type course struct {
	rev  int64
	sink int // index into the steps
}

// judge takes a batch of one revision to every sink.
func (l *lane) judge(ctx context.Context, b *Batch, rev int64, late []lateTable) error {
	all, err := l.stepsOf(rev)
	if err != nil {
		return err
	}
	size := b.Bytes()
	var seen []func() // told once the batch is through: a batch that fails comes again
	for i := range all {
		own, sink := b, all[i].Sink
		if len(all) > 1 {
			if late != nil && !awaited(late, sink) {
				continue // read again for others
			}
			own = b.Fork()
		}
		tell, err := l.take(ctx, own, course{rev, i}, size, late)
		if err != nil {
			return sinkError(sink, err)
		}
		seen = append(seen, tell)
		size = 0 // of the records, which came once
	}
	if late == nil {
		for _, tell := range seen {
			tell()
		}
	}
	return nil
}

func sinkError(sink string, err error) error {
	if sink == "" {
		return err
	}
	return fmt.Errorf("sink %q: %w", sink, err)
}

// awaited reports whether a table of the sink is among those that lag.
func awaited(late []lateTable, sink string) bool {
	return slices.ContainsFunc(late, func(t lateTable) bool { of, _ := SplitTable(t.name); return of == sink })
}

// take takes a batch through the steps of one sink, which it leaves as rows of its
// tables. size is that of the records, where they are counted. tell is for observers.
func (l *lane) take(ctx context.Context, b *Batch, c course, size int64, late []lateTable) (tell func(), err error) {
	span := b.Span
	if err := l.process(ctx, b, c); err != nil {
		return nil, err
	}
	failpoint.Hit("route.afterRoute")
	steps, err := l.stepsFor(c)
	if err != nil {
		return nil, err
	}
	known, units, dead := l.p.ctl.Known(), b.units(), steps.DeadLetters
	rows := make([]int, len(b.Parts))
	for i, part := range b.Parts {
		lay := l.lay
		if known.Forfeited(part.Table) {
			lay = l.layForfeited
		}
		n, more, err := lay(ctx, b, part, c, dead, late)
		if err != nil {
			return nil, fmt.Errorf("table %q: %w", part.Table, err)
		}
		rows[i], units = n, units+more
	}
	if len(b.Rejects) > 0 && !known.Forfeited(dead) { // the dead-letter table is one more table
		t := l.p.table(ctx, dead)
		slices.SortStableFunc(b.Rejects, func(x, y Reject) int {
			if x.Rec != y.Rec {
				return int(x.Rec - y.Rec)
			}
			return int(x.Sub - y.Sub)
		})
		letters, err := l.layRejects(b, t, c)
		if err != nil {
			return nil, fmt.Errorf("lay out dead letters: %w", err)
		}
		l.feed(t, late)
		t.take(ctx, b, letters, late)
		letters.Data.Release()
	}
	return func() {
		for i, n := range rows {
			l.p.obs.rows(b.Parts[i].Table, n)
		}
		l.p.obs.judged(span.Partition, steps.Sink, units, size, b)
	}, nil
}

func (l *lane) stepsFor(c course) (*Steps, error) {
	all, err := l.stepsOf(c.rev)
	if err != nil {
		return nil, err
	}
	return &all[c.sink], nil
}

func (l *lane) stepsOf(rev int64) ([]Steps, error) {
	s, ok := l.steps[rev]
	if !ok {
		l.p.mu.Lock()
		fresh := l.p.mu.steps[rev]
		l.p.mu.Unlock()
		if fresh == nil {
			return s, fmt.Errorf("no steps for revision %d: %w", rev, ErrStale)
		}
		s = fresh()
		l.steps[rev] = s
	}
	return s, nil
}

// lay decodes one part and offers the rows. Rejects are found even for rows the
// table has or lets go: the dead-letter table goes by its own watermark. n is how many rows
// there are, more how many units the decoder found beyond those of the part, or less if they
// were not judged.
func (l *lane) lay(ctx context.Context, b *Batch, part Part, c course, dead string, late []lateTable) (n, more int, err error) {
	if late != nil && !wants(late, part.Table) && !wants(late, dead) {
		return 0, 0, nil
	}
	if len(part.Units) == 0 {
		return 0, 0, nil
	}
	t := l.p.table(ctx, part.Table)
	pinned, bound, err := t.pinned(c.rev)
	if err != nil {
		return 0, 0, err
	}
	if !bound { // what it requires is not known, hence not what is a dead letter
		if late != nil {
			return 0, 0, errUnbound
		}
		first := b.Cursor(int(b.Record(part.Units[0])))
		l.feed(t, late)
		t.letGo(l.part, first)
		letters := l.p.table(ctx, dead)
		letters.awaits(t)
		letters.letGo(l.part, b.Span.From) // rejects of the stages too
		return 0, -len(part.Units), nil
	}
	l.feed(t, late)
	part.Pinned = pinned
	rows, err := l.decode(ctx, b, part, t, c)
	if err != nil {
		return 0, 0, err
	}
	defer func() { rows.Data.Release() }()
	n, more = len(rows.Rec), b.book(part, rows)
	t.take(ctx, b, rows, late)
	return n, more, nil
}

// layForfeited is lay for a table that was given up: its rows are dropped. What is no row
// of it stays a dead letter, or readers before and after would disagree.
func (l *lane) layForfeited(ctx context.Context, b *Batch, part Part, c course, dead string, late []lateTable) (n, more int, err error) {
	if len(part.Units) == 0 || late != nil && !wants(late, dead) {
		return 0, 0, nil
	}
	if part.Pinned, _, err = newTable(l.p, part.Table).pinned(c.rev); err != nil {
		return 0, 0, err
	}
	rows, err := l.decodeFor(ctx, b, part, nil, c)
	if err != nil {
		return 0, 0, fmt.Errorf("decode: %w", err)
	}
	defer rows.Data.Release()
	if err := checkRows(b, part, rows); err != nil {
		return 0, 0, err
	}
	more = b.book(part, rows)
	b.Drop("forfeited", len(rows.Rec))
	return 0, more, nil
}

// book takes over what a decoder left out of the rows of a part. more is how many units
// it found beyond those of the part.
func (b *Batch) book(part Part, rows Rows) (more int) {
	b.Rejects = append(b.Rejects, rows.Rejects...)
	more = len(rows.Rec) + len(rows.Rejects) - len(part.Units)
	for rule, n := range rows.Dropped {
		b.Drop(rule, n)
		more += n
	}
	return max(0, more)
}

var errUnbound = errors.New("the table could not be bound yet")

// decode lays a part out, a second time if the table made room for what did not fit.
func (l *lane) decode(ctx context.Context, b *Batch, part Part, t *table, c course) (Rows, error) {
	rows, err := l.decodeFor(ctx, b, part, t.schema(), c)
	if err != nil {
		return rows, fmt.Errorf("decode: %w", err)
	}
	if rows.Want != nil {
		if s, ok := t.evolve(ctx, rows.Want); ok {
			rows.Data.Release()
			if rows, err = l.decodeFor(ctx, b, part, s, c); err != nil {
				return rows, fmt.Errorf("decode again: %w", err)
			}
		}
	}
	return rows, checkRows(b, part, rows)
}

// feed remembers that the lane has rows for a table.
func (l *lane) feed(t *table, late []lateTable) {
	if late != nil {
		return
	}
	l.pos.Lock()
	defer l.pos.Unlock()
	l.pos.fed[t] = true
}

func (l *lane) at() Cursor {
	l.pos.Lock()
	defer l.pos.Unlock()
	return l.pos.done
}

// low is the low watermark: below it, every row of every table is committed.
// It is false for a lane given away: what its tables lacked is forgotten.
//
// The lane's position is read first, so that nothing can slip in behind it. A lane
// that goes back takes rows out of a table's lag and into a table that may have been
// asked already: then everyone is asked again.
func (l *lane) low() (Cursor, bool) {
	for {
		low, back := l.stand()
		for _, t := range l.p.all() {
			if c, ok := t.lowest(l.part); ok && c.At < low.At {
				low = c
			}
		}
		if stood, gone := l.stood(back); stood {
			return low, !gone
		}
	}
}

// stand returns where the lane is, and how often it went back to get there.
func (l *lane) stand() (done Cursor, back int) {
	l.pos.Lock()
	defer l.pos.Unlock()
	return l.pos.done, l.pos.back
}

// stood reports whether the lane has not gone back since stand, and whether it was
// given away.
func (l *lane) stood(back int) (stood, gone bool) {
	l.pos.Lock()
	defer l.pos.Unlock()
	return l.pos.back == back, l.pos.gone
}

// ack tells the source what is durable, if that has moved, and now and then in
// case somebody else moved the group's offset. The stamp is taken first: a low
// watermark from before a replay must not pass for one of the new run, in which the
// rows below it may be missing again. With the new stamp the old lane is gone.
func (l *lane) ack(ctx context.Context) {
	st := l.p.stamp()
	low, ok := l.low()
	l.pos.Lock()
	same := low.At == l.pos.acked && time.Since(l.pos.when) < 6*l.p.cfg.LogPoll
	l.pos.Unlock()
	if !ok || same || ctx.Err() != nil {
		return
	}
	if err := l.src.Ack(ctx, low, st); err != nil { // a lost ack costs reading again
		l.p.log.Debug("ack", "partition", l.part, "err", err)
		return
	}
	l.pos.Lock()
	l.pos.acked, l.pos.when = low.At, time.Now()
	l.pos.Unlock()
}

// checkShares is the conservation law of the stages: no unit vanishes.
func checkShares(b *Batch, span Span) error {
	n := len(b.Rejects)
	for _, p := range b.Parts {
		n += len(p.Units)
	}
	left := 0
	for rule, k := range b.Dropped {
		if rule != "skipped" { // gone from Values
			left += k
		}
	}
	if b.Sub == nil && n+left != len(b.Values) || b.Sub != nil && n+left < len(b.Values) || b.Span != span {
		return fmt.Errorf("BUG: stages account for %d of %d units, span %v became %v", n+left, len(b.Values), span, b.Span)
	}
	return nil
}

// units counts what the stages made of the records: parts, rejects and drops.
func (b *Batch) units() int {
	n := len(b.Rejects)
	for _, p := range b.Parts {
		n += len(p.Units)
	}
	for _, k := range b.Dropped {
		n += k
	}
	return n
}

// checkRows is the conservation law of a decoder.
func checkRows(b *Batch, part Part, rows Rows) error {
	n := len(rows.Rec) + len(rows.Rejects)
	for _, k := range rows.Dropped {
		n += k
	}
	if rows.Data == nil || rows.Data.NumRows() != int64(len(rows.Rec)) || len(rows.Sub) != len(rows.Rec) ||
		n < len(part.Units) || b.Sub != nil && n != len(part.Units) {
		return fmt.Errorf("BUG: decoder accounts for %d of %d units with %d rows", n, len(part.Units), len(rows.Rec))
	}
	return nil
}
