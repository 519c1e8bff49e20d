package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/firehosed/firehosed/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a cluster in this process that speaks the real protocol.
type broker struct {
	*kfake.Cluster
	t *testing.T
}

func newBroker(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &broker{c, t}
}

// config returns a configuration for the broker with times that suit a test.
func (b *broker) config(topics ...string) Config {
	cfg := DefaultConfig()
	cfg.Brokers, cfg.Topics, cfg.Group = b.ListenAddrs(), topics, "g"
	cfg.FetchMaxWait, cfg.MetadataMaxAge, cfg.SessionTimeout = 20*time.Millisecond, 50*time.Millisecond, time.Second
	return cfg
}

func (b *broker) source(cfg Config, opts ...Option) *Source {
	b.t.Helper()
	s, err := New(cfg, append([]Option{WithLogger(testLog(b.t))}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Close() })
	return s
}

func testLog(t *testing.T) *slog.Logger {
	if os.Getenv("FIREHOSED_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *broker) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.Close)
	return cl
}

func (b *broker) admin() *kadm.Client { return kadm.NewClient(b.client()) }

func (b *broker) create(topic string, partitions int32) {
	b.t.Helper()
	if err := b.CreateTopic(topic, partitions, nil); err != nil {
		b.t.Fatal(err)
	}
}

// produce appends values to a partition, in one batch.
func (b *broker) produce(topic string, num int32, values ...string) {
	b.t.Helper()
	cl := b.client()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: num, Value: []byte(v)})
	}
	if err := cl.ProduceSync(ctx(b.t), rs...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

func numbered(from, n int) (vs []string) {
	for i := range n {
		vs = append(vs, fmt.Sprintf("v%d", from+i))
	}
	return vs
}

// ctx ends with the test, or when something hangs.
func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func (b *broker) partition(s *Source, topic string, num int32) pipeline.Partition {
	b.t.Helper()
	ps, err := s.Partitions(ctx(b.t))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range ps {
		if s.Name(p) == topic && p.ID == fmt.Sprint(num) {
			return p
		}
	}
	b.t.Fatalf("no partition %d of %q in %v", num, topic, ps)
	return pipeline.Partition{}
}

// readTo reads until the position is reached, and checks that spans chain.
func readTo(t *testing.T, r pipeline.Reader, from pipeline.Cursor, end int64) (values []string) {
	t.Helper()
	c := ctx(t)
	at := from
	for at.At < position(end) {
		b, err := r.Next(c)
		if err != nil {
			t.Fatalf("at %v: %v", at, err)
		}
		if b.Span.From != at {
			t.Fatalf("span %v does not chain to %v", b.Span, at)
		}
		if len(b.Values) != len(b.Times) || b.Meta.NumRows() != int64(len(b.Values)) {
			t.Fatalf("%d values, %d times, %d rows", len(b.Values), len(b.Times), b.Meta.NumRows())
		}
		for i, v := range b.Values {
			if c := b.Cursor(i); c.At < b.Span.From.At || c.At >= b.Span.To.At {
				t.Fatalf("record %d at %v is not in %v", i, c, b.Span)
			}
			values = append(values, string(v))
		}
		at = b.Span.To
		b.Release()
	}
	return values
}

// group is a handler that reads every lane it is given.
type group struct {
	t      *testing.T
	start  pipeline.Cursor
	fail   func() error // asked by Assigned
	onGone func(ctx context.Context, ls []pipeline.Lane)

	wg sync.WaitGroup
	mu struct {
		sync.Mutex
		lanes  map[pipeline.Partition]pipeline.Lane
		stop   map[pipeline.Partition]context.CancelFunc
		values map[pipeline.Partition][]string
		at     map[pipeline.Partition]pipeline.Cursor
		errs   map[pipeline.Partition]error
		change chan struct{}
		given  int
	}
}

func newGroup(t *testing.T) *group {
	g := &group{t: t}
	g.mu.lanes, g.mu.stop = map[pipeline.Partition]pipeline.Lane{}, map[pipeline.Partition]context.CancelFunc{}
	g.mu.values, g.mu.at = map[pipeline.Partition][]string{}, map[pipeline.Partition]pipeline.Cursor{}
	g.mu.errs, g.mu.change = map[pipeline.Partition]error{}, make(chan struct{})
	return g
}

func (g *group) changed() {
	close(g.mu.change)
	g.mu.change = make(chan struct{})
}

func (g *group) Assigned(ctx context.Context, lanes []pipeline.Lane) error {
	if g.fail != nil {
		if err := g.fail(); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range lanes {
		c, stop := context.WithCancel(context.WithoutCancel(ctx))
		g.mu.lanes[l.Partition()], g.mu.stop[l.Partition()] = l, stop
		g.mu.given++
		g.wg.Go(func() { g.read(c, l) })
	}
	g.changed()
	return nil
}

func (g *group) read(ctx context.Context, l pipeline.Lane) {
	err := func() error {
		r, err := l.Open(ctx, pipeline.Start{At: g.start})
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		for {
			b, err := r.Next(ctx)
			if err != nil {
				return err
			}
			g.mu.Lock()
			for _, v := range b.Values {
				g.mu.values[l.Partition()] = append(g.mu.values[l.Partition()], string(v))
			}
			g.mu.at[l.Partition()] = b.Span.To
			g.changed()
			g.mu.Unlock()
			b.Release()
		}
	}()
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.errs[l.Partition()] = err
	g.changed()
}

func (g *group) Revoked(ctx context.Context, lanes []pipeline.Lane) error {
	g.mu.Lock()
	for _, l := range lanes {
		g.mu.stop[l.Partition()]()
		delete(g.mu.lanes, l.Partition())
	}
	g.mu.Unlock()
	if g.onGone != nil {
		g.onGone(ctx, lanes)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed()
	return nil
}

// until waits for a state of the group.
func (g *group) until(what string, ok func() bool) {
	g.t.Helper()
	c := ctx(g.t)
	for {
		g.mu.Lock()
		done, change := ok(), g.mu.change
		g.mu.Unlock()
		if done {
			return
		}
		select {
		case <-change:
		case <-c.Done():
			g.mu.Lock()
			defer g.mu.Unlock()
			g.t.Fatalf("%s: never; lanes %v, values %d, errs %v", what, slices.Collect(maps.Keys(g.mu.lanes)), len(g.mu.values), g.mu.errs)
		}
	}
}

func (g *group) total() (n int) {
	for _, vs := range g.mu.values {
		n += len(vs)
	}
	return n
}

// run runs a source until the function it returns is called.
func (g *group) run(s *Source) (stop func() error) {
	c, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(c, g) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-done
			g.wg.Wait()
		})
		return err
	}
	g.t.Cleanup(func() { _ = stop() })
	return stop
}

func halt(t *testing.T, err error, class string) *pipeline.Halt {
	t.Helper()
	h := (*pipeline.Halt)(nil)
	if !errors.As(err, &h) || h.Class != class {
		t.Fatalf("got %v, want a halt %s", err, class)
	}
	if !strings.HasPrefix(h.Remedy, "firehosed ") {
		t.Fatalf("remedy %q is no command", h.Remedy)
	}
	return h
}
