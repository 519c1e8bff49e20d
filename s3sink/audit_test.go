package s3sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

func (w *world) audit() *Audit {
	w.Helper()
	a, err := w.worker().sink.Audit(w.Context(), "t", true)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// of returns what an audit has of a partition: its mark, and what its accounts add up to.
func (a *Audit) of(p pipeline.Partition) (acc Account) {
	acc.To = a.Ledger.Marks[p].At.At
	for _, x := range a.Accounts {
		if x.Partition == p {
			acc.Rows += x.Rows
			acc.Sum += x.Sum
		}
	}
	return acc
}

// sum is what a source says about records [0, n) of a partition.
func sum(p pipeline.Partition, n int) (x uint64) {
	for i, v := range batch(p, 0, n, "a").Values {
		x += rowHash(pos(i), 0, v)
	}
	return x
}

// TestAudit: a table in order, with a commit taken back, one skipped, a revision and an
// epoch in its chain.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	if err := errors.Join(k.put(p0, -1, 3), k.put(p1, -1, 2), k.put(p0, 3, 5)); err != nil {
		t.Fatal(err)
	}
	a := w.audit()
	if a.Commits != 3 || a.Objects != 3 || a.Rows != 7 || len(a.Faults)+len(a.Removed)+len(a.Strange)+len(a.Pending)+len(a.LeftOut) != 0 {
		t.Errorf("%+v", a)
	}
	for p, n := range map[pipeline.Partition]int{p0: 5, p1: 2} {
		if acc := a.of(p); acc.To != pos(n) || acc.Rows != int64(n) || acc.Sum != sum(p, n) {
			t.Errorf("%v: %+v", p, acc)
		}
	}
	stick := func(from, to int) string {
		t.Helper()
		k := w.worker()
		k.st.Rev = w.register().Rev
		d := k.staged(p0, from, to)
		k.bucket.SetFaults(fail("complete", "", 1, objstore.Crash))
		if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, from, to)}, ""); !errors.Is(err, objstore.ErrCrashed) {
			t.Fatal(err)
		}
		w.bucket.Sweep(t.Context(), "", time.Now().Add(time.Hour))
		return w.register().Head
	}
	k = w.worker()
	if err := k.sink.Replay(t.Context(), "t", stick(5, 7)); err != nil {
		t.Fatal(err)
	}
	k.st.Rev = 2
	if _, err := k.sink.Fence(t.Context(), "t", k.st); err != nil {
		t.Fatal(err)
	}
	if _, err := k.sink.Skip(t.Context(), "t", stick(5, 6)); err != nil {
		t.Fatal(err)
	}
	stuck := stick(6, 8)
	w.bucket.Delete(t.Context(), w.keys()[0])
	a = w.audit()
	if r := w.register(); r.Objects != int64(a.Objects) || r.Rows != a.Rows {
		t.Errorf("the register counts %d objects and %d rows, the chain has %d and %d", r.Objects, r.Rows, a.Objects, a.Rows)
	}
	if a.Commits != 5 || len(a.Faults) != 0 || len(a.LeftOut) != 1 || len(a.Removed) != 1 || !slices.Equal(a.Pending, []string{stuck}) {
		t.Errorf("%+v", a)
	}
	if err := k.sink.Replay(t.Context(), "t", stuck); err != nil {
		t.Fatal(err)
	}
	k.st.Epoch, k.st.Rev = 1, 3
	if _, err := k.sink.Fence(t.Context(), "t", k.st); err != nil {
		t.Fatal(err)
	}
	if err := k.put(p0, -1, 2); err != nil {
		t.Fatal(err)
	}
	a = w.audit()
	if acc := a.of(p0); len(a.Faults) != 0 || acc.Rows != 2 || acc.Sum != sum(p0, 2) || len(a.Ledger.Marks) != 1 {
		t.Errorf("a new epoch: %+v, %+v", a, acc)
	}
}

// TestAuditFaults: what must not be is found.
func TestAuditFaults(t *testing.T) {
	f := func(harm func(w *world, m *manifest), want string) {
		t.Helper()
		w := newWorld(t)
		k := w.worker()
		if err := errors.Join(k.put(p0, -1, 3), k.put(p0, 3, 5), k.put(p0, 5, 6)); err != nil {
			t.Fatal(err)
		}
		m := w.manifest(w.manifest(w.register().Head).Prev) // the one in the middle
		harm(w, m)
		a := w.audit()
		if all := strings.Join(append(slices.Clone(a.Faults), a.Strange...), "; "); !strings.Contains(all, want) {
			t.Errorf("found %q, want %q", all, want)
		}
	}
	rewritten := func(change func(m *manifest)) func(w *world, m *manifest) {
		return func(w *world, m *manifest) {
			change(m)
			head, _, err := m.encode(chunkBytes)
			if err == nil {
				_, err = w.control.Put(t.Context(), "s3/t/commit/"+m.name(), head, objstore.Always)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(key, data string) func(w *world, m *manifest) {
		return func(w *world, m *manifest) {
			if key == "" {
				key = m.Objects[0].Key
			}
			if _, err := w.bucket.Put(t.Context(), key, []byte(data), objstore.Always); err != nil {
				t.Fatal(err)
			}
		}
	}
	f(rewritten(func(m *manifest) { m.Claims[0].To = pos(4) }), "the next one begins at")
	f(rewritten(func(m *manifest) { m.Claims[0].From = pos(4) }), "the next one begins at")
	f(rewritten(func(m *manifest) { m.Prev = "" }), "the chain ends at number 2")
	f(rewritten(func(m *manifest) { m.Prev = "0000000007-" + m.ID }), "is number 1 of the chain")
	f(rewritten(func(m *manifest) { m.Claims[0].Rows = 9 }), "rows more than its objects")
	f(rewritten(func(m *manifest) { m.Claims[0].Src = 5 }), "stream 5 of 1")
	f(rewritten(func(m *manifest) { m.Claims[0].Sum = "x" }), "is no number")
	f(func(w *world, m *manifest) { w.control.Delete(t.Context(), "s3/t/commit/"+m.name()) }, "is gone")
	f(put("", "other bytes"), "has 11 bytes")
	f(put("data/2026/11/28/15/t-1-2026-11-28-15-00-00-9b5a1c57-4f0e-5a3e-9d11-0c2a7c1f4b60", "x"), "9b5a1c57")
	f(func(w *world, m *manifest) {
		r := w.register()
		n := r.next()
		n.vec[p0] = pipeline.Mark{At: pipeline.Cursor{At: pos(9)}}
		val, err := n.encode()
		if err == nil {
			_, err = w.control.Put(t.Context(), "s3/t/register", val, objstore.Always)
		}
		if err != nil {
			t.Fatal(err)
		}
	}, fmt.Sprintf("the next one begins at %q", pos(9)))
}

// TestClean: what was staged, is old and belongs to no pending commit is given up.
func TestClean(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.table()
	k.bucket.SetFaults(fail("complete", "", 1, objstore.Crash))
	if err := k.put(p0, -1, 3); !errors.Is(err, objstore.ErrCrashed) {
		t.Fatal(err)
	}
	k = w.worker()
	k.staged(p0, 3, 9) // and never committed
	other, err := w.bucket.Stage(t.Context(), "data/u-1-x", objstore.Attributes{Owner: "u"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	clean := func(age time.Duration, want, left int) {
		t.Helper()
		k := w.worker()
		k.sink.bucket = aged{k.bucket, age}
		if n, err := k.sink.Clean(t.Context(), "t"); n != want || err != nil {
			t.Errorf("after %v: %d were given up, %v, want %d", age, n, err, want)
		}
		if n := w.uploads(); n != left {
			t.Errorf("after %v: %d uploads are left, want %d", age, n, left)
		}
	}
	clean(71*time.Hour, 0, 3)
	clean(73*time.Hour, 1, 2)
	if at, err := w.worker().mark(p0); at != 3 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
}

// aged is a bucket whose clock is ahead.
type aged struct {
	*objstore.Memory
	age time.Duration
}

func (b aged) Now(context.Context) (time.Time, error) { return time.Now().Add(b.age), nil }

func TestIsOurs(t *testing.T) {
	const id = "9b5a1c57-4f0e-5a3e-9d11-0c2a7c1f4b60"
	f := func(table, key string, want bool) {
		t.Helper()
		if got := calledAs(table).MatchString(key); got != want {
			t.Errorf("%s of table %s: %v", key, table, got)
		}
	}
	f("t", "t-1-2026-11-28-15-00-00-"+id, true)
	f("t", "t-12-2026-11-28-15-00-00-"+id+".gz", true)
	f("t", "t-1-1-2026-11-28-15-00-00-"+id, false) // of table t-1
	f("t-1", "t-1-1-2026-11-28-15-00-00-"+id, true)
	f("t", "u-1-2026-11-28-15-00-00-"+id, false)
	f("t", "t-x-2026-11-28-15-00-00-"+id, false)
	f("t", "t-1-2026-11-28-15-00-00-"+id+"0", false)
	f("a.b", "axb-1-2026-11-28-15-00-00-"+id, false)
	w := newWorld(t)
	k := w.worker()
	if err := k.put(p0, -1, 1); err != nil {
		t.Fatal(err)
	}
	if !k.table().(*table).isOurs(w.keys()[0]) {
		t.Errorf("%s is not ours", w.keys()[0])
	}
}

// TestCleanLocal: a local folder tells what its staged files will be called.
func TestCleanLocal(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	dir := t.TempDir()
	b, err := objstore.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	k.sink.bucket = b
	d := k.staged(p0, -1, 3).(*delivery)
	if err := d.finish(t.Context(), ""); err != nil { // and never committed
		t.Fatal(err)
	}
	other, err := b.Stage(t.Context(), "data/2026/11/28/15/u-1-2026-11-28-15-00-00-9b5a1c57-4f0e-5a3e-9d11-0c2a7c1f4b60", objstore.Attributes{Owner: "u"})
	if err == nil {
		_, err = other.Finish(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	k.sink.bucket = agedLocal{b}
	if n, err := k.sink.Clean(t.Context(), "t"); n != 1 || err != nil {
		t.Errorf("%d were given up, %v", n, err)
	}
	left := 0
	for u, err := range b.Uploads(t.Context(), "") {
		if left++; err != nil || !strings.Contains(u.Key, "u-1-") {
			t.Errorf("%+v, %v", u, err)
		}
	}
	if left != 1 {
		t.Errorf("%d uploads are left", left)
	}
}

type agedLocal struct{ *objstore.Local }

func (agedLocal) Now(context.Context) (time.Time, error) { return time.Now().Add(100 * time.Hour), nil }
