package iceberg

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// othersTable is a rig whose table "ns.t" is of somebody else, with a required column
// "id", bound under r.st.
func othersTable(t *testing.T) (*rig, *table) {
	t.Helper()
	r := newRig(t)
	_, err := r.control().AppendRevision(t.Context(), []byte("a: b\n"), 1, 0)
	r.must(err)
	w := r.unbound()
	r.must(w.create(t.Context()))
	r.must(r.srv.Apply("ns.t", icetable.NewRemovePropertiesUpdate([]string{createdKey})))
	r.require("id", icego.PrimitiveTypes.Int64)
	_, err = w.sink.Table(t.Context(), "ns.t", r.st)
	r.must(err)
	if got := r.pinnedFor(1); got != "id" {
		t.Fatalf("bound with %q", got)
	}
	return r, w
}

// require changes the table's columns as its owner would: the named one is there and
// required; "-" before the name: it is optional.
func (r *rig) require(name string, typ icego.Type) {
	r.Helper()
	name, optional := strings.CutPrefix(name, "-")
	md := r.meta()
	last, there := md.LastColumnID(), false
	fields := append([]icego.NestedField{}, md.CurrentSchema().Fields()...)
	for i := range fields {
		if f := &fields[i]; f.Name == name {
			f.Required, f.Type, there = !optional, typ, true
		}
	}
	if !there {
		fields = append(fields, icego.NestedField{ID: last + 1, Name: name, Type: typ, Required: !optional})
	}
	r.must(r.srv.Apply("ns.t", icetable.NewAddSchemaUpdate(icego.NewSchema(nextSchemaID(md), fields...)), icetable.NewSetCurrentSchemaUpdate(-1)))
}

// pinnedFor returns the names of what a revision's readers go by.
func (r *rig) pinnedFor(rev int64) string {
	r.Helper()
	log, err := r.control().Read(r.Context())
	r.must(err)
	e := log.BoundFor("ns.t", rev)
	if e.UUID != r.meta().TableUUID().String() {
		return "another table"
	}
	if len(e.Pinned) == 0 {
		return "nothing"
	}
	s := &schema.Schema{}
	r.must(json.Unmarshal(e.Pinned, s))
	var names []string
	for i := range s.Fields {
		names = append(names, s.Fields[i].Name)
	}
	return strings.Join(names, " ")
}

// renew appends a revision and fences the table for it, as a worker does that begins.
func (r *rig) renew(w *table) {
	r.Helper()
	log, err := r.control().AppendAgain(r.Context(), r.st.Rev)
	r.must(err)
	_, err = w.sink.ctl.Read(r.Context())
	r.must(err)
	r.st = log.Stamp()
	_, err = w.sink.Fence(r.Context(), "ns.t", r.st)
	r.must(err)
}

// TestStricter: a table of others that begins to require more is halted, and its marks
// stay what they are, until it is relaxed or a revision pins it again.
func TestStricter(t *testing.T) {
	r, w := othersTable(t)
	r.must(r.commit(w, -1, 100))
	r.require("id", icego.PrimitiveTypes.Int64)
	r.require("more", icego.PrimitiveTypes.String)
	err := r.commit(w, 100, 200)
	r.wantHalt(err, pipeline.HaltStricter)
	if !strings.Contains(err.Error(), "column more (id ") || !strings.Contains(err.Error(), "became required") || !strings.Contains(err.Error(), "firehosed table rebind ns.t") {
		t.Errorf("the halt says %v", err)
	}
	_, err = r.unbound().sink.Table(t.Context(), "ns.t", r.st)
	r.wantHalt(err, pipeline.HaltStricter)
	if err := w.sink.Resume(t.Context(), "ns.t", Replay, nil); err == nil || !strings.Contains(err.Error(), "it is STRICTER") {
		t.Errorf("resume: %v", err)
	}
	r.require("-more", icego.PrimitiveTypes.String)
	r.must(r.commit(w, 100, 200)) // relaxed
	r.require("more", icego.PrimitiveTypes.String)
	old := r.st
	r.renew(w)
	if got := r.pinnedFor(1) + ", " + r.pinnedFor(2); got != "id, id more" {
		t.Errorf("pinned is %s", got)
	}
	if err := r.commitAs(t.Context(), w, old, 200, 300); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("commit under the revision before: %v", err)
	}
	r.must(r.commit(w, 200, 300))
	r.want(300, 300)
}

// TestPromotedIsNotStricter: what Iceberg allows of a required column, and columns that
// are required no more, do not halt the table.
func TestPromotedIsNotStricter(t *testing.T) {
	r, w := othersTable(t)
	r.require("n", icego.PrimitiveTypes.Int32)
	r.renew(w)
	r.require("n", icego.PrimitiveTypes.Int64)
	r.require("-id", icego.PrimitiveTypes.Int64)
	r.must(r.commit(w, -1, 100))
	r.require("n", icego.PrimitiveTypes.String)
	r.wantHalt(r.commit(w, 100, 200), pipeline.HaltStricter)
	r.require("-n", icego.PrimitiveTypes.Int64)
	r.must(r.commit(w, 100, 200))

	// Another name is another key of records.
	md := r.meta()
	fields := append([]icego.NestedField{}, md.CurrentSchema().Fields()...)
	for i := range fields {
		if f := &fields[i]; f.Name == "n" {
			f.Name, f.Required = "m", true
		}
	}
	r.must(r.srv.Apply("ns.t", icetable.NewAddSchemaUpdate(icego.NewSchema(nextSchemaID(md), fields...)), icetable.NewSetCurrentSchemaUpdate(-1)))
	r.wantHalt(r.commit(w, 200, 300), pipeline.HaltStricter)
}

// TestPinnedOnce: a revision has one pin of a table, the one that was entered before the
// first worker could judge under it.
func TestPinnedOnce(t *testing.T) {
	r, w := othersTable(t)
	r.renew(w) // nothing changed: entered all the same, so that nobody who is late enters anything else
	r.require("late", icego.PrimitiveTypes.String)
	late := r.unbound()
	_, err := late.sink.ctl.Read(t.Context())
	r.must(err)
	_, err = late.sink.Fence(t.Context(), "ns.t", r.st)
	r.must(err)
	if got := r.pinnedFor(2); got != "id" {
		t.Errorf("what revision 2 goes by became %q", got)
	}
	stale := pipeline.Stamp{Pipeline: "p", Rev: 1}
	r.renew(w)
	if err := late.pinAgain(t.Context(), mustLoad(r, late), stale); err != nil || r.entries(pipeline.KindBound) != 3 {
		t.Errorf("a worker of revision 1 pinned: %v", err)
	}
	if got := r.pinnedFor(2) + ", " + r.pinnedFor(3); got != "id, id late" {
		t.Errorf("pinned is %s", got)
	}
}

// TestNotPinned: what is no requirement of others, and by whom nothing is pinned.
func TestNotPinned(t *testing.T) {
	own := newRig(t)
	_, err := own.control().AppendRevision(t.Context(), []byte("a: b\n"), 1, 0)
	own.must(err)
	own.renew(own.worker())
	if n := own.entries(pipeline.KindBound); n != 1 {
		t.Errorf("%d entries for a table of ours", n)
	}

	r, w := othersTable(t)
	r.require(schema.ColOffset, icego.PrimitiveTypes.Int64) // filled by firehosed
	r.must(r.commit(w, -1, 100))
	r.renew(w)
	if got := r.pinnedFor(2); got != "id" {
		t.Errorf("pinned is %q", got)
	}
	for rev := range int64(2) { // two revisions, of which the first is not finished when the second comes
		_, err := r.control().AppendAgain(t.Context(), 2+rev)
		r.must(err)
		if log, err := r.control().AppendAgain(t.Context(), 2+rev); err != nil || log.Stamp().Rev != 3+rev {
			t.Fatalf("%v, %v: a revision of one's own after another's", log.Stamp(), err)
		}
	}
	late := pipeline.Stamp{Pipeline: "p", Rev: 3}
	if err := w.pinAgain(t.Context(), mustLoad(r, w), late); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("a pin for a revision that is no longer the newest: %v", err)
	}

	r.srv.Drop("ns.t")
	r.must(r.unbound().create(t.Context())) // not the table that is bound: its requirements say nothing
	late.Rev = 4
	r.must(r.unbound().pinAgain(t.Context(), mustLoad(r, r.unbound()), late))
	log, err := r.control().Read(t.Context())
	r.must(err)
	if was, is := log.BoundFor("ns.t", 2), log.BoundFor("ns.t", 4); is.Rev != 4 || is.UUID != was.UUID || string(is.Pinned) != string(was.Pinned) {
		t.Errorf("pinned for revision 4 is %+v, was %+v", is, was)
	}
}

func mustLoad(r *rig, w *table) *base {
	b, err := w.load(r.Context())
	r.must(err)
	return b
}

// TestRebindPins: a table that is bound anew in mid-revision is judged as before until
// the next revision, which rebinding begins if there is anything to pin.
func TestRebindPins(t *testing.T) {
	r, w := othersTable(t)
	r.must(r.commit(w, -1, 100))
	if _, err := w.sink.Rebind(t.Context(), "ns.t"); err == nil || !strings.Contains(err.Error(), "it is OK, not REPLACED") {
		t.Errorf("rebind of what is in order: %v", err)
	}
	again := func() {
		r.srv.Drop("ns.t")
		r.must(r.unbound().create(t.Context()))
		r.must(r.srv.Apply("ns.t", icetable.NewRemovePropertiesUpdate([]string{createdKey})))
	}
	rebind := func(want int64) {
		t.Helper()
		w = r.unbound()
		if rev, err := w.sink.Rebind(t.Context(), "ns.t"); err != nil || rev != want {
			t.Fatalf("rebind: revision %d, %v; want %d", rev, err, want)
		}
	}
	fence := func() {
		t.Helper()
		log, err := w.sink.ctl.Read(t.Context())
		r.must(err)
		r.st = log.Stamp()
		_, err = w.sink.Fence(t.Context(), "ns.t", r.st)
		r.must(err)
	}
	again()
	r.require("other", icego.PrimitiveTypes.String)
	rebind(2)
	if got := r.pinnedFor(1); got != "id" {
		t.Errorf("revision 1 goes by %q", got)
	}
	_, err := w.sink.Table(t.Context(), "ns.t", r.st)
	r.wantHalt(err, pipeline.HaltStricter)
	fence()
	if got := r.pinnedFor(1) + ", " + r.pinnedFor(2); got != "id, other" {
		t.Errorf("pinned is %s", got)
	}
	r.require("more", icego.PrimitiveTypes.String) // of the same table
	rebind(3)
	fence()
	if got := r.pinnedFor(2) + ", " + r.pinnedFor(3); got != "other, other more" {
		t.Errorf("pinned is %s", got)
	}
	r.srv.Drop("ns.t")
	r.must(w.create(t.Context())) // a table of ours in its place
	rebind(4)
	fence()
	if got := r.pinnedFor(3) + ", " + r.pinnedFor(4); got != "other more, nothing" {
		t.Errorf("pinned is %s", got)
	}
	again() // and one of others in the place of ours
	r.require("last", icego.PrimitiveTypes.String)
	rebind(5)
	fence()
	if got := r.pinnedFor(4) + ", " + r.pinnedFor(5); got != ", last" {
		t.Errorf("pinned is %s", got)
	}
	r.must(r.commit(r.worker(), -1, 50))
}
