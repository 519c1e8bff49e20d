// Package pipelinetest is a world in memory: logs, a consumer group, tables that
// compare and swap, a store, a service to push to, and workers whose calls can be
// slow, fail, lose their reply, or never return because the worker died.
package pipelinetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

const pipelineName = "web"

// RowID names a row by where it came from.
type RowID struct {
	Partition pipeline.Partition
	At        pipeline.Position
}

type record struct {
	at  int
	val string
}

type log struct {
	recs   []record
	end    int
	closed bool
}

type register struct {
	version int
	marks   map[pipeline.Partition]pipeline.Mark
	stamp   pipeline.Stamp
	rows    map[RowID][]string // a list, so that a duplicate shows
	schema  *schema.Schema
	halted  bool
}

// World is everything that outlives a worker.
type World struct {
	mu     sync.Mutex
	rng    *rand.Rand
	logs   map[pipeline.Partition]*log
	group  map[pipeline.Partition]pipeline.Hint
	tables map[string]*register
	store  map[string][]byte
	faults []string    // broken invariants
	Calm   atomic.Bool // no more faults
}

// NewWorld returns an empty world.
func NewWorld(seed uint64) *World {
	return &World{
		rng: rand.New(rand.NewPCG(seed, 1)), logs: map[pipeline.Partition]*log{}, group: map[pipeline.Partition]pipeline.Hint{},
		tables: map[string]*register{}, store: map[string][]byte{},
	}
}

func (w *World) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// Pos encodes a place in a log.
func Pos(n int) pipeline.Position { return pipeline.Position(fmt.Sprintf("%08d", n)) }

func (l *log) last() pipeline.Position {
	if l.closed {
		return pipeline.End
	}
	return Pos(l.end)
}

// Conn is one worker's connection to the world.
type Conn struct {
	*World
	dead atomic.Bool
	mu   sync.Mutex
	rng  *rand.Rand
}

// Dial returns a connection.
func (w *World) Dial() *Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &Conn{World: w, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 2))}
}

// Kill ends a worker: no call that has not left yet will have an effect.
func (c *Conn) Kill() { c.dead.Store(true) }

func (c *Conn) roll(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

var (
	errDead  = errors.New("worker is dead")
	errFault = errors.New("injected")
)

// call is the only way to have an effect. The request may be lost, may arrive
// after its sender died, and its reply may be lost.
func (c *Conn) call(ctx context.Context, effect func() error) error {
	nap := func() { time.Sleep(time.Duration(c.roll(2_000_000)) + 1) }
	nap()
	switch {
	case c.dead.Load():
		return errDead
	case ctx.Err() != nil && c.roll(2) == 0:
		return ctx.Err()
	case !c.Calm.Load() && c.roll(25) == 0:
		return errFault
	}
	if c.roll(20) == 0 { // slow on the wire
		time.Sleep(time.Duration(c.roll(60)) * time.Millisecond)
	}
	nap()
	c.World.mu.Lock()
	err := effect()
	c.World.mu.Unlock()
	nap()
	switch {
	case c.dead.Load():
		return errDead
	case !c.Calm.Load() && c.roll(25) == 0:
		return errFault
	}
	return err
}

// ---- Store ----

type store struct{ c *Conn }

// Store returns the control store.
func (c *Conn) Store() pipeline.Store { return store{c} }

func (s store) Get(ctx context.Context, key string) (val []byte, err error) {
	err = s.c.call(ctx, func() error { val = s.c.store[key]; return nil })
	return val, err
}

func (s store) Swap(ctx context.Context, key string, old, val []byte) error {
	return s.c.call(ctx, func() error {
		if !bytes.Equal(s.c.store[key], old) {
			return pipeline.ErrStale
		}
		s.c.store[key] = val
		return nil
	})
}

func (s store) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	err = s.c.call(ctx, func() error {
		keys = s.c.keys(prefix)
		return nil
	})
	return keys, err
}

func (s store) Delete(ctx context.Context, key string) error {
	return s.c.call(ctx, func() error { delete(s.c.store, key); return nil })
}

func (w *World) keys(prefix string) (keys []string) {
	for k := range w.store {
		if len(k) > len(prefix) && k[:len(prefix)] == prefix {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Control returns the control prefix.
func (c *Conn) Control() *pipeline.Control {
	return pipeline.NewControl(c.Store(), pipelineName, fmt.Sprint(c.roll(1<<30)))
}

// ---- Tables ----

type tableSink struct {
	c   *Conn
	ctl *pipeline.Control
}

// Tables returns a sink whose tables commit by compare-and-swap.
func (c *Conn) Tables(ctl *pipeline.Control) pipeline.Sink { return tableSink{c, ctl} }

func (s tableSink) Close(context.Context) error { return nil }

func (s tableSink) Table(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Table, error) {
	t := &table{c: s.c, name: name}
	err := s.c.call(ctx, func() error {
		r := s.c.tables[name]
		if r == nil {
			r = &register{marks: map[pipeline.Partition]pipeline.Mark{}, rows: map[RowID][]string{}, schema: &schema.Schema{}, stamp: st}
			s.c.tables[name] = r
		}
		t.seen.Store(r.schema)
		return halted(r)
	})
	if err != nil {
		return nil, err
	}
	_, err = s.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
		if log.Bound(name) != nil {
			return nil, nil
		} else if log.Stamp().Newer(st) {
			return nil, pipeline.ErrStale
		}
		return &pipeline.Entry{Kind: pipeline.KindBound, Table: name, Rev: st.Rev}, nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (s tableSink) Fence(ctx context.Context, name string, st pipeline.Stamp) (l pipeline.Ledger, err error) {
	err = s.c.call(ctx, func() error {
		r := s.c.tables[name]
		if r.stamp.Newer(st) {
			return pipeline.ErrStale
		}
		r.version++
		r.restamp(st)
		l = pipeline.Ledger{Stamp: r.stamp, Marks: maps.Clone(r.marks)}
		return nil
	})
	return l, err
}

// restamp drops the floors when a replay was ordered: they were safe before it.
func (r *register) restamp(st pipeline.Stamp) {
	if r.stamp.Replay != st.Replay {
		for p, m := range r.marks {
			m.Floor = ""
			r.marks[p] = m
		}
	}
	r.stamp = st
}

func halted(r *register) error {
	if r.halted {
		return &pipeline.Halt{Class: "REWOUND", Detail: "the operator said so", Remedy: "table resume"}
	}
	return nil
}

type table struct {
	c    *Conn
	name string
	seen atomic.Pointer[schema.Schema]
}

func (t *table) Schema() *schema.Schema { return t.seen.Load() }

func (t *table) Evolve(ctx context.Context, want *schema.Schema) (*schema.Schema, error) {
	err := t.c.call(ctx, func() error {
		r := t.c.tables[t.name]
		next := &schema.Schema{ID: r.schema.ID, Fields: slices.Clone(r.schema.Fields)}
		for _, f := range want.Fields {
			if next.Column(f.Name) == nil && len(next.Fields) < maxColumns {
				f.ID = len(next.Fields) + 1
				next.Fields = append(next.Fields, f)
				next.ID++
			}
		}
		r.schema = next
		t.seen.Store(next)
		return halted(r)
	})
	return t.seen.Load(), err
}

func (t *table) Watermarks(ctx context.Context, ps []pipeline.Partition) (l pipeline.Ledger, err error) {
	err = t.c.call(ctx, func() error {
		r := t.c.tables[t.name]
		l = pipeline.Ledger{Stamp: r.stamp, Marks: map[pipeline.Partition]pipeline.Mark{}}
		for p, m := range r.marks {
			if ps == nil || slices.Contains(ps, p) {
				l.Marks[p] = m
			}
		}
		return halted(r)
	})
	return l, err
}

func (t *table) Begin(ctx context.Context) (pipeline.Delivery, error) {
	return &delivery{t: t}, t.c.call(ctx, func() error { return nil })
}

type staged struct {
	span pipeline.Span
	rows pipeline.Rows
	at   []pipeline.Position
}

type delivery struct {
	t      *table
	mu     sync.Mutex
	staged []staged
	held   int64
}

func (d *delivery) Write(ctx context.Context, b *pipeline.Batch, r pipeline.Rows) error {
	if err := d.t.c.call(ctx, func() error { return nil }); err != nil {
		return err
	}
	s := staged{span: b.Span, rows: pipeline.Rows{Data: r.Data}}
	for _, rec := range r.Rec {
		s.at = append(s.at, b.Cursor(int(rec)).At)
	}
	r.Data.Retain()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged = append(d.staged, s)
	d.held += 16 * int64(len(r.Rec))
	return nil
}

func (d *delivery) Size() (held, output int64, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held, 0, len(d.staged) > 20
}

func (d *delivery) free() {
	for _, s := range d.staged {
		s.rows.Data.Release()
	}
	d.staged = nil
}

func (d *delivery) Abort(context.Context) error { d.free(); return nil }

func (d *delivery) Commit(ctx context.Context, st pipeline.Stamp, claims []pipeline.Claim, _ string) error {
	defer d.free()
	for {
		version, done, err := d.check(ctx, st, claims)
		if err == nil && done {
			return nil
		}
		var h *pipeline.Halt
		if errors.As(err, &h) || errors.Is(err, pipeline.ErrStale) || errors.Is(err, errDead) {
			return err
		} else if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			continue
		}
		if err = d.t.c.call(ctx, func() error { return d.apply(version, st, claims) }); err == nil {
			return nil
		} else if d.t.c.roll(8) == 0 {
			return err // the caller must cope with not knowing
		}
	}
}

// check reads the register and judges the claims on the very base it returns.
func (d *delivery) check(ctx context.Context, st pipeline.Stamp, claims []pipeline.Claim) (version int, done bool, err error) {
	var marks map[pipeline.Partition]pipeline.Mark
	var newest pipeline.Stamp
	err = d.t.c.call(ctx, func() error {
		r := d.t.c.tables[d.t.name]
		version, marks, newest = r.version, maps.Clone(r.marks), r.stamp
		return halted(r)
	})
	if err != nil {
		return 0, false, err
	}
	if newest.Newer(st) {
		return 0, false, fmt.Errorf("the table is at %v: %w", newest, pipeline.ErrStale)
	}
	done = true
	for _, c := range claims {
		done = done && marks[c.Partition].At.At >= c.To.At
	}
	for _, c := range claims {
		if at := marks[c.Partition].At.At; !done && at != c.From.At {
			return 0, false, fmt.Errorf("%v stands at %q, claimed from %q: %w", c.Partition, at, c.From.At, pipeline.ErrStale)
		}
	}
	return version, done, nil
}

// apply is the catalog's side of a commit.
func (d *delivery) apply(version int, st pipeline.Stamp, claims []pipeline.Claim) error {
	r := d.t.c.tables[d.t.name]
	if r.version != version {
		return errors.New("conflict")
	}
	r.version++
	r.restamp(st)
	span := map[pipeline.Partition]pipeline.Claim{}
	for _, c := range claims {
		r.marks[c.Partition] = pipeline.Mark{At: c.To, Floor: c.Floor}
		span[c.Partition] = c
	}
	for _, s := range d.staged {
		vals, err := readRows(r.schema, s.rows.Data)
		if err != nil {
			d.t.c.fault("%s: %v", d.t.name, err)
		}
		for i, at := range s.at {
			c, ok := span[s.span.Partition]
			if !ok || at < c.From.At || at >= c.To.At {
				d.t.c.fault("%s: row %v %s outside of claim %v", d.t.name, s.span.Partition.ID, at, c.Span)
			}
			id := RowID{s.span.Partition, at}
			r.rows[id] = append(r.rows[id], vals[i])
		}
	}
	return nil
}

// ---- What operators and other writers do ----

// Halt stops a table for everyone, Resume lets it go on.
func (w *World) Halt(name string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.tables[name]; r != nil {
		r.halted = on
	}
}

// Foreign is a commit by someone else.
func (w *World) Foreign(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.tables[name]; r != nil {
		r.version++
	}
}

// Replay rolls a table back and orders its rows anew, in the two steps that an
// operator's command takes, as one.
func (w *World) Replay(name string, keep float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.tables[name]
	ctx, ctl := context.Background(), pipeline.NewControl(direct{w}, pipelineName, "operator")
	if r == nil {
		return
	}
	marks, start := pipeline.Vector{}, pipeline.Vector{}
	for p, m := range r.marks {
		if to := Pos(int(float64(w.logs[p].end) * keep)); m.At.At > to {
			m.At.At = to
			for id := range r.rows {
				if id.Partition == p && id.At >= to {
					delete(r.rows, id)
				}
			}
		}
		m.Floor = ""
		marks[p] = m
	}
	l := w.law()
	for p := range w.logs { // the highest start that is safe for all tables
		start[p] = pipeline.Mark{At: pipeline.Cursor{At: w.firstMissing(l, p)}}
	}
	log, err := ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
		return &pipeline.Entry{
			Kind: pipeline.KindReplay, Table: name, Replay: log.Stamp().Replay + 1, Vector: marks.Packed(), Start: start.Packed(),
		}, nil
	})
	if err != nil {
		w.fault("replay: %v", err)
		return
	}
	r.version++
	r.stamp, r.marks = log.Stamp(), marks
}

// LoseHint makes the group forget a partition, or keeps a foreign offset.
func (w *World) LoseHint(p pipeline.Partition, foreign bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.group, p)
	if foreign {
		w.group[p] = pipeline.Hint{At: pipeline.Cursor{At: w.logs[p].last()}}
	}
}
