package objstore

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func stageLocal(t *testing.T, l *Local) (Upload, error) {
	t.Helper()
	s, err := l.Stage(t.Context(), "d/k", Attributes{Owner: "p"})
	if err != nil {
		return Upload{}, err
	}
	if _, err := s.Write([]byte("x")); err != nil {
		return Upload{}, err
	}
	return s.Finish(t.Context())
}

// TestLocalStageOrder: a staged file and its hidden name are durable when Finish
// returns, its real name when Complete does.
func TestLocalStageOrder(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, dir)
	steps := record(l, dir)
	u, err := stageLocal(t, l)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"mkdir /d", "syncdir ", "create /d/TEMP", "write /d/TEMP", "sync /d/TEMP", "syncdir /d"}
	if diff := cmp.Diff(want, *steps); diff != "" {
		t.Errorf("Finish: -want +got\n%s", diff)
	}
	*steps = nil
	for _, want := range [][]string{{"rename /d/k", "syncdir /d"}, {"syncdir /d"}} { // whoever comes first may have crashed before the sync
		if err := l.Complete(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *steps); diff != "" {
			t.Errorf("Complete: -want +got\n%s", diff)
		}
		*steps = nil
	}
}

// TestLocalStageCrash stops Complete before each of its steps. The next process
// completes, the object is there once, and when it was taken away it stays away.
func TestLocalStageCrash(t *testing.T) {
	for _, crash := range []string{"rename", "syncdir"} {
		dir := t.TempDir()
		l := openLocal(t, dir)
		u, err := stageLocal(t, l)
		if err != nil {
			t.Fatal(err)
		}
		l.step = func(op, _ string) error {
			if op == crash {
				return errCrash
			}
			return nil
		}
		if err := l.Complete(t.Context(), u); !errors.Is(err, errCrash) {
			t.Fatalf("crash before %s: %v", crash, err)
		}
		next := openLocal(t, dir)
		if crash == "syncdir" { // its name may be lost with the machine, not with the process
			if err := next.Delete(t.Context(), "d/k"); err != nil {
				t.Fatal(err)
			}
			if err := next.Complete(t.Context(), u); !errors.Is(err, ErrUploadGone) {
				t.Errorf("an object that was taken away: Complete = %v", err)
			}
			continue
		}
		if _, err := next.Stat(t.Context(), "d/k"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before its name: %v", err)
		}
		if err := next.Complete(t.Context(), u); err != nil {
			t.Error(err)
		}
		var keys []string
		for o, err := range next.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, o.Key)
		}
		if !slices.Equal(keys, []string{"d/k"}) {
			t.Errorf("keys %v", keys)
		}
	}
}

// TestLocalStageLongName: names of any length that a folder takes can be staged.
func TestLocalStageLongName(t *testing.T) {
	l := openLocal(t, t.TempDir())
	for _, n := range []int{1, maxSuffix - 1, maxSuffix, 255} {
		key := "d/" + strings.Repeat("k", n)
		s, err := l.Stage(t.Context(), key, Attributes{Owner: "p"})
		if err != nil {
			t.Fatal(err)
		}
		u, err := s.Finish(t.Context())
		if err == nil {
			err = l.Complete(t.Context(), u)
		}
		if err != nil {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
	}
}

// TestLocalStageIsNoMatch: what is staged does not match the patterns of those who read the folder by the extension of its
// objects, as DuckDB does, for whom a name that begins with a dot is like any other.
func TestLocalStageIsNoMatch(t *testing.T) {
	dir := t.TempDir()
	b, err := OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Stage(t.Context(), "d/k.gz", Attributes{Owner: "p/t/c"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	u, err := s.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	match := func(want int) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, filepath.Dir(u.Key), "*"+filepath.Ext(u.Key)))
		if err != nil || len(found) != want {
			t.Errorf("%d files match: %q, %v", want, found, err)
		}
	}
	match(0)
	for p, err := range b.Uploads(t.Context(), "") {
		if err != nil || p.Key != u.Key || p.ID != u.ID {
			t.Errorf("upload %+v, %v, staged was %+v", p, err, u)
		}
	}
	if err := b.Complete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	match(1)
}
