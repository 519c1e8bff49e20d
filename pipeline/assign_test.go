package pipeline

import (
	"context"
	"errors"
	"testing"
)

// mute is a source that cannot say where the group is.
type mute struct{ Source }

var errMute = errors.New("no answer")

func (mute) Hint(context.Context, Partition) (Hint, error) { return Hint{}, errMute }

type plainLane struct {
	Lane
	part Partition
}

func (l plainLane) Partition() Partition { return l.part }

// TestAssignedInVain: what could not be taken over is not the pipeline's. The group may
// give it to somebody else before the source tries again, and then nobody says so.
func TestAssignedInVain(t *testing.T) {
	p := New(Config{Name: "web"}, mute{}, emptySink{}, NewControl(newMemStore(), "web", "w"), NewBudget(1<<20).Share(), nil, nil)
	l := plainLane{part: Partition{Kind: "kafka", Stream: "clicks", ID: "0"}}
	if err := p.Assigned(t.Context(), []Lane{l}); !errors.Is(err, errMute) {
		t.Fatal(err)
	}
	if n := len(p.waiting()); n != 0 {
		t.Errorf("%d partitions are still to be taken over, although nobody has given them since", n)
	}
}

// hooked is a table that does something while it is asked for its marks.
type hooked struct {
	emptyTable
	ask func() Ledger
}

func (h hooked) Watermarks(context.Context, []Partition) (Ledger, error) { return h.ask(), nil }

// TestGivenAwayInSync: a partition is given away while its marks are read.
// When it comes back, after a replay perhaps, they must not be there.
func TestGivenAwayInSync(t *testing.T) {
	ls := lanesOf("0", "1")
	l, p := ls[0], ls[0].p
	tab := p.table(t.Context(), "a")
	tab.mu.t = hooked{ask: func() Ledger {
		p.mu.Lock()
		delete(p.mu.lanes, l.part)
		p.mu.Unlock()
		tab.forget(t.Context(), l.part)
		return Ledger{Marks: Vector{l.part: {At: Cursor{At: "10"}}}}
	}}
	tab.fail(t.Context(), ErrStale)
	for range 2 { // the second time nothing is given away
		if err := tab.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		delete(p.mu.lanes, l.part)
		p.mu.Unlock()
		if at, known := tab.mu.marks[l.part]; known {
			t.Fatalf("mark %q of a partition given away", at.At)
		}
		tab.mu.t = emptyTable{}
	}
	if _, known := tab.mu.marks[ls[1].part]; !known || !tab.up() {
		t.Error("the table takes no rows of the partition that is still here")
	}
}

// TestGivenAwayInCommit: a commit is on its way while a partition is given
// away and comes back, at a mark before a replay. What it says is not for the new owner.
func TestGivenAwayInCommit(t *testing.T) {
	ls := lanesOf("0", "1")
	l, p := ls[0], ls[0].p
	tab := p.table(t.Context(), "a")
	l.bring(t, tab, 10, 40, nil)
	ls[1].bring(t, tab, 10, 40, nil)
	f := tab.mu.open
	f.d = onCommit(func() {
		tab.forget(t.Context(), l.part)
		tab.mu.marks[l.part] = Cursor{At: "05"}
		if at := tab.through(l.part, "05"); at != "05" {
			t.Errorf("rows below %q count as brought by the new owner", at)
		}
		if at, ok := tab.lowest(l.part); ok {
			t.Errorf("rows from %q on count as the new owner's", at.At)
		}
	})
	if err := tab.commit(t.Context(), CutAsked); err != nil {
		t.Fatal(err)
	}
	if at := tab.mu.marks[l.part]; at.At != "05" {
		t.Errorf("the new owner's mark is %q, want 05", at.At)
	}
	if at := tab.mu.marks[ls[1].part]; at.At != "40" {
		t.Errorf("the mark of the other partition is %q, want 40", at.At)
	}

	// Before the claims are made the delivery is dropped, since they would begin at the
	// new owner's mark.
	tab.mu.marks[l.part] = Cursor{At: "40"}
	l.bring(t, tab, 40, 50, nil)
	ls[1].bring(t, tab, 40, 50, nil)
	f = tab.mu.open
	tab.mu.open, tab.mu.out = nil, f
	ls[1].bring(t, tab, 50, 60, nil)
	tab.forget(t.Context(), l.part)
	tab.mu.marks[l.part] = Cursor{At: "05"}
	if _, ok := tab.claims(f); ok {
		t.Error("rows of the old owner are claimed from the new owner's mark")
	}
	if at := tab.through(ls[1].part, "40"); at != "40" {
		t.Errorf("rows below %q count as on their way", at)
	}
	if _, lags := tab.mu.lag[l.part]; lags || tab.mu.lag[ls[1].part].At != "40" {
		t.Errorf("lags %v, want the other partition's from 40", tab.mu.lag)
	}
	p.share.Charge(-f.held)
}

// onCommit is a delivery that does something while it is committed.
type onCommit func()

func (onCommit) Write(context.Context, *Batch, Rows) error { return nil }

func (onCommit) Size() (held, output int64, full bool) { return 1, 0, false }

func (f onCommit) Commit(context.Context, Stamp, []Claim, string) error { f(); return nil }

func (onCommit) Abort(context.Context) error { return nil }
