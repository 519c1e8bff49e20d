package iceberg

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/consumer/kafka"
	"github.com/firehosed/firehosed/iceberg/icebergtest"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
)

var p0 = pipeline.Partition{Kind: "kafka", Stream: "c1", Incarnation: "7d9e", ID: "0"}

func at(n int) pipeline.Cursor {
	if n < 0 {
		return pipeline.Cursor{}
	}
	return pipeline.Cursor{At: pipeline.Position(fmt.Sprintf("%019d", n))}
}

// server is a catalog in this process that can be told to fail.
type server interface {
	SetFault(f func(n int) icebergtest.Fault)
	Commits() int
	LoseCreate()
	Apply(name string, ups ...icetable.Update) error
	Meta(name string) icetable.Metadata
	Drop(name string)
	Fresh(name string)
}

// rig is a catalog with one table "ns.t", and workers on it.
type rig struct {
	*testing.T
	srv   server
	cat   CatalogConfig
	dir   string
	store pipeline.Store
	st    pipeline.Stamp
}

// newRig returns a rig over a REST catalog, or over Glue in a test below TestGlue.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), store: control.Memory(), st: pipeline.Stamp{Pipeline: "p", Rev: 1}}
	if strings.HasPrefix(t.Name(), "TestGlue/") {
		r.overGlue()
		return r
	}
	srv := icebergtest.NewREST(r.dir)
	t.Cleanup(srv.Close)
	r.srv, r.cat = srv, CatalogConfig{REST: &RESTConfig{URI: srv.URL}}
	return r
}

func (r *rig) config() Config {
	cfg := DefaultConfig()
	cfg.Warehouse, cfg.CommitsPerSecond, cfg.CatalogPerSecond, cfg.Catalog = r.dir, 0, 0, r.cat
	return cfg
}

// worker returns the table as another process would see it.
func (r *rig) worker(change ...func(*Config)) *table {
	r.Helper()
	t := r.unbound(change...)
	if _, err := t.sink.Table(r.Context(), t.name, r.st); err != nil {
		r.Fatal(err)
	}
	return t
}

func (r *rig) unbound(change ...func(*Config)) *table {
	r.Helper()
	cfg := r.config()
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg, pipeline.NewControl(r.store, "p", "test"), WithCoordinates(kafka.Coordinates{}))
	r.must(err)
	r.Cleanup(func() { r.must(s.Close(context.Background())) })
	s.pause = func(ctx context.Context, _ int) error { return ctx.Err() }
	h, err := s.handle("ns.t")
	r.must(err)
	return h
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) meta() icetable.Metadata { return r.srv.Meta("ns.t") }

// commit publishes [from, to) of partition 0 with a file of as many rows that nobody reads.
func (r *rig) commit(t *table, from, to int) error { return r.commitAs(r.Context(), t, r.st, from, to) }

func (r *rig) commitAs(ctx context.Context, t *table, st pipeline.Stamp, from, to int) error {
	r.Helper()
	ch := newChange(kindData, newID())
	ch.claims = []pipeline.Claim{{
		Span:  pipeline.Span{Partition: p0, From: at(from), To: at(to)},
		Floor: at(max(from, 0)).At,
	}}
	rows := int64(to - max(from, 0))
	md := r.meta()
	df, err := icego.NewDataFileBuilder(md.PartitionSpec(), icego.EntryContentData,
		md.Location()+"/data/fh-"+ch.id.String()+"/0.parquet", icego.ParquetFile, nil, nil, nil, rows, rows*10)
	r.must(err)
	ch.files = []icego.DataFile{df.Build()}
	return t.commitData(ctx, ch, st, staged{files: ch.files, schemas: []*icego.Schema{md.CurrentSchema()}, born: time.Now()})
}

// want checks the watermark, the rows that the head's manifests list, and the total.
func (r *rig) want(pos int, rows int64) {
	r.Helper()
	t := r.unbound()
	b, err := t.load(r.Context())
	r.must(err)
	if b.reg.state != OK || b.reg.vec[p0].At != at(pos) {
		r.Fatalf("state %s (%s), watermark %q, want %q", b.reg.state, b.reg.reason, b.reg.vec[p0].At.At, at(pos).At)
	}
	fs := t.sink.files(r.Context())
	ms, err := b.reg.head.Manifests(fs)
	r.must(err)
	var n int64
	for _, m := range ms {
		for e, err := range m.Entries(fs, true) {
			r.must(err)
			n += e.DataFile().Count()
		}
	}
	if total := b.reg.head.Summary.Properties["total-records"]; n != rows || total != strconv.FormatInt(rows, 10) {
		r.Fatalf("%d rows in manifests, %s in the summary, want %d", n, total, rows)
	}
}

// wantHalt checks that err halts the table in one way.
func (r *rig) wantHalt(err error, class string) {
	r.Helper()
	var h *pipeline.Halt
	if !errors.As(err, &h) || h.Class != class {
		r.Fatalf("want halt %s, got %v", class, err)
	}
	if h.Detail == "" || h.Remedy == "" {
		r.Fatalf("halt without detail or remedy: %+v", h)
	}
}

// before runs f once, between the check and the arrival of the next commit request.
func (r *rig) before(f func()) {
	ran := false
	r.srv.SetFault(func(int) icebergtest.Fault {
		if !ran {
			ran = true
			f()
		}
		return icebergtest.Fault{}
	})
}

// foreign appends as another engine would: a snapshot that is not ours.
func (r *rig) foreign(rows int64) {
	r.Helper()
	md := r.meta()
	ch := newChange("foreign", newID())
	df, err := icego.NewDataFileBuilder(md.PartitionSpec(), icego.EntryContentData,
		md.Location()+"/data/"+ch.id.String(), icego.ParquetFile, nil, nil, nil, rows, rows)
	r.must(err)
	ch.files = []icego.DataFile{df.Build()}
	t := r.unbound()
	b, err := t.load(r.Context())
	r.must(err)
	_, ups, err := t.request(r.Context(), b, ch, &edit{hidden: true}, 0)
	r.must(err)
	r.must(r.srv.Apply("ns.t", ups...))
}

// rollback sets the branch to a snapshot, as an operator would.
func (r *rig) rollback(sid int64) {
	r.Helper()
	r.must(r.srv.Apply("ns.t", icetable.NewSetSnapshotRefUpdate(icetable.MainBranch, sid, icetable.BranchRef, 0, 0, 0)))
}

func (r *rig) head() int64 { return r.meta().CurrentSnapshot().SnapshotID }

func TestChain(t *testing.T) {
	for _, version := range []int{2, 3} {
		r := newRig(t)
		w := r.worker(func(c *Config) { c.FormatVersion = version })
		r.must(r.commit(w, -1, 100))
		r.must(r.commit(w, 100, 250))
		r.want(250, 250)
		if v := r.meta().Version(); v != version {
			t.Fatalf("format version %d, want %d", v, version)
		}
		if version == 3 && r.meta().NextRowID() != 250 {
			t.Fatalf("next row id %d, want 250", r.meta().NextRowID())
		}
	}
}

func TestZombie(t *testing.T) {
	r := newRig(t)
	owner, zombie := r.worker(), r.worker()
	r.must(r.commit(owner, -1, 100))
	r.before(func() { r.must(r.commit(owner, 100, 250)) })
	r.must(r.commit(zombie, 100, 200)) // 250 covers it: done, and not its rows
	r.want(250, 250)
	if err := r.commit(zombie, 200, 300); !errors.Is(err, pipeline.ErrStale) {
		t.Fatalf("want stale, got %v", err)
	}
	r.want(250, 250)
}

func TestUnknownOutcome(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 409, 400} { // 409: a proxy repeated the request; 400: catalogs that answer so
		r := newRig(t)
		w := r.worker()
		first := r.srv.Commits() + 1
		r.srv.SetFault(func(n int) icebergtest.Fault {
			if n == first {
				return icebergtest.Fault{Status: status}
			}
			return icebergtest.Fault{}
		})
		r.must(r.commit(w, -1, 100))
		r.want(100, 100)
		if n := r.srv.Commits(); n != first {
			t.Fatalf("status %d: %d requests, want 1", status, n-first+1)
		}
		r.srv.SetFault(func(n int) icebergtest.Fault { // not applied: tried again
			if n == first+1 {
				return icebergtest.Fault{Status: status, Drop: true}
			}
			return icebergtest.Fault{}
		})
		r.must(r.commit(w, 100, 150))
		r.want(150, 150)
	}
}

func TestForeignAppendsRebase(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	n := 0
	r.srv.SetFault(func(int) icebergtest.Fault {
		if n++; n <= 3 {
			r.foreign(1000)
		}
		return icebergtest.Fault{}
	})
	r.must(r.commit(w, 100, 200))
	r.want(200, 3200)
}

func TestStaleLoadIsNeverJudged(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 100))
	first := r.srv.Commits() + 1
	r.srv.SetFault(func(n int) icebergtest.Fault { return icebergtest.Fault{Stale: n == first} })
	r.must(r.commit(w, 100, 200))
	// Loads now show the table before that commit. The worker has not seen a load with
	// it either, so the stale base is caught by the head it asserts; then w waits.
	pauses := 0
	w.sink.pause = func(ctx context.Context, _ int) error {
		if pauses++; pauses == 5 {
			r.srv.Fresh("ns.t")
		}
		return ctx.Err()
	}
	r.must(r.commit(w, 100, 200))
	r.want(200, 200)
	if _, err := w.Watermarks(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.srv.SetFault(func(int) icebergtest.Fault { return icebergtest.Fault{Stale: true} })
	other := r.worker()
	r.must(r.commit(other, 200, 300))
	r.srv.Fresh("ns.t")
	if _, err := other.Watermarks(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// lateCatalog holds answers to loads back.
type lateCatalog struct {
	Catalog
	late func() // called, once, before the next answer is passed on
}

func (c *lateCatalog) LoadTable(ctx context.Context, ident icetable.Identifier) (*icetable.Table, error) {
	tbl, err := c.Catalog.LoadTable(ctx, ident)
	if f := c.late; f != nil {
		c.late = nil
		f()
	}
	return tbl, err
}

// Two loads in one process overlap, and the first to ask is the last to hear. What it hears is older, and no fault of the
// catalog: only a load that began after the newer one was seen must not show less.
func TestLoadsMayOverlap(t *testing.T) {
	r := newRig(t)
	w, other := r.worker(), r.worker()
	r.must(r.commit(w, -1, 100))
	w.sink.cat = &lateCatalog{Catalog: w.sink.cat, late: func() {
		r.must(r.commit(other, 100, 200))
		if _, err := w.Watermarks(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}}
	b, err := w.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.md.LastSequenceNumber(), r.meta().LastSequenceNumber(); got != want {
		t.Errorf("sequence number %d, want %d", got, want)
	}
	r.srv.SetFault(func(int) icebergtest.Fault { return icebergtest.Fault{Stale: true} })
	r.must(r.commit(w, 200, 300))
	if _, err := w.load(t.Context()); err == nil || !strings.Contains(err.Error(), "it has shown") {
		t.Errorf("a load that shows less than one before: %v", err)
	}
}

func TestRetentionOfTheBranchStays(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.srv.Apply("ns.t", icetable.NewSetSnapshotRefUpdate(icetable.MainBranch, r.head(), icetable.BranchRef, 0, 86400000, 7)))
	r.must(r.commit(w, -1, 100))
	ref := branchRef(r.meta())
	if ref.MaxSnapshotAgeMs == nil || *ref.MaxSnapshotAgeMs != 86400000 || ref.MinSnapshotsToKeep == nil || *ref.MinSnapshotsToKeep != 7 {
		t.Fatalf("retention lost: %+v", ref)
	}
}

func TestRollbackHaltsAndTheLateRequestIsRefused(t *testing.T) {
	r := newRig(t)
	w, zombie := r.worker(), r.worker()
	r.must(r.commit(w, -1, 100))
	back := r.head()
	r.before(func() {
		r.must(r.commit(w, 100, 250))
		r.rollback(back)
	})
	r.wantHalt(r.commit(zombie, 100, 200), pipeline.HaltRewound)
	if n := len(r.meta().Snapshots()); n != 3 {
		t.Fatalf("%d snapshots, want 3: the late request landed", n)
	}
}

func TestNewerStampIsStale(t *testing.T) {
	r := newRig(t)
	old, young := r.worker(), r.worker()
	r.must(r.commit(old, -1, 100))
	newer := r.st
	newer.Replay++
	r.must(r.commitAs(t.Context(), young, newer, 100, 200))
	b, err := young.load(t.Context())
	r.must(err)
	if f := b.reg.vec[p0].Floor; f != at(100).At {
		t.Fatalf("floor %q, want the younger worker's", f)
	}
	if err := r.commit(old, 200, 300); !errors.Is(err, pipeline.ErrStale) {
		t.Fatalf("want stale, got %v", err)
	}
}

func TestCancelledIsAbandoned(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	ctx, cancel := context.WithCancel(t.Context())
	r.srv.SetFault(func(int) icebergtest.Fault {
		cancel()
		return icebergtest.Fault{Status: 503, Drop: true}
	})
	if err := r.commitAs(ctx, w, r.st, -1, 100); !errors.Is(err, context.Canceled) {
		t.Fatalf("want cancelled, got %v", err)
	}
}

func TestUserRetriesDoNotMatter(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.srv.Apply("ns.t", icetable.NewSetPropertiesUpdate(icego.Properties{"commit.retry.num-retries": "10"})))
	owner := r.worker()
	r.before(func() { r.must(r.commit(owner, -1, 150)) })
	r.must(r.commit(w, -1, 100))
	r.want(150, 150)
}

func TestSchemaMoved(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	md := r.meta()
	add := func(f icego.NestedField) {
		cur := r.meta().CurrentSchema()
		f.ID = r.meta().LastColumnID() + 1
		next := icego.NewSchema(nextSchemaID(r.meta()), append(cur.Fields(), f)...)
		r.must(r.srv.Apply("ns.t", icetable.NewAddSchemaUpdate(next), icetable.NewSetCurrentSchemaUpdate(-1)))
	}
	r.before(func() { add(icego.NestedField{Name: "more", Type: icego.PrimitiveTypes.String}) })
	r.must(r.commit(w, -1, 100)) // an optional column more: the same files
	r.want(100, 100)
	if r.meta().CurrentSchema().ID == md.CurrentSchema().ID {
		t.Fatal("the schema did not move")
	}
	r.before(func() {
		add(icego.NestedField{Name: "must", Type: icego.PrimitiveTypes.String, Required: true, InitialDefault: nil})
	})
	if err := r.commit(w, 100, 200); !errors.Is(err, errRebuild) {
		t.Fatalf("want rebuild, got %v", err)
	}
	r.want(100, 100)
}

func TestOldFilesAreNotPublished(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	ch := newChange(kindData, newID())
	ch.claims = []pipeline.Claim{{Span: pipeline.Span{Partition: p0, To: at(1)}}}
	df, err := icego.NewDataFileBuilder(*icego.UnpartitionedSpec, icego.EntryContentData, "file:///x", icego.ParquetFile, nil, nil, nil, 1, 1)
	r.must(err)
	ch.files = []icego.DataFile{df.Build()}
	err = w.commitData(t.Context(), ch, r.st, staged{files: ch.files, born: time.Now().Add(-13 * time.Hour)})
	if !errors.Is(err, errRebuild) {
		t.Fatalf("want rebuild, got %v", err)
	}
}
