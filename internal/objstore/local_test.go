package objstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openLocal(t *testing.T, dir string) *Local {
	t.Helper()
	l, err := OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// record makes l note its changes to the file system, with temporary names and
// the folder dir left out.
func record(l *Local, dir string) *[]string {
	var steps []string
	l.step = func(op, path string) error {
		path = strings.TrimPrefix(path, dir)
		if i := strings.Index(path, hidden); i >= 0 {
			path = path[:i] + "TEMP"
		}
		steps = append(steps, op+" "+path)
		return nil
	}
	return &steps
}

// TestLocalOrder: bytes are synced before they get a name, names before the call
// returns, folders on the way down from the root before what is in them.
func TestLocalOrder(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, dir+"/new/root")
	steps := record(l, dir)
	want := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, *steps); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
		*steps = nil
	}
	create := func(key string) {
		t.Helper()
		w, err := l.Create(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	file := []string{"create /new/root/a/b/TEMP", "write /new/root/a/b/TEMP", "sync /new/root/a/b/TEMP",
		"link /new/root/a/b/1", "discard /new/root/a/b/TEMP", "syncdir /new/root/a/b"}
	create("a/b/1")
	want("first object", slices.Concat([]string{
		"mkdir /new", "syncdir ", "mkdir /new/root", "syncdir /new",
		"mkdir /new/root/a", "syncdir /new/root", "mkdir /new/root/a/b", "syncdir /new/root/a"}, file)...)
	file[3] = "link /new/root/a/b/2"
	create("a/b/2")
	want("second object", file...)
	file[3] = "rename /new/root/a/b/2"
	if _, err := l.Put(t.Context(), "a/b/2", []byte("y"), Always); err != nil {
		t.Fatal(err)
	}
	want("replacement", file...)
	if err := l.Delete(t.Context(), "a/b/2"); err != nil {
		t.Fatal(err)
	}
	want("removal", "remove /new/root/a/b/2", "syncdir /new/root/a/b")

	// Another process does not know whether those folders are durable.
	l = openLocal(t, dir+"/new/root")
	steps = record(l, dir)
	file[3] = "link /new/root/a/b/3"
	create("a/b/3")
	want("another process", slices.Concat([]string{"syncdir /new/root", "syncdir /new/root/a"}, file)...)
}

var errCrash = errors.New("crash")

// TestLocalCrash stops a put before each of its steps in turn. What is there then
// is the old object or the new one, and the next process goes on as if nothing
// had been.
func TestLocalCrash(t *testing.T) {
	const old, val = "old", "new"
	for _, cond := range []string{"create", "swap", "replace"} {
		for crash := 1; ; crash++ {
			dir := t.TempDir()
			l := openLocal(t, dir)
			c := IfAbsent
			if cond != "create" {
				etag, err := l.Put(t.Context(), "d/k", []byte(old), Always)
				if err != nil {
					t.Fatal(err)
				}
				c = IfMatch(etag)
			}
			if cond == "replace" {
				c = Always
			}
			n, crashed := 0, ""
			l.step = func(op, path string) error {
				if n++; n >= crash { // and nothing after it
					if crashed == "" {
						crashed = op
					}
					return errCrash
				}
				return nil
			}
			_, err := l.Put(t.Context(), "d/k", []byte(val), c)
			if crashed == "" {
				if err != nil || crash < 5 {
					t.Fatalf("%s: %v after %d steps", cond, err, n)
				}
				break
			}
			if crashed != "discard" && !errors.Is(err, errCrash) {
				t.Fatalf("%s, crash before %s: %v", cond, crashed, err)
			}
			checkAfterCrash(t, openLocal(t, dir), cond+", crash before "+crashed, cond != "create", slices.Contains([]string{"discard", "syncdir"}, crashed) && n > 3)
		}
	}
}

// checkAfterCrash wants the new object if published, else the old one if there
// was one, and a working bucket.
func checkAfterCrash(t *testing.T, l *Local, what string, hadOld, published bool) {
	t.Helper()
	want := ""
	if published {
		want = "new"
	} else if hadOld {
		want = "old"
	}
	data, etag, err := l.Get(t.Context(), "d/k")
	if string(data) != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: holds %q, %v, want %q", what, data, err, want)
	}
	for o, err := range l.List(t.Context(), "", "") {
		if err != nil || o.Key != "d/k" {
			t.Fatalf("%s: listed %+v, %v", what, o, err)
		}
	}
	cond := IfAbsent
	if etag != "" {
		cond = IfMatch(etag)
	}
	if _, err := l.Put(t.Context(), "d/k", []byte("next"), cond); err != nil {
		t.Fatalf("%s: the next process: %v", what, err)
	}
}

// TestLocalLeavesNothing: neither calls that succeed nor ones that fail leave
// files behind.
func TestLocalLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, dir)
	etag, err := l.Put(t.Context(), "k", []byte("1"), IfAbsent)
	if err != nil {
		t.Fatal(err)
	}
	for _, cond := range []Cond{IfMatch(etag), IfMatch(etag), IfAbsent, Always} {
		_, err := l.Put(t.Context(), "k", []byte("2"), cond)
		if err != nil && !errors.Is(err, ErrPrecondition) {
			t.Fatal(err)
		}
	}
	w, err := l.Create(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(t.Context()); !errors.Is(err, fs.ErrExist) || !errors.Is(err, ErrPrecondition) {
		t.Errorf("Close on a taken key = %v, want ErrExist", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "k" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestLocalNames(t *testing.T) {
	l := openLocal(t, t.TempDir())
	for _, key := range []string{"a//b", hidden + "lock", "a/" + hidden + "x/b"} {
		if _, err := l.Put(t.Context(), key, nil, Always); err == nil {
			t.Errorf("Put(%q) is allowed", key)
		}
	}
	// A file where a folder is needed, and the other way round.
	if _, err := l.Put(t.Context(), "a/b", nil, Always); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(t.Context(), "a/b/c", nil, Always); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("an object below an object: %v", err)
	}
	for _, cond := range []Cond{Always, IfAbsent} {
		if _, err := l.Put(t.Context(), "a", nil, cond); err == nil {
			t.Error("an object takes a folder's name")
		}
	}
}

func TestOpenLocal(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	f := func(folder, want string) {
		t.Helper()
		if got := openLocal(t, folder).Location("k"); got != want {
			t.Errorf("OpenLocal(%q) has k at %s, want %s", folder, got, want)
		}
	}
	f("/x/y", "file:///x/y/k")
	f("/x/y/", "file:///x/y/k")
	f("file:///x/y", "file:///x/y/k")
	f("file:/x/y/", "file:///x/y/k")
	f("/", "file:///k")
	f("file:///", "file:///k")
	f("x", "file://"+wd+"/x/k")

	for _, location := range []string{"/x/y/a/b", "file:/x/y/a/b", "file:///x/y/a/b"} {
		if key, ok := Key(openLocal(t, "/x/y"), location); !ok || key != "a/b" {
			t.Errorf("Key(%q) = %q, %v", location, key, ok)
		}
	}
}

// TestLocalRoot writes through a bucket that is the whole file system.
func TestLocalRoot(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, "/")
	key := strings.TrimPrefix(filepath.ToSlash(dir), "/") + "/d/k"
	if _, err := l.Put(t.Context(), key, []byte("x"), IfAbsent); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(dir + "/d/k"); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestLocalUnreadable: what is above a folder of ours may be closed to us.
func TestLocalUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/closed/ours", 0o755); err != nil {
		t.Fatal(err)
	}
	l := openLocal(t, dir)
	l.step = func(op, path string) error {
		if op == "syncdir" && (path == dir || path == dir+"/closed") { // as root we could
			return fs.ErrPermission
		}
		return nil
	}
	if _, err := l.Put(t.Context(), "closed/ours/k", nil, IfAbsent); err != nil {
		t.Error(err)
	}
	if _, err := l.Put(t.Context(), "closed/new/k", nil, IfAbsent); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder that cannot be made durable: %v", err)
	}
}

// TestLockObeysContext: waiting for a lock ends with the context.
func TestLockObeysContext(t *testing.T) {
	l := openLocal(t, t.TempDir())
	etag, err := l.Put(t.Context(), "k", []byte("1"), Always)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(t.Context(), l.root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.step = func(op, _ string) error {
		if op == "sync" { // the last step before the lock
			cancel()
		}
		return nil
	}
	if _, err := l.Put(ctx, "k", []byte("2"), IfMatch(etag)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want Canceled", err)
	}
	unlock()
	l.step = nil
	if _, err := l.Put(t.Context(), "k", []byte("2"), IfMatch(etag)); err != nil {
		t.Error(err)
	}
}

const helper = "FIREHOSED_OBJSTORE_HELPER"

// TestLocalProcesses: processes that swap one object lose no step.
func TestLocalProcesses(t *testing.T) {
	const workers, each = 3, 30
	if dir := os.Getenv(helper); dir != "" {
		l := openLocal(t, dir)
		for range each {
			countUp(t, l)
		}
		return
	}
	dir := t.TempDir()
	l := openLocal(t, dir)
	if _, err := l.Put(t.Context(), "n", []byte("0"), IfAbsent); err != nil {
		t.Fatal(err)
	}
	var cmds []*exec.Cmd
	for range workers {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLocalProcesses$")
		cmd.Env = append(os.Environ(), helper+"="+dir)
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	data, _, err := l.Get(t.Context(), "n")
	if err != nil || string(data) != fmt.Sprint(workers*each) {
		t.Errorf("counted to %s, %v, want %d", data, err, workers*each)
	}
}

func countUp(t *testing.T, l *Local) {
	t.Helper()
	for {
		data, etag, err := l.Get(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(string(data))
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Put(t.Context(), "n", fmt.Append(nil, n+1), IfMatch(etag))
		if err == nil {
			return
		}
		if !errors.Is(err, ErrPrecondition) {
			t.Fatal(err)
		}
	}
}
