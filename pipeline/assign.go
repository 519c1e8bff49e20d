package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/internal/failpoint"
)

// lookups bounds how many hints or ledgers are read at the same time.
const lookups = 8

// Assigned implements Handler.
func (p *Pipeline) Assigned(ctx context.Context, lanes []Lane) error {
	if !p.handler.take(ctx) {
		return ctx.Err()
	}
	defer p.handler.give()
	p.mu.Lock()
	for _, l := range lanes {
		p.mu.mine[l.Partition()] = l
	}
	p.mu.Unlock()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for _, l := range lanes {
		p.release(gone, []Partition{p.ctl.Known().Identity(l.Partition())}) // lost without a word
	}
	err := p.assign(ctx)
	if err != nil { // the source tries again, unless it loses them first
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, l := range lanes {
			delete(p.mu.mine, l.Partition())
		}
	}
	return err
}

// Revoked implements Handler.
func (p *Pipeline) Revoked(ctx context.Context, lanes []Lane) error {
	if !p.handler.take(context.WithoutCancel(ctx)) {
		return nil
	}
	defer p.handler.give()
	failpoint.Hit("src.revoke.before")
	var parts []Partition
	p.mu.Lock()
	for _, l := range lanes {
		delete(p.mu.mine, l.Partition())
		parts = append(parts, p.ctl.Known().Identity(l.Partition()))
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RevokeWait)
	defer cancel()
	p.release(ctx, parts)
	failpoint.Hit("src.revoke.after")
	return nil
}

// assign is Assigned of the design, 2.4, for all that this worker owns and does not
// read: first the hints, then the log, never the other way round.
func (p *Pipeline) assign(ctx context.Context) error {
	lanes := p.waiting()
	raw := make([]Partition, len(lanes))
	for i, l := range lanes {
		raw[i] = l.Partition()
	}
	hints, err := p.hints(ctx, raw)
	if err != nil {
		return err
	}
	log, err := p.ctl.Read(ctx)
	if err != nil {
		return err
	}
	if err := p.superseded(log); err != nil {
		p.end(err)
		return err
	}
	st := log.Stamp()
	p.mu.Lock()
	fresh := p.mu.stamp == st || len(p.mu.lanes) == 0
	if fresh {
		p.mu.stamp = st
	}
	p.mu.Unlock()
	if !fresh { // lanes of the older stamp still run: all begin anew, and what they brought is dropped
		gone, cancel := context.WithCancel(ctx)
		cancel()
		p.release(gone, p.owned())
		return p.assign(ctx)
	}
	ledgers, err := p.ledgers(ctx, log)
	if err != nil {
		return err
	}
	starting, err := p.place(ctx, lanes, hints, log, ledgers)
	if err != nil {
		return err
	}
	failpoint.Hit("src.assign.afterSeek")
	for _, l := range starting {
		p.mu.Lock()
		p.mu.lanes[l.part] = l
		p.mu.Unlock()
		l.run(ctx)
	}
	return nil
}

// hints reads what the source remembers of each of ps.
func (p *Pipeline) hints(ctx context.Context, ps []Partition) ([]Hint, error) {
	hints := make([]Hint, len(ps))
	var g errgroup.Group
	g.SetLimit(lookups)
	for i, part := range ps {
		g.Go(func() (err error) {
			hints[i], err = p.src.Hint(ctx, part)
			return wrap(err, fmt.Sprintf("read hint of %v", part))
		})
	}
	return hints, g.Wait()
}

// place makes lanes and finds out where each begins.
func (p *Pipeline) place(ctx context.Context, lanes []Lane, hints []Hint, log *Decisions, ledgers []Ledger) ([]*lane, error) {
	if err := failpoint.Err("src.assign.beforeSeek"); err != nil {
		return nil, err
	}
	starter, err := newStarter(ctx, p.ctl, p.src, p.cfg, log, ledgers)
	if err != nil {
		return nil, err
	}
	var starting []*lane
	for i, src := range lanes {
		l := &lane{p: p, src: src, part: log.Identity(src.Partition()), apply: make(turn, 1), steps: map[int64][]Steps{}}
		l.revs = starter.inForce(l.part)
		s, err := starter.start(ctx, src.Partition(), hints[i])
		if h := (*Halt)(nil); errors.As(err, &h) {
			l.failed(h)
		} else if err != nil {
			return nil, err
		}
		l.pos.done, l.high = s.At, s.High
		starting = append(starting, l)
	}
	return starting, nil
}

// waiting lists what this worker owns and does not read.
func (p *Pipeline) waiting() []Lane {
	reading := map[Partition]bool{}
	for _, l := range p.running() {
		reading[l.src.Partition()] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var lanes []Lane
	for raw, l := range p.mu.mine {
		if !reading[raw] {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// ledgers reads what every bound table says. A halted table says nothing; its rows
// hold the low watermark.
func (p *Pipeline) ledgers(ctx context.Context, log *Decisions) ([]Ledger, error) {
	var mu sync.Mutex
	var ls []Ledger
	var g errgroup.Group
	g.SetLimit(lookups)
	for _, name := range log.BoundTables() {
		g.Go(func() error {
			tab, err := p.sink.Table(ctx, name, log.Stamp())
			var l Ledger
			if err == nil {
				l, err = tab.Watermarks(ctx, nil)
			}
			if h := (*Halt)(nil); errors.As(err, &h) {
				p.log.Warn("table is halted", "table", name, "halt", h)
				return nil
			} else if err != nil {
				return fmt.Errorf("read ledger of %q: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			ls = append(ls, l)
			return nil
		})
	}
	return ls, g.Wait()
}

// ---- Where a partition begins ----

// Identity returns what the log calls a partition of the source: itself, or a new
// incarnation that an operator accepted after a truncation.
func (d *Decisions) Identity(raw Partition) Partition {
	key, n := raw.Key(), 0
	for i := range d.Entries {
		if e := &d.Entries[i]; e.Kind == KindIncarnation && e.Partition == key {
			n++
		}
	}
	if n > 0 {
		raw.Incarnation += "~" + strconv.Itoa(n)
	}
	return raw
}

// starter knows what decides where lanes begin. It is used by one goroutine.
type starter struct {
	ctl      *Control
	src      Log
	cfg      Config
	log      *Decisions
	st       Stamp
	revs     []Revision
	barriers []Vector // of revs; nil: begins at the start of every log
	replays  Vector
	ledgers  []Ledger
	origins  map[string]Vector // by raw stream key
	others   []Origin
}

func newStarter(ctx context.Context, ctl *Control, src Log, cfg Config, log *Decisions, ledgers []Ledger) (*starter, error) {
	s := &starter{ctl: ctl, src: src, cfg: cfg, log: log, st: log.Stamp(), revs: log.Revisions(), ledgers: ledgers, origins: map[string]Vector{}}
	var err error
	if s.replays, err = log.Replays(); err != nil {
		return nil, err
	}
	for i, r := range s.revs {
		v, done, err := ctl.Barrier(ctx, r.Number)
		if err != nil {
			return nil, err
		}
		if !done && (i > 0 || r.Epoch > 0) {
			return nil, fmt.Errorf("revision %d has no barrier yet", r.Number)
		}
		s.barriers = append(s.barriers, v)
	}
	if s.others, err = ctl.AllOrigins(ctx, s.st.Epoch); err != nil {
		return nil, err
	}
	return s, nil
}

// revFrom says that a revision is in force from a position on.
type revFrom struct {
	rev  int64
	from Position
}

func (s *starter) inForce(p Partition) []revFrom {
	var out []revFrom
	for i, r := range s.revs {
		out = append(out, revFrom{r.Number, s.barriers[i][p].At.At})
	}
	return out
}

// start is start(p) of the design, 2.4.
func (s *starter) start(ctx context.Context, raw Partition, h Hint) (Start, error) {
	p := s.log.Identity(raw)
	origin, err := s.origin(ctx, raw, p)
	if err != nil {
		return Start{}, err
	}
	out := Start{At: origin}
	if h.Stamp.SameRun(s.st) {
		at := h.At
		for i, r := range s.revs { // at most where the next revision begins
			if r.Number > h.Stamp.Rev {
				if b := s.barriers[i][p].At; b.At < at.At {
					at = b
				}
				break
			}
		}
		out.At = later(out.At, at)
	} else { // lost, foreign, or from before a replay
		out.At = later(out.At, s.replays[p].At)
		for _, l := range s.ledgers {
			if l.Stamp.SameRun(s.st) { // a floor was safe once, so it is safe now
				out.At = later(out.At, Cursor{At: l.Marks[p].Floor})
			}
		}
	}
	for _, l := range s.ledgers {
		out.High = max(out.High, l.Marks[p].At.At)
	}
	if at := s.log.Gap(p, out.At.At); at != out.At.At {
		out.At = Cursor{At: at}
	}
	return out, nil
}

// origin is O[p].
func (s *starter) origin(ctx context.Context, raw, p Partition) (Cursor, error) {
	if p != raw {
		return Cursor{At: s.log.Accepted(raw.Key()).From}, nil
	}
	key := raw.StreamKey()
	if e := s.log.Accepted(key); e != nil {
		return Cursor{At: e.From}, nil
	}
	v, ok := s.origins[key]
	if !ok {
		if h := s.recreated(raw); h != nil {
			return Cursor{}, h
		}
		var err error
		if v, err = s.ctl.Origins(ctx, s.src, s.st.Epoch, raw, s.cfg.Start); err != nil {
			return Cursor{}, err
		}
		s.origins[key] = v
	}
	return v[p].At, nil
}

// recreated returns a halt if a stream of the same name was read before.
func (s *starter) recreated(raw Partition) *Halt {
	name, key := s.src.Name(raw), raw.StreamKey()
	was := ""
	for _, o := range s.others {
		if o.Stream == key {
			return nil
		}
		if o.Name == name && name != "" {
			was = o.Stream
		}
	}
	if was == "" {
		return nil
	}
	return &Halt{
		Class:  HaltRecreated,
		Detail: fmt.Sprintf("topic %q was deleted and made again: it was %s and is now %s", name, was, key),
		Remedy: fmt.Sprintf("firehosed offsets accept-incarnation %s: take its records as new ones, from the start of its log", key),
	}
}

// Starts returns where reading of partitions would begin if a worker was assigned
// them now, for a table that is to be replayed. A partition whose group position
// does not hold is left out: it may be read from its origin.
func (c *Control) Starts(ctx context.Context, src Source, cfg Config, ps []Partition) (Vector, error) {
	hints, err := allHints(ctx, src) // first the hints, then the log
	if err != nil {
		return nil, err
	}
	log, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	s, err := newStarter(ctx, c, src, cfg.withDefaults(), log, nil)
	if err != nil {
		return nil, err
	}
	v := Vector{}
	for raw, h := range hints {
		p := log.Identity(raw)
		if !h.Stamp.SameRun(s.st) || !slices.Contains(ps, p) {
			continue
		}
		st, err := s.start(ctx, raw, h)
		if err != nil {
			return nil, err
		}
		v[p] = Mark{At: st.At}
	}
	return v, nil
}

// Starts returns where reading of partitions of the source would begin if this worker
// was assigned them now: start(p) of the design, 2.4. A source whose partitions have
// an order among them asks for it. A partition that is halted is left out.
func (p *Pipeline) Starts(ctx context.Context, ps []Partition) (map[Partition]Position, error) {
	if !p.handler.take(ctx) {
		return nil, ctx.Err()
	}
	defer p.handler.give()
	hints, err := p.hints(ctx, ps) // first the hints, then the log
	if err != nil {
		return nil, err
	}
	log, err := p.ctl.Read(ctx)
	if err != nil {
		return nil, err
	}
	var ledgers []Ledger
	if slices.ContainsFunc(hints, func(h Hint) bool { return !h.Stamp.SameRun(log.Stamp()) }) { // else nothing asks for floors
		if ledgers, err = p.ledgers(ctx, log); err != nil {
			return nil, err
		}
	}
	s, err := newStarter(ctx, p.ctl, p.src, p.cfg, log, ledgers)
	if err != nil {
		return nil, err
	}
	out := map[Partition]Position{}
	for i, part := range ps {
		st, err := s.start(ctx, part, hints[i])
		if h := (*Halt)(nil); errors.As(err, &h) {
			continue
		} else if err != nil {
			return nil, err
		}
		out[part] = st.At.At
	}
	return out, nil
}
