package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firehosed/firehosed/internal/failpoint"
)

// Superseded says that this worker's configuration is not the pipeline's newest.
type Superseded struct {
	Pipeline string
	Mine     int64 // the revision that has this worker's configuration; 0: none
	Newest   int64
	Earlier  bool // Mine was in force before; false: it has just ceased to be
}

func (s *Superseded) Error() string {
	if s.Earlier {
		return fmt.Sprintf("pipeline %q: this configuration is that of revision %d, but revision %d is in force: "+
			"bring this worker's file up to date, or take the old configuration again with --as-new-revision %d",
			s.Pipeline, s.Mine, s.Newest, s.Newest+1)
	}
	return fmt.Sprintf("pipeline %q: revision %d began with another configuration while this worker runs revision %d: "+
		"bring this worker's file up to date and start it again", s.Pipeline, s.Newest, s.Mine)
}

// Skip is records that an operator chose to leave out: a rule of a revision.
type Skip struct {
	Partition string   `json:"partition"` // source key
	From      Position `json:"from"`
	To        Position `json:"to"`
}

// Pure is what a revision keeps: the pure part of the configuration and the skips.
type Pure struct {
	Config []byte `json:"config"`
	Skips  []Skip `json:"skips,omitempty"`
}

// Encode returns the one form of p, as revisions keep it.
func (p Pure) Encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# skips, one a line, then the pure part of the configuration\n")
	for _, s := range p.Skips {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "# skip %s\n", line)
	}
	b.Write(p.Config)
	return b.Bytes(), nil
}

// DecodePure is the inverse of Encode.
func DecodePure(text []byte) (Pure, error) {
	var p Pure
	_, text, ok := bytes.Cut(text, []byte("\n"))
	if !ok {
		return p, errors.New("revision is damaged: no first line")
	}
	for {
		rest, found := bytes.CutPrefix(text, []byte("# skip "))
		if !found {
			break
		}
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		var s Skip
		if err := json.Unmarshal(line, &s); err != nil {
			return p, fmt.Errorf("revision is damaged: %w", err)
		}
		p.Skips, text = append(p.Skips, s), after
	}
	p.Config = text
	return p, nil
}

// AppendRevision makes a configuration the newest revision, unless it is. Skips of
// the revision before are carried over. asNew allows an earlier configuration to
// come back as that number. A *Superseded says that it may not.
func (c *Control) AppendRevision(ctx context.Context, config []byte, rules int, asNew int64) (*Decisions, error) {
	var base int64 = -1 // of the first look; when it moves, somebody else changed the configuration
	sha := SHA256(config)
	return c.Append(ctx, func(log *Decisions) (*Entry, error) {
		st := log.Stamp()
		newest, next, err := c.newest(ctx, log)
		if err != nil {
			return nil, err
		}
		if newest != nil && newest.Config == sha && newest.Rules == rules {
			return nil, nil // running it is all there is to do
		}
		if past, ok := log.Past(sha, rules); ok && asNew != st.Rev+1 {
			return nil, &Superseded{Pipeline: c.pipeline, Mine: past, Newest: st.Rev, Earlier: true}
		}
		if base >= 0 && base != st.Rev {
			return nil, &Superseded{Pipeline: c.pipeline, Mine: base, Newest: st.Rev}
		}
		base = st.Rev
		next.Config = config
		return c.revEntry(ctx, next, rules, st.Rev+1)
	})
}

// AppendSkip adds a skip to the newest revision, which makes it a new one.
func (c *Control) AppendSkip(ctx context.Context, skip Skip) (*Decisions, error) {
	return c.Append(ctx, func(log *Decisions) (*Entry, error) {
		newest, next, err := c.newest(ctx, log)
		if err != nil {
			return nil, err
		}
		if newest == nil {
			return nil, errors.New("the pipeline never ran: there is no revision to add a skip to")
		}
		if slices.Contains(next.Skips, skip) {
			return nil, nil
		}
		next.Skips = append(next.Skips, skip)
		return c.revEntry(ctx, next, newest.Rules, newest.Number+1)
	})
}

// AppendAgain makes a revision of what the newest one keeps, so that what is pinned for
// a revision is pinned anew. rev is the newest that the caller knows of: a later one does
// as well.
func (c *Control) AppendAgain(ctx context.Context, rev int64) (*Decisions, error) {
	return c.Append(ctx, func(log *Decisions) (*Entry, error) {
		newest, next, err := c.newest(ctx, log)
		if err != nil {
			return nil, err
		}
		if newest == nil {
			return nil, errors.New("the pipeline never ran: there is no revision to begin anew")
		}
		if newest.Number > rev {
			return nil, nil
		}
		return c.revEntry(ctx, next, newest.Rules, newest.Number+1)
	})
}

// newest returns the newest revision and what it keeps; nil: there is none.
func (c *Control) newest(ctx context.Context, log *Decisions) (*Revision, Pure, error) {
	revs := log.Revisions()
	if len(revs) == 0 {
		return nil, Pure{}, nil
	}
	r := &revs[len(revs)-1]
	text, err := c.Pure(ctx, r.SHA256)
	if err != nil {
		return nil, Pure{}, err
	}
	pure, err := DecodePure(text)
	return r, pure, wrap(err, fmt.Sprintf("revision %d", r.Number))
}

func (c *Control) revEntry(ctx context.Context, pure Pure, rules int, number int64) (*Entry, error) {
	text, err := pure.Encode()
	if err != nil {
		return nil, err
	}
	sha, err := c.KeepPure(ctx, text)
	if err != nil {
		return nil, err
	}
	return &Entry{Kind: KindRev, Rev: number, SHA256: sha, Config: SHA256(pure.Config), Rules: rules}, nil
}

// enter makes this worker's configuration the newest revision, or says why it
// may not be, and finishes what others left half done.
func (p *Pipeline) enter(ctx context.Context) error {
	if err := p.ctl.Own(ctx); err != nil {
		return err
	}
	for {
		log, err := p.ctl.AppendRevision(ctx, p.cfg.Pure, p.cfg.Rules, p.cfg.AsNewRevision)
		if err != nil {
			return err
		}
		if err := p.ctl.finish(ctx, log, p.src, p.sink, p.cfg); err == nil {
			p.mu.Lock()
			p.mu.stamp = log.Stamp()
			p.mu.Unlock()
			return p.loadSteps(ctx, log)
		} else if !errors.Is(err, ErrStale) {
			p.log.Warn("waiting to begin a revision", "err", err)
			if !pause(ctx, p.cfg.Retry) {
				return fmt.Errorf("begin revision: %w", err)
			}
		}
	}
}

// loadSteps builds the steps of every revision that may still be in force
// somewhere.
func (p *Pipeline) loadSteps(ctx context.Context, log *Decisions) error {
	for _, r := range log.Revisions() {
		p.mu.Lock()
		_, have := p.mu.steps[r.Number]
		p.mu.Unlock()
		if have {
			continue
		}
		steps, err := p.ctl.Steps(ctx, r, p.plan, p.admit(r.Number))
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.mu.steps[r.Number] = steps
		p.mu.Unlock()
	}
	return nil
}

// Steps builds the steps of a revision: its skips, then what plan makes of it.
func (c *Control) Steps(ctx context.Context, r Revision, plan Plan, admit Admit) (func() []Steps, error) {
	text, err := c.Pure(ctx, r.SHA256)
	if err != nil {
		return nil, err
	}
	pure, err := DecodePure(text)
	if err != nil {
		return nil, err
	}
	steps, err := plan(r, pure.Config, admit)
	if err != nil {
		return nil, fmt.Errorf("revision %d: %w", r.Number, err)
	}
	if len(pure.Skips) == 0 {
		return steps, nil
	}
	return func() []Steps {
		all := steps()
		for i := range all {
			all[i].Stages = append([]Stage{skipper(pure.Skips)}, all[i].Stages...)
		}
		return all
	}, nil
}

// Skipped reports whether an operator has decided to leave out all records of a
// partition, as the source calls it, between two positions. It goes by the newest
// revision that this worker knows of; what cannot be looked up is not skipped.
func (c *Control) Skipped(raw Partition, from, to Position) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	log := c.Known()
	_, pure, err := c.newest(ctx, log)
	if err != nil {
		return false
	}
	key := log.Identity(raw).Key()
	return slices.ContainsFunc(pure.Skips, func(s Skip) bool { return s.Partition == key && s.From <= from && s.To >= to })
}

// skipper drops the records that an operator chose to leave out.
type skipper []Skip

// Process implements Stage.
func (k skipper) Process(_ context.Context, b *Batch) error {
	key := ""
	for _, s := range k {
		if key == "" {
			key = b.Span.Partition.Key()
		}
		if s.Partition != key || s.To <= b.Span.From.At || s.From >= b.Span.To.At {
			continue
		}
		var values [][]byte
		src := []int32{}
		for i, v := range b.Values {
			rec := b.Record(int32(i))
			if at := b.Cursor(int(rec)).At; at >= s.From && at < s.To {
				b.Drop("skipped", 1)
				continue
			}
			values, src = append(values, v), append(src, rec)
		}
		b.Values, b.Src = values, src
	}
	return nil
}

// superseded says whether the newest revision is not this worker's.
func (p *Pipeline) superseded(log *Decisions) error {
	revs := log.Revisions()
	mine := p.stamp().Rev
	if len(revs) == 0 || revs[len(revs)-1].Number == mine {
		return nil
	}
	return &Superseded{Pipeline: p.cfg.Name, Mine: mine, Newest: revs[len(revs)-1].Number}
}

// finish fences the tables and sets the barrier of every revision that has none
// yet. ErrStale: a newer decision stands in the log.
func (c *Control) finish(ctx context.Context, log *Decisions, src Source, sink Sink, cfg Config) error {
	revs := log.Revisions()
	for i, r := range revs {
		if i == 0 && r.Epoch == 0 {
			continue // begins at the start of every log
		}
		if _, done, err := c.Barrier(ctx, r.Number); err != nil || done {
			if err != nil {
				return err
			}
			continue
		}
		hints, err := allHints(ctx, src)
		if err != nil {
			return err
		}
		if now, err := c.Read(ctx); err != nil {
			return err
		} else if now.Stamp() != log.Stamp() {
			return ErrStale
		}
		var ledgers []Ledger
		for _, name := range log.BoundTables() {
			l, err := sink.Fence(ctx, name, log.Stamp())
			if err != nil {
				return fmt.Errorf("fence table %q for revision %d (firehosed table forfeit %s: no longer wait for it): %w", name, r.Number, name, err)
			}
			ledgers = append(ledgers, l)
		}
		b := Vector{}
		if i > 0 {
			if b, err = c.barrierOf(ctx, log, src, cfg, hints, ledgers, revs[i-1]); err != nil {
				return err
			}
		}
		if err := failpoint.Err("config.beforeBarrier"); err != nil {
			return err
		}
		if _, err := c.SetBarrier(ctx, r.Number, b); err != nil {
			return err
		}
		failpoint.Hit("config.afterBarrier")
	}
	return nil
}

func allHints(ctx context.Context, src Source) (map[Partition]Hint, error) {
	parts, err := src.Partitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	hints := map[Partition]Hint{}
	for _, part := range parts {
		if hints[part], err = src.Hint(ctx, part); err != nil {
			return nil, fmt.Errorf("read hint of %v: %w", part, err)
		}
	}
	return hints, nil
}

// barrierOf is the highest position of every partition that any record may have
// been judged at, or any table stands at, under the revisions before.
func (c *Control) barrierOf(ctx context.Context, log *Decisions, src Source, cfg Config, hints map[Partition]Hint, ledgers []Ledger, before Revision) (Vector, error) {
	st, b := log.Stamp(), Vector{}
	raise := func(p Partition, at Cursor) {
		m, ok := b[p]
		if !ok || at.At > m.At.At {
			b[p] = Mark{At: at}
		}
	}
	old, _, err := c.Barrier(ctx, before.Number)
	if err != nil {
		return nil, err
	}
	replays, err := log.Replays()
	if err != nil {
		return nil, err
	}
	for _, v := range []Vector{old, replays} {
		for p, m := range v {
			raise(p, m.At)
		}
	}
	for raw, h := range hints {
		p := log.Identity(raw)
		origins, err := c.Origins(ctx, src, st.Epoch, raw, cfg.Start)
		if err != nil {
			return nil, err
		}
		for q, m := range origins {
			raise(log.Identity(q), m.At)
		}
		if h.Stamp.SameRun(st) {
			raise(p, h.At)
		}
	}
	for _, l := range ledgers {
		for p, m := range l.Marks {
			raise(p, m.At)
			if l.Stamp.SameRun(st) {
				raise(p, Cursor{At: m.Floor})
			}
		}
	}
	maps.DeleteFunc(b, func(_ Partition, m Mark) bool { return m.At.At == "" })
	return b, nil
}
