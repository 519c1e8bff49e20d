package kafka

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

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
