package consumer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

type closer struct{ closed int }

func (c *closer) Close() error { c.closed++; return nil }

func TestCurrent(t *testing.T) {
	var c Current[*closer]
	a, b, late := &closer{}, &closer{}, &closer{}
	if !c.Set(a) || c.Get() != a || c.Ended() {
		t.Error("the first is not kept")
	}
	if !c.Set(b) || a.closed != 1 || b.closed != 0 {
		t.Errorf("closed %d and %d times", a.closed, b.closed)
	}
	c.End()
	if c.Get() != nil || b.closed != 1 || !c.Ended() {
		t.Errorf("after the end: closed %d times", b.closed)
	}
	if c.Set(late) || c.Get() != nil {
		t.Error("a reader is kept that came after the end")
	}
	if c.End(); late.closed != 0 || b.closed != 1 { // whoever opened it closes it
		t.Errorf("closed %d and %d times", late.closed, b.closed)
	}
}

type denied struct{}

func (denied) Acquire(context.Context, int64) error { return errors.New("denied") }
func (denied) Charge(int64)                         {}

func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(10)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(l.Acquire(t.Context(), 100)) // alone, whatever its size
		if !l.Over() {
			t.Error("100 of 10 are not over")
		}
		done := make(chan error, 1)
		go func() { done <- l.Acquire(t.Context(), 4) }()
		room := make(chan bool, 1)
		go func() { room <- l.Room(t.Context(), func() bool { return false }) }()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("4 are given out beside 100")
		case <-room:
			t.Fatal("there is room beside 100")
		default:
		}
		if !l.Room(t.Context(), func() bool { return true }) {
			t.Error("waits for what will not come back")
		}
		l.Charge(-94)
		must(<-done)
		if !<-room || l.Used() != 10 || l.Over() {
			t.Errorf("%d used", l.Used())
		}
		l.Charge(1)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Acquire(ended, 1); !errors.Is(err, context.Canceled) || l.Room(ended, func() bool { return false }) {
			t.Errorf("an end of the context: %v", err)
		}
		l.Charge(-11)
		l.Budget = denied{}
		if err := l.Acquire(t.Context(), 5); err == nil || l.Used() != 0 {
			t.Errorf("what the budget denies: %v, %d used", err, l.Used())
		}
	})
}
