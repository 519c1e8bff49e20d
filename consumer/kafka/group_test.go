package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/firehosed/firehosed/pipeline"
)

func TestRunReadsWhatTheGroupGives(t *testing.T) {
	b := newBroker(t)
	b.create("orders", 3)
	for i := range int32(3) {
		b.produce("orders", i, numbered(0, 100)...)
	}
	s, g := b.source(b.config("orders")), newGroup(t)
	stop := g.run(s)
	g.until("all is read", func() bool { return g.total() == 300 })
	for i := range int32(3) {
		p := b.partition(s, "orders", i)
		if diff := cmp.Diff(numbered(0, 100), g.mu.values[p]); diff != "" {
			t.Errorf("%v: %s", p, diff)
		}
	}
	if lag := s.Lag(); len(lag) != 3 {
		t.Errorf("lag of %d partitions, want 3: %v", len(lag), lag)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	if len(g.mu.lanes) != 0 {
		t.Errorf("Run returned and %d lanes are still owned", len(g.mu.lanes))
	}
}

func TestAckIsTheHintOfTheNextOwner(t *testing.T) {
	b := newBroker(t)
	b.create("orders", 1)
	b.produce("orders", 0, numbered(0, 10)...)
	s, g := b.source(b.config("orders")), newGroup(t)
	p := b.partition(s, "orders", 0)
	h, err := s.Hint(ctx(t), p)
	if err != nil || h != (pipeline.Hint{}) {
		t.Fatalf("before the first commit: %v, %v", h, err)
	}
	st := pipeline.Stamp{Pipeline: "orders-to-lake", Epoch: 1, Replay: 2, Rev: 3}
	g.onGone = func(ctx context.Context, ls []pipeline.Lane) {
		if err := ls[0].Ack(ctx, cursor(7, 0), st); err != nil {
			t.Error(err)
		}
	}
	stop := g.run(s)
	g.until("read", func() bool { return g.total() == 10 })
	_ = stop() // the last acknowledgement is sent before the group goes on
	h, err = s.Hint(ctx(t), p)
	want := pipeline.Hint{At: pipeline.Cursor{At: position(7), Epoch: 1}, Stamp: st}
	if diff := cmp.Diff(want, h); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
}

// share checks that every partition is owned by exactly one of the groups.
func share(t *testing.T, n int, gs ...*group) {
	t.Helper()
	c := ctx(t)
	for {
		owned, each := 0, true
		for _, g := range gs {
			g.mu.Lock()
			owned += len(g.mu.lanes)
			each = each && len(g.mu.lanes) > 0
			g.mu.Unlock()
		}
		if owned == n && each {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-c.Done():
			t.Fatalf("%d of %d partitions owned, by all: %v", owned, n, each)
		}
	}
}

func TestTwoWorkersShareOut(t *testing.T) {
	for _, protocol := range []string{Classic, Consumer} {
		t.Run(protocol, func(t *testing.T) {
			b := newBroker(t, kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "50"}))
			b.create("t", 6)
			cfg := b.config("t")
			cfg.GroupProtocol = protocol
			s1, g1 := b.source(cfg), newGroup(t)
			g1.run(s1)
			share(t, 6, g1)
			given := g1.mu.given
			s2, g2 := b.source(cfg), newGroup(t)
			stop2 := g2.run(s2)
			share(t, 6, g1, g2)
			if g1.mu.given != given {
				t.Errorf("the first worker was given %d partitions anew: the rebalance was not cooperative", g1.mu.given-given)
			}
			for i := range int32(6) {
				b.produce("t", i, numbered(0, 5)...)
			}
			stop2()
			share(t, 6, g1)
			g1.until("everything is read by who is left", func() bool { return g1.total() >= 30 })
		})
	}
}

func TestStaticMemberFindsItsPartitionsAgain(t *testing.T) {
	b := newBroker(t)
	b.create("t", 4)
	cfg := b.config("t")
	cfg.InstanceID = "worker-1"
	s1, g1 := b.source(cfg), newGroup(t)
	stop1 := g1.run(s1)
	share(t, 4, g1)
	cfg.InstanceID = "worker-2"
	s2, g2 := b.source(cfg), newGroup(t)
	g2.run(s2)
	share(t, 4, g1, g2)
	given := g2.mu.given
	_ = stop1()
	cfg.InstanceID = "worker-1"
	s3, g3 := b.source(cfg), newGroup(t)
	g3.run(s3)
	share(t, 4, g2, g3)
	if g2.mu.given != given {
		t.Errorf("the other worker was given %d partitions while the first one was away", g2.mu.given-given)
	}
}

func TestForeignStampsAreVoid(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	s := b.source(b.config("t"))
	p := b.partition(s, "t", 0)
	f := func(meta string, want pipeline.Hint) {
		t.Helper()
		var os kadm.Offsets
		os.Add(kadm.Offset{Topic: "t", Partition: 0, At: 3, LeaderEpoch: -1, Metadata: meta})
		if err := b.admin().CommitAllOffsets(ctx(t), "g", os); err != nil {
			t.Fatal(err)
		}
		got, err := s.Hint(ctx(t), p)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", meta, err, diff)
		}
	}
	none := pipeline.Hint{}
	f("", none)
	f("kafka-consumer-groups", none)
	f("fhd1;x;0;0;1", none)
	f("fhd1;x;0;0;-1;"+p.Incarnation, none)
	f("fhd2;x;0;0;1;"+p.Incarnation, none)
	f("fhd1;x;0;0;1;AAAAAAAAAAAAAAAAAAAAAA", none) // of a topic that had the name before
	f("fhd1;x;0;0;1;"+p.Incarnation, pipeline.Hint{At: cursor(3, -1), Stamp: pipeline.Stamp{Pipeline: "x", Rev: 1}})

	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.GroupAuthorizationFailed, Count: -1})
	if h, err := s.Hint(ctx(t), p); err == nil {
		t.Errorf("no answer is an error, got %v", h)
	}
}

func TestNewPartitionsAndTopics(t *testing.T) {
	b := newBroker(t)
	b.create("logs-a", 1)
	b.create("other", 1)
	cfg := b.config()
	cfg.TopicsRegex = "logs-.*"
	s, g := b.source(cfg), newGroup(t)
	g.run(s)
	g.until("one partition", func() bool { return len(g.mu.lanes) == 1 })
	b.create("logs-b", 2)
	b.create("my-logs-c", 1) // the whole name has to match
	g.until("a new topic", func() bool { return len(g.mu.lanes) == 3 })
	if _, err := b.admin().UpdatePartitions(ctx(t), 4, "logs-a"); err != nil {
		t.Fatal(err)
	}
	g.until("new partitions", func() bool { return len(g.mu.lanes) == 6 })
	b.produce("logs-a", 3, "x")
	g.until("a new partition is read", func() bool { return g.total() == 1 })
	for p := range g.mu.lanes {
		if name := s.Name(p); name != "logs-a" && name != "logs-b" {
			t.Errorf("%v is of topic %q", p, name)
		}
	}
}

func TestRecreatedTopicIsAnotherPartition(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, "old")
	s, g := b.source(b.config("t")), newGroup(t)
	old := b.partition(s, "t", 0)
	g.run(s)
	g.until("read", func() bool { return g.total() == 1 })
	if err := b.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	b.create("t", 1)
	b.produce("t", 0, "new", "newer")
	g.until("the new one is read", func() bool { return g.total() == 3 })
	if _, ok := g.mu.lanes[old]; ok || len(g.mu.lanes) != 1 {
		t.Errorf("lanes %v, the old one is %v", g.mu.lanes, old)
	}
	if diff := cmp.Diff([]string{"old"}, g.mu.values[old]); diff != "" {
		t.Error(diff)
	}
}

func TestAssignedIsTriedAgain(t *testing.T) {
	b := newBroker(t)
	b.create("t", 2)
	s, g := b.source(b.config("t")), newGroup(t)
	tries := 0
	g.fail = func() error {
		if tries++; tries < 3 {
			return errors.New("catalog does not answer")
		}
		return nil
	}
	g.run(s)
	share(t, 2, g)
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
}

func TestStaleAndHaltEndRun(t *testing.T) {
	for _, want := range []error{pipeline.ErrStale, &pipeline.Halt{Class: pipeline.HaltCorrupt}} {
		b := newBroker(t)
		b.create("t", 1)
		s, g := b.source(b.config("t")), newGroup(t)
		g.fail = func() error { return fmt.Errorf("assign: %w", want) }
		if err := s.Run(ctx(t), g); !errors.Is(err, want) {
			t.Errorf("Run returned %v, want %v", err, want)
		}
	}
}

// Whoever waits for the next batch is woken when the partition is taken away, and
// what it still holds stays good.
func TestRevokedWhileReading(t *testing.T) {
	b := newBroker(t)
	b.create("t", 2)
	cfg := b.config("t")
	s1, g1 := b.source(cfg), newGroup(t)
	g1.run(s1)
	share(t, 2, g1)
	var lanes []pipeline.Lane
	for _, l := range g1.mu.lanes {
		lanes = append(lanes, l)
	}
	b.produce("t", 0, numbered(0, 10)...)
	b.produce("t", 1, numbered(0, 10)...)
	g1.until("read", func() bool { return g1.total() == 20 })
	s2, g2 := b.source(cfg), newGroup(t)
	g2.run(s2)
	share(t, 2, g1, g2)
	gone := 0
	for _, l := range lanes {
		if g1.mu.lanes[l.Partition()] != nil {
			continue
		}
		gone++
		if _, err := l.Open(ctx(t), pipeline.Start{}); err == nil {
			t.Error("a lane that was taken away opens")
		}
		if err := l.Ack(ctx(t), cursor(5, 0), pipeline.Stamp{}); err == nil {
			t.Error("a lane that was taken away acknowledges")
		}
	}
	if gone != 1 {
		t.Errorf("%d lanes were taken away", gone)
	}
}

// slow is a handler whose Assigned takes as long as it is allowed to.
type slow struct {
	*group
	began chan struct{}
}

func (h *slow) Assigned(ctx context.Context, lanes []pipeline.Lane) error {
	if len(lanes) < 2 { // what is left after the rebalance
		return h.group.Assigned(ctx, lanes)
	}
	select {
	case h.began <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// A worker that cannot take over its partitions does not hold up the group.
func TestAssignedIsInterrupted(t *testing.T) {
	b := newBroker(t)
	b.create("t", 2)
	h := &slow{newGroup(t), make(chan struct{}, 1)}
	s1 := b.source(b.config("t"))
	c, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s1.Run(c, h) })
	defer wg.Wait()
	defer h.wg.Wait()
	defer cancel()
	<-h.began
	s2, g2 := b.source(b.config("t")), newGroup(t)
	g2.run(s2)
	share(t, 2, h.group, g2)
}

// TestStopWhileTheGroupWaits: a worker that is asked to stop while the group waits for
// another member to come back does not wait with it.
func TestStopWhileTheGroupWaits(t *testing.T) {
	for _, instance := range []string{"", "w"} {
		t.Run("instance "+instance, func(t *testing.T) {
			b := newBroker(t)
			b.create("t", 2)
			cfg := b.config("t")
			cfg.InstanceID = instance
			s, g := b.source(cfg), newGroup(t)
			stop := g.run(s)
			share(t, 2, g)
			joins := b.joins(cfg.SessionTimeout)
			before := joins()
			b.join(cfg) // answered when the worker has joined again; never heard of after that
			limit := ctx(t)
			for joins() < before+2 { // the worker has given a partition up, and the group waits for the other
				select {
				case <-time.After(5 * time.Millisecond):
				case <-limit.Done():
					t.Fatal("the worker does not join again")
				}
			}
			began := time.Now()
			_ = stop()
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("Run ended %v after it was asked to", took)
			}
		})
	}
}

// joins returns how many requests to join came from members with a session timeout.
func (b *broker) joins(session time.Duration) func() int64 {
	var n atomic.Int64
	b.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		if req.(*kmsg.JoinGroupRequest).SessionTimeoutMillis == int32(session.Milliseconds()) {
			n.Add(1)
		}
		return nil, nil, false
	})
	return n.Load
}

// join joins a group as a member that does nothing else, and returns when the group
// answers or the test ends.
func (b *broker) join(cfg Config) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = 3 // of a member that needs no id to join
	req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = cfg.Group, 60_000, 60_000, "consumer"
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = cfg.Topics
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "cooperative-sticky", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, protocol)
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.JoinGroup), 3)
	_, _ = req.RequestWith(b.t.Context(), b.client(kgo.MaxVersions(versions)))
}
