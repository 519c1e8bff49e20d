package kinesis

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/firehosed/firehosed/pipeline"
)

// Limits of a batch: whichever is reached first ends it.
const (
	maxRecords    = 2_000
	maxBatchBytes = 1 << 20
)

// reader reads one shard. It fetches when it is asked and has nothing left: what a
// shard may give in a second is less than what a lane takes.
type reader struct {
	s    *Source
	part pipeline.Partition
	f    fetcher
	meta metaMaker
	life context.Context // ends in Close
	stop context.CancelFunc

	busy  chan struct{}     // a turn: held by Next, and by whoever needs what is below
	at    pipeline.Position // where the next span begins
	queue []types.Record    // fetched, not handed out
	check *place            // where the service was asked to begin; nil: that was looked at
	ended bool              // nothing is behind the queue, ever
	quiet quiet             // of what was fetched
	stuck error

	mu struct {
		sync.Mutex
		quiet  quiet         // of what was handed out
		behind time.Duration // to the tip; -1: not known
		asked  time.Time     // when Next last returned
	}
}

var _ pipeline.Reader = (*reader)(nil)

// quiet says that nothing was behind a position at a time of the service's clock.
// So it was behind every later position.
type quiet struct {
	at   pipeline.Position
	when time.Time // zero: not known
}

// newReader reads from a position on. known is from earlier readers of the shard.
func newReader(s *Source, part pipeline.Partition, at pipeline.Position, f fetcher, known quiet) *reader {
	r := &reader{s: s, part: part, f: f, at: at, busy: make(chan struct{}, 1), meta: newMetaMaker(s.cfg, part), quiet: known}
	r.life, r.stop = context.WithCancel(context.Background())
	r.ended = at == pipeline.End
	r.mu.behind, r.mu.asked, r.mu.quiet = -1, time.Now(), r.quiet
	return r
}

// Close implements pipeline.Reader. Anybody may call it: a Next that waits ends.
// Batches not released yet stay valid.
func (r *reader) Close() error {
	r.stop()
	r.s.forgetReader(r)
	r.busy <- struct{}{} // soon: Next has been woken
	defer func() { <-r.busy }()
	r.drop()
	r.f.close()
	r.stuck = errReaderClosed
	return nil
}

// drop gives up what was fetched and not handed out. The turn is held.
func (r *reader) drop() {
	r.s.ledger.Charge(-cost(r.queue))
	r.queue = nil
}

// shed gives back what a reader holds that nobody has asked for a while. It is
// fetched again.
func (r *reader) shed(idle time.Duration) {
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	default:
		return // in Next
	}
	r.mu.Lock()
	idles := time.Since(r.mu.asked) >= idle
	r.mu.Unlock()
	if !idles || len(r.queue) == 0 || r.stuck != nil {
		return
	}
	r.drop()
	w, err := parsePosition(r.at)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	r.ended = false
	r.f.seek(w)
}

// Next implements pipeline.Reader.
func (r *reader) Next(ctx context.Context) (*pipeline.Batch, error) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	if r.stuck != nil {
		return nil, r.stuck
	}
	defer func() {
		r.mu.Lock()
		r.mu.asked = time.Now()
		r.mu.Unlock()
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	for len(r.queue) == 0 && !r.ended {
		err := r.fetch(ctx)
		switch {
		case r.life.Err() != nil:
			return nil, errReaderClosed
		case ctx.Err() != nil && err != nil:
			return nil, ctx.Err()
		case err != nil:
			r.stuck = err
			return nil, err
		}
	}
	if len(r.queue) == 0 && r.at == pipeline.End {
		return nil, io.EOF
	}
	return r.batch()
}

// fetch adds a page to the queue.
func (r *reader) fetch(ctx context.Context) error {
	pg, err := r.f.fetch(ctx)
	if err != nil && ctx.Err() == nil {
		return r.explain(ctx, err)
	} else if err != nil {
		return err
	}
	r.queue = pg.recs
	if pg.from != nil {
		r.check = pg.from
	}
	if r.check != nil && (len(pg.recs) > 0 || pg.tip || pg.end) {
		if err := r.verify(pg); err != nil {
			r.drop()
			return err
		}
		r.check = nil
	}
	r.ended = pg.end
	if pg.tip && !pg.end { // it was open then, so it had no children either
		at := r.at
		if n := len(r.queue); n > 0 {
			if at, err = passed(aws.ToString(r.queue[n-1].SequenceNumber)); err != nil {
				return unreadable(r.part, err)
			}
		}
		r.quiet = quiet{at, pg.at}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.behind = pg.behind
	if len(r.queue) == 0 {
		r.mu.quiet = r.quiet
	}
	return nil
}

// explain finds out why a shard cannot be read: it may not be there any more.
func (r *reader) explain(ctx context.Context, err error) error {
	if codeOf(err) != errNotFound {
		return explain(err, r.s.cfg)
	}
	sh, e := r.s.dir().lookup(ctx, r.part)
	if e != nil {
		return e
	} else if sh == nil {
		return unlisted(r.part, r.at)
	}
	return err
}

// unlisted is the halt for a shard that retention has removed with all it had.
func unlisted(p pipeline.Partition, at pipeline.Position) *pipeline.Halt {
	return overtaken(p, at, pipeline.End, fmt.Sprintf("retention has removed the shard before it was read to its end; it was read to %q", at))
}

// verify makes sure that nothing is missing between the position and the first page
// that was asked for there.
func (r *reader) verify(pg page) error {
	st, _, err := r.s.dir().find(r.part)
	if err != nil {
		return err
	}
	first := ""
	if len(pg.recs) > 0 {
		first = aws.ToString(pg.recs[0].SequenceNumber)
	}
	now := pg.at
	if now.IsZero() {
		now = time.Now()
	}
	lost, horizon := false, now.Add(-st.retention)
	switch w := r.check; w.kind {
	case atRecord, afterThis:
		if first == w.seq {
			if w.kind == afterThis { // it was read before
				r.s.ledger.Charge(-costOf(&r.queue[0]))
				r.queue = r.queue[1:]
			}
			return nil
		}
		lost = true
	case atTime:
		lost = w.time.Before(horizon)
	case atStart:
		lost = !r.quiet.when.IsZero() // known since then, and not read
	}
	if !lost || r.quiet.at <= r.at && r.quiet.when.After(horizon) {
		return nil
	}
	to := afterGap(r.at, now)
	switch {
	case first != "":
		to, err = before(first)
	case pg.end:
		to = pipeline.End
	}
	if err != nil {
		return unreadable(r.part, err)
	}
	return overtaken(r.part, r.at, to, fmt.Sprintf("retention of %v has removed records behind %q before they were read", st.retention, r.at))
}

// unreadable is the halt for what a position cannot hold.
func unreadable(p pipeline.Partition, err error) *pipeline.Halt {
	return &pipeline.Halt{
		Class:  pipeline.HaltUnreadable,
		Detail: fmt.Sprintf("%v: %v", p, err),
		Remedy: "report it: the service numbers records in a way that firehosed does not know",
	}
}

// batch hands the head of the queue out.
func (r *reader) batch() (*pipeline.Batch, error) {
	n, size := 0, int64(0)
	for n < len(r.queue) && n < maxRecords && size < maxBatchBytes {
		size += int64(len(r.queue[n].Data))
		n++
	}
	recs := r.queue[:n:n]
	ats := make([]pipeline.Position, n)
	for i := range recs {
		at, err := passed(aws.ToString(recs[i].SequenceNumber))
		if last := r.at; err == nil {
			if i > 0 {
				last = ats[i-1]
			}
			if at <= last {
				err = fmt.Errorf("record %q came behind %q", at, last)
			}
		}
		if err != nil {
			r.drop()
			r.stuck = unreadable(r.part, err)
			return nil, r.stuck
		}
		ats[i] = at
	}
	r.queue = r.queue[n:]
	from, to := r.at, r.at
	if n > 0 {
		to = ats[n-1]
	}
	if len(r.queue) == 0 {
		r.mu.Lock()
		r.mu.quiet = r.quiet
		r.mu.Unlock()
		if r.ended {
			to = pipeline.End
		}
	}
	r.at = to
	return r.build(recs, ats, from, to), nil
}

// build lays a batch out. Its memory is given back when it is released.
func (r *reader) build(recs []types.Record, ats []pipeline.Position, from, to pipeline.Position) *pipeline.Batch {
	b := &pipeline.Batch{
		Span: pipeline.Span{Partition: r.part, From: pipeline.Cursor{At: from}, To: pipeline.Cursor{At: to}},
		Name: nameOf(r.part), Values: make([][]byte, len(recs)), Times: make([]int64, len(recs)), Meta: r.meta.record(recs),
	}
	for i := range recs {
		if b.Values[i] = recs[i].Data; b.Values[i] == nil {
			b.Values[i] = []byte{} // nil would be a tombstone
		}
		b.Times[i] = aws.ToTime(recs[i].ApproximateArrivalTimestamp).UnixMicro()
	}
	b.Cursor = func(i int) pipeline.Cursor {
		switch {
		case i <= 0:
			return b.Span.From
		case i >= len(ats):
			return pipeline.Cursor{At: to}
		}
		return pipeline.Cursor{At: ats[i-1]}
	}
	var once sync.Once
	size, meta := cost(recs), b.Meta
	b.Release = func() {
		once.Do(func() {
			meta.Release()
			r.s.ledger.Charge(-size)
		})
	}
	return b
}

// silent returns what is known of the place behind what was handed out.
func (r *reader) silent() quiet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.quiet
}

// lag returns how far the shard's tip is ahead; -1: not known.
func (r *reader) lag() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.behind
}
