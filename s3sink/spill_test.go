package s3sink

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

func TestSpill(t *testing.T) {
	folder := t.TempDir()
	var out bytes.Buffer
	var calls []int
	s := &spill{folder: folder, part: 10, out: writerFunc(func(p []byte) (int, error) {
		calls = append(calls, len(p))
		return out.Write(p)
	})}
	defer s.close()
	want := ""
	for _, piece := range []string{"abc", "", "defghij", "k", strings.Repeat("lmnopqrstu", 3), "vw"} {
		want += piece
		if n, err := s.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if rest := len(want) % 10; out.String() != want[:len(want)-rest] || s.size != int64(rest) {
			t.Errorf("after %d bytes: %d are sent, %d are in the file", len(want), out.Len(), s.size)
		}
	}
	for range 2 {
		if err := s.flush(); err != nil || out.String() != want {
			t.Errorf("flush = %v, sent is %q", err, out.String())
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestSpillFails(t *testing.T) {
	s := &spill{folder: t.TempDir() + "/none", part: 10}
	if _, err := s.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "spill_folder") {
		t.Errorf("a folder that is not there: %v", err)
	}
	s = &spill{folder: t.TempDir(), part: 2, out: writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe })}
	defer s.close()
	if _, err := s.Write([]byte("xyz")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("an upload that fails: %v", err)
	}
}

// TestSpilledObjects: objects are the same, and what is below a part is not held.
func TestSpilledObjects(t *testing.T) {
	w := newWorld(t)
	w.bucket.PartSize = 5 << 20
	w.cfg.SpillFolder, w.cfg.S3.PartSize, w.cfg.BufferSize = t.TempDir(), 5<<20, 64<<20
	k := w.worker()
	d := k.begin()
	for i := range 7 {
		if err := write(t.Context(), k.table(), d, sized(p0, i, i+1, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if held, _, _ := d.Size(); held > 2<<20 {
			t.Errorf("%d bytes are held after %d MiB", held, i+1)
		}
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 7)}, ""); err != nil {
		t.Fatal(err)
	}
	data, _, err := w.bucket.Get(t.Context(), w.keys()[0])
	if err != nil || len(data) != 7<<20+7 || data[3<<20+3] != 'd' {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if n := len(w.manifest(w.register().Head).Objects[0].Parts); n != 2 {
		t.Errorf("%d parts", n)
	}
	k.bucket.SetFaults(fail("part", "", 1, objstore.Fail))
	d = k.begin()
	if err := write(t.Context(), k.table(), d, sized(p0, 7, 14, 1<<20)); !errors.Is(err, objstore.ErrInjected) {
		t.Errorf("an upload that fails: %v", err)
	}
	if err := d.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}
