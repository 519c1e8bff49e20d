package iceberg

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
)

// reads is a bucket that counts the metadata.json files that are read.
type reads struct {
	objstore.Bucket
	n *atomic.Int64
}

func (b reads) Get(ctx context.Context, key string) ([]byte, string, error) {
	if strings.HasSuffix(key, ".metadata.json") {
		b.n.Add(1)
	}
	return b.Bucket.Get(ctx, key)
}

// countReads counts the metadata.json files that a sink reads from now on.
func countReads(s *Sink) *atomic.Int64 {
	n, inner := &atomic.Int64{}, s.storage.open
	s.storage.open = func(ctx context.Context, root string) (objstore.Bucket, error) {
		b, err := inner(ctx, root)
		return reads{b, n}, err
	}
	return n
}

func TestMetadataThatIsKnownIsNotReadAgain(t *testing.T) {
	dir, store := t.TempDir(), control.Memory()
	s := local(t, dir, withV, store)
	n := countReads(s)
	tab := open(t, s, "t")
	commit := func(i int) {
		t.Helper()
		if err := deliver(t, tab, p0, i*10-max(0, 1-i), i*10+10, func(i int) any { return i }); err != nil {
			t.Fatal(err)
		}
	}
	commit(0)
	n.Store(0)
	for i := range 5 {
		commit(i + 1)
	}
	if got := n.Load(); got != 5 { // the catalog's own, which it compares with what the commit asserts
		t.Errorf("%d reads in 5 commits", got)
	}
	n.Store(0)
	for range 3 {
		if l, err := tab.Watermarks(t.Context(), nil); err != nil || l.Marks[p0].At != at(60) {
			t.Fatal(l, err)
		}
	}
	if got := n.Load(); got != 0 {
		t.Errorf("%d reads of a table that did not change", got)
	}

	// What another worker does is seen at once.
	other := open(t, local(t, dir, withV, store), "t")
	if err := deliver(t, other, p0, 60, 70, func(i int) any { return i }); err != nil {
		t.Fatal(err)
	}
	if l, err := tab.Watermarks(t.Context(), nil); err != nil || l.Marks[p0].At != at(70) {
		t.Fatal(l, err)
	}
	if got := n.Load(); got != 1 {
		t.Errorf("%d reads of a table that another worker has written to", got)
	}
	commit(7)
	if got := len(coordinates(t, s, "t")); got != 80 {
		t.Errorf("%d rows", got)
	}
}

// What is known of a table after a commit is what its metadata.json says.
func TestKnownMetadataIsWhatTheFileSays(t *testing.T) {
	for _, version := range []int{2, 3} {
		s := local(t, t.TempDir(), func(c *Config) { withV(c); c.FormatVersion = version }, control.Memory())
		tab := open(t, s, "t")
		for i := range 3 {
			if err := deliver(t, tab, p0, i*10-max(0, 1-i), i*10+10, func(i int) any { return i }); err != nil {
				t.Fatal(err)
			}
			h, err := s.handle("t")
			if err != nil {
				t.Fatal(err)
			}
			b, err := h.load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k := s.known.at(b.tbl.MetadataLocation())
			if k == nil || k.md != b.md {
				t.Fatalf("v%d: the table in force is not known after commit %d", version, i)
			}
			data, err := os.ReadFile(strings.TrimPrefix(k.location, "file://"))
			if err != nil {
				t.Fatal(err)
			}
			again, err := icetable.ParseMetadataBytes(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(anyOf(t, again), anyOf(t, k.md)); diff != "" || !again.Equals(k.md) {
				t.Errorf("v%d: the file (-) and what is known (+) differ:\n%s", version, diff)
			}
			was, now := effective(again, "p", b.log.Bound("t")), effective(k.md, "p", b.log.Bound("t"))
			if diff := cmp.Diff(anyOf(t, was.hdr), anyOf(t, now.hdr)); diff != "" || was.state != OK || now.state != OK {
				t.Errorf("v%d: %s and %s:\n%s", version, was.state, now.state, diff)
			}
		}
	}
}

// anyOf returns what encoding/json makes of v.
func anyOf(t *testing.T, v any) (out any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFewTablesAreKnown(t *testing.T) {
	var k known
	sc := icego.NewSchema(0, icego.NestedField{ID: 1, Name: "a", Type: icego.PrimitiveTypes.Int64})
	table := func() icetable.Metadata {
		md, err := icetable.NewMetadata(sc, icego.UnpartitionedSpec, icetable.UnsortedSortOrder, "file:///t", icego.Properties{})
		if err != nil {
			t.Fatal(err)
		}
		return md
	}
	first := table()
	k.keep("0", first)
	for i := range knownTables - 1 {
		k.keep(fmt.Sprint(i+1), table())
	}
	if k.at("0") == nil { // and used last from here on
		t.Fatal("the first is forgotten")
	}
	k.keep("another", table())
	if k.at("0") == nil || k.at("another") == nil || k.at("1") != nil || len(k.mu.tables) != knownTables {
		t.Errorf("not the table that was used least recently is forgotten: %v", k.mu.tables)
	}
	k.keep("0 after a commit", first)
	if k.at("0") != nil || k.at("0 after a commit") == nil || len(k.mu.tables) != knownTables {
		t.Errorf("an old file of a table stays: %v", k.mu.tables)
	}
	ups := []icetable.Update{}
	for i := range knownSnapshots + 1 {
		ups = append(ups, icetable.NewAddSnapshotUpdate(&icetable.Snapshot{
			SnapshotID: int64(i + 1), SequenceNumber: int64(i + 1), TimestampMs: first.LastUpdatedMillis(),
			ManifestList: "file:///t/l", Summary: &icetable.Summary{Operation: icetable.OpAppend},
		}))
	}
	big, err := icetable.UpdateTableMetadata(first, ups, "")
	if err != nil {
		t.Fatal(err)
	}
	k.keep("big", big)
	if k.at("big") != nil || k.at("0 after a commit") != nil {
		t.Error("a table with many snapshots is kept")
	}
}
