package objstoretest

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
)

// Stager runs the conformance suite of staged objects. open returns an empty bucket.
func Stager(t *testing.T, open func(t *testing.T) objstore.Stager) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, b objstore.Stager)
	}{
		{"Complete", testComplete},
		{"CompleteLarge", testCompleteLarge},
		{"CompleteRace", testCompleteRace},
		{"CompleteTaken", testCompleteTaken},
		{"CompleteOther", testCompleteOther},
		{"AbortUpload", testAbortUpload},
		{"AbortStaging", testAbortStaging},
		{"Uploads", testUploads},
		{"Refuses", testRefuses},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// stage returns an upload of data, written in two pieces.
func stage(t *testing.T, b objstore.Stager, key, owner, data string) objstore.Upload {
	t.Helper()
	s, err := b.Stage(t.Context(), key, objstore.Attributes{Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{data[:len(data)/2], data[len(data)/2:]} {
		buf := []byte(piece)
		if n, err := s.Write(buf); n != len(buf) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		clear(buf) // Write keeps nothing
	}
	u, err := s.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Key != key || u.ID == "" || u.Owner != owner || u.Size() != int64(len(data)) {
		t.Fatalf("upload %+v of %s, %s, %d bytes", u, key, owner, len(data))
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("Write after Finish is allowed")
	}
	if h := s.Held(); h != 0 {
		t.Errorf("%d bytes are held after Finish", h)
	}
	return u
}

func absent(t *testing.T, b objstore.Bucket, key string) {
	t.Helper()
	if o, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Stat(%s) = %+v, %v, want ErrNotExist", key, o, err)
	}
}

func complete(t *testing.T, b objstore.Stager, u objstore.Upload) {
	t.Helper()
	if err := b.Complete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

// testComplete: nothing shows before, and doing it again is no error.
func testComplete(t *testing.T, b objstore.Stager) {
	for key, data := range map[string]string{"a/b": "hello", "empty": "", "c": strings.Repeat("x", 100_000)} {
		u := stage(t, b, key, "p/t/"+key, data)
		absent(t, b, key)
		wantKeys(t, b, key, "")
		complete(t, b, u)
		get(t, b, key, data)
		o, err := b.Stat(t.Context(), key)
		if err != nil || o.Owner != u.Owner && o.Owner != "" {
			t.Errorf("Stat = %+v, %v, want owner %s", o, err, u.Owner)
		}
		complete(t, b, u)
		get(t, b, key, data)
		if err := b.AbortUpload(t.Context(), u.Key, u.ID); err != nil {
			t.Errorf("AbortUpload of a completed upload = %v", err)
		}
		get(t, b, key, data)
	}
}

func testCompleteLarge(t *testing.T, b objstore.Stager) {
	data := strings.Repeat("0123456789", 2_100_007)
	u := stage(t, b, "large", "p", data)
	if n := len(u.Parts); n != 1 && n != 3 {
		t.Errorf("%d parts", n)
	}
	complete(t, b, u)
	get(t, b, "large", data)

	data = strings.Repeat("0123456789abcdef", 1<<20) // parts of 8 MiB, and nothing after the last
	u = stage(t, b, "exact", "p", data)
	if n := len(u.Parts); n != 1 && n != 2 {
		t.Errorf("%d parts", n)
	}
	complete(t, b, u)
	get(t, b, "exact", data)
}

// testCompleteRace: many complete one upload at a time, and all succeed.
func testCompleteRace(t *testing.T, b objstore.Stager) {
	u := stage(t, b, "k", "p", "data")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.Complete(t.Context(), u); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	get(t, b, "k", "data")
	wantKeys(t, b, "", "", "k")
}

// testCompleteTaken: what was completed and taken away does not come back.
func testCompleteTaken(t *testing.T, b objstore.Stager) {
	u := stage(t, b, "k", "p", "data")
	complete(t, b, u)
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if err := b.Complete(t.Context(), u); !errors.Is(err, objstore.ErrUploadGone) {
		t.Errorf("Complete = %v, want ErrUploadGone", err)
	}
	absent(t, b, "k")
}

// testCompleteOther: an object of somebody else under the key is not taken for ours.
func testCompleteOther(t *testing.T, b objstore.Stager) {
	u := stage(t, b, "k", "p/one", "data")
	if err := b.AbortUpload(t.Context(), u.Key, u.ID); err != nil {
		t.Fatal(err)
	}
	complete(t, b, stage(t, b, "k", "p/two", "tada"))
	if err := b.Complete(t.Context(), u); !errors.Is(err, objstore.ErrUploadGone) {
		t.Errorf("Complete = %v, want ErrUploadGone", err)
	}
	get(t, b, "k", "tada")
}

func testAbortUpload(t *testing.T, b objstore.Stager) {
	u := stage(t, b, "d/k", "p", "data")
	for range 2 {
		if err := b.AbortUpload(t.Context(), u.Key, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Complete(t.Context(), u); !errors.Is(err, objstore.ErrUploadGone) {
		t.Errorf("Complete = %v, want ErrUploadGone", err)
	}
	absent(t, b, "d/k")
}

func testAbortStaging(t *testing.T, b objstore.Stager) {
	for _, finish := range []bool{false, true} {
		s, err := b.Stage(t.Context(), "k", objstore.Attributes{Owner: "p"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(bytes.Repeat([]byte("x"), 9<<20)); err != nil {
			t.Fatal(err)
		}
		if finish {
			if _, err := s.Finish(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := s.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Finish(t.Context()); err == nil {
			t.Error("Finish after Abort is allowed")
		}
		if n := count(t, b, ""); n != 0 {
			t.Errorf("finished %v: %d uploads are left", finish, n)
		}
	}
	absent(t, b, "k")
}

func count(t *testing.T, b objstore.Stager, prefix string) (n int) {
	t.Helper()
	for u, err := range b.Uploads(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if u.ID == "" || u.Begun.IsZero() || !strings.HasPrefix(u.Key, prefix) {
			t.Errorf("upload %+v under %q", u, prefix)
		}
		n++
	}
	return n
}

func testUploads(t *testing.T, b objstore.Stager) {
	var ups []objstore.Upload
	for _, key := range []string{"a/1", "a/2", "a/3", "a/4", "a/5", "b/1"} {
		ups = append(ups, stage(t, b, key, "p/"+key, "x"))
	}
	if a, all := count(t, b, "a/"), count(t, b, ""); a != 5 || all != 6 {
		t.Errorf("%d uploads under a/, %d in all", a, all)
	}
	for range b.Uploads(t.Context(), "") {
		break
	}
	complete(t, b, ups[0])
	if n := count(t, b, "a/"); n != 4 {
		t.Errorf("%d uploads are left under a/", n)
	}
	now, err := b.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := b.Sweep(t.Context(), "", now.Add(time.Hour)); n != 5 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if err := b.Complete(t.Context(), ups[1]); !errors.Is(err, objstore.ErrUploadGone) {
		t.Errorf("Complete = %v, want ErrUploadGone", err)
	}
	wantKeys(t, b, "", "", "a/1")
}

func testRefuses(t *testing.T, b objstore.Stager) {
	for _, owner := range []string{"", "a b", "é", strings.Repeat("x", 1025)} {
		if _, err := b.Stage(t.Context(), "k", objstore.Attributes{Owner: owner}); err == nil || !strings.Contains(err.Error(), "owner") {
			t.Errorf("owner %.20q: %v", owner, err)
		}
	}
	if _, err := b.Stage(t.Context(), "../k", objstore.Attributes{Owner: "p"}); err == nil || !strings.Contains(err.Error(), "object key") {
		t.Errorf("a bad key: %v", err)
	}
}
