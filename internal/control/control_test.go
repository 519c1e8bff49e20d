package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/control/controltest"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

func TestMemory(t *testing.T) {
	controltest.Store(t, func(*testing.T) pipeline.Store { return control.Memory() })
}

func TestLocal(t *testing.T) {
	controltest.Store(t, func(t *testing.T) pipeline.Store {
		b, err := objstore.OpenLocal(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return control.New(b)
	})
}

// TestOutcomes: whatever becomes of a swap, the next Get tells.
func TestOutcomes(t *testing.T) {
	f := func(outcome objstore.Outcome, wantNow, wantLater string) {
		t.Helper()
		b := objstore.NewMemory()
		s := control.New(b)
		if err := s.Swap(t.Context(), "k", nil, []byte("1")); err != nil {
			t.Fatal(err)
		}
		b.SetFaults(func(c objstore.Call) objstore.Outcome {
			if c.Op == "put" {
				return outcome
			}
			return objstore.Pass
		})
		err := s.Swap(t.Context(), "k", []byte("1"), []byte("2"))
		if err == nil || errors.Is(err, pipeline.ErrStale) {
			t.Errorf("outcome %d: Swap = %v, want an error that decides nothing", outcome, err)
		}
		b = b.Restart()
		for _, want := range []string{wantNow, wantLater} {
			got, err := control.New(b).Get(t.Context(), "k")
			if err != nil || string(got) != want {
				t.Errorf("outcome %d: Get = %q, %v, want %q", outcome, got, err, want)
			}
			b.Land()
		}
	}
	f(objstore.Fail, "1", "1")
	f(objstore.Lose, "2", "2")
	f(objstore.Late, "1", "2")
	f(objstore.Crash, "1", "1")
	f(objstore.CrashAfter, "2", "2")
}

// TestLateSwapLoses: a swap that lands after another one changes nothing.
func TestLateSwapLoses(t *testing.T) {
	b := objstore.NewMemory()
	s := control.New(b)
	if err := s.Swap(t.Context(), "k", nil, []byte("1")); err != nil {
		t.Fatal(err)
	}
	b.SetFaults(func(c objstore.Call) objstore.Outcome {
		if c.Op == "put" {
			return objstore.Late
		}
		return objstore.Pass
	})
	if err := s.Swap(t.Context(), "k", []byte("1"), []byte("late")); err == nil {
		t.Fatal("the fault did not happen")
	}
	b.SetFaults(nil)
	// Back to the old bytes: what lands late must compare tags, not bytes.
	for _, v := range [][2]string{{"1", "2"}, {"2", "1"}} {
		if err := s.Swap(t.Context(), "k", []byte(v[0]), []byte(v[1])); err != nil {
			t.Fatal(err)
		}
	}
	if b.Land() != 1 {
		t.Fatal("nothing landed")
	}
	if got, err := s.Get(t.Context(), "k"); err != nil || string(got) != "1" {
		t.Errorf("Get = %q, %v, want 1", got, err)
	}
}

func TestProbe(t *testing.T) {
	b := objstore.NewMemory()
	s := control.New(b)
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys, err := s.Keys(t.Context(), ""); err != nil || len(keys) > 0 {
		t.Errorf("the probe leaves %q, %v", keys, err)
	}
	calls := b.Calls() - 1
	for n := 1; n < calls; n++ { // the last one is the removal, which may fail
		b := objstore.NewMemory()
		b.SetFaults(func(c objstore.Call) objstore.Outcome {
			if c.N == n {
				return objstore.Fail
			}
			return objstore.Pass
		})
		if err := control.New(b).Probe(t.Context()); !errors.Is(err, objstore.ErrInjected) {
			t.Errorf("call %d fails: Probe = %v", n, err)
		}
	}
}

// weak is a bucket that does not do what it says.
type weak struct {
	*objstore.Memory
	put func(*objstore.Memory, string, []byte, objstore.Cond) (string, error)
	get func(*objstore.Memory, string) ([]byte, string, error)
}

func (w weak) Put(ctx context.Context, key string, data []byte, cond objstore.Cond) (string, error) {
	if w.put == nil {
		return w.Memory.Put(ctx, key, data, cond)
	}
	return w.put(w.Memory, key, data, cond)
}

func (w weak) Get(ctx context.Context, key string) ([]byte, string, error) {
	if w.get == nil {
		return w.Memory.Get(ctx, key)
	}
	return w.get(w.Memory, key)
}

func TestProbeRefuses(t *testing.T) {
	ctx := t.Context()
	f := func(b weak, want string) {
		t.Helper()
		b.Memory = objstore.NewMemory()
		err := control.New(b).Probe(ctx)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "control prefix memory:///: ") {
			t.Errorf("Probe = %v, want %q", err, want)
		}
	}
	f(weak{put: func(m *objstore.Memory, key string, data []byte, cond objstore.Cond) (string, error) {
		return m.Put(ctx, key, data, objstore.Always)
	}}, "If-None-Match")
	f(weak{put: func(m *objstore.Memory, key string, data []byte, cond objstore.Cond) (string, error) {
		if cond != objstore.IfAbsent {
			cond = objstore.Always
		}
		return m.Put(ctx, key, data, cond)
	}}, "If-Match")
	f(weak{put: func(m *objstore.Memory, key string, data []byte, cond objstore.Cond) (string, error) {
		if cond == objstore.IfAbsent {
			return m.Put(ctx, key, data, cond)
		}
		return "", fmt.Errorf("501 NotImplemented")
	}}, "replace if unchanged: 501")
	reads := 0
	f(weak{get: func(m *objstore.Memory, key string) ([]byte, string, error) {
		data, etag, err := m.Get(ctx, key)
		if reads++; reads == 4 {
			return []byte("1"), etag, err // yesterday's
		}
		return data, etag, err
	}}, "read back what was just written")
}
