package s3sink

import (
	"errors"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// The tests are the rows of the tables in docs/design/exactly-once.md 3.1.

func TestCommit(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	if at, err := k.mark(p0); at != -1 || err != nil {
		t.Fatalf("the mark is %d, %v", at, err)
	}
	if err := k.put(p0, -1, 3); err != nil {
		t.Fatal(err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
	if err := k.put(p1, -1, 1); err != nil {
		t.Fatal(err)
	}
	if err := k.put(p0, 3, 5); err != nil {
		t.Fatal(err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2", "a 0 3", "a 0 4", "a 1 0")
	r := w.register()
	if r.Seq != 3 || len(r.Pending) != 0 || w.uploads() != 0 {
		t.Errorf("register %+v, %d uploads are left", r, w.uploads())
	}
	next := w.worker()
	for p, want := range map[pipeline.Partition]int{p0: 5, p1: 1} {
		if at, err := next.mark(p); at != want || err != nil {
			t.Errorf("the mark of %v is %d, %v, want %d", p, at, err, want)
		}
	}
	for _, key := range w.keys() {
		if !strings.HasPrefix(key, "data/2026/11/28/15/t-1-2026-11-28-15-00-0") {
			t.Errorf("object %s: the time is not that of its first record", key)
		}
		if o, err := w.bucket.Stat(t.Context(), key); err != nil || !strings.HasPrefix(o.Owner, "p/t/") {
			t.Errorf("object %+v, %v", o, err)
		}
	}
}

// TestWatermarksOfAll: Watermarks of nil are those of all.
func TestWatermarksOfAll(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	if err := errors.Join(k.put(p0, -1, 3), k.put(p1, -1, 1)); err != nil {
		t.Fatal(err)
	}
	l, err := k.table().Watermarks(t.Context(), nil)
	if err != nil || len(l.Marks) != 2 || l.Stamp != k.st {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = k.table().Watermarks(t.Context(), []pipeline.Partition{p1}); err != nil || len(l.Marks) != 1 || l.Marks[p1].At.At != pos(1) {
		t.Errorf("%+v, %v", l, err)
	}
}

// Killed before the swap: nothing shows, and the rows come again from the mark.
func TestKilledBeforeSwap(t *testing.T) {
	w := newWorld(t)
	for _, op := range []string{"part", "stage"} {
		k := w.worker()
		k.table()
		k.bucket.SetFaults(fail(op, "data/", 2, objstore.Crash))
		d := k.begin()
		err := errors.Join(write(t.Context(), k.table(), d, batch(p0, 0, 9, "a")), d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 9)}, ""))
		if op == "part" && !errors.Is(err, objstore.ErrCrashed) {
			t.Fatalf("%s: %v", op, err)
		}
		if op == "part" {
			w.wantLines()
		}
	}
	k := w.worker()
	k.control.SetFaults(fail("put", "register", 1, objstore.Crash))
	if err := k.put(p0, 9, 12); !errors.Is(err, objstore.ErrCrashed) {
		t.Fatal(err)
	}
	next := w.worker()
	if at, err := next.mark(p0); at != 9 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
	if err := next.put(p0, 9, 10); err != nil {
		t.Fatal(err)
	}
	if n := len(w.lines()); n != 10 {
		t.Errorf("%d lines", n)
	}
}

// The swap's answer is lost: the commit is on the chain, or it is not.
func TestSwapAnswerLost(t *testing.T) {
	for name, o := range map[string]objstore.Outcome{"done": objstore.Lose, "not done": objstore.Fail, "done later": objstore.Late} {
		w := newWorld(t)
		k := w.worker()
		k.table()
		k.control.SetFaults(fail("put", "register", 1, o))
		if err := k.put(p0, -1, 3); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.control.Land()
		w.wantLines("a 0 0", "a 0 1", "a 0 2")
		if r := w.register(); r.Seq != 1 || len(r.Pending) != 0 {
			t.Errorf("%s: register %+v", name, r)
		}
	}
}

// The same, and others have committed since: the commit is found below the head.
func TestSwapAnswerLostLongAgo(t *testing.T) {
	w := newWorld(t)
	k, other := w.worker(), w.worker()
	k.table()
	k.control.SetFaults(fail("put", "register", 1, objstore.Lose))
	d := k.staged(p0, -1, 3)
	k.sink.pause = meanwhile(func() {
		if err := errors.Join(other.put(p1, -1, 1), other.put(p0, 3, 4), other.put(p1, 1, 2)); err != nil {
			t.Error(err)
		}
	})
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); err != nil {
		t.Fatal(err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2", "a 0 3", "a 1 0", "a 1 1")
	if r := w.register(); r.Seq != 4 || len(r.Pending) != 0 {
		t.Errorf("register %+v", r)
	}
}

// A manifest's answer is lost: it is there, and is taken for our own.
func TestManifestAnswerLost(t *testing.T) {
	for _, o := range []objstore.Outcome{objstore.Lose, objstore.Fail, objstore.Late} {
		w := newWorld(t)
		k := w.worker()
		k.control.SetFaults(fail("put", "commit/", 1, o))
		if err := k.put(p0, -1, 3); err != nil {
			t.Fatal(err)
		}
		w.control.Land()
		w.wantLines("a 0 0", "a 0 1", "a 0 2")
	}
}

// Killed between the swap and the last Complete: the next to ask for the mark publishes
// the rest, before it gets an answer.
func TestKilledWhilePublishing(t *testing.T) {
	for n := 1; n <= 3; n++ {
		for _, o := range []objstore.Outcome{objstore.Crash, objstore.CrashAfter} {
			w := newWorld(t)
			w.cfg.Prefix, w.cfg.ErrorOutputPrefix = "data/!{partitionKeyFromQuery:k}/", "failed/!{firehose:error-output-type}/"
			w.cfg.BufferSize = 64 << 20
			k := w.worker()
			d := k.begin()
			for i, key := range []string{"a", "b", "c"} {
				if err := write(t.Context(), k.table(), d, batch(p0, i, i+1, key)); err != nil {
					t.Fatal(err)
				}
			}
			k.bucket.SetFaults(fail("complete", "", n, o))
			if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); !errors.Is(err, objstore.ErrCrashed) {
				t.Fatal(err)
			}
			if got := len(w.lines()); got > 3 || got == 3 && o == objstore.Crash {
				t.Errorf("%d lines after a crash at Complete %d", got, n)
			}
			next := w.worker()
			if at, err := next.mark(p1); at != -1 || err != nil {
				t.Errorf("of another partition: %d, %v", at, err)
			}
			if at, err := next.mark(p0); at != 3 || err != nil {
				t.Errorf("the mark is %d, %v", at, err)
			}
			w.wantLines("a 0 0", "b 0 1", "c 0 2")
			if r := w.register(); len(r.Pending) != 0 {
				t.Errorf("pending %v", r.Pending)
			}
		}
	}
}

// Killed before pending is cleared: the objects are there, and a consumer may have one.
func TestKilledBeforeClear(t *testing.T) {
	for _, repeat200 := range []bool{false, true} {
		w := newWorld(t)
		if repeat200 {
			w.bucket.RepeatComplete()
		}
		k := w.worker()
		k.table()
		k.control.SetFaults(fail("put", "register", 2, objstore.Crash))
		if err := k.put(p0, -1, 3); !errors.Is(err, objstore.ErrCrashed) {
			t.Fatal(err)
		}
		if r := w.register(); len(r.Pending) != 1 {
			t.Fatalf("pending %v", r.Pending)
		}
		w.wantLines("a 0 0", "a 0 1", "a 0 2")
		if repeat200 {
			w.bucket.Delete(t.Context(), w.keys()...)
		}
		if at, err := w.worker().mark(p0); at != 3 || err != nil {
			t.Errorf("the mark is %d, %v", at, err)
		}
		if r := w.register(); len(r.Pending) != 0 {
			t.Errorf("pending %v", r.Pending)
		}
	}
}

// A zombie's swap has an old value, and what it has staged never shows.
func TestZombie(t *testing.T) {
	w := newWorld(t)
	zombie := w.worker()
	d := zombie.staged(p0, -1, 2)
	if err := w.worker().put(p0, -1, 3); err != nil {
		t.Fatal(err)
	}
	err := d.Commit(t.Context(), zombie.st, []pipeline.Claim{claimOf(p0, -1, 2)}, "")
	if err != nil { // every mark has passed it: equal rows are in
		t.Errorf("a claim below the mark: %v", err)
	}
	d = zombie.staged(p0, -1, 5)
	if err := d.Commit(t.Context(), zombie.st, []pipeline.Claim{claimOf(p0, -1, 5)}, ""); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("a claim across the mark: %v", err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
	if n := w.uploads(); n != 0 {
		t.Errorf("%d uploads are left that no manifest names", n)
	}
}

// TestZombieSwap: a zombie that has decided swaps an old value.
func TestZombieSwap(t *testing.T) {
	w := newWorld(t)
	zombie, other := w.worker(), w.worker()
	d := zombie.staged(p0, -1, 2)
	other.table()
	zombie.control.SetFaults(func(c objstore.Call) objstore.Outcome {
		if c.Op == "put" && strings.Contains(c.Key, "commit/") { // it has read the register
			if err := other.put(p0, -1, 3); err != nil {
				t.Error(err)
			}
		}
		return objstore.Pass
	})
	if err := d.Commit(t.Context(), zombie.st, []pipeline.Claim{claimOf(p0, -1, 2)}, ""); err != nil {
		t.Errorf("Commit = %v: other rows are in, and they are equal", err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
}

// A late Complete of a zombie's is of a commit on the chain, and changes nothing.
func TestLateComplete(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.bucket.SetFaults(fail("complete", "", 1, objstore.Late))
	if err := k.put(p0, -1, 3); err != nil {
		t.Fatal(err)
	}
	w.bucket.Delete(t.Context(), w.keys()...)
	w.bucket.Land()
	w.wantLines()
}
