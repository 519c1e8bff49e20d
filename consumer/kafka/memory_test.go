package kafka

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/consumer"
	"github.com/firehosed/firehosed/pipeline"
)

// counted is a budget that remembers the most that was ever out.
type counted struct {
	mu         sync.Mutex
	used, most int64
	closed     chan struct{} // Acquire waits for it
}

func (c *counted) Acquire(ctx context.Context, n int64) error {
	select {
	case <-c.closed:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.Charge(n)
	return nil
}

func (c *counted) Charge(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used += n
	c.most = max(c.most, c.used)
}

func (c *counted) out() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

func (c *counted) peak() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

var _ consumer.Budget = (*pipeline.Share)(nil)

// fill makes a partition with about that many MiB.
func (b *broker) fill(topic string, num int32, mib int) (records int64) {
	b.t.Helper()
	v := make([]byte, 64<<10)
	for range mib {
		vs := make([]string, 8)
		for i := range vs {
			vs[i] = string(v)
		}
		b.produce(topic, num, vs...)
		b.produce(topic, num, vs...)
	}
	return int64(mib) * 16
}

func TestNothingIsFetchedWithoutMemory(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	n := b.fill("t", 0, 1)
	bud := &counted{closed: make(chan struct{})}
	s := b.source(b.config("t"), WithBudget(bud))
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	short, cancel := context.WithTimeout(ctx(t), 50*time.Millisecond)
	defer cancel()
	if got, err := r.Next(short); err == nil {
		t.Fatalf("read %v without memory", got.Span)
	}
	close(bud.closed)
	readTo(t, r, pipeline.Cursor{}, n)
	s.Close()
	if left := bud.out(); left != 0 {
		t.Errorf("%d bytes were not given back", left)
	}
}

// What is not released holds up what is fetched next, within the limit.
func TestFetchBytesBoundsWhatIsNotReleased(t *testing.T) {
	b := newBroker(t)
	b.create("t", 4)
	n := int64(0)
	for i := range int32(4) {
		n += b.fill("t", i, 6)
	}
	bud := &counted{closed: make(chan struct{})}
	close(bud.closed)
	cfg := b.config("t")
	cfg.FetchBytes = 8 << 20
	s := b.source(cfg, WithBudget(bud))
	var rs []pipeline.Reader
	for i := range int32(4) {
		r, err := s.Open(ctx(t), b.partition(s, "t", i), pipeline.Start{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rs = append(rs, r)
	}
	var held []*pipeline.Batch
	got := int64(0)
	for got < n {
		progress := false
		for _, r := range rs {
			short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			b, err := r.Next(short)
			cancel()
			if err == nil {
				held, progress, got = append(held, b), true, got+int64(len(b.Values))
			}
		}
		if !progress { // memory is out: give some back
			if len(held) == 0 {
				t.Fatal("nothing is held and nothing comes")
			}
			for _, b := range held {
				b.Release()
			}
			held = nil
		}
	}
	for _, b := range held {
		b.Release()
	}
	if limit := cfg.FetchBytes + 4<<20; bud.peak() > limit {
		t.Errorf("%d bytes were out at once, the limit is %d", bud.peak(), cfg.FetchBytes)
	}
	s.Close()
	if left := bud.out(); left != 0 {
		t.Errorf("%d bytes were not given back", left)
	}
}

// A partition that nobody reads from, because it is halted, gives its memory up.
func TestIdleReadersGiveUpMemory(t *testing.T) {
	b := newBroker(t)
	b.create("t", 2)
	n := b.fill("t", 0, 2)
	b.fill("t", 1, 6)
	cfg := b.config("t")
	cfg.FetchBytes = 1 << 20
	s := b.source(cfg)
	s.patience = 20 * time.Millisecond
	open := func(num int32) pipeline.Reader {
		r, err := s.Open(ctx(t), b.partition(s, "t", num), pipeline.Start{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	idle := open(0)
	first, err := idle.Next(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	first.Release()
	busy := open(1)
	readTo(t, busy, pipeline.Cursor{}, 96)
	rest := readTo(t, idle, first.Span.To, n) // it goes on where it was
	if got := int64(len(first.Values) + len(rest)); got != n {
		t.Errorf("read %d records, want %d", got, n)
	}
}

func TestSkipsPassWhatCannotBeRead(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, "good")
	b.bomb("t")
	b.produce("t", 0, "after")
	cfg := b.config("t")
	cfg.MaxBatchBytes = 1 << 20
	var asked []pipeline.Span
	s := b.source(cfg, WithSkips(func(p pipeline.Partition, from, to pipeline.Position) bool {
		asked = append(asked, pipeline.Span{Partition: p, From: pipeline.Cursor{At: from}, To: pipeline.Cursor{At: to}})
		return true
	}))
	p := b.partition(s, "t", 0)
	r, err := s.Open(ctx(t), p, pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if diff := cmp.Diff([]string{"good", "after"}, readTo(t, r, pipeline.Cursor{}, 3)); diff != "" {
		t.Error(diff)
	}
	want := []pipeline.Span{{Partition: p, From: pipeline.Cursor{At: position(1)}, To: pipeline.Cursor{At: position(2)}}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}
