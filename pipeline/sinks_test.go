package pipeline

import (
	"context"
	"errors"
	"testing"
)

// TestBudgetsOfSinks: names from data that one sink has admitted take no room in another.
func TestBudgetsOfSinks(t *testing.T) {
	p := lanesOf("0")[0].p
	admit := p.admit(0)
	for _, c := range []struct {
		table string
		want  bool
	}{{"a", true}, {"more:a", true}, {"b", true}, {"more:b", true}, {"c", false}, {"more:c", false}, {"a", true}, {"more:b", true}, {"third:c", true}} {
		if got, err := admit(t.Context(), c.table, 2); err != nil || got != c.want {
			t.Errorf("%s: %v %v, want %v", c.table, got, err, c.want)
		}
	}
}

// TestForfeitedHoldsNobody: a table that was given up while it was down neither holds the
// low watermark nor stops a lane that feeds no other.
func TestForfeitedHoldsNobody(t *testing.T) {
	l := lanesOf("0")[0]
	tab := l.p.table(t.Context(), "t")
	l.feed(tab, nil)
	tab.fail(t.Context(), errors.New("gone"))
	tab.letGo(l.part, Cursor{At: "1"})
	l.pos.done = Cursor{At: "5"}
	if low, ok := l.low(); !ok || low.At != "1" || !l.blocked() {
		t.Fatalf("low %v %v, blocked %v: nothing holds the lane to begin with", low, ok, l.blocked())
	}
	tab.leave(context.Background())
	if low, ok := l.low(); !ok || low.At != "5" || l.blocked() {
		t.Errorf("low %v %v, blocked %v", low, ok, l.blocked())
	}
}

// TestFork: what stages append for one sink is not in the batch of another.
func TestFork(t *testing.T) {
	b := &Batch{Rejects: make([]Reject, 1, 8), Dropped: map[string]int{"x": 1}}
	one, two := b.Fork(), b.Fork()
	one.Rejects, two.Rejects = append(one.Rejects, Reject{Code: "one"}), append(two.Rejects, Reject{Code: "two"})
	one.Drop("x", 1)
	if one.Rejects[1].Code != "one" || two.Rejects[1].Code != "two" || len(b.Rejects) != 1 || two.Dropped["x"] != 1 || b.Dropped["x"] != 1 {
		t.Errorf("%+v %+v %+v", b, one, two)
	}
}

// TestLettersAwaitTheirTable: dead letters that cannot be known until a table is bound are
// not read again meanwhile, or they would hold up those that can be brought up to date.
func TestLettersAwaitTheirTable(t *testing.T) {
	l := lanesOf("0")[0]
	unbound, letters, other := l.p.table(t.Context(), "t"), l.p.table(t.Context(), "dead"), l.p.table(t.Context(), "o")
	unbound.fail(t.Context(), errors.New("refused"))
	letters.awaits(unbound)
	letters.letGo(l.part, Cursor{At: "1"})
	other.letGo(l.part, Cursor{At: "3"})
	names := func() (all []string) {
		late, _ := l.p.late(l.part)
		for _, t := range late {
			all = append(all, t.name)
		}
		return all
	}
	if got := names(); len(got) != 1 || got[0] != "o" {
		t.Errorf("read again is for %v", got)
	}
	l.pos.done = Cursor{At: "9"}
	if low, _ := l.low(); low.At != "1" {
		t.Errorf("low is %q: the dead letters are missing from 1 on", low.At)
	}
	if err := unbound.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(); len(got) != 2 {
		t.Errorf("the table is there, and read again is for %v", got)
	}
}

// TestForfeitedIsNotDown: nobody is to be alarmed by a table that was given up.
func TestForfeitedIsNotDown(t *testing.T) {
	l := lanesOf("0")[0]
	tab := l.p.table(t.Context(), "t")
	tab.fail(t.Context(), &Halt{Class: HaltRewound})
	tab.letGo(l.part, Cursor{At: "1"})
	if s := tab.status(); s.Halt == nil || s.Down == "" || s.Lagging != 1 {
		t.Fatalf("%+v", s)
	}
	tab.leave(t.Context())
	if s := tab.status(); s.Halt != nil || s.Down != "" || s.Lagging != 0 {
		t.Errorf("%+v", s)
	}
}
