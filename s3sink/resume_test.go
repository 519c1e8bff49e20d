package s3sink

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// Parts are gone while their commit is pending: the table halts, names the keys, and goes
// on once an operator has decided.
func TestPartsLost(t *testing.T) {
	f := func(decide func(k *worker, commit string), mark int, lines ...string) {
		t.Helper()
		w := newWorld(t)
		k := lose(w)
		_, err := k.mark(p0)
		isHalt(t, err, pipeline.HaltPartsLost, "data/", "t-1-", "resume t --replay", "--skip")
		if err := k.put(p0, 3, 4); err == nil {
			t.Error("a commit on the partition goes through")
		}
		if err := k.put(p1, -1, 1); err != nil {
			t.Errorf("a commit on another partition: %v", err)
		}
		stuck, err := k.sink.Stuck(t.Context(), "t")
		if err != nil || len(stuck) != 1 || len(stuck[0].Gone) != 1 {
			t.Fatalf("stuck are %+v, %v", stuck, err)
		}
		decide(k, stuck[0].Commit)
		if at, err := k.mark(p0); at != mark || err != nil {
			t.Errorf("the mark is %d, %v, want %d", at, err, mark)
		}
		if err := k.put(p0, mark, 4); err != nil {
			t.Error(err)
		}
		w.wantLines(lines...)
	}
	f(func(k *worker, commit string) {
		if err := k.sink.Replay(t.Context(), "t", commit); err != nil {
			t.Error(err)
		}
		if _, err := k.sink.Skip(t.Context(), "t", commit); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("skip after replay: %v", err)
		}
	}, -1, "a 0 0", "a 0 1", "a 0 2", "a 0 3", "a 1 0")
	f(func(k *worker, commit string) {
		out, err := k.sink.Skip(t.Context(), "t", commit)
		if err != nil || len(out) != 1 {
			t.Errorf("left out are %v, %v", out, err)
		}
		if out, err := k.sink.Skip(t.Context(), "t", commit); err != nil || out != nil {
			t.Errorf("skip once more: %v, %v", out, err)
		}
		if err := k.sink.Replay(t.Context(), "t", commit); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("replay after skip: %v", err)
		}
	}, 3, "a 0 3", "a 1 0")
}

// lose leaves a commit of [-1, 3) of p0 on the chain whose parts are gone.
func lose(w *world) *worker {
	w.Helper()
	k := w.worker()
	k.table()
	k.bucket.SetFaults(fail("complete", "", 1, objstore.Crash))
	if err := k.put(p0, -1, 3); !errors.Is(err, objstore.ErrCrashed) {
		w.Fatal(err)
	}
	if n, err := w.bucket.Sweep(w.Context(), "", time.Now().Add(time.Hour)); n != 1 || err != nil {
		w.Fatalf("%d uploads were swept, %v", n, err)
	}
	return w.worker()
}

// TestPartsLostIsWaitedFor: somebody else may be about to say that it is published.
func TestPartsLostIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	k := lose(w)
	k.sink.settling = time.Minute
	waits := 0
	k.sink.pause = func(context.Context, int) error {
		if waits++; waits == 3 {
			if _, err := w.worker().sink.Skip(t.Context(), "t", w.register().Pending[0].Commit); err != nil {
				t.Error(err)
			}
		}
		w.now = w.now.Add(10 * time.Second)
		return nil
	}
	if at, err := k.mark(p0); at != 3 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
	w = newWorld(t)
	k = lose(w)
	k.sink.settling = time.Minute
	began := w.now
	k.sink.pause = func(context.Context, int) error { w.now = w.now.Add(10 * time.Second); return nil }
	_, err := k.mark(p0)
	isHalt(t, err, pipeline.HaltPartsLost)
	if d := w.now.Sub(began); d != time.Minute {
		t.Errorf("it was waited for %v", d)
	}
	_, err = k.mark(p0)
	isHalt(t, err, pipeline.HaltPartsLost)
	if d := w.now.Sub(began); d != time.Minute {
		t.Errorf("it was waited again, %v in all", d)
	}
}

// A replay removes what is visible, gives up uploads first, and whoever finds it half
// done finishes it.
func TestReplayIsCarriedOn(t *testing.T) {
	for _, crash := range []struct{ op, key string }{{"giveup", ""}, {"delete", ""}, {"stat", ""}} {
		w := newWorld(t)
		k := w.worker()
		k.table()
		k.control.SetFaults(fail("put", "register", 2, objstore.Crash)) // visible, and pending
		if err := k.put(p0, -1, 3); !errors.Is(err, objstore.ErrCrashed) {
			t.Fatal(err)
		}
		op := w.worker()
		op.bucket.SetFaults(fail(crash.op, crash.key, 1, objstore.Crash))
		if err := op.sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); !errors.Is(err, objstore.ErrCrashed) {
			t.Fatalf("crash at %s: %v", crash.op, err)
		}
		if r := w.register(); len(r.Pending) != 1 || !r.Pending[0].Replaying {
			t.Fatalf("pending %+v", r.Pending)
		}
		if _, err := w.worker().sink.Skip(t.Context(), "t", w.register().Pending[0].Commit); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("skip of what is being replayed: %v", err)
		}
		next := w.worker()
		if at, err := next.mark(p0); at != -1 || err != nil {
			t.Errorf("the mark is %d, %v", at, err)
		}
		w.wantLines()
		if err := next.put(p0, -1, 3); err != nil {
			t.Fatal(err)
		}
		w.wantLines("a 0 0", "a 0 1", "a 0 2")
	}
}

// TestReplayDecidedWhileSkipped: an operator skips what another, a moment later, replays:
// whoever is second is refused.
func TestReplayDecidedWhileSkipped(t *testing.T) {
	w := newWorld(t)
	lose(w)
	commit := w.register().Pending[0].Commit
	skipper, other := w.worker(), w.worker()
	skipper.control.SetFaults(func(c objstore.Call) objstore.Outcome {
		if c.Op == "get" && strings.HasSuffix(c.Key, "/register") {
			if r := w.register(); !r.Pending[0].Replaying && skipper.bucket.Calls() > 0 { // it has looked, and has tried to complete
				other.bucket.SetFaults(fail("giveup", "", 1, objstore.Crash))
				if err := other.sink.Replay(t.Context(), "t", commit); !errors.Is(err, objstore.ErrCrashed) {
					t.Error(err)
				}
			}
		}
		return objstore.Pass
	})
	if _, err := skipper.sink.Skip(t.Context(), "t", commit); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("Skip = %v, want ErrStale", err)
	}
	if r := w.register(); len(r.Pending) != 1 || !r.Pending[0].Replaying {
		t.Errorf("pending %+v", r.Pending)
	}
}

// TestReplayIsDecidedFirst: a worker that looks while an operator removes objects does
// not take them for published.
func TestReplayIsDecidedFirst(t *testing.T) {
	for _, op := range []string{"giveup", "delete", "stat"} {
		w := newWorld(t)
		k := w.worker()
		k.table()
		k.control.SetFaults(fail("put", "register", 2, objstore.Crash)) // visible, and pending
		if err := k.put(p0, -1, 3); !errors.Is(err, objstore.ErrCrashed) {
			t.Fatal(err)
		}
		operator, other := w.worker(), w.worker()
		operator.bucket.SetFaults(func(c objstore.Call) objstore.Outcome {
			if c.Op == op {
				if at, err := other.mark(p0); at != -1 || err != nil {
					t.Errorf("at %s: the mark is %d, %v", op, at, err)
				}
			}
			return objstore.Pass
		})
		if err := operator.sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); err != nil {
			t.Errorf("at %s: %v", op, err)
		}
		if err := other.put(p0, -1, 3); err != nil {
			t.Error(err)
		}
		w.wantLines("a 0 0", "a 0 1", "a 0 2")
	}
}

// TestVoidCommitter: the worker whose commit is taken back while it waits does not take
// it for done, and does not commit it again.
func TestVoidCommitter(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	d := k.staged(p0, -1, 3)
	operator := w.worker()
	calls := 0
	k.bucket.SetFaults(func(c objstore.Call) objstore.Outcome {
		if c.Op != "complete" {
			return objstore.Pass
		}
		if calls++; calls == 1 {
			if err := operator.sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); err != nil {
				t.Error(err)
			}
		}
		return objstore.Fail
	})
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); err == nil {
		t.Error("a commit that was taken back is done")
	}
	k.bucket.SetFaults(nil)
	w.wantLines()
	r := w.register()
	if r.Seq != 3 || len(r.Pending) != 0 || len(r.vec) != 0 {
		t.Errorf("register %+v", r)
	}
	if err := w.worker().put(p0, -1, 3); err != nil {
		t.Error(err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
}

// TestVoidWhilePublishing: the same, and the worker finds out from what is gone.
func TestVoidWhilePublishing(t *testing.T) {
	for _, half := range []bool{false, true} {
		w := newWorld(t)
		k := w.worker()
		d := k.staged(p0, -1, 3)
		operator := w.worker()
		k.bucket.SetFaults(func(c objstore.Call) objstore.Outcome {
			if c.Op != "complete" {
				return objstore.Pass
			}
			if half {
				operator.bucket.SetFaults(fail("delete", "", 1, objstore.Crash))
			}
			if err := operator.sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); (err == nil) == half {
				t.Error(err)
			}
			return objstore.Pass
		})
		if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("half done %v: Commit = %v, want ErrStale", half, err)
		}
		if at, err := w.worker().mark(p0); at != -1 || err != nil {
			t.Errorf("the mark is %d, %v", at, err)
		}
		w.wantLines()
	}
}

// A late swap never fits again: seq never goes back.
func TestLateSwapAfterReplay(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.table()
	k.control.SetFaults(fail("put", "register", 1, objstore.Late)) // a swap that is still on its way
	k.bucket.SetFaults(fail("complete", "", 1, objstore.Crash))
	if err := k.put(p0, -1, 3); !errors.Is(err, objstore.ErrCrashed) {
		t.Fatal(err)
	}
	if err := w.worker().sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); err != nil {
		t.Fatal(err)
	}
	w.control.Land()
	if r := w.register(); r.Seq != 3 || len(r.Pending) != 0 {
		t.Errorf("register %+v", r)
	}
	if err := w.worker().put(p0, -1, 2); err != nil {
		t.Fatal(err)
	}
	w.wantLines("a 0 0", "a 0 1")
}

// TestReplayOfAnOlderEpoch: a commit of an older epoch is taken back, the marks of the
// new one stay as they are.
func TestReplayOfAnOlderEpoch(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	if err := k.put(p0, -1, 3); err != nil {
		t.Fatal(err)
	}
	d := k.staged(p0, 3, 5)
	k.bucket.SetFaults(fail("complete", "", 1, objstore.Crash))
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, 3, 5)}, ""); !errors.Is(err, objstore.ErrCrashed) {
		t.Fatal(err)
	}
	operator := w.worker()
	operator.st.Epoch, operator.st.Rev = 1, 2
	if _, err := operator.sink.Fence(t.Context(), "t", operator.st); err != nil {
		t.Fatal(err)
	}
	if err := operator.sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); err != nil {
		t.Fatal(err)
	}
	if at, err := operator.mark(p0); at != -1 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
}
