package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// table is what workers deliver into: it takes a record once, by its position.
type table struct {
	mu    sync.Mutex
	marks map[pipeline.Partition]pipeline.Position
	rows  []string
	again int // records that were read though they were in
}

func newTable() *table { return &table{marks: map[pipeline.Partition]pipeline.Position{}} }

func (t *table) deliver(b *pipeline.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := b.Span.Partition
	if b.Span.From.At > t.marks[p] {
		t.rows = append(t.rows, fmt.Sprintf("GAP in %v before %q", p, b.Span.From.At))
	}
	for i, v := range b.Values {
		if b.Cursor(i).At < t.marks[p] { // as a table of a pipeline decides it: what is behind the last record may be End
			t.again++
			continue
		}
		t.rows = append(t.rows, string(v))
	}
	t.marks[p] = max(t.marks[p], b.Span.To.At)
}

func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rows)
}

// worker runs a source, and reads what it is given into a table.
type worker struct {
	w     *world
	s     *Source
	t     *table
	stop  context.CancelFunc
	done  chan error
	fail  func() error // of Assigned
	stamp pipeline.Stamp

	mu    sync.Mutex
	lanes map[pipeline.Partition]*reading
	halts map[pipeline.Partition]error
	told  []string
}

type reading struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func (w *world) worker(t *table, cfg Config, store pipeline.Store, opts ...Option) *worker {
	k := &worker{w: w, t: t, done: make(chan error, 1), lanes: map[pipeline.Partition]*reading{}, halts: map[pipeline.Partition]error{},
		stamp: pipeline.Stamp{Pipeline: "shop"}}
	old := w.store
	if store != nil {
		w.store = store
	}
	k.s = w.source(cfg, opts...)
	w.store = old
	return k
}

// start runs the worker until it is stopped.
func (k *worker) start() *worker {
	ctx, stop := context.WithCancel(k.w.Context())
	k.stop = stop
	go func() { k.done <- k.s.Run(ctx, k) }()
	return k
}

// end stops the worker, and says what Run returned.
func (k *worker) end() error {
	k.stop()
	err := <-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.lanes) > 0 {
		k.w.Errorf("%d shards were not revoked", len(k.lanes))
	}
	return err
}

func (k *worker) Assigned(ctx context.Context, lanes []pipeline.Lane) error {
	if k.fail != nil {
		if err := k.fail(); err != nil {
			return err
		}
	}
	for _, l := range lanes {
		h, err := k.s.Hint(ctx, l.Partition())
		if err != nil {
			return err
		}
		k.mu.Lock()
		if k.lanes[l.Partition()] != nil {
			k.w.Errorf("%v was assigned twice", l.Partition())
		}
		read, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := &reading{stop: stop}
		k.lanes[l.Partition()] = r
		k.told = append(k.told, "+"+l.Partition().ID[len("shardId-00000000000"):])
		k.mu.Unlock()
		r.wg.Go(func() { k.read(read, l, h.At) })
	}
	return nil
}

func (k *worker) read(ctx context.Context, l pipeline.Lane, at pipeline.Cursor) {
	r, err := l.Open(ctx, pipeline.Start{At: at})
	if err == nil {
		defer func() { _ = r.Close() }()
		if at.At == pipeline.End {
			_ = l.Ack(ctx, at, k.stamp)
		}
	}
	for err == nil {
		var b *pipeline.Batch
		if b, err = r.Next(ctx); err == nil {
			k.t.deliver(b)
			_ = l.Ack(ctx, b.Span.To, k.stamp)
			b.Release()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		k.halts[l.Partition()] = err
	}
}

func (k *worker) Revoked(ctx context.Context, lanes []pipeline.Lane) error {
	for _, l := range lanes {
		k.mu.Lock()
		r := k.lanes[l.Partition()]
		delete(k.lanes, l.Partition())
		mark := "-"
		if ctx.Err() != nil {
			mark = "!"
		}
		k.told = append(k.told, mark+l.Partition().ID[len("shardId-00000000000"):])
		k.mu.Unlock()
		if r != nil {
			r.stop()
			r.wg.Wait()
		}
	}
	return nil
}

func (k *worker) has() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.lanes)
}

func (k *worker) story() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.told, " ")
}

// until waits for something to become true, in the bubble's time.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for range 3600 {
		synctest.Wait()
		if ok() {
			return
		}
		time.Sleep(time.Second)
	}
	w.Fatalf("an hour was not enough: %s", what)
}

// producer appends records whose values are key and number, "k7 12".
type producer struct {
	w    *world
	next map[string]int
	n    int
}

func (p *producer) put(n int) {
	for range n {
		key := fmt.Sprint("k", rand.IntN(40))
		p.w.Put("a", key, fmt.Append(nil, key, " ", p.next[key]))
		p.next[key]++
		p.n++
	}
}

// judge checks that every record is there once, and in order for each key.
func (p *producer) judge(t *table) {
	p.w.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[string]int{}
	for _, row := range t.rows {
		key, num, ok := strings.Cut(row, " ")
		if !ok || num != fmt.Sprint(next[key]) {
			p.w.Fatalf("key %q: row %q, want number %d", key, row, next[key])
		}
		next[key]++
	}
	p.w.wants("records of each key", next, p.next)
}

// reshard splits or merges shards at random.
func (w *world) reshard() {
	open := w.Open("a")
	if len(open) < 6 && rand.IntN(2) == 0 || len(open) == 1 {
		w.Split("a", open[rand.IntN(len(open))])
		return
	}
	i := rand.IntN(len(open) - 1)
	w.Merge("a", open[i], open[i+1])
}

// TestLineage: over splits and merges at any moment, every record comes once, and in
// order for its key.
func TestLineage(t *testing.T) {
	bubble(t, 2, func(w *world) {
		rows, p := newTable(), &producer{w, map[string]int{}, 0}
		k := w.worker(rows, w.config(), nil).start()
		for range 60 {
			p.put(rand.IntN(30))
			time.Sleep(rand.N(3 * time.Second))
			w.reshard()
		}
		p.put(50)
		w.until("all records are in", func() bool { return rows.count() == p.n })
		p.judge(rows)
		w.wants("read again", rows.again, 0)
		w.until("only open shards are held", func() bool { return k.has() == len(w.Open("a")) })
		if err := k.end(); !errors.Is(err, context.Canceled) {
			w.Errorf("Run ended with %v", err)
		}
	})
}

// mortal is a store that a worker loses when it dies.
type mortal struct {
	pipeline.Store
	mu   sync.Mutex
	dead bool
}

func (m *mortal) alive() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errors.New("the store is out of reach")
	}
	return nil
}

func (m *mortal) Get(ctx context.Context, key string) ([]byte, error) {
	return after(m.alive(), func() ([]byte, error) { return m.Store.Get(ctx, key) })
}

func (m *mortal) Swap(ctx context.Context, key string, old, val []byte) error {
	_, err := after(m.alive(), func() (any, error) { return nil, m.Store.Swap(ctx, key, old, val) })
	return err
}

func (m *mortal) Keys(ctx context.Context, prefix string) ([]string, error) {
	return after(m.alive(), func() ([]string, error) { return m.Store.Keys(ctx, prefix) })
}

func after[T any](err error, f func() (T, error)) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return f()
}

// TestWorkers: workers come, leave, die and are cut off while shards are split and
// merged; the shards are always shared evenly in the end, and every record comes once
// and in order.
func TestWorkers(t *testing.T) {
	bubble(t, 4, func(w *world) {
		rows, p := newTable(), &producer{w, map[string]int{}, 0}
		var ks []*worker
		var ss []*mortal
		hire := func() {
			m := &mortal{Store: w.store}
			ks, ss = append(ks, w.worker(rows, w.config(), m).start()), append(ss, m)
		}
		even := func() {
			w.Helper()
			w.until("shards are shared evenly", func() bool {
				n, least, most := 0, 1000, 0
				for _, k := range ks {
					n, least, most = n+k.has(), min(least, k.has()), max(most, k.has())
				}
				return n == len(w.Open("a")) && most-least <= 1 && rows.count() == p.n
			})
		}
		work := func(n int) {
			for range n {
				p.put(rand.IntN(30))
				time.Sleep(rand.N(4 * time.Second))
				w.reshard()
			}
		}
		hire()
		work(5)
		even()
		hire()
		hire()
		work(10)
		even()
		w.wants("read again after graceful moves", rows.again, 0)

		ss[0].mu.Lock() // cut off: it reads on, and finds its leases lost when it is back
		ss[0].dead = true
		ss[0].mu.Unlock()
		work(20)
		ss[0].mu.Lock()
		ss[0].dead = false
		ss[0].mu.Unlock()
		even()

		ss[1].mu.Lock() // dies
		ss[1].dead = true
		ss[1].mu.Unlock()
		_ = ks[1].end()
		ks = slices.Delete(ks, 1, 2)
		work(10)
		even()

		_ = ks[0].end() // leaves
		ks = ks[1:]
		work(5)
		even()
		p.judge(rows)
		_ = ks[0].end()
		for _, part := range slices.Collect(maps.Keys(rows.marks)) {
			l, err := ks[0].s.leases.get(w.Context(), part)
			if err != nil || l.Owner != "" && l.At != string(pipeline.End) { // the dead cannot give up what was read to its end
				w.Errorf("lease of %v after the end: owner %q at %q, %v", part, l.Owner, l.At, err)
			}
		}
	})
}

// TestHint: what was acknowledged is written with its stamp, soon, and at the end.
func TestHint(t *testing.T) {
	bubble(t, 1, func(w *world) {
		rows := newTable()
		k := w.worker(rows, w.config(), nil)
		k.stamp = pipeline.Stamp{Pipeline: "shop", Epoch: 1, Replay: 2, Rev: 3}
		shard := w.Shards("a")[0]
		part := w.part(k.s, shard)
		h, err := k.s.Hint(w.Context(), part)
		w.wants("without a lease", []any{h, err}, []any{pipeline.Hint{}, error(nil)})
		k.start()
		w.until("it is read", func() bool { return k.has() == 1 })
		h, err = k.s.Hint(w.Context(), part)
		w.wants("before an acknowledgement", []any{h, err}, []any{pipeline.Hint{}, error(nil)})
		seqs := w.fill(shard, 0, 3)
		time.Sleep(15 * time.Second)
		want := pipeline.Hint{At: pipeline.Cursor{At: must(passed(seqs[2]))}, Stamp: k.stamp}
		h, _ = k.s.Hint(w.Context(), part)
		w.wants("after a renewal", h, want)
		l, _ := k.s.leases.get(w.Context(), part)
		if age := time.Since(time.UnixMilli(l.CaughtUpAt)); age > 15*time.Second {
			w.Errorf("caught up %v ago", age)
		}
		w.wants("lag", k.s.Behind(), map[pipeline.Partition]time.Duration{part: 0})
		seqs = w.fill(shard, 3, 1)
		w.until("it is in", func() bool { return rows.count() == 4 })
		_ = k.end()
		h, _ = k.s.Hint(w.Context(), part)
		w.wants("after the end", h.At.At, must(passed(seqs[0])))
		if _, err := w.worker(rows, w.config(), brokenStore{}).s.Hint(w.Context(), part); err == nil {
			w.Error("a store that does not answer is no hint")
		}
	})
}

type brokenStore struct{ pipeline.Store }

func (brokenStore) Get(context.Context, string) ([]byte, error) { return nil, errors.New("no answer") }

// TestAssignedFails: it is tried again, unless the pipeline is to end.
func TestAssignedFails(t *testing.T) {
	bubble(t, 2, func(w *world) {
		k, n := w.worker(newTable(), w.config(), nil), 0
		k.fail = func() error {
			if n++; n < 4 {
				return errors.New("not yet")
			}
			return nil
		}
		k.start()
		w.until("it is read", func() bool { return k.has() == 2 })
		w.wants("calls", n, 4)
		_ = k.end()
		k = w.worker(newTable(), w.config(), nil)
		k.fail = func() error { return fmt.Errorf("another revision: %w", pipeline.ErrStale) }
		if err := <-k.start().done; !errors.Is(err, pipeline.ErrStale) {
			w.Errorf("Run ended with %v", err)
		}
	})
}

// TestTaken: a lease that somebody took is given up as lost.
func TestTaken(t *testing.T) {
	bubble(t, 1, func(w *world) {
		k := w.worker(newTable(), w.config(), nil).start()
		w.until("it is read", func() bool { return k.has() == 1 })
		part := w.part(k.s, w.Shards("a")[0])
		l, err := k.s.leases.get(w.Context(), part)
		if err != nil {
			w.Fatal(err)
		}
		now := l
		now.Owner = "somebody"
		if err := k.s.leases.swap(w.Context(), part, l, &now); err != nil {
			w.Fatal(err)
		}
		w.until("it is given up", func() bool { return k.has() == 0 })
		w.wants("told", k.story(), "+0 !0")
		w.until("it is taken back when somebody is silent", func() bool { return k.has() == 1 })
		_ = k.end()
		w.wants("in all", k.story(), "+0 !0 +0 -0")
	})
}

// TestReplayedParent: when the group position of a parent is void, its children are
// given up until it was read again.
func TestReplayedParent(t *testing.T) {
	bubble(t, 1, func(w *world) {
		var mu sync.Mutex
		void := false
		var s *Source
		starts := func(ctx context.Context, ps []pipeline.Partition) (map[pipeline.Partition]pipeline.Position, error) {
			mu.Lock()
			defer mu.Unlock()
			out := map[pipeline.Partition]pipeline.Position{}
			for _, p := range ps {
				h, err := s.Hint(ctx, p)
				if err != nil {
					return nil, err
				}
				if !void || h.Stamp.Replay == 1 {
					out[p] = h.At.At
				}
			}
			return out, nil
		}
		rows := newTable()
		k := w.worker(rows, w.config(), nil, WithStarts(starts))
		s = k.s
		k.start()
		w.fill(w.Shards("a")[0], 0, 1)
		w.Split("a", w.Shards("a")[0])
		w.until("the children are read", func() bool { return k.has() == 2 })
		mu.Lock()
		void = true
		mu.Unlock()
		w.until("only the parent is read", func() bool { return strings.Contains(k.story(), "-1") && k.has() == 1 })
		w.wants("told", sortedStory(k.story()), "+0 +0 +1 +2 -0 -1 -2")
		_ = k.end()
	})
}

func sortedStory(s string) string {
	f := strings.Fields(s)
	slices.Sort(f)
	return strings.Join(f, " ")
}

// TestRemovedShard: a shard that retention removed before it was read halts, and its
// children wait, until an operator has decided.
func TestRemovedShard(t *testing.T) {
	bubble(t, 1, func(w *world) {
		k := w.worker(newTable(), w.config(), nil).start()
		shard := w.Shards("a")[0]
		w.fill(shard, 0, 1)
		w.until("it is read", func() bool { return k.has() == 1 })
		part := w.part(k.s, shard)
		_ = k.end()
		w.fill(shard, 1, 1)
		left, _ := w.Split("a", shard)
		w.fill(left, 2, 1)
		time.Sleep(25 * time.Hour)
		rows := newTable()
		k = w.worker(rows, w.config(), nil).start()
		w.until("it is looked at", func() bool { return k.has() > 0 })
		ps, err := k.s.Partitions(w.Context())
		if err != nil || !slices.Contains(ps, part) {
			w.Errorf("partitions %v, %v", ps, err)
		}
		time.Sleep(5 * time.Minute)
		w.wants("lanes", k.has(), 1)
		class, _ := halt(k.halts[part])
		w.wants("halt", class, pipeline.HaltOvertaken)
		_ = k.end()
		accepted := func(context.Context, []pipeline.Partition) (map[pipeline.Partition]pipeline.Position, error) {
			return map[pipeline.Partition]pipeline.Position{part: pipeline.End}, nil
		}
		k = w.worker(rows, w.config(), nil, WithStarts(accepted)).start()
		w.until("the children halt, too", func() bool { // their records are gone as well, as the parent's lease tells
			k.mu.Lock()
			defer k.mu.Unlock()
			return len(k.halts) == 2
		})
		for p, err := range k.halts {
			class, _ := halt(err)
			w.wants(p.ID, class, pipeline.HaltOvertaken)
		}
		raw, err := w.store.Get(w.Context(), leaseKey(part))
		w.wants("the lease of the shard that is gone", []any{raw, err}, []any{[]byte(nil), error(nil)})
		_ = k.end()
	})
}

// TestMovedBack: what was known of a position is not known of an earlier one.
func TestMovedBack(t *testing.T) {
	l := &lane{}
	f := func(low string, want int64) {
		t.Helper()
		to := lease{At: string(must(passed("7"))), Stamp: "x", CaughtUpAt: 5}
		l.mu.low, l.mu.stamp = must(passed(low)), "y"
		l.fill(&to)
		if to.CaughtUpAt != want || to.At != string(l.mu.low) || to.Stamp != "y" {
			t.Errorf("moved to %s: %+v, want caught up at %d", low, to, want)
		}
	}
	f("6", 0)
	f("7", 5)
	f("8", 5)
}
