package s3sink

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// An old part is not published: clean-up may be about to remove it.
func TestOldPart(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	d := k.staged(p0, -1, 3)
	w.now = w.now.Add(k.sink.cfg.MaxFileAge + time.Second)
	err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, "")
	if !errors.Is(err, errRebuild) || w.register().Seq != 0 || w.uploads() != 0 {
		t.Errorf("Commit = %v, %d uploads", err, w.uploads())
	}
}

// A newer stamp: nothing of an older one gets in, whatever it claims.
func TestFence(t *testing.T) {
	w := newWorld(t)
	old := w.worker()
	if err := old.put(p0, -1, 3); err != nil {
		t.Fatal(err)
	}
	d := old.staged(p0, 3, 4)
	k := w.worker()
	k.st.Rev = 2
	for range 2 {
		l, err := k.sink.Fence(t.Context(), "t", k.st)
		if err != nil || l.Stamp != k.st || posOf(t, l.Marks[p0].At.At) != 3 {
			t.Fatalf("Fence = %+v, %v", l, err)
		}
	}
	if r := w.register(); r.Seq != 2 {
		t.Errorf("fencing twice is not once: seq %d", r.Seq)
	}
	if err := d.Commit(t.Context(), old.st, []pipeline.Claim{claimOf(p0, 3, 4)}, ""); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("an older revision commits: %v", err)
	}
	if err := k.put(p0, 3, 4); err != nil {
		t.Fatal(err)
	}
	k.st.Epoch, k.st.Rev = 1, 3
	l, err := k.sink.Fence(t.Context(), "t", k.st)
	if err != nil || len(l.Marks) != 0 {
		t.Fatalf("a new epoch: %+v, %v", l, err)
	}
	if err := k.put(p0, -1, 1); err != nil {
		t.Fatal(err)
	}
	w.wantLines("a 0 0", "a 0 0", "a 0 1", "a 0 2", "a 0 3")
}

// TestFenceKeepsPending: a fence leaves what is pending to whoever asks for the marks,
// and the barrier has the marks beyond it.
func TestFenceKeepsPending(t *testing.T) {
	w := newWorld(t)
	k := lose(w)
	k.st.Rev = 2
	l, err := k.sink.Fence(t.Context(), "t", k.st)
	if err != nil || posOf(t, l.Marks[p0].At.At) != 3 {
		t.Fatalf("Fence = %+v, %v", l, err)
	}
	_, err = k.mark(p0)
	isHalt(t, err, pipeline.HaltPartsLost)
	k.st.Epoch = 1
	if _, err := k.sink.Fence(t.Context(), "t", k.st); err != nil {
		t.Fatal(err)
	}
	if err := k.sink.Replay(t.Context(), "t", w.register().Pending[0].Commit); err != nil {
		t.Fatal(err)
	}
	if r := w.register(); len(r.vec) != 0 || len(r.Pending) != 0 {
		t.Errorf("a replay gives a new epoch old marks: %+v", r)
	}
}

// TestFloors: floors are kept as the highest, those of another run are void.
func TestFloors(t *testing.T) {
	v := pipeline.Vector{p0: {At: pipeline.Cursor{At: pos(3)}, Floor: pos(2)}, p1: {At: pipeline.Cursor{At: pos(9)}, Floor: pos(8)}}
	st := pipeline.Stamp{Pipeline: "p"}
	same, other := v.Clone(), v.Clone()
	c := claimOf(p0, 3, 5)
	c.Floor = pos(1)
	advance(same, []pipeline.Claim{c}, st, st)
	if same[p0].At.At != pos(5) || same[p0].Floor != pos(2) || same[p1] != v[p1] {
		t.Errorf("%+v", same)
	}
	advance(other, []pipeline.Claim{c}, st, pipeline.Stamp{Pipeline: "p", Replay: 1})
	if other[p0].Floor != pos(1) || other[p1].Floor != "" || other[p1].At.At != pos(9) {
		t.Errorf("%+v", other)
	}
}

func TestJudge(t *testing.T) {
	f := func(want verdict, m0, m1 int, claims ...pipeline.Claim) {
		t.Helper()
		v := pipeline.Vector{}
		for p, at := range map[pipeline.Partition]int{p0: m0, p1: m1} {
			if at >= 0 {
				v[p] = pipeline.Mark{At: pipeline.Cursor{At: pos(at)}}
			}
		}
		if got := judge(claims, v); got != want {
			t.Errorf("judge at %d, %d = %v, want %v", m0, m1, got, want)
		}
	}
	f(apply, -1, 7, claimOf(p0, -1, 3))
	f(apply, 0, 5, claimOf(p0, 0, 3), claimOf(p1, 5, 6))
	f(done, 3, 5, claimOf(p0, 0, 3))
	f(done, 4, 6, claimOf(p0, 0, 3), claimOf(p1, 5, 6))
	f(stale, 3, 5, claimOf(p0, 0, 3), claimOf(p1, 5, 6))
	f(stale, 2, 5, claimOf(p0, 0, 3))
	f(stale, -1, 5, claimOf(p0, 0, 3))
	f(stale, 0, 5, claimOf(p0, -1, 3))
}

func TestOrderIsChecked(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	d := k.begin()
	if err := write(t.Context(), k.table(), d, batch(p0, 3, 5, "a")); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), k.table(), d, batch(p0, 1, 2, "a")); !errors.Is(err, errOrder) {
		t.Errorf("rows out of order: %v", err)
	}
	if err := d.Abort(t.Context()); err != nil || w.uploads() != 0 {
		t.Errorf("Abort = %v, %d uploads", err, w.uploads())
	}
}

// TestForeignManifest: what stands in the place of a manifest is not taken for it.
func TestForeignManifest(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	d := k.staged(p0, -1, 3)
	k.control.SetFaults(func(c objstore.Call) objstore.Outcome {
		if c.Op == "put" && strings.Contains(c.Key, "commit/") {
			if _, err := w.control.Put(t.Context(), c.Key, []byte("x"), objstore.Always); err != nil {
				t.Error(err)
			}
		}
		return objstore.Pass
	})
	err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, "")
	isHalt(t, err, pipeline.HaltCorrupt, "holds something else")
	if w.register().Seq != 0 {
		t.Error("it is on the chain")
	}
}
