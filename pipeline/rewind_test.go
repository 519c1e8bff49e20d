package pipeline

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/schema"
)

// emptySink has tables that take everything and whose ledgers are empty.
type emptySink struct{}

func (emptySink) Table(context.Context, string, Stamp) (Table, error) { return emptyTable{}, nil }

func (emptySink) Fence(context.Context, string, Stamp) (Ledger, error) { return Ledger{}, nil }

func (emptySink) Close(context.Context) error { return nil }

type emptyTable struct{}

func (emptyTable) Schema() *schema.Schema { return nil }

func (emptyTable) Evolve(context.Context, *schema.Schema) (*schema.Schema, error) { return nil, nil }

func (emptyTable) Watermarks(context.Context, []Partition) (Ledger, error) { return Ledger{}, nil }

func (emptyTable) Begin(context.Context) (Delivery, error) { return emptyDelivery{}, nil }

type emptyDelivery struct{ committed chan Stamp }

func (emptyDelivery) Write(context.Context, *Batch, Rows) error { return nil }

func (emptyDelivery) Size() (held, output int64, full bool) { return 1, 0, false }

func (d emptyDelivery) Commit(_ context.Context, st Stamp, _ []Claim, _ string) error {
	if d.committed != nil {
		d.committed <- st
	}
	return nil
}

func (emptyDelivery) Abort(context.Context) error { return nil }

// lanesOf returns lanes of one pipeline that nobody runs.
func lanesOf(ids ...string) []*lane {
	p := New(Config{Name: "web"}, nil, emptySink{}, NewControl(newMemStore(), "web", "w"), NewBudget(1<<20).Share(), nil, nil)
	var ls []*lane
	for _, id := range ids {
		l := &lane{p: p, part: Partition{Kind: "kafka", Stream: "clicks", ID: id}, apply: make(turn, 1)}
		l.pos.fed = map[*table]bool{}
		p.mu.lanes[l.part] = l
		ls = append(ls, l)
	}
	return ls
}

// bring offers a table the rows of [from, to), as offer does.
func (l *lane) bring(t *testing.T, tab *table, from, to int, late []lateTable) {
	t.Helper()
	at := func(n int) Cursor { return Cursor{At: Position(fmt.Sprintf("%02d", n))} }
	b := &Batch{Span: Span{l.part, at(from), at(to)}, Cursor: func(i int) Cursor { return at(from + i) }}
	var r Rows
	for i := range to - from {
		r.Rec, r.Sub = append(r.Rec, int32(i)), append(r.Sub, 0)
	}
	l.feed(tab, late)
	tab.take(t.Context(), b, r, late)
	for _, lt := range late {
		lt.caughtUp(b.Span, l.at(), lt.gen)
	}
	if late == nil {
		l.pos.Lock()
		l.pos.done = b.Span.To
		l.pos.Unlock()
	}
}

// TestRewindKeepsTheLagOfRowsLostMeanwhile: another partition is given away while a
// lane decides to go back, and takes along the rows that were just read again.
func TestRewindKeepsTheLagOfRowsLostMeanwhile(t *testing.T) {
	ls := lanesOf("0", "1")
	l, other := ls[0], ls[1]
	tab := l.p.table(t.Context(), "a")
	l.bring(t, tab, 10, 40, nil)
	tab.fail(t.Context(), ErrStale)
	if err := tab.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.bring(t, tab, 0, 10, nil)
	late, _ := l.p.late(l.part)
	l.bring(t, tab, 10, 20, late)
	late, from := l.p.late(l.part) // what rewind goes by
	if len(late) != 1 || from.At != "20" || !tab.holds(l.part) {
		t.Fatalf("%d tables lag, from %q, want 1 from 20 that holds what was read again", len(late), from.At)
	}
	tab.forget(t.Context(), other.part)
	l.pos.done = from
	tab.unlag(l.part, late[0].gen)
	if low, ok := l.low(); !ok || low.At != "10" {
		t.Errorf("low watermark %q %v, want 10: the rows of [10, 20) are nowhere", low.At, ok)
	}
}

// TestRewindUnderLow: a low watermark is asked for while a lane goes back and comes
// again. In between, the table holds nothing and lacks nothing.
func TestRewindUnderLow(t *testing.T) {
	l := lanesOf("0")[0]
	tab := l.p.table(t.Context(), "a")
	l.bring(t, tab, 20, 40, nil)
	tab.fail(t.Context(), ErrStale)
	if err := tab.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	low, back := l.stand()
	if !l.rewind(t.Context()) {
		t.Fatal("the lane does not go back")
	}
	if at, ok := tab.lowest(l.part); low.At != "40" || ok {
		t.Fatalf("asked at %q, the table lacks %q %v, want 40 and nothing", low.At, at.At, ok)
	}
	l.bring(t, tab, 20, 40, nil)
	if stood, _ := l.stood(back); stood {
		t.Error("a low watermark of 40 holds, although the rows of [20, 40) are not committed")
	}
	if low, ok := l.low(); !ok || low.At != "20" {
		t.Errorf("low watermark %q %v, want 20", low.At, ok)
	}
}

// ackedLane tells what was acknowledged.
type ackedLane struct {
	Lane
	acked chan Stamp
}

func (l ackedLane) Ack(_ context.Context, _ Cursor, st Stamp) error {
	l.acked <- st
	return nil
}

// setStamp begins a new run, as assign does.
func (p *Pipeline) setStamp(st Stamp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.stamp = st
}

// TestRewindStampOfAck: a replay is noticed while a low watermark is worked out. What
// was committed below it may just have been taken back, so it is of the old run.
func TestRewindStampOfAck(t *testing.T) {
	l := lanesOf("0")[0]
	acked := make(chan Stamp, 1)
	l.src = ackedLane{acked: acked}
	tab := l.p.table(t.Context(), "a")
	l.bring(t, tab, 0, 10, nil)
	tab.mu.Lock()
	go l.ack(t.Context())
	for stacks := ""; !strings.Contains(stacks, "(*table).lowest"); { // it waits for the table
		time.Sleep(time.Millisecond)
		var b strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
			t.Fatal(err)
		}
		stacks = b.String()
	}
	l.p.setStamp(Stamp{Pipeline: "web", Replay: 1})
	tab.mu.Unlock()
	if st := <-acked; st.Replay != 0 {
		t.Errorf("a low watermark from before the replay is acknowledged as of %v", st)
	}
}

// TestRewindStampOfCommit: the same while rows wait to be committed.
func TestRewindStampOfCommit(t *testing.T) {
	l := lanesOf("0")[0]
	tab := l.p.table(t.Context(), "a")
	l.bring(t, tab, 0, 10, nil)
	f := tab.mu.open
	committed := make(chan Stamp, 1)
	f.d = emptyDelivery{committed}
	f.writers.Add(1)
	done := make(chan error)
	go func() { done <- tab.commit(t.Context(), CutInterval) }()
	for taken := false; !taken; time.Sleep(time.Millisecond) {
		tab.mu.Lock()
		taken = tab.mu.out == f
		tab.mu.Unlock()
	}
	l.p.setStamp(Stamp{Pipeline: "web", Replay: 1})
	f.writers.Done()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if st := <-committed; st.Replay != 0 {
		t.Errorf("rows and floors from before the replay are committed as of %v", st)
	}
}
