package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/schema"
)

// Config is a pipeline's own part of the configuration.
type Config struct {
	Name          string    // key of all its state: [a-z0-9_-]{1,64}
	Start         time.Time // where the very first start begins; zero: the oldest record, to come: the end
	Pure          []byte    // the pure part of the configuration, in one canonical form
	Rules         int       // the version of the rules of this binary
	AsNewRevision int64     // allows an earlier configuration to become this revision; 0: no

	CommitInterval time.Duration            // the longest that a row stays invisible. Default 60s
	Intervals      map[string]time.Duration // CommitInterval of the tables of additional sinks, by the sink's name; may lack some
	LetGoAfter     time.Duration            // how long a table that cannot commit may block others. Default 2m
	LogPoll        time.Duration            // how often the control log is read. Default 10s
	IdlePoll       time.Duration            // how often the ledger of an idle table is read. Default 10m
	Retry          time.Duration            // how often a table that takes nothing is asked again. Default 1s
	RevokeWait     time.Duration            // how long a commit may hold up a rebalance. Default 5s
	DrainWait      time.Duration            // how long commits may take at the end. Default 20s
	MaxRows        int64                    // rows of a delivery that end it early; 0: no limit

	Logger *slog.Logger // nil: silent
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }
	def(&c.CommitInterval, time.Minute)
	def(&c.LetGoAfter, 2*time.Minute)
	def(&c.LogPoll, 10*time.Second)
	def(&c.IdlePoll, 10*time.Minute)
	def(&c.Retry, time.Second)
	def(&c.RevokeWait, 5*time.Second)
	def(&c.DrainWait, 20*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// interval returns the commit interval of a table.
func (c *Config) interval(table string) time.Duration {
	sink, _ := SplitTable(table)
	return cmp.Or(c.Intervals[sink], c.CommitInterval)
}

// Steps is what a lane does to its batches under one revision, for one sink.
type Steps struct {
	Sink        string // its name; "": the pipeline has no other, or it is the first
	Stages      []Stage
	Decoder     Decoder
	DeadLetters string                                         // the table for rejects
	LayRejects  func(b *Batch, s *schema.Schema) (Rows, error) // lays b.Rejects out for it
}

// Admit asks whether a table name from data counts under a revision, given the
// revision's table budget. The answer never changes. Any error stops the batch.
type Admit func(ctx context.Context, table string, budget int) (bool, error)

// Plan builds the steps of a revision from its pure configuration, for every sink. The
// function it returns makes fresh ones for every lane. All tables of a sink that has a
// name begin with it, see [SplitTable].
type Plan func(rev Revision, pure []byte, admit Admit) (func() []Steps, error)

// Pipeline moves the records of one source into the tables of its sinks.
//
// Turns are held over calls that wait, mutexes never. Order: Pipeline.handler,
// lane.apply, table.turn, then the mutexes table.mu, Pipeline.mu, lane.pos.
type Pipeline struct {
	cfg   Config
	src   Source
	sink  Sink
	ctl   *Control
	share *Share
	plan  Plan
	obs   *Observer
	log   *slog.Logger

	poke    chan struct{} // the control log should be looked at
	handler turn          // Assigned, Revoked, a renewal: one at a time
	paused  atomic.Bool
	ended   atomic.Pointer[error] // why Run ended by itself
	sites   sync.Map              // where steps panicked
	end     context.CancelCauseFunc

	mu struct { // leaf
		sync.Mutex
		stamp  Stamp
		steps  map[int64]func() []Steps // by revision
		mine   map[Partition]Lane       // owned, by what the source calls the partition
		lanes  map[Partition]*lane      // being read, by what the log calls the partition
		tables map[string]*table
	}
}

// New returns a pipeline. Nothing is called before Run. obs may be nil.
func New(cfg Config, src Source, sink Sink, ctl *Control, share *Share, plan Plan, obs *Observer) *Pipeline {
	cfg = cfg.withDefaults()
	if obs == nil {
		obs = &Observer{}
	}
	p := &Pipeline{cfg: cfg, src: src, sink: sink, ctl: ctl, share: share, plan: plan, obs: obs}
	p.handler, p.poke = make(turn, 1), make(chan struct{}, 1)
	p.log = cfg.Logger.With("pipeline", cfg.Name)
	p.mu.steps = map[int64]func() []Steps{}
	p.mu.mine, p.mu.lanes, p.mu.tables = map[Partition]Lane{}, map[Partition]*lane{}, map[string]*table{}
	return p
}

// Run blocks until ctx ends and what was read is committed, or DrainWait is over.
// An error that is a *Superseded says that another configuration took over.
func (p *Pipeline) Run(ctx context.Context) error {
	err := p.work(ctx)
	if err != nil && ctx.Err() == nil {
		p.ended.Store(&err)
	}
	return err
}

func (p *Pipeline) work(ctx context.Context) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	// The source outlives ctx by the time it takes to commit what was read.
	run, end := context.WithCancelCause(context.WithoutCancel(ctx))
	p.end = end
	var wg sync.WaitGroup
	wg.Go(func() { p.flushAll(run) })
	wg.Go(func() { p.watchLog(run) })
	wg.Go(func() { p.relieve(run) })
	wg.Go(func() {
		select {
		case <-ctx.Done():
			p.drain(run)
			end(ctx.Err())
		case <-run.Done():
		}
	})
	err := p.src.Run(run, p)
	end(err)
	if p.handler.take(context.WithoutCancel(ctx)) {
		p.release(run, p.owned())
		p.handler.give()
	}
	wg.Wait()
	for _, t := range p.all() {
		t.close(context.WithoutCancel(ctx))
	}
	if cause := context.Cause(run); ctx.Err() != nil && errors.Is(cause, ctx.Err()) {
		return nil
	} else if err == nil || errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// drain stops every lane and commits what they brought.
func (p *Pipeline) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DrainWait)
	defer cancel()
	failpoint.Hit("shutdown.drainStart")
	if p.handler.take(ctx) {
		defer p.handler.give()
		p.release(ctx, p.owned())
	}
	failpoint.Hit("shutdown.afterDrain")
}

// release stops the lanes, commits while ctx allows, and forgets the rest.
func (p *Pipeline) release(ctx context.Context, parts []Partition) {
	var stopped []*lane
	for _, part := range parts {
		if l := p.lane(part); l != nil {
			l.stop()
			stopped = append(stopped, l)
		}
	}
	for _, l := range stopped {
		l.wg.Wait()
	}
	var wg sync.WaitGroup
	for _, t := range p.all() {
		if ctx.Err() == nil && slices.ContainsFunc(stopped, func(l *lane) bool { return t.holds(l.part) }) {
			wg.Go(func() { _ = t.commit(ctx, CutHandover) }) // what does not get in is read again by the next owner
		}
	}
	wg.Wait()
	for _, l := range stopped {
		l.ack(ctx)
		l.pos.Lock()
		l.pos.gone = true
		l.pos.Unlock()
		p.mu.Lock()
		if p.mu.lanes[l.part] == l {
			delete(p.mu.lanes, l.part)
		}
		p.mu.Unlock()
		for _, t := range p.all() { // after nobody finds the lane any more
			t.forget(ctx, l.part)
		}
	}
}

// watchLog notices decisions of others, operators among them.
func (p *Pipeline) watchLog(ctx context.Context) {
	n := len(p.ctl.Known().Entries)
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.poke:
			if !pause(ctx, p.cfg.Retry) {
				return
			}
		case <-time.After(p.cfg.LogPoll):
		}
		log, err := p.ctl.Read(ctx)
		if err != nil {
			p.log.Warn("read control log", "err", err)
			continue
		}
		p.renew(ctx)
		if len(log.Entries) > n {
			n = len(log.Entries)
			for _, t := range p.all() {
				if !t.gone() && log.Forfeited(t.name) {
					t.leave(ctx)
				}
			}
			p.revive(ctx)
		}
	}
}

// lookAtLog makes watchLog look soon.
func (p *Pipeline) lookAtLog() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// revive starts lanes anew that were waiting for an operator.
func (p *Pipeline) revive(ctx context.Context) {
	if !p.handler.take(ctx) {
		return
	}
	defer p.handler.give()
	var halted []*lane
	for _, l := range p.running() {
		if l.standing() != nil {
			halted = append(halted, l)
		}
	}
	if len(halted) > 0 {
		p.restart(ctx, halted)
	}
}

// renew takes over a newer stamp of the control log: it runs Assigned anew for
// all this worker holds, or ends the run if the revision is not ours.
func (p *Pipeline) renew(ctx context.Context) {
	log := p.ctl.Known()
	if !log.Stamp().Newer(p.stamp()) {
		return
	}
	if err := p.superseded(log); err != nil {
		p.end(err)
		return
	}
	if !p.handler.take(ctx) {
		return
	}
	defer p.handler.give()
	if !log.Stamp().Newer(p.stamp()) {
		return
	}
	p.restart(ctx, p.running())
}

// restart gives lanes up, without committing what they brought, and assigns them
// anew. The handler's turn is held.
func (p *Pipeline) restart(ctx context.Context, ls []*lane) {
	var parts []Partition
	for _, l := range ls {
		parts = append(parts, l.part)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	p.release(gone, parts)
	for ctx.Err() == nil {
		err := p.assign(ctx)
		if err == nil {
			return
		}
		p.log.Warn("assign anew after a decision in the control log", "err", err)
		pause(ctx, p.cfg.Retry)
	}
}

// flushAll gives every table its own loop, so that a slow one delays no other,
// and acknowledges what is durable in all.
func (p *Pipeline) flushAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	started := map[*table]bool{}
	for pause(ctx, min(p.shortest(), time.Second)) {
		for _, t := range p.all() {
			if !started[t] {
				started[t] = true
				wg.Go(func() { p.flush(ctx, t) })
			}
		}
		for _, l := range p.running() {
			l.ack(ctx)
		}
	}
}

// shortest returns the shortest commit interval of a sink.
func (p *Pipeline) shortest() time.Duration {
	d := p.cfg.CommitInterval
	for _, i := range p.cfg.Intervals {
		d = min(d, cmp.Or(i, d))
	}
	return d
}

// flush commits a table when its interval is over or something asks for it, and
// reads its ledger again when that is needed.
func (p *Pipeline) flush(ctx context.Context, t *table) {
	interval := p.cfg.interval(t.name)
	wait := time.Duration(rand.Int64N(int64(interval))) + 1 // a phase of its own
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
		case <-time.After(min(wait, t.patience())):
		}
		if time.Since(looked) >= p.cfg.IdlePoll {
			looked = time.Now()
			t.look(ctx)
		}
		if t.sync(ctx) == nil {
			_ = t.commit(ctx, "") // the table keeps the error, and what follows from it
		}
		wait = interval
	}
}

// relieve frees memory: when the source has to wait for the budget, the table that
// holds most commits now, and one that has not been able to for long lets go.
func (p *Pipeline) relieve(ctx context.Context) {
	for pause(ctx, min(p.cfg.Retry, 50*time.Millisecond)) {
		if !p.share.Pressed() {
			continue
		}
		var most *table
		held := int64(0)
		for _, t := range p.all() {
			if n := t.held(); n > held {
				most, held = t, n
			}
			if t.stuck(p.cfg.LetGoAfter) && p.othersWork(t) {
				t.letGoAll(ctx)
			}
		}
		if most != nil {
			most.cutSoon(CutMemory)
		}
	}
}

// othersWork reports whether some other table has committed since this one began to
// try: a pipeline whose tables are all in trouble waits instead of letting go.
func (p *Pipeline) othersWork(t *table) bool {
	since := t.committing()
	return slices.ContainsFunc(p.all(), func(o *table) bool { return o != t && o.committedAfter(since) })
}

// anotherCommitted reports whether a table other than t has ever committed.
func (p *Pipeline) anotherCommitted(t *table) bool {
	return slices.ContainsFunc(p.all(), func(o *table) bool { return o != t && o.committedAfter(time.Time{}) })
}

// Flush commits what every table holds and acknowledges it.
func (p *Pipeline) Flush(ctx context.Context) error {
	var wg sync.WaitGroup
	tables := p.all()
	errs := make([]error, len(tables))
	for i, t := range tables {
		wg.Go(func() { errs[i] = t.commit(ctx, CutAsked) })
	}
	wg.Wait()
	for _, l := range p.running() {
		l.ack(ctx)
	}
	return errors.Join(errs...)
}

// Pause stops reading; what was read is still committed.
func (p *Pipeline) Pause() { p.paused.Store(true) }

// Resume ends a pause.
func (p *Pipeline) Resume() { p.paused.Store(false) }

// table returns the table of that name.
func (p *Pipeline) table(ctx context.Context, name string) *table {
	p.mu.Lock()
	t := p.mu.tables[name]
	if t == nil {
		t = newTable(p, name)
		p.mu.tables[name] = t
	}
	p.mu.Unlock()
	if t.unread() {
		_ = t.sync(ctx) // if it fails, rows are let go and it is asked again
	}
	return t
}

func (p *Pipeline) all() []*table {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.mu.tables), func(x, y *table) int { return cmp.Compare(x.name, y.name) })
}

func (p *Pipeline) running() []*lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.mu.lanes), func(x, y *lane) int { return cmp.Compare(x.part.Key(), y.part.Key()) })
}

func (p *Pipeline) lane(part Partition) *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.lanes[part]
}

func (p *Pipeline) owned() []Partition {
	var ps []Partition
	for _, l := range p.running() {
		ps = append(ps, l.part)
	}
	return ps
}

func (p *Pipeline) stamp() Stamp {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.stamp
}

// admit is Admit for one revision: D3 of the design.
func (p *Pipeline) admit(rev int64) Admit {
	return func(ctx context.Context, name string, budget int) (bool, error) {
		if p.ctl.Known().Admitted(name, rev) {
			return true, nil
		}
		full := false
		log, err := p.ctl.Append(ctx, func(log *Decisions) (*Entry, error) {
			if st := log.Stamp(); st.Newer(p.stamp()) {
				return nil, fmt.Errorf("admit table %q: the control log is at %v: %w", name, st, ErrStale)
			}
			sink, _ := SplitTable(name)
			names := slices.DeleteFunc(log.AdmittedNames(rev), func(n string) bool { of, _ := SplitTable(n); return of != sink })
			if full = len(names) >= budget && !slices.Contains(names, name); full || slices.Contains(names, name) {
				return nil, nil
			}
			return &Entry{Kind: KindAdmit, Table: name, Rev: rev}, nil
		})
		if err != nil {
			return false, fmt.Errorf("admit table %q: %w", name, err)
		}
		return log.Admitted(name, rev), nil
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// turn is a lock that may be held over a call that waits.
type turn chan struct{}

func (t turn) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t turn) give() { <-t }
