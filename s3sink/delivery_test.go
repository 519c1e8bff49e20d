package s3sink

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// partitioned makes a world whose objects are apart by the first word of records.
func partitioned(t *testing.T) *world {
	w := newWorld(t)
	w.cfg.Prefix, w.cfg.ErrorOutputPrefix = "data/!{partitionKeyFromQuery:k}/", "failed/!{firehose:error-output-type}/"
	w.cfg.BufferSize = 64 << 20
	return w
}

// sized is a batch of records of so many bytes each.
func sized(p pipeline.Partition, from, to, size int) *pipeline.Batch {
	b := batch(p, from, to, "a")
	for i := range b.Values {
		b.Values[i] = bytes.Repeat([]byte{'a' + byte((from+i)%26)}, size)
	}
	return b
}

// TestSize: an object ends with the record that reaches its size, and the delivery says
// that it is full.
func TestSize(t *testing.T) {
	w := newWorld(t)
	w.bucket.PartSize = 0
	w.cfg.BufferSize, w.cfg.Delimiter = 1<<20, ""
	k := w.worker()
	var ends []string
	k.sink.obs = Observer{Object: func(_ string, n int64, small bool, reason string) {
		ends = append(ends, fmt.Sprintf("%d %v %s", n>>10, small, reason))
	}}
	d := k.begin()
	for i := range 5 {
		if err := write(t.Context(), k.table(), d, sized(p0, 3*i, 3*i+3, 150<<10)); err != nil {
			t.Fatal(err)
		}
		_, output, full := d.Size()
		if wantFull := i >= 2; full != wantFull || output != int64(3*i+3)*150<<10 {
			t.Errorf("after %d records: output %d, full %v", 3*i+3, output, full)
		}
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 15)}, pipeline.CutFull); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1050 false size", "1050 false size", "150 true full"}; !slices.Equal(ends, want) {
		t.Errorf("objects %q, want %q", ends, want)
	}
	if n := len(w.keys()); n != 3 {
		t.Errorf("%d objects", n)
	}
}

// TestHeld: what is in memory is told, and given back by the commit.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	w.bucket.PartSize = 0
	k := w.worker()
	d := k.begin()
	if err := write(t.Context(), k.table(), d, sized(p0, 0, 1, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if held, _, _ := d.Size(); held < 1<<20 || held > 2<<20 {
		t.Errorf("%d bytes are held of 1 MiB", held)
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 1)}, ""); err != nil {
		t.Fatal(err)
	}
	if held, _, _ := d.Size(); held != 0 {
		t.Errorf("%d bytes are held after the commit", held)
	}
	w.cfg.CompressionFormat = Zstd
	k = w.worker()
	d = k.begin()
	if err := write(t.Context(), k.table(), d, batch(p0, 1, 2, "a")); err != nil {
		t.Fatal(err)
	}
	if held, _, _ := d.Size(); held < 4<<20 {
		t.Errorf("%d bytes are held by a compressor", held)
	}
	if err := d.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held, _, _ := d.Size(); held != 0 {
		t.Errorf("%d bytes are held after Abort", held)
	}
}

// TestPartitions: an object for each value, rows in the order of the log, and its hint is
// reached by the sum.
func TestPartitions(t *testing.T) {
	w := partitioned(t)
	k := w.worker()
	d := k.begin()
	for i, key := range []string{"x", "y", "x", "z", "x"} {
		if err := write(t.Context(), k.table(), d, batch(p0, 2*i, 2*i+2, key)); err != nil {
			t.Fatal(err)
		}
	}
	mixed := batch(p1, 0, 4, "x")
	mixed.Values[1], mixed.Values[3] = []byte("y 1 1"), []byte("y 1 3")
	if err := write(t.Context(), k.table(), d, mixed); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 10), claimOf(p1, -1, 4)}, ""); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"data/x/": "x 0 0\nx 0 1\nx 0 4\nx 0 5\nx 0 8\nx 0 9\nx 1 0\nx 1 2\n",
		"data/y/": "y 0 2\ny 0 3\ny 1 1\ny 1 3\n",
		"data/z/": "z 0 6\nz 0 7\n",
	}
	for _, key := range w.keys() {
		data, _, err := w.bucket.Get(t.Context(), key)
		prefix := key[:len("data/x/")]
		if err != nil || want[prefix] != string(data) {
			t.Errorf("%s holds %q, %v", key, data, err)
		}
		delete(want, prefix)
	}
	if len(want) != 0 {
		t.Errorf("missing %v", want)
	}
	m := w.manifest(w.register().Head)
	if len(m.Claims) != 2 || m.Claims[0].Rows != 10 || m.Claims[0].First != pos(0) || m.Claims[0].Last != pos(9) || m.Claims[1].Rows != 4 {
		t.Errorf("claims %+v", m.Claims)
	}
	for _, o := range m.Objects {
		data, _, err := w.bucket.Get(t.Context(), o.Key)
		sum := sha256.Sum256(data)
		if err != nil || o.Bytes != int64(len(data)) || o.SHA256 != hex.EncodeToString(sum[:]) || o.Rows != int64(bytes.Count(data, []byte("\n"))) {
			t.Errorf("object %+v does not describe %q", o, data)
		}
	}
}

// manifest reads a manifest past all faults.
func (w *world) manifest(name string) *manifest {
	w.Helper()
	head, _, err := w.control.Get(w.Context(), "s3/t/commit/"+name)
	if err != nil {
		w.Fatal(err)
	}
	m, err := decodeManifest(name, head, nil)
	if err != nil {
		w.Fatal(err)
	}
	return m
}

// TestManyPartitions: with the limit of live prefixes reached, the oldest object is ended
// and the delivery is full; nothing is lost.
func TestManyPartitions(t *testing.T) {
	w := partitioned(t)
	w.cfg.MaxPartitions = 3
	k := w.worker()
	var ends []string
	var mu sync.Mutex
	k.sink.obs = Observer{Object: func(_ string, _ int64, _ bool, reason string) {
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, reason)
	}}
	d := k.begin()
	for i := range 7 {
		if err := write(t.Context(), k.table(), d, batch(p0, i, i+1, fmt.Sprint("k", i%5))); err != nil {
			t.Fatal(err)
		}
		if _, _, full := d.Size(); full != (i >= 3) {
			t.Errorf("after %d values: full %v", i+1, full)
		}
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 7)}, "end"); err != nil {
		t.Fatal(err)
	}
	if want := []string{EndPartitions, EndPartitions, EndPartitions, EndPartitions, "end", "end", "end"}; !slices.Equal(ends, want) {
		t.Errorf("objects ended by %q", ends)
	}
	w.wantLines("k0 0 0", "k0 0 5", "k1 0 1", "k1 0 6", "k2 0 2", "k3 0 3", "k4 0 4")
}

// TestUnnameable: a row whose key no object can be named after is kept, as Hive keeps
// nulls. A decoder that knows of the prefix would have rejected it.
func TestUnnameable(t *testing.T) {
	w := partitioned(t)
	k := w.worker()
	d := k.begin()
	for i, key := range []string{"..", strings.Repeat("x", 600), "ok"} {
		if err := write(t.Context(), k.table(), d, batch(p0, i, i+1, key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); err != nil {
		t.Fatal(err)
	}
	keys := w.keys()
	if len(keys) != 2 || !strings.HasPrefix(keys[0], "data/__HIVE_DEFAULT_PARTITION__/") || !strings.HasPrefix(keys[1], "data/ok/") {
		t.Errorf("keys %q", keys)
	}
}

// TestLanes: lanes write at the same time, to the same prefixes, past the size of objects
// and the limit of prefixes.
func TestLanes(t *testing.T) {
	const lanes, batches, records = 6, 10, 20
	w := partitioned(t)
	w.bucket.PartSize = 1 << 10
	w.cfg.MaxPartitions = 2
	k := w.worker()
	k.sink.cfg.BufferSize = 500
	d := k.begin()
	tab := k.table()
	var claims []pipeline.Claim
	var wg sync.WaitGroup
	for lane := range lanes {
		p := p0
		p.ID = fmt.Sprint(lane)
		claims = append(claims, claimOf(p, -1, batches*records))
		wg.Go(func() {
			for i := range batches {
				if err := write(t.Context(), tab, d, batch(p, i*records, (i+1)*records, fmt.Sprint("k", (lane+i)%4))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := d.Commit(t.Context(), k.st, claims, ""); err != nil {
		t.Fatal(err)
	}
	lines := w.lines()
	if n := len(slices.Compact(slices.Clone(lines))); n != lanes*batches*records || len(lines) != n {
		t.Errorf("%d lines, %d different", len(lines), n)
	}
	if held, _, _ := d.Size(); held != 0 || w.uploads() != 0 {
		t.Errorf("%d bytes are held, %d uploads are left", held, w.uploads())
	}
}

// TestCompressed: an object is one whole stream, whose sizes are measured before.
func TestCompressed(t *testing.T) {
	w := newWorld(t)
	w.cfg.CompressionFormat = Gzip
	k := w.worker()
	if err := k.put(p0, -1, 100); err != nil {
		t.Fatal(err)
	}
	keys := w.keys()
	if len(keys) != 1 || !strings.HasSuffix(keys[0], ".gz") {
		t.Fatalf("keys %q", keys)
	}
	data, _, err := w.bucket.Get(t.Context(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil || bytes.Count(plain, []byte("\n")) != 100 {
		t.Errorf("%d bytes, %v", len(plain), err)
	}
}

// TestEmptyRecord: rows of no bytes are an object of no bytes.
func TestEmptyRecord(t *testing.T) {
	w := newWorld(t)
	w.cfg.Delimiter = ""
	k := w.worker()
	d := k.begin()
	b := batch(p0, 0, 1, "a")
	b.Values[0] = []byte{}
	if err := write(t.Context(), k.table(), d, b); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 1)}, ""); err != nil {
		t.Fatal(err)
	}
	if n := len(w.keys()); n != 1 {
		t.Errorf("%d objects", n)
	}
}

// TestUploadFails: the error of a part reaches the lane, and the delivery leaves nothing.
func TestUploadFails(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.bucket.SetFaults(fail("part", "", 2, objstore.Fail))
	d := k.begin()
	err := write(t.Context(), k.table(), d, batch(p0, 0, 9, "a"))
	if !errors.Is(err, objstore.ErrInjected) || !strings.Contains(err.Error(), "table t") {
		t.Errorf("Write = %v", err)
	}
	for range 2 {
		if err := d.Abort(t.Context()); err != nil || w.uploads() != 0 {
			t.Errorf("Abort = %v, %d uploads are left", err, w.uploads())
		}
	}
	if err := write(t.Context(), k.table(), d, batch(p0, 0, 1, "a")); err == nil {
		t.Error("Write after Abort is allowed")
	}
	k.bucket.SetFaults(nil)
	d = k.staged(p0, -1, 3)
	k.bucket.SetFaults(fail("part", "", 1, objstore.Fail))
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); !errors.Is(err, objstore.ErrInjected) || w.uploads() != 0 {
		t.Errorf("Commit = %v, %d uploads are left", err, w.uploads())
	}
	if w.register().Seq != 0 {
		t.Error("a commit with a lost part is on the chain")
	}
}

// TestLocalFolder: a folder is a bucket.
func TestLocalFolder(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	b, err := objstore.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	k.sink.bucket = b
	if err := errors.Join(k.put(p0, -1, 3), k.put(p0, 3, 4)); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for o, err := range b.List(t.Context(), "data/2026", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	if len(keys) != 2 {
		t.Errorf("keys %q", keys)
	}
	if at, err := k.mark(p0); at != 4 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
}

// TestBusyObject: a lane that would wait for an object begins another of the prefix, up
// to the width, and then waits.
func TestBusyObject(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.sink.width = 2
	d := k.begin().(*delivery)
	tab := k.table()
	put := func(p pipeline.Partition, from int) error {
		return write(t.Context(), tab, d, batch(p, from, from+1, "a"))
	}
	if err := put(p0, 0); err != nil {
		t.Fatal(err)
	}
	busy := d.mu.order[0]
	if err := busy.turn.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(put(p1, 0), put(p1, 1)); err != nil {
		t.Fatal(err)
	}
	if n := len(d.mu.order); n != 2 {
		t.Fatalf("%d objects are open", n)
	}
	second := d.mu.order[1]
	if err := second.turn.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := put(p0, 1); err != nil {
			t.Error(err)
		}
	})
	busy.turn.give()
	second.turn.give()
	wg.Wait()
	if n := len(d.mu.all); n != 2 {
		t.Errorf("%d objects were begun", n)
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 2), claimOf(p1, -1, 2)}, ""); err != nil {
		t.Fatal(err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 1 0", "a 1 1")
}
