package iceberg

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

func TestLeftOut(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	want := func(spans ...pipeline.Span) {
		t.Helper()
		left, deleted, err := w.sink.LeftOut(t.Context(), "ns.t")
		r.must(err)
		if d := cmp.Diff(spans, left); d != "" || deleted {
			t.Errorf("deleted by others: %t; left out (-want +got):\n%s", deleted, d)
		}
	}
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 250))
	want()
	r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID)
	r.must(w.sink.Resume(t.Context(), "ns.t", Skip, nil))
	span := pipeline.Span{Partition: p0, From: at(100), To: at(250)}
	want(span)
	r.must(r.commit(w, 250, 300))
	want(span)
}

func TestLeftOutByAReplayIsNothing(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 250))
	r.rollback(*r.meta().CurrentSnapshot().ParentSnapshotID)
	r.must(w.sink.Resume(t.Context(), "ns.t", Replay, nil))
	if left, _, err := w.sink.LeftOut(t.Context(), "ns.t"); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
