package objstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hidden starts the names of files that are no objects: ones being written, and
// lock files. No key has such a path element.
const hidden = ".fh-"

// maxDirs bounds how many folders are remembered as durable.
const maxDirs = 10_000

// Local is a folder of the local file system as a bucket, for the processes of
// one machine. Every object is written to a file beside its name, synced, and
// then linked or renamed to it; then the folder is synced, and every folder on
// the way down from the root. Swaps, replacements and removals happen under a
// lock file in the object's folder, which is there only as long as it is held. The
// lock is a process's: one that is gone holds none, one that is stopped (SIGSTOP, a
// debugger) keeps the others waiting until it goes on or is killed.
//
// What a crash leaves behind are files whose names start with ".fh-"; Sweep
// removes them. The file system must have hard links, flock and fsync.
type Local struct {
	root string // absolute, without a slash at its end

	// step is called before every change to the file system and may refuse it.
	// Tests count, order and interrupt the steps with it; otherwise nil.
	step func(op, path string) error

	mu struct {
		sync.Mutex
		durable map[string]struct{} // folders whose chain of entries up to the root is synced
	}
}

var _ Stager = (*Local)(nil)

// OpenLocal returns the bucket in a folder, given as a path or a file URI. The
// folder is made when the first object is. It makes no call.
func OpenLocal(folder string) (*Local, error) {
	path := folder
	if strings.HasPrefix(folder, "file:") {
		var ok bool
		if path, ok = strings.CutPrefix(normalize(folder), "file://"); !ok || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("location %q: want file:///absolute/path", folder)
		}
		if strings.ContainsAny(path, "%?#") {
			return nil, fmt.Errorf("location %q: readers of tables disagree on %%, ? and # in file URIs; choose another folder", folder)
		}
	}
	if path == "" {
		return nil, errors.New("location of a local bucket is empty: want a folder")
	}
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("location %q: %w", folder, err)
	}
	l := &Local{root: strings.TrimSuffix(filepath.ToSlash(root), "/")}
	l.mu.durable = map[string]struct{}{}
	return l, nil
}

// Location implements Bucket.
func (l *Local) Location(key string) string { return "file://" + l.root + "/" + key }

// Now implements Bucket.
func (l *Local) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// path returns the path of a key's file.
func (l *Local) path(ctx context.Context, key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || strings.HasPrefix(part, hidden) {
			return "", fmt.Errorf("object key %q: a local folder takes no path element that is empty or starts with %q", key, hidden)
		}
	}
	return l.root + "/" + key, context.Cause(ctx)
}

// Get implements Bucket.
func (l *Local) Get(ctx context.Context, key string) ([]byte, string, error) {
	path, err := l.path(ctx, key)
	if err != nil {
		return nil, "", err
	}
	data, err := l.read(path)
	if err != nil {
		return nil, "", fmt.Errorf("get %s: %w", l.Location(key), cause(err))
	}
	return data, tag(data), nil
}

func (l *Local) read(path string) ([]byte, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > MaxGet {
		return nil, tooLarge(path, size)
	}
	data := make([]byte, size) // files never change once they have their name
	_, err = io.ReadFull(f, data)
	return data, err
}

// open opens a regular file.
func open(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist // a folder is no object
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// tag returns the etag of an object: equal tags mean equal bytes.
func tag(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// cause strips the path that our errors name already, and says that what has a
// file where it needs a folder is not there.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		err = le.Err
	}
	if notDir(err) {
		return fs.ErrNotExist
	}
	return err
}

// Range implements Bucket.
func (l *Local) Range(ctx context.Context, key string, off, n int64) ([]byte, error) {
	path, err := l.path(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := checkRange(l.Location(key), off, n); err != nil {
		return nil, err
	}
	f, _, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.Location(key), cause(err))
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(f, off, n), data); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d of %s: %w", n, off, l.Location(key), unexpected(err))
	}
	return data, nil
}

func checkRange(location string, off, n int64) error {
	if off < 0 || n < 0 || n > MaxGet || off > math.MaxInt64-n {
		return fmt.Errorf("read %d bytes at %d of %s: at most %d bytes of an object are read at once, none before its start", n, off, location, MaxGet)
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Stat implements Bucket.
func (l *Local) Stat(ctx context.Context, key string) (Object, error) {
	path, err := l.path(ctx, key)
	if err != nil {
		return Object{}, err
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Object{}, fmt.Errorf("stat %s: %w", l.Location(key), cause(err))
	}
	return Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Put implements Bucket.
func (l *Local) Put(ctx context.Context, key string, data []byte, cond Cond) (string, error) {
	w, err := l.create(ctx, key)
	if err != nil {
		return "", err
	}
	defer w.discard()
	if _, err := w.Write(data); err != nil {
		return "", err
	}
	if _, err := w.publish(ctx, cond); err != nil {
		return "", err
	}
	return tag(data), nil
}

// Create implements Bucket.
func (l *Local) Create(ctx context.Context, key string) (Writer, error) {
	w, err := l.create(ctx, key)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (l *Local) create(ctx context.Context, key string) (*localWriter, error) {
	return l.createAs(ctx, key, "")
}

// createAs begins a file whose hidden name ends in suffix.
func (l *Local) createAs(ctx context.Context, key, suffix string) (*localWriter, error) {
	path, err := l.path(ctx, key)
	if err != nil {
		return nil, err
	}
	w := &localWriter{l: l, key: key, path: path, dir: filepath.Dir(path)}
	if err := l.mkdir(w.dir); err != nil {
		return nil, fmt.Errorf("create %s: %w", l.Location(key), err)
	}
	w.temp = w.dir + "/" + hidden + rand.Text() + suffix
	if err := l.before("create", w.temp); err != nil {
		return nil, err
	}
	if w.f, err = os.OpenFile(w.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return nil, fmt.Errorf("create %s: %w", l.Location(key), err)
	}
	return w, nil
}

// before announces a change to the file system.
func (l *Local) before(op, path string) error {
	if l.step == nil {
		return nil
	}
	return l.step(op, path)
}

// mkdir makes a folder and those above it. Below the root it syncs the entries of
// all of them, once per process: whoever made one may have crashed before.
func (l *Local) mkdir(dir string) error {
	if dir == "/" {
		return nil
	}
	_, err := os.Stat(dir)
	if err == nil && l.isDurable(dir) {
		return nil
	}
	if err := l.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err != nil {
		if err := l.before("mkdir", dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if syncErr := l.syncDir(filepath.Dir(dir)); errors.Is(syncErr, fs.ErrPermission) && err == nil {
		// There before us, in a folder that we may pass and not read: not ours to sync.
	} else if syncErr != nil {
		return syncErr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.durable) >= maxDirs {
		clear(l.mu.durable)
	}
	l.mu.durable[dir] = struct{}{}
	return nil
}

// isDurable reports whether the entries of an existing folder and of those above
// it are known to be synced. What was there above the root is.
func (l *Local) isDurable(dir string) bool {
	if !strings.HasPrefix(dir, l.root+"/") {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.mu.durable[dir]
	return ok
}

func (l *Local) syncDir(dir string) error {
	if err := l.before("syncdir", dir); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) { // where folders cannot be synced, their names are
		return err
	}
	return nil
}

// Delete implements Bucket.
func (l *Local) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	for _, key := range keys {
		path, err := l.path(ctx, key)
		if err == nil {
			err = l.remove(ctx, path)
		}
		if err = cause(err); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("delete %s: %w", l.Location(key), err))
		}
	}
	return errors.Join(errs...)
}

func (l *Local) remove(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrNotExist
	}
	unlock, err := lock(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.before("remove", path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return l.syncDir(filepath.Dir(path))
}

// Sweep implements Bucket.
func (l *Local) Sweep(ctx context.Context, prefix string, before time.Time) (n int, err error) {
	err = l.leftovers(ctx, prefix, func(path string, info fs.FileInfo) error {
		if !info.ModTime().Before(before) {
			return nil
		}
		err := os.Remove(path)
		if err == nil {
			n++
		}
		return err
	})
	if err != nil {
		return n, fmt.Errorf("sweep %s: %w", l.Location(prefix), err)
	}
	return n, nil
}

func skipMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements Bucket.
func (l *Local) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if dir != "" {
			if _, err := l.path(ctx, strings.TrimRight(dir, "/")); err != nil {
				yield(Object{}, fmt.Errorf("list %s: %w", l.Location(prefix), err))
				return
			}
		}
		_, err := l.walk(ctx, dir, prefix, after, yield)
		if err != nil {
			yield(Object{}, fmt.Errorf("list %s: %w", l.Location(prefix), cause(err)))
		}
	}
}

// walk yields the objects of a folder, given as "" or "a/b/". A folder sorts as
// its name with a slash, so that keys come in byte order.
func (l *Local) walk(ctx context.Context, dir, prefix, after string, yield func(Object, error) bool) (more bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	entries, err := os.ReadDir(l.root + "/" + dir)
	if err != nil {
		if errors.Is(cause(err), fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), hidden) {
			continue
		}
		key := dir + e.Name()
		if e.IsDir() {
			key += "/"
		}
		inside := strings.HasPrefix(key, prefix) || e.IsDir() && strings.HasPrefix(prefix, key)
		if inside && (key > after || strings.HasPrefix(after, key) && e.IsDir()) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if strings.HasSuffix(key, "/") {
			more, err = l.walk(ctx, key, prefix, after, yield)
		} else {
			more, err = l.yield(key, yield)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

func (l *Local) yield(key string, yield func(Object, error) bool) (more bool, err error) {
	info, err := os.Lstat(l.root + "/" + key)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return true, nil // removed since, or no object
	}
	if err != nil {
		return false, err
	}
	return yield(Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil), nil
}

// sameFile reports whether path is the open file f.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
