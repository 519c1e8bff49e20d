package iceberg

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// filesUnder lists the files of a folder, by name.
func filesUnder(t *testing.T, dir string) (out []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func countSuffix(names []string, suffix string) (n int) {
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			n++
		}
	}
	return n
}

// entries lists the live files of the head with their row ids and sequence numbers.
func entries(t *testing.T, s *Sink, name string) map[string][2]int64 {
	t.Helper()
	b := present(t, s, name)
	manifests, _, err := s.dataManifests(t.Context(), b.reg.head)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][2]int64{}
	for e, err := range liveFiles(s.files(t.Context()), manifests) {
		if err != nil {
			t.Fatal(err)
		}
		row := int64(-1)
		if id := e.DataFile().FirstRowID(); id != nil {
			row = *id
		}
		out[e.DataFile().FilePath()] = [2]int64{row, e.SequenceNum()}
	}
	return out
}

func TestMaintain(t *testing.T) {
	for _, version := range []int{2, 3} {
		dir := t.TempDir()
		s := local(t, dir, func(c *Config) {
			c.FormatVersion, c.KeepSnapshots, c.KeepMetadata = version, 10, 10
			c.Tables = map[string]TableConfig{"t": {PartitionBy: []string{"v"}, Columns: map[string]string{"v": "string"}}}
		}, control.Memory())
		tab, err := s.Table(t.Context(), "t", pipeline.Stamp{Pipeline: "p", Rev: 1})
		if err != nil {
			t.Fatal(err)
		}
		const n = 26
		s.mergeFrom = n
		for i := range n {
			if err := deliver(t, tab, p0, i-max(0, 1-i), i+1, func(i int) any { return []any{"", "x"}[i%2] }); err != nil {
				t.Fatal(err)
			}
		}
		abandoned, err := tab.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := rows(tab.Schema(), 0, 3, func(int) any { return "x" })
		if err := abandoned.Write(t.Context(), batch(p0, 0, 3), r); err != nil {
			t.Fatal(err)
		}
		if _, err := abandoned.(*delivery).finish(t.Context(), pipeline.CutAsked); err != nil { // written, never committed
			t.Fatal(err)
		}
		r.Data.Release()
		before := entries(t, s, "t")

		done, err := s.Maintain(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if done.Manifests != n || done.Snapshots == 0 || done.Metadata == 0 || done.Orphans != 0 {
			t.Errorf("v%d: %+v", version, done)
		}
		after := entries(t, s, "t")
		for path, was := range before {
			if after[path] != was {
				t.Fatalf("v%d: row id and sequence number of %s: %v, were %v", version, path, after[path], was)
			}
		}
		if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(n)) {
			t.Fatalf("v%d: %d rows", version, len(got))
		}
		for val, want := range map[string]int64{"": 13, "x": 13} { // the bounds of the merged manifest hold
			if got := found(t, s, "t", val); got != want {
				t.Errorf("v%d: %d rows with v = %q, want %d", version, got, val, want)
			}
		}
		if k := countSuffix(filesUnder(t, dir), ".metadata.json"); k > 14 {
			t.Errorf("v%d: %d metadata files", version, k)
		}

		// Four days later.
		then := time.Now().Add(-96 * time.Hour)
		for _, f := range filesUnder(t, filepath.Join(dir, "default")) {
			if err := os.Chtimes(f, then, then); err != nil {
				t.Fatal(err)
			}
		}
		h, err := s.handle("t")
		if err != nil {
			t.Fatal(err)
		}
		removed, err := h.removeOrphans(t.Context())
		if err != nil || removed == 0 {
			t.Fatalf("v%d: %d orphans, %v", version, removed, err)
		}
		if got := countSuffix(filesUnder(t, dir), ".parquet"); got != n {
			t.Errorf("v%d: %d data files, want %d: the abandoned one should be gone", version, got, n)
		}
		if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(n)) {
			t.Fatalf("v%d: %d rows after the orphans were removed", version, len(got))
		}
		b, err := h.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, snap := range b.md.Snapshots() {
			for _, err := range s.ScanCoordinates(t.Context(), "t", snap.SnapshotID) {
				if err != nil {
					t.Fatalf("v%d: a snapshot that stays lost a file: %v", version, err)
				}
			}
		}
		if err := deliver(t, tab, p0, n, n+10, func(int) any { return nil }); err != nil {
			t.Fatal(err)
		}
		if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(n+10)) {
			t.Fatalf("v%d: %d rows after another commit", version, len(got))
		}
		in, err := s.Inspect(t.Context(), "t")
		if err != nil || in.State != OK || in.Snapshots > 14 {
			t.Fatalf("v%d: %+v, %v", version, in, err)
		}
	}
}

// counted is a bucket that counts what listings show.
type counted struct {
	objstore.Bucket
	shown *int
}

func (b counted) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for o, err := range b.Bucket.List(ctx, prefix, after) {
			*b.shown++
			if !yield(o, err) {
				return
			}
		}
	}
}

// Manifests and their lists stay for days: whoever looks for old metadata.json files must not look at them all.
func TestOldMetadataIsFoundAmongManyManifests(t *testing.T) {
	dir, shown := t.TempDir(), 0
	s := local(t, dir, func(c *Config) { withV(c); c.KeepMetadata = 10 }, control.Memory())
	inner := s.storage.open
	s.storage.open = func(ctx context.Context, root string) (objstore.Bucket, error) {
		b, err := inner(ctx, root)
		return counted{b, &shown}, err
	}
	tab := open(t, s, "t")
	for i := range 20 {
		if err := deliver(t, tab, p0, i-max(0, 1-i), i+1, func(int) any { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	h, err := s.handle("t")
	if err != nil {
		t.Fatal(err)
	}
	there := countSuffix(filesUnder(t, dir), ".metadata.json")
	shown = 0
	removed, err := h.removeMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := countSuffix(filesUnder(t, dir), ".metadata.json"); removed == 0 || left != there-removed || left != 10 {
		t.Errorf("%d metadata.json files of %d are left, %d were removed", left, there, removed)
	}
	if shown > there+1 {
		t.Errorf("%d files were looked at to find those of %d metadata.json files that are old", shown, there)
	}
}

func TestOneMaintainsAtATime(t *testing.T) {
	r := newRig(t)
	a, b := r.worker(), r.worker()
	r.must(r.commit(a, -1, 10))
	_, mine, err := a.lease(t.Context(), r.meta())
	if err != nil || !mine {
		t.Fatal(mine, err)
	}
	if _, mine, err = b.lease(t.Context(), r.meta()); err != nil || mine {
		t.Fatal("two have the lease", err)
	}
	if done, err := b.sink.Maintain(t.Context(), "ns.t"); err != nil || done != (Maintenance{}) {
		t.Fatal(done, err)
	}
	r.must(a.release(t.Context(), r.meta(), lease{Who: a.sink.who}))
	if _, mine, err = b.lease(t.Context(), r.meta()); err != nil || !mine {
		t.Fatal("the lease was given up and cannot be taken", err)
	}
}

func TestForeignTablesAreNotExpired(t *testing.T) {
	r := newRig(t)
	w := r.worker(func(c *Config) { c.KeepSnapshots = 10 })
	for i := range 20 {
		r.must(r.commit(w, i*10-max(0, 1-i), i*10+10))
	}
	look := func() *base {
		b, err := w.load(t.Context())
		r.must(err)
		return b
	}
	md := r.meta()
	r.must(r.srv.Apply("ns.t", icetable.NewRemovePropertiesUpdate([]string{createdKey})))
	if n, err := w.expire(t.Context(), look()); err != nil || n != 0 {
		t.Fatalf("%d expired, %v", n, err)
	}
	r.must(r.srv.Apply("ns.t", icetable.NewSetPropertiesUpdate(icego.Properties{createdKey: "p"})))
	if n, err := w.expire(t.Context(), look()); err != nil || n != len(md.Snapshots())-10 {
		t.Fatalf("%d expired, %v", n, err)
	}
	r.want(200, 200)
}

// A stream that brings new columns leaves a schema behind for each: those go that no snapshot has any more.
func TestOldSchemasAreRemoved(t *testing.T) {
	s := local(t, t.TempDir(), func(c *Config) { withV(c); c.KeepSnapshots = 10 }, control.Memory())
	tab := open(t, s, "t")
	commits := 0
	commit := func(n int) {
		t.Helper()
		for range n {
			if err := deliver(t, tab, p0, commits*10-max(0, 1-commits), commits*10+10, func(i int) any { return i }); err != nil {
				t.Fatal(err)
			}
			commits++
		}
	}
	evolve := func(n int) {
		t.Helper()
		for range n {
			name := fmt.Sprintf("x%d", len(tab.Schema().Fields))
			if _, err := tab.Evolve(t.Context(), &schema.Schema{ID: -1, Fields: []schema.Field{{Name: name, Type: &schema.Type{Kind: schema.Long}}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func() icetable.Metadata {
		t.Helper()
		h, err := s.handle("t")
		if err != nil {
			t.Fatal(err)
		}
		b, err := h.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b.md
	}
	maintain := func(want int) {
		t.Helper()
		done, err := s.Maintain(t.Context(), "t")
		if err != nil || done.Schemas != want {
			t.Fatalf("%+v, %v, want %d schemas removed", done, err, want)
		}
	}
	commit(1)
	first := look().CurrentSchema().ID
	evolve(spareSchemas)
	commit(1)
	maintain(0) // few
	evolve(spareSchemas)
	commit(8)
	maintain(2*spareSchemas - 2) // all but those of the first commit, of the second and the current one
	md := look()
	if n := len(md.Schemas()); n != 3 {
		t.Errorf("%d schemas stay", n)
	}
	for _, snap := range md.Snapshots() {
		if !slices.ContainsFunc(md.Schemas(), func(s *icego.Schema) bool { return s.ID == *snap.SchemaID }) {
			t.Errorf("the schema %d of snapshot %d is gone", *snap.SchemaID, snap.SnapshotID)
		}
	}
	commit(1)
	evolve(1)
	if id := look().CurrentSchema().ID; id != first+2*spareSchemas+1 {
		t.Errorf("the next schema is number %d after %d of them", id, 2*spareSchemas)
	}
	commit(1)
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(commits*10)) {
		t.Errorf("%d rows", len(got))
	}
}

// A REST server that does not know the request keeps its schemas, and is maintained all the same.
func TestServersThatCannotRemoveSchemas(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	r.must(r.commit(w, -1, 10))
	for i := range spareSchemas + 2 {
		_, err := w.Evolve(t.Context(), &schema.Schema{ID: -1, Fields: []schema.Field{{Name: fmt.Sprint("x", i), Type: &schema.Type{Kind: schema.Long}}}})
		r.must(err)
	}
	r.must(r.commit(w, 10, 20))
	r.must(r.srv.Apply("ns.t", icetable.NewSetPropertiesUpdate(icego.Properties{createdKey: "p"})))
	n := len(r.meta().Schemas())
	r.srv.SetFault(func(int) icebergtest.Fault { return icebergtest.Fault{Status: http.StatusBadRequest, Drop: true} })
	if done, err := w.sink.Maintain(t.Context(), "ns.t"); err != nil || done.Schemas != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	r.srv.SetFault(nil)
	if done, err := w.sink.Maintain(t.Context(), "ns.t"); err != nil || done.Schemas == 0 || len(r.meta().Schemas()) != n-done.Schemas {
		t.Fatalf("%+v, %v, %d schemas of %d", done, err, len(r.meta().Schemas()), n)
	}
	r.want(20, 20)
}

func TestVectorsOfGoneSnapshotsAreRemoved(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	big := func(from, to int) {
		t.Helper()
		ch := newChange(kindData, newID())
		for i := range 200 {
			p := p0
			p.ID = strconv.Itoa(i * i)
			ch.claims = append(ch.claims, claim(p, from, to+i*7919%101))
			if from >= 0 {
				ch.claims[i].From = at(from + i*7919%101)
			}
		}
		r.must(w.commitData(t.Context(), ch, r.st, staged{}))
	}
	big(-1, 1000)
	first := r.head()
	big(1000, 5000)
	r.must(r.store.Swap(t.Context(), vectorPrefix(r.meta())+"42", nil, []byte("of a commit on its way")))
	r.must(r.srv.Apply("ns.t", icetable.NewRemoveSnapshotsUpdate([]int64{first}, false)))
	removed, waiting, err := w.removeVectors(t.Context(), nil)
	if err != nil || removed != 0 || len(waiting) != 2 {
		t.Fatal(removed, waiting, err)
	}
	removed, waiting, err = w.removeVectors(t.Context(), []string{strconv.FormatInt(first, 10)})
	if err != nil || removed != 1 || !slices.Equal(waiting, []string{"42"}) {
		t.Fatal(removed, waiting, err)
	}
	keys, err := r.store.Keys(t.Context(), "wm/")
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
}
