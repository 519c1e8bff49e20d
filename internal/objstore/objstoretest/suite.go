// Package objstoretest holds what tests of buckets need: a conformance suite and
// a fake S3 server that can be told to fail.
package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/internal/objstore"
)

// Bucket runs the conformance suite. open returns an empty bucket.
func Bucket(t *testing.T, open func(t *testing.T) objstore.Bucket) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, b objstore.Bucket)
	}{
		{"Put", testPut},
		{"Conditions", testConditions},
		{"OneCreator", testOneCreator},
		{"SwapRace", testSwapRace},
		{"Missing", testMissing},
		{"Range", testRange},
		{"Create", testCreate},
		{"CreateLarge", testCreateLarge},
		{"Abort", testAbort},
		{"List", testList},
		{"ListStops", testListStops},
		{"Delete", testDelete},
		{"Sweep", testSweep},
		{"Keys", testKeys},
		{"Cancelled", testCancelled},
		{"Location", testLocation},
		{"Clock", testClock},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func get(t *testing.T, b objstore.Bucket, key, want string) (etag string) {
	t.Helper()
	data, etag, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != want {
		t.Fatalf("%s holds %.100q, want %.100q", key, data, want)
	}
	if data == nil || etag == "" {
		t.Fatalf("Get(%s) = data %v, etag %q", key, data, etag)
	}
	return etag
}

func put(t *testing.T, b objstore.Bucket, key, data string, cond objstore.Cond) (etag string) {
	t.Helper()
	etag, err := b.Put(t.Context(), key, []byte(data), cond)
	if err != nil {
		t.Fatal(err)
	}
	return etag
}

func testPut(t *testing.T, b objstore.Bucket) {
	for _, data := range []string{"", "x", strings.Repeat("abc", 100_000)} {
		for _, key := range []string{"a", "d/e/f.json", "p/k=v/+@:%20~ x"} {
			etag := put(t, b, key, data, objstore.Always)
			if got := get(t, b, key, data); got != etag {
				t.Errorf("Put returned tag %s, Get %s", etag, got)
			}
			o, err := b.Stat(t.Context(), key)
			if err != nil || o.Key != key || o.Size != int64(len(data)) || o.ModTime.IsZero() {
				t.Errorf("Stat = %+v, %v", o, err)
			}
		}
	}
}

func testConditions(t *testing.T, b objstore.Bucket) {
	lost := func(cond objstore.Cond) {
		t.Helper()
		if _, err := b.Put(t.Context(), "k", []byte("no"), cond); !errors.Is(err, objstore.ErrPrecondition) {
			t.Fatalf("Put(%q) = %v, want ErrPrecondition", cond, err)
		}
	}
	v1 := put(t, b, "k", "1", objstore.IfAbsent)
	lost(objstore.IfAbsent)
	get(t, b, "k", "1")
	v2 := put(t, b, "k", "2", objstore.IfMatch(v1))
	if v1 == v2 {
		t.Fatalf("two values have the tag %s", v1)
	}
	lost(objstore.IfMatch(v1))
	get(t, b, "k", "2")
	put(t, b, "k", "3", objstore.Always)
	lost(objstore.IfMatch(v2))
	v3 := get(t, b, "k", "3")
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	lost(objstore.IfMatch(v3))
	put(t, b, "k", "4", objstore.IfAbsent)
}

func testOneCreator(t *testing.T, b objstore.Bucket) {
	const n = 8
	for round := range 5 {
		key := fmt.Sprintf("log/%d", round)
		var wg sync.WaitGroup
		var errs [n]error
		for i := range n {
			wg.Go(func() { _, errs[i] = b.Put(t.Context(), key, fmt.Append(nil, i), objstore.IfAbsent) })
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatalf("%d and %d both created %s", winner, i, key)
			case !errors.Is(err, objstore.ErrPrecondition):
				t.Fatal(err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody created %s", key)
		}
		get(t, b, key, fmt.Sprint(winner))
	}
}

func testSwapRace(t *testing.T, b objstore.Bucket) {
	const workers, each = 4, 5
	put(t, b, "n", "0", objstore.IfAbsent)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), b, "n"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	get(t, b, "n", fmt.Sprint(workers*each))
}

func increment(ctx context.Context, b objstore.Bucket, key string) error {
	for {
		data, etag, err := b.Get(ctx, key)
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(string(data), &n); err != nil {
			return err
		}
		_, err = b.Put(ctx, key, fmt.Append(nil, n+1), objstore.IfMatch(etag))
		if !errors.Is(err, objstore.ErrPrecondition) {
			return err
		}
	}
}

func testMissing(t *testing.T, b objstore.Bucket) {
	put(t, b, "a/b", "x", objstore.Always)
	for _, key := range []string{"a", "b", "a/b/c", "x/y/z"} {
		_, _, err := b.Get(t.Context(), key)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%s) = %v, want ErrNotExist", key, err)
		}
		if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%s) = %v, want ErrNotExist", key, err)
		}
		if _, err := b.Range(t.Context(), key, 0, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Range(%s) = %v, want ErrNotExist", key, err)
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete(%s) = %v, want nil", key, err)
		}
	}
	get(t, b, "a/b", "x")
}

func testRange(t *testing.T, b objstore.Bucket) {
	put(t, b, "k", "0123456789", objstore.Always)
	f := func(off, n int64, want string) {
		t.Helper()
		got, err := b.Range(t.Context(), "k", off, n)
		if err != nil || string(got) != want {
			t.Errorf("Range(%d, %d) = %q, %v, want %q", off, n, got, err, want)
		}
	}
	f(0, 10, "0123456789")
	f(3, 4, "3456")
	f(9, 1, "9")
	f(4, 0, "")
	for _, r := range [][2]int64{{8, 3}, {10, 1}, {100, 1}} {
		if got, err := b.Range(t.Context(), "k", r[0], r[1]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Range(%d, %d) = %q, %v, want ErrUnexpectedEOF", r[0], r[1], got, err)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, objstore.MaxGet + 1}} {
		if _, err := b.Range(t.Context(), "k", r[0], r[1]); err == nil {
			t.Errorf("Range(%d, %d) is allowed", r[0], r[1])
		}
	}
}

func testCreate(t *testing.T, b objstore.Bucket) {
	for _, pieces := range [][]string{nil, {""}, {"x"}, {"abc", "", "def", strings.Repeat("g", 1000)}} {
		key := fmt.Sprintf("data/fh-%d/0.parquet", len(pieces))
		if len(pieces) == 1 {
			key += pieces[0]
		}
		w, err := b.Create(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 0, 1000)
		for _, p := range pieces {
			buf = append(buf[:0], p...)
			if n, err := w.Write(buf); n != len(p) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			clear(buf) // Write keeps nothing
		}
		if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("before Close: Stat = %v, want ErrNotExist", err)
		}
		want := strings.Join(pieces, "")
		if size, err := w.Close(t.Context()); size != int64(len(want)) || err != nil {
			t.Fatalf("Close = %d, %v, want %d", size, err, len(want))
		}
		get(t, b, key, want)
		if err := w.Abort(t.Context()); err != nil {
			t.Errorf("Abort after Close = %v", err)
		}
		if _, err := w.Write([]byte("y")); err == nil {
			t.Error("Write after Close is allowed")
		}
		get(t, b, key, want)
	}
}

// testCreateLarge writes more parts than are on their way at a time, in pieces
// that end nowhere near a part.
func testCreateLarge(t *testing.T, b objstore.Bucket) {
	data := make([]byte, 43<<20+17)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(data)
	w, err := b.Create(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	for piece := range slices.Chunk(data, 999_983) {
		if _, err := w.Write(bytes.Clone(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := w.Close(t.Context()); err != nil || size != int64(len(data)) {
		t.Fatalf("Close = %d, %v, want %d", size, err, len(data))
	}
	got, _, err := b.Get(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatal("the object differs from what was written")
	}
	tail, err := b.Range(t.Context(), "large", int64(len(data))-9, 9)
	if err != nil || !bytes.Equal(tail, data[len(data)-9:]) {
		t.Fatalf("the last bytes are %x, %v", tail, err)
	}
}

func testAbort(t *testing.T, b objstore.Bucket) {
	for _, size := range []int{0, 10, 20 << 20} {
		w, err := b.Create(t.Context(), "gone")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Close(t.Context()); err == nil {
			t.Error("Close after Abort is allowed")
		}
	}
	wantKeys(t, b, "", "")
}

func wantKeys(t *testing.T, b objstore.Bucket, prefix, after string, want ...string) {
	t.Helper()
	var got []string
	for o, err := range b.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List(%q, %q): -want +got\n%s", prefix, after, diff)
	}
}

func testList(t *testing.T, b objstore.Bucket) {
	wantKeys(t, b, "", "")
	// '-' and '.' sort before the slash, '0' after it.
	all := []string{"a-b", "a.b", "a/b", "a/c/d", "a/c0", "a0", "b/x.json", "é/u"}
	for i, key := range slices.Backward(all) {
		put(t, b, key, strings.Repeat("x", i), objstore.Always)
	}
	wantKeys(t, b, "", "", all...)
	wantKeys(t, b, "a", "", all[:6]...)
	wantKeys(t, b, "a/", "", all[2:5]...)
	wantKeys(t, b, "a/c", "", "a/c/d", "a/c0")
	wantKeys(t, b, "a/c/", "", "a/c/d")
	wantKeys(t, b, "a/b", "", "a/b")
	wantKeys(t, b, "x", "")
	wantKeys(t, b, "a/b/", "")
	wantKeys(t, b, "", "a/b", all[3:]...)
	wantKeys(t, b, "", "a/bb", all[3:]...)
	wantKeys(t, b, "a", "a/c/d", "a/c0", "a0")
	wantKeys(t, b, "a/", "a/c/", "a/c/d", "a/c0")
	wantKeys(t, b, "", "~", "é/u")
	for o, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.Index(all, o.Key); o.Size != int64(i) || o.ModTime.IsZero() {
			t.Errorf("%+v: want size %d and a time", o, i)
		}
	}
}

func testListStops(t *testing.T, b objstore.Bucket) {
	for i := range 12 {
		put(t, b, fmt.Sprintf("d/%02d/x", i), "", objstore.Always)
	}
	var got []string
	for o, err := range b.List(t.Context(), "d/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, o.Key); len(got) == 3 {
			break
		}
	}
	if diff := cmp.Diff([]string{"d/00/x", "d/01/x", "d/02/x"}, got); diff != "" {
		t.Error(diff)
	}
}

func testDelete(t *testing.T, b objstore.Bucket) {
	for _, key := range []string{"a/1", "a/2", "a/3", "b"} {
		put(t, b, key, "x", objstore.Always)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "a/1", "nothing", "a/3"); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, b, "", "", "a/2", "b")
	if err := b.Delete(t.Context(), "../x", "b"); err == nil {
		t.Error("a bad key is ignored")
	}
	wantKeys(t, b, "", "", "a/2")
}

// testSweep: work in progress is left alone, what was given up is not, and
// objects are no leftovers.
func testSweep(t *testing.T, b objstore.Bucket) {
	put(t, b, "d/object", "x", objstore.Always)
	const n = 4
	var writers []objstore.Writer
	for i := range n {
		w, err := b.Create(t.Context(), fmt.Sprintf("d/%d/k", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 9<<20)); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	sweep := func(prefix string, age time.Duration) int {
		t.Helper()
		now, err := b.Now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n, err := b.Sweep(t.Context(), prefix, now.Add(-age))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := sweep("", time.Hour); n != 0 {
		t.Errorf("%d are swept that are younger than an hour", n)
	}
	if n := sweep("e/", -time.Hour); n != 0 {
		t.Errorf("%d are swept that are elsewhere", n)
	}
	if _, err := writers[0].Close(t.Context()); err != nil {
		t.Errorf("Close after others were swept: %v", err)
	}
	if got := sweep("d/", -time.Hour); got != n-1 && got != 0 { // a bucket in memory has none
		t.Errorf("%d were swept, want %d", got, n-1)
	}
	if n := sweep("", -time.Hour); n != 0 {
		t.Errorf("%d were swept again", n)
	}
	for _, w := range writers[1:] {
		if err := w.Abort(t.Context()); err != nil {
			t.Errorf("Abort after Sweep: %v", err)
		}
	}
	wantKeys(t, b, "", "", "d/0/k", "d/object")
}

func testKeys(t *testing.T, b objstore.Bucket) {
	for _, key := range []string{"", "/a", "a/", "..", "../a", "a/../b", "./a", "a/.", "a\x00", "a\nb", `a\b`, "\xff", strings.Repeat("k", 1025)} {
		_, _, getErr := b.Get(t.Context(), key)
		_, statErr := b.Stat(t.Context(), key)
		_, rangeErr := b.Range(t.Context(), key, 0, 1)
		_, putErr := b.Put(t.Context(), key, nil, objstore.Always)
		_, createErr := b.Create(t.Context(), key)
		deleteErr := b.Delete(t.Context(), key)
		for op, err := range map[string]error{"get": getErr, "stat": statErr, "range": rangeErr, "put": putErr, "create": createErr, "delete": deleteErr} {
			if err == nil || !strings.Contains(err.Error(), "object key") {
				t.Errorf("%s of key %.40q = %v, want the key refused", op, key, err)
			}
		}
	}
}

func testCancelled(t *testing.T, b objstore.Bucket) {
	put(t, b, "k", "x", objstore.Always)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, getErr := b.Get(ctx, "k")
	_, putErr := b.Put(ctx, "k", nil, objstore.Always)
	var listErr error
	for _, listErr = range b.List(ctx, "", "") {
	}
	for op, err := range map[string]error{"get": getErr, "put": putErr, "list": listErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s under a cancelled context = %v", op, err)
		}
	}
	get(t, b, "k", "x")
}

func testLocation(t *testing.T, b objstore.Bucket) {
	root := b.Location("")
	if !strings.HasSuffix(root, "/") || b.Location("a/b") != root+"a/b" {
		t.Errorf("locations are %s and %s", root, b.Location("a/b"))
	}
	if key, ok := objstore.Key(b, root+"a/b"); !ok || key != "a/b" {
		t.Errorf("Key = %q, %v", key, ok)
	}
	for _, location := range []string{root, "s3://elsewhere/a", strings.TrimSuffix(root, "/") + "x/a"} {
		if key, ok := objstore.Key(b, location); ok {
			t.Errorf("Key(%s) = %q", location, key)
		}
	}
}

func testClock(t *testing.T, b objstore.Bucket) {
	before, err := b.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, "k", "x", objstore.Always)
	o, err := b.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if d := o.ModTime.Sub(before); d < -time.Second || d > time.Minute {
		t.Errorf("written at %v, %v after %v", o.ModTime, d, before)
	}
}
