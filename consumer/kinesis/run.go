package kinesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/pipeline"
)

// Times of a member.
const (
	revokeWait  = 5 * time.Second        // for the commits in flight, when shards are given away
	retryAssign = 500 * time.Millisecond // after the pipeline could not take shards over
	maxRetry    = 10 * time.Second
	lookups     = 8 // leases that are read or written at the same time
)

// member is this worker's part in sharing the shards, for one Run. One goroutine
// talks to the handler; another renews the leases meanwhile.
type member struct {
	s   *Source
	h   pipeline.Handler
	dir *directory
	id  string

	look  chan struct{} // the shards should be looked at
	beats chan struct{} // the leases should be renewed

	mu struct {
		sync.Mutex
		lanes map[pipeline.Partition]*lane // whose lease is ours
	}

	// Of the goroutine in loop.
	seen map[pipeline.Partition]sighting
	wait time.Duration
}

// sighting is a lease as it was first seen. It has run out when it stays the same for
// as long as a lease lasts, by our clock alone.
type sighting struct {
	raw  []byte
	when time.Time
}

// Run implements pipeline.Source. It ends with ctx, or with what Assigned returned if
// that is a *pipeline.Halt or pipeline.ErrStale; any other error of Assigned is tried
// again for as long as the shards are ours.
func (s *Source) Run(ctx context.Context, h pipeline.Handler) error {
	dir, err := s.connect(ctx)
	if err != nil {
		return err
	}
	m := &member{s: s, h: h, dir: dir, id: uuid.NewString(), look: make(chan struct{}, 1), beats: make(chan struct{}, 1),
		seen: map[pipeline.Partition]sighting{}, wait: retryAssign}
	m.mu.lanes = map[pipeline.Partition]*lane{}
	side, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { m.renewal(side) })
	err = m.loop(ctx)
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
	m.giveUp(done, m.lanes(), func(*lane) string { return "" })
	cancel()
	stop()
	wg.Wait()
	return err
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (m *member) renewSoon() { poke(m.beats) }

// every is the time between two renewals.
func (m *member) every() time.Duration { return m.s.cfg.LeaseDuration / 3 }

// renewal keeps the leases.
func (m *member) renewal(ctx context.Context) {
	tick := time.NewTicker(m.every())
	defer tick.Stop()
	for {
		soon := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.beats:
			soon = true
		}
		var g errgroup.Group
		g.SetLimit(lookups)
		for _, l := range m.lanes() {
			g.Go(func() error {
				ended := l.ended()
				if soon && !ended {
					return nil
				}
				if l.renew(ctx) || ended {
					poke(m.look)
				}
				return nil
			})
		}
		_ = g.Wait()
	}
}

// ended reports whether END was acknowledged.
func (l *lane) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.low == pipeline.End
}

// lanes lists what this worker holds, in order.
func (m *member) lanes() (ls []*lane) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.mu.lanes {
		ls = append(ls, l)
	}
	slices.SortFunc(ls, func(a, b *lane) int { return bytes.Compare([]byte(a.part.ID), []byte(b.part.ID)) })
	return ls
}

func (m *member) lane(p pipeline.Partition) *lane {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.lanes[p]
}

// loop looks at the shards until ctx ends.
func (m *member) loop(ctx context.Context) error {
	age := knownFor
	for {
		if err := m.handOver(ctx); err != nil {
			return err
		}
		err := m.round(ctx, age)
		if ctx.Err() == nil && m.fatal(err) {
			return err
		}
		again := m.every()
		age = m.s.cfg.ShardRefresh
		if err != nil && ctx.Err() == nil {
			m.s.log.Warn("share shards", "worker", m.id, "err", explain(err, m.s.cfg), "again_in", m.wait)
			again = m.wait
			m.wait = min(2*m.wait, maxRetry)
		} else {
			m.wait = retryAssign
		}
		t := time.NewTimer(jitter(again))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		case <-m.look:
			age = knownFor
			t.Stop()
		}
	}
}

func (m *member) fatal(err error) bool {
	h := (*pipeline.Halt)(nil)
	return errors.Is(err, pipeline.ErrStale) || errors.As(err, &h)
}

// handOver gives up what others have, or ask for.
func (m *member) handOver(ctx context.Context) error {
	var gone, asked []*lane
	for _, l := range m.lanes() {
		if lost, next := l.wanted(); lost {
			gone = append(gone, l)
		} else if next != "" {
			asked = append(asked, l)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel() // someone else's by now
	m.giveUp(ended, gone, nil)
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
	defer cancel()
	m.giveUp(wait, asked, func(l *lane) string { _, next := l.wanted(); return next })
	return ctx.Err()
}

// giveUp has the pipeline let go of shards, and passes the leases on with what it
// acknowledged meanwhile; to is nil if they are not ours any more.
func (m *member) giveUp(ctx context.Context, ls []*lane, to func(*lane) string) {
	var offered []pipeline.Lane
	for _, l := range ls {
		if l.offered {
			offered = append(offered, l)
		}
	}
	if len(offered) > 0 {
		m.s.log.Info("giving up shards", "worker", m.id, "shards", len(offered), "lost", ctx.Err() != nil)
		if err := m.h.Revoked(ctx, offered); err != nil {
			m.s.log.Warn("give up shards", "worker", m.id, "err", err)
		}
	}
	var g errgroup.Group
	g.SetLimit(lookups)
	for _, l := range ls {
		g.Go(func() error {
			m.drop(ctx, l, to)
			return nil
		})
	}
	_ = g.Wait()
}

// drop ends a lane. Its lease, if it cannot be written, runs out.
func (m *member) drop(ctx context.Context, l *lane, to func(*lane) string) {
	if to != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
		defer cancel()
		err := l.write(ctx, func(now *lease) { now.Owner, now.Next = to(l), "" })
		if err != nil && !errors.Is(err, pipeline.ErrStale) {
			m.s.log.Debug("give up lease", "partition", l.part, "err", err)
		}
	}
	l.end()
	m.mu.Lock()
	delete(m.mu.lanes, l.part)
	m.mu.Unlock()
	m.s.mu.Lock()
	if m.s.mu.lanes[l.part] == l {
		delete(m.s.mu.lanes, l.part)
	}
	m.s.mu.Unlock()
}

// round finds out what there is, gives up what is not to be read now, and takes its share.
func (m *member) round(ctx context.Context, age time.Duration) error {
	views, err := m.views(ctx, age)
	if err != nil {
		return err
	}
	rs := readable(views)
	m.retire(ctx, views, rs)
	take, ask := share(m.id, rs)
	if err := m.take(ctx, take, ask); err != nil {
		return err
	}
	return m.assign(ctx)
}

// retire gives up shards that are read to their end, and those whose parents are to be
// read again first. Leases of shards that retention has removed since are deleted.
func (m *member) retire(ctx context.Context, views map[pipeline.Partition]*view, rs []*view) {
	keep := map[pipeline.Partition]bool{}
	for _, v := range rs {
		keep[v.part] = true
	}
	var done []*lane
	for _, l := range m.lanes() {
		if !keep[l.part] {
			done = append(done, l)
		}
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
	defer cancel()
	m.giveUp(wait, done, func(*lane) string { return "" })
	for _, v := range views {
		if v.ended && !v.listed && v.lease.raw != nil {
			if err := m.s.leases.store.Delete(ctx, leaseKey(v.part)); err != nil {
				m.s.log.Debug("delete lease", "partition", v.part, "err", err)
			}
		}
	}
}

// views lists the shards of the streams: those that are listed, and those that have a
// lease. A shard that has none gets one, so that it is remembered.
func (m *member) views(ctx context.Context, age time.Duration) (map[pipeline.Partition]*view, error) {
	leased, err := m.s.known(ctx, m.dir, age)
	if err != nil {
		return nil, err
	}
	views := map[pipeline.Partition]*view{}
	var closed []pipeline.Partition
	for _, st := range m.dir.all() {
		for _, sh := range st.shards {
			v := &view{part: st.partition(sh.id), listed: true}
			for _, id := range sh.parents {
				v.parents = append(v.parents, st.partition(id))
			}
			views[v.part] = v
			if sh.closed {
				closed = append(closed, v.part)
			}
		}
	}
	for _, p := range leased {
		if views[p] == nil {
			views[p] = &view{part: p}
			closed = append(closed, p)
		}
	}
	if err := m.see(ctx, views); err != nil {
		return nil, err
	}
	return views, m.findEnds(ctx, views, closed)
}

// see reads the leases, and makes missing ones.
func (m *member) see(ctx context.Context, views map[pipeline.Partition]*view) error {
	g, some := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for _, v := range views {
		g.Go(func() (err error) {
			v.lease, err = m.s.leases.get(some, v.part)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("look at leases: %w", err)
	}
	var fresh []*view
	for _, v := range views {
		if v.lease.raw == nil {
			v.lease.CaughtUpAt = m.unborn(v, views)
			fresh = append(fresh, v)
		}
	}
	g, some = errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for _, v := range fresh {
		g.Go(func() error {
			now := v.lease
			err := m.s.leases.swap(some, v.part, lease{}, &now)
			if errors.Is(err, pipeline.ErrStale) {
				now, err = m.s.leases.get(some, v.part)
			}
			v.lease = now
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("make leases: %w", err)
	}
	for p, v := range views {
		s, ok := m.seen[p]
		if !ok || !bytes.Equal(s.raw, v.lease.raw) {
			s = sighting{v.lease.raw, time.Now()}
			m.seen[p] = s
		}
		v.alive = time.Since(s.when) < m.s.cfg.LeaseDuration
	}
	for p := range m.seen {
		if views[p] == nil {
			delete(m.seen, p)
		}
	}
	return nil
}

// unborn returns when a shard was not there yet, in milliseconds, so that nothing was
// behind its start: it was not listed, or a parent of it was still open. 0: not known.
func (m *member) unborn(v *view, views map[pipeline.Partition]*view) (ms int64) {
	if t := m.dir.appeared(v.part); !t.IsZero() {
		ms = t.UnixMilli()
	}
	for _, p := range v.parents {
		if views[p] != nil {
			ms = max(ms, views[p].lease.CaughtUpAt)
		}
	}
	return ms
}

// findEnds finds out which of the closed shards were read to their end.
func (m *member) findEnds(ctx context.Context, views map[pipeline.Partition]*view, closed []pipeline.Partition) error {
	starts := map[pipeline.Partition]pipeline.Position{}
	if len(closed) == 0 {
		return nil
	}
	if m.s.starts != nil {
		var err error
		if starts, err = m.s.starts(ctx, closed); err != nil {
			return fmt.Errorf("find out which shards are read to their end: %w", err)
		}
	}
	for _, p := range closed {
		at := starts[p]
		if m.s.starts == nil {
			at = views[p].lease.hint().At.At
		}
		views[p].ended = at == pipeline.End
	}
	return nil
}

// take writes our name into leases, or asks their owners for them. What somebody else
// was faster with is left.
func (m *member) take(ctx context.Context, take, ask []*view) error {
	var g errgroup.Group
	g.SetLimit(lookups)
	for _, v := range take {
		if m.lane(v.part) != nil {
			continue
		}
		g.Go(func() error {
			now := v.lease
			now.Owner, now.Next = m.id, ""
			now.Beat++
			if err := m.s.leases.swap(ctx, v.part, v.lease, &now); err != nil {
				return unlessStale(err, v)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.mu.lanes[v.part] = &lane{s: m.s, m: m, part: v.part, turn: make(chan struct{}, 1), lease: now}
			return nil
		})
	}
	for _, v := range ask {
		g.Go(func() error {
			now := v.lease
			now.Next = m.id
			return unlessStale(m.s.leases.swap(ctx, v.part, v.lease, &now), v)
		})
	}
	return g.Wait()
}

func unlessStale(err error, v *view) error {
	if err == nil || errors.Is(err, pipeline.ErrStale) {
		return nil
	}
	return fmt.Errorf("write lease of %v: %w", v.part, err)
}

// assign has the pipeline take over the shards that it does not read yet.
func (m *member) assign(ctx context.Context) error {
	var fresh []pipeline.Lane
	for _, l := range m.lanes() {
		if !l.offered {
			fresh = append(fresh, l)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := m.h.Assigned(ctx, fresh); err != nil {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_ = m.h.Revoked(gone, fresh) // it may have begun with some
		return fmt.Errorf("take over shards: %w", err)
	}
	m.s.mu.Lock()
	for _, l := range fresh {
		l := l.(*lane)
		l.offered = true
		m.s.mu.lanes[l.part] = l
	}
	m.s.mu.Unlock()
	m.s.log.Info("reading shards", "worker", m.id, "more", len(fresh), "all", len(m.lanes()))
	return nil
}
