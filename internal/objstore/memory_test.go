package objstore_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/internal/objstore"
)

// at makes call n have an outcome.
func at(n int, o objstore.Outcome) func(objstore.Call) objstore.Outcome {
	return func(c objstore.Call) objstore.Outcome {
		if c.N == n {
			return o
		}
		return objstore.Pass
	}
}

func TestMemoryOutcomes(t *testing.T) {
	f := func(o objstore.Outcome, wantErr error, now, landed bool) {
		t.Helper()
		m := objstore.NewMemory()
		m.SetFaults(at(1, o))
		if _, err := m.Put(t.Context(), "k", []byte("x"), objstore.IfAbsent); !errors.Is(err, wantErr) {
			t.Errorf("outcome %d: %v, want %v", o, err, wantErr)
		}
		next := m.Restart()
		for i, want := range []bool{now, landed} {
			_, err := next.Stat(t.Context(), "k")
			if (err == nil) != want {
				t.Errorf("outcome %d: at time %d: %v, want it there: %v", o, i, err, want)
			}
			next.Land()
		}
		crash := o == objstore.Crash || o == objstore.CrashAfter
		if _, err := m.Stat(t.Context(), "k"); errors.Is(err, objstore.ErrCrashed) != crash {
			t.Errorf("outcome %d: the next call: %v", o, err)
		}
	}
	f(objstore.Pass, nil, true, true)
	f(objstore.Fail, objstore.ErrInjected, false, false)
	f(objstore.Lose, objstore.ErrInjected, true, true)
	f(objstore.Late, objstore.ErrInjected, false, true)
	f(objstore.Crash, objstore.ErrCrashed, false, false)
	f(objstore.CrashAfter, objstore.ErrCrashed, true, true)
}

// TestMemoryCrash: an object that was not closed is gone with its process.
func TestMemoryCrash(t *testing.T) {
	m := objstore.NewMemory()
	w, err := m.Create(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	m.SetFaults(at(m.Calls()+1, objstore.Crash))
	if _, err := w.Close(t.Context()); !errors.Is(err, objstore.ErrCrashed) {
		t.Errorf("Close = %v", err)
	}
	next := m.Restart()
	if _, err := next.Stat(t.Context(), "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v", err)
	}
}

// TestMemoryLate: what lands late meets its condition as it is by then.
func TestMemoryLate(t *testing.T) {
	m := objstore.NewMemory()
	m.SetFaults(at(1, objstore.Late))
	if _, err := m.Put(t.Context(), "k", []byte("late"), objstore.IfAbsent); err == nil {
		t.Fatal("no fault")
	}
	if _, err := m.Put(t.Context(), "k", []byte("first"), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if n := m.Land(); n != 1 {
		t.Errorf("%d calls landed", n)
	}
	if data, _, err := m.Get(t.Context(), "k"); err != nil || string(data) != "first" {
		t.Errorf("Get = %q, %v", data, err)
	}
}

func TestMemoryCalls(t *testing.T) {
	m := objstore.NewMemory()
	var calls []objstore.Call
	m.SetFaults(func(c objstore.Call) objstore.Outcome { calls = append(calls, c); return objstore.Pass })
	ctx := t.Context()
	m.Put(ctx, "a", nil, objstore.Always)
	m.Get(ctx, "a")
	m.Range(ctx, "a", 0, 0)
	m.Stat(ctx, "a")
	w, err := m.Create(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	w.Close(ctx)
	for range m.List(ctx, "p/", "") {
	}
	m.Delete(ctx, "a", "b")
	m.Now(ctx)
	want := []objstore.Call{{1, "put", "a"}, {2, "get", "a"}, {3, "range", "a"}, {4, "stat", "a"}, {5, "create", "b"}, {6, "close", "b"},
		{7, "list", "p/"}, {8, "delete", "a"}, {9, "delete", "b"}, {10, "now", ""}}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Error(diff)
	}
}
