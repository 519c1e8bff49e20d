package iceberg

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
	"github.com/firehosed/firehosed/pipeline"
)

func (r *rig) control() *pipeline.Control { return pipeline.NewControl(r.store, "p", "test") }

func (r *rig) entries(kind string) (n int) {
	r.Helper()
	log, err := r.control().Read(r.Context())
	r.must(err)
	for _, e := range log.Entries {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestBindIsFinishedByTheNext(t *testing.T) {
	r := newRig(t)
	w := r.unbound()
	r.must(w.create(t.Context()))
	b, err := w.load(t.Context())
	r.must(err)
	ch := newChange(kindBind, newID())
	old := pipeline.Stamp{Pipeline: "p"}
	was := &header{}
	r.must(w.send(t.Context(), b, ch, &edit{vec: pipeline.Vector{}, header: func(sid, seq int64) *header { return was.next(old, sid, seq, true) }}, 0))
	if b, err = w.load(t.Context()); err != nil || b.reg.state != Half {
		t.Fatalf("%v, %v", b.reg.state, err)
	}
	r.must(r.commit(r.worker(), -1, 10))
	if b, err = w.load(t.Context()); err != nil || b.reg.state != OK || b.reg.hdr.Seq != 1 || b.reg.hdr.Rev != r.st.Rev {
		t.Fatalf("%+v, %v", b.reg, err)
	}
	if n := r.entries(pipeline.KindBound); n != 1 {
		t.Fatalf("%d bound entries", n)
	}
	r.worker()
	if n := r.entries(pipeline.KindBound); n != 1 {
		t.Fatalf("%d bound entries after the table was opened again", n)
	}
}

// TestCreateWhoseAnswerIsLost: the table is there, and it is ours.
func TestCreateWhoseAnswerIsLost(t *testing.T) {
	r := newRig(t)
	r.srv.LoseCreate()
	w := r.worker()
	if by := r.meta().Properties()[createdKey]; by != "p" {
		t.Errorf("created by %q", by)
	}
	r.must(r.commit(w, -1, 100))
	r.want(100, 100)
}

func TestPropertyThatTheCatalogChangesIsRefused(t *testing.T) {
	r := newRig(t)
	r.srv.SetFault(func(int) icebergtest.Fault {
		return icebergtest.Fault{After: func() {
			text := r.meta().Properties()[headerKey("p")]
			r.must(r.srv.Apply("ns.t", icetable.NewSetPropertiesUpdate(icego.Properties{headerKey("p"): strings.Replace(text, ":", ": ", 1)})))
		}}
	})
	_, err := r.unbound().sink.Table(t.Context(), "ns.t", r.st)
	r.wantHalt(err, pipeline.HaltRefused)
	if n := r.entries(pipeline.KindBound); n != 0 {
		t.Fatalf("%d bound entries", n)
	}
}

func TestBindingGivesUpWhereACommitDoesNot(t *testing.T) {
	r := newRig(t)
	w := r.unbound()
	r.must(w.create(t.Context()))
	n := r.srv.Commits()
	refuse := func(int) icebergtest.Fault { return icebergtest.Fault{Status: 503, Drop: true} }
	r.srv.SetFault(refuse)
	if _, err := w.sink.Table(t.Context(), "ns.t", r.st); err == nil || r.srv.Commits()-n != ownTries {
		t.Fatalf("%v after %d attempts, want an error after %d", err, r.srv.Commits()-n, ownTries)
	}
	r.srv.SetFault(nil)
	w = r.worker()
	n = r.srv.Commits()
	r.srv.SetFault(func(i int) icebergtest.Fault {
		if i-n <= 3*ownTries {
			return refuse(i)
		}
		return icebergtest.Fault{}
	})
	r.must(r.commit(w, -1, 100))
	r.want(100, 100)
}

func TestFence(t *testing.T) {
	r := newRig(t)
	w, old := r.worker(), r.worker()
	r.must(r.commit(w, -1, 100))
	next := r.st
	next.Rev++
	for range 2 { // twice is once
		l, err := w.sink.Fence(t.Context(), "ns.t", next)
		r.must(err)
		if l.Stamp != next || l.Marks[p0].At != at(100) || l.Marks[p0].Floor != at(0).At {
			t.Fatalf("%+v", l)
		}
	}
	if n := len(r.meta().Snapshots()); n != 3 { // bind, data, fence
		t.Fatalf("%d snapshots", n)
	}
	if err := r.commit(old, 100, 200); !errors.Is(err, pipeline.ErrStale) {
		t.Fatalf("want stale, got %v", err)
	}
	r.want(100, 100)
	epoch := pipeline.Stamp{Pipeline: "p", Epoch: 1, Rev: next.Rev + 1}
	l, err := w.sink.Fence(t.Context(), "ns.t", epoch)
	r.must(err)
	if len(l.Marks) != 0 || l.Stamp != epoch {
		t.Fatalf("%+v", l)
	}
	r.must(r.commitAs(t.Context(), w, epoch, -1, 30))
}

func TestFenceOfTablesThatAreNotOK(t *testing.T) {
	next := pipeline.Stamp{Pipeline: "p", Rev: 2}
	f := func(break_ func(r *rig), state State, mark int) {
		t.Helper()
		r := newRig(t)
		w := r.worker()
		r.must(r.commit(w, -1, 100))
		r.must(r.commit(w, 100, 250))
		break_(r)
		for range 2 {
			l, err := w.sink.Fence(t.Context(), "ns.t", next)
			r.must(err)
			if l.Marks[p0].At != at(mark) {
				t.Errorf("%s: mark %q, want %d", state, l.Marks[p0].At.At, mark)
			}
		}
		b, err := w.load(t.Context())
		r.must(err)
		if b.reg.state != state {
			t.Errorf("%s after the fence: %s (%s)", state, b.reg.state, b.reg.reason)
		}
		if n := len(r.meta().Snapshots()); n != 4 {
			t.Errorf("%s: %d snapshots, want one fence", state, n)
		}
	}
	key := headerKey("p")
	f(func(r *rig) { r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID) }, Rewound, 250)
	f(func(r *rig) {
		r.must(r.srv.Apply("ns.t", icetable.NewRemovePropertiesUpdate([]string{key, chunkKey("p", 0)})))
	}, Lost, 250)
	f(func(r *rig) {
		r.must(r.srv.Apply("ns.t", icetable.NewSetPropertiesUpdate(icego.Properties{key: "{}"})))
	}, Corrupt, 250)
}

func TestResumeReplay(t *testing.T) {
	key := headerKey("p")
	f := func(name string, break_ func(r *rig), mark int, rows int64) {
		t.Helper()
		r := newRig(t)
		w := r.worker()
		r.must(r.commit(w, -1, 100))
		r.must(r.commit(w, 100, 250))
		r.must(r.commit(w, 250, 300))
		break_(r)
		if err := r.commit(w, 300, 400); err == nil {
			t.Fatalf("%s: a broken table took rows", name)
		}
		r.must(w.sink.Resume(t.Context(), "ns.t", Replay, nil))
		r.must(w.sink.Resume(t.Context(), "ns.t", Replay, nil)) // nothing left to do
		if n := r.entries(pipeline.KindReplay); n != 1 {
			t.Fatalf("%s: %d replay entries", name, n)
		}
		r.want(mark, rows)
		if err := r.commit(w, 300, 400); !errors.Is(err, pipeline.ErrStale) {
			t.Fatalf("%s: a worker from before the replay: want stale, got %v", name, err)
		}
		log, err := r.control().Read(t.Context())
		r.must(err)
		r.must(r.commitAs(t.Context(), w, log.Stamp(), mark, 400))
		r.want(400, rows+int64(400-mark))
	}
	back := func(r *rig) { r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID) }
	f("rollback", back, 250, 250)
	f("rollback and foreign commits", func(r *rig) { back(r); r.foreign(7) }, 250, 257)
	f("property removed", func(r *rig) {
		r.must(r.srv.Apply("ns.t", icetable.NewRemovePropertiesUpdate([]string{key, chunkKey("p", 0)})))
	}, 300, 300)
	f("property damaged", func(r *rig) {
		r.must(r.srv.Apply("ns.t", icetable.NewSetPropertiesUpdate(icego.Properties{chunkKey("p", 0): "x"})))
	}, 300, 300)
}

func TestResumeReplayIsFinishedByTheNext(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 250))
	r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID)
	b, err := w.load(t.Context())
	r.must(err)
	_, err = w.replay(t.Context(), b, nil) // the entry is there, its commit is not
	r.must(err)
	r.must(r.unbound().sink.Resume(t.Context(), "ns.t", Replay, nil))
	if n := r.entries(pipeline.KindReplay); n != 1 {
		t.Fatalf("%d replay entries, want the one that was there", n)
	}
	r.want(100, 100)
	// Rolled back once more: another place, another entry.
	r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID)
	r.must(r.unbound().sink.Resume(t.Context(), "ns.t", Replay, nil))
	if n := r.entries(pipeline.KindReplay); n != 2 {
		t.Fatalf("%d replay entries", n)
	}
}

func TestResumeFromTheRows(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	tab, err := w.sink.Table(t.Context(), "ns.t", r.st)
	r.must(err)
	for from := 0; from < 40; from += 10 {
		r.must(deliver(t, tab, p0, from-max(0, 1-from), from+10, nil))
	}
	back := *r.meta().CurrentSnapshot().ParentSnapshotID
	r.rollback(back)
	r.foreign2()
	var gone []int64
	for _, s := range r.meta().Snapshots() {
		if s.SnapshotID != r.head() {
			gone = append(gone, s.SnapshotID)
		}
	}
	r.must(r.srv.Apply("ns.t", icetable.NewRemoveSnapshotsUpdate(gone, false)))
	r.wantHalt(deliver(t, tab, p0, 40, 50, nil), pipeline.HaltRewound)
	r.must(w.sink.Resume(t.Context(), "ns.t", Replay, nil))
	l, err := tab.Watermarks(t.Context(), nil)
	r.must(err)
	if l.Marks[p0] != (pipeline.Mark{At: at(30)}) || l.Stamp.Replay != 1 {
		t.Fatalf("%+v", l)
	}
}

// foreign2 is a foreign snapshot without files.
func (r *rig) foreign2() {
	r.Helper()
	t := r.unbound()
	b, err := t.load(r.Context())
	r.must(err)
	_, ups, err := t.request(r.Context(), b, newChange("foreign", newID()), &edit{hidden: true}, 0)
	r.must(err)
	r.must(r.srv.Apply("ns.t", ups...))
}

func TestResumeSkip(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 250))
	r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID)
	r.must(w.sink.Resume(t.Context(), "ns.t", Skip, nil))
	r.want(250, 100)
	r.must(r.commit(w, 250, 300))
	r.want(300, 150)
	if n := r.entries(pipeline.KindReplay); n != 0 {
		t.Fatalf("%d replay entries", n)
	}
	r.must(r.srv.Apply("ns.t", icetable.NewRemovePropertiesUpdate([]string{headerKey("p")})))
	if err := w.sink.Resume(t.Context(), "ns.t", Skip, nil); err == nil {
		t.Fatal("--skip of a lost property: nobody knows the marks")
	}
}

func TestResumeLosesAgainstAFence(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 250))
	r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID)
	next := r.st
	next.Rev++
	r.before(func() {
		_, err := r.control().Append(t.Context(), func(*pipeline.Decisions) (*pipeline.Entry, error) {
			return &pipeline.Entry{Kind: pipeline.KindRev, Rev: next.Rev}, nil
		})
		r.must(err)
		_, err = r.unbound().sink.Fence(t.Context(), "ns.t", next)
		r.must(err)
	})
	r.must(w.sink.Resume(t.Context(), "ns.t", Skip, nil))
	b, err := w.load(t.Context())
	r.must(err)
	if b.reg.state != OK || b.reg.hdr.Rev != next.Rev {
		t.Fatalf("%s, rev %d: the resume did not see the revision", b.reg.state, b.reg.hdr.Rev)
	}
}

func TestClaimedByAnotherPipeline(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	other := func(shared bool) *table {
		cfg := r.config()
		cfg.Tables = map[string]TableConfig{"ns.t": {SharedTable: shared}}
		s, err := New(cfg, pipeline.NewControl(r.store2(), "renamed", "test"), WithCatalog(w.sink.cat))
		r.must(err)
		s.pause = w.sink.pause
		_, err = s.Table(t.Context(), "ns.t", pipeline.Stamp{Pipeline: "renamed"})
		r.must(err)
		h, err := s.handle("ns.t")
		r.must(err)
		return h
	}
	st := pipeline.Stamp{Pipeline: "renamed"}
	r.wantHalt(r.commitAs(t.Context(), other(false), st, -1, 100), pipeline.HaltClaimed)
	_, err := other(false).Watermarks(t.Context(), []pipeline.Partition{p0}) // before any row is laid out
	r.wantHalt(err, pipeline.HaltClaimed)
	_, err = other(true).Watermarks(t.Context(), []pipeline.Partition{p0})
	r.must(err)
	r.want(100, 100)
}

func (r *rig) store2() pipeline.Store { return newRig(r.T).store }

func TestTableDroppedOrReplaced(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	r.srv.Drop("ns.t")
	r.wantHalt(r.commit2(w, 100, 200), pipeline.HaltReplaced)
	r.must(w.create(t.Context()))
	r.wantHalt(r.commit(w, 100, 200), pipeline.HaltReplaced)
	_, err := r.unbound().sink.Table(t.Context(), "ns.t", r.st)
	r.wantHalt(err, pipeline.HaltReplaced)
	if rev, err := w.sink.Rebind(t.Context(), "ns.t"); err != nil || rev != 0 { // nothing to pin: both are ours
		t.Fatal(rev, err)
	}
	if n := r.entries(pipeline.KindBound); n != 2 {
		t.Fatalf("%d bound entries", n)
	}
	r.must(r.commit(r.worker(), -1, 50))
	r.want(50, 50)
}

// commit2 is commit where there is no table to make a file for.
func (r *rig) commit2(t *table, from, to int) error {
	ch := newChange(kindData, newID())
	ch.claims = []pipeline.Claim{claim(p0, from, to)}
	return t.commitData(r.Context(), ch, r.st, staged{})
}

func TestControlPrefixLost(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 200))
	r.store = r.store2()
	_, err := r.unbound().sink.Table(t.Context(), "ns.t", r.st)
	r.wantHalt(err, pipeline.HaltCorrupt)
	fresh := r.unbound()
	r.must(fresh.sink.RebuildControl(t.Context(), []string{"ns.t"}, pipeline.Revision{SHA256: "abc", Config: "def", Rules: 1}))
	log, err := r.control().Read(t.Context())
	r.must(err)
	if log.Stamp() != (pipeline.Stamp{Pipeline: "p", Rev: r.st.Rev}) || log.Bound("ns.t") == nil {
		t.Fatalf("%+v", log)
	}
	origins, err := r.control().AllOrigins(t.Context(), 0)
	if err != nil || len(origins) != 1 || origins[0].At[p0].At.At != at(100).At {
		t.Fatalf("origins %+v, %v", origins, err)
	}
	r.must(r.commit(r.worker(), 200, 300))
	r.want(300, 300)
	if err := fresh.sink.RebuildControl(t.Context(), []string{"ns.t"}, pipeline.Revision{}); err == nil {
		t.Fatal("a control prefix that is there was rebuilt")
	}
}

func TestForfeit(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	if err := w.sink.ctl.Forfeit(t.Context(), "nobody"); err == nil {
		t.Fatal("a table that nobody knows was given up")
	}
	r.must(w.sink.ctl.Forfeit(t.Context(), "ns.t"))
	r.must(w.sink.ctl.Forfeit(t.Context(), "ns.t"))
	if n := r.entries(pipeline.KindForfeit); n != 1 {
		t.Fatalf("%d entries", n)
	}
}

func TestBigVectorGoesToTheControlPrefix(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	ch := newChange(kindData, newID())
	for i := range 400 {
		p := p0
		p.ID = strconv.Itoa(i)
		ch.claims = append(ch.claims, claim(p, -1, 1000+i*i*7919%100_003))
	}
	r.must(w.commitData(t.Context(), ch, r.st, staged{}))
	b, err := w.load(t.Context())
	r.must(err)
	if b.reg.ours.Summary.Properties[vectorKey] != inControl {
		t.Fatal("the vector is in the summary")
	}
	_, vec, err := w.restorable(t.Context(), b)
	if err != nil || len(vec) != 400 || vec[p0].At != b.reg.vec[p0].At {
		t.Fatalf("%d marks, %v", len(vec), err)
	}
}
