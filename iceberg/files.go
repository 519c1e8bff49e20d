package iceberg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	iceio "github.com/apache/iceberg-go/io"

	"github.com/firehosed/firehosed/internal/objstore"
)

// storage finds the bucket that a location is in. Buckets are opened once and
// shared: one client per bucket, whichever table asks, and one more per table that
// the catalog hands out credentials for.
type storage struct {
	open func(ctx context.Context, root string) (objstore.Bucket, error)
	cfg  objstore.Config

	mu struct {
		sync.Mutex
		buckets map[string]objstore.Bucket // by root, or root and table
		grants  map[string]*grant          // by the table's location
	}
}

func newStorage(cfg objstore.Config) *storage {
	s := &storage{cfg: cfg}
	s.open = func(ctx context.Context, root string) (objstore.Bucket, error) { return objstore.Open(ctx, root, cfg) }
	s.mu.buckets, s.mu.grants = map[string]objstore.Bucket{}, map[string]*grant{}
	return s
}

// at returns the bucket of a location and the location's key in it.
func (s *storage) at(ctx context.Context, location string) (objstore.Bucket, string, error) {
	root, err := rootOf(location)
	if err != nil {
		return nil, "", err
	}
	open, id := func() (objstore.Bucket, error) { return s.open(ctx, root) }, root
	if g := s.granted(location); g != nil {
		open, id = func() (objstore.Bucket, error) { return s.openGranted(ctx, root, g) }, root+" "+g.location
	}
	b, err := s.once(id, open)
	if err != nil {
		return nil, "", fmt.Errorf("open store of %s: %w", location, err)
	}
	key, ok := objstore.Key(b, location)
	if !ok {
		return nil, "", fmt.Errorf("location %s is not in %s", location, b.Location(""))
	}
	return b, key, nil
}

// once returns the bucket of an id, opened if it is asked for the first time.
func (s *storage) once(id string, open func() (objstore.Bucket, error)) (objstore.Bucket, error) {
	s.mu.Lock()
	b := s.mu.buckets[id]
	s.mu.Unlock()
	if b != nil {
		return b, nil
	}
	b, err := open()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if had := s.mu.buckets[id]; had != nil {
		return had, nil
	}
	s.mu.buckets[id] = b
	return b, nil
}

// openGranted opens a bucket with the credentials of a grant. Tables of one bucket
// share its buffers.
func (s *storage) openGranted(ctx context.Context, root string, g *grant) (objstore.Bucket, error) {
	cfg := g.reach(s.cfg)
	b, err := s.once(fmt.Sprint("granted ", root, cfg.AWS.Region, cfg.AWS.Endpoint, cfg.PathStyle), func() (objstore.Bucket, error) {
		return objstore.Open(ctx, root, cfg)
	})
	if err != nil {
		return nil, err
	}
	if s3, ok := b.(*objstore.S3); ok {
		return s3.As(g), nil
	}
	return b, nil
}

// rootOf returns the bucket that serves a location: s3://bucket, or the topmost
// folder of a local path, which nobody has to create.
func rootOf(location string) (string, error) {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		if p, cut := strings.CutPrefix(location, "file:"); cut {
			location = p
		}
		scheme, rest = "file", location
	}
	switch scheme {
	case "file":
		if !path.IsAbs(rest) {
			return "", fmt.Errorf("location %q is not absolute", location)
		}
		first, _, _ := strings.Cut(rest[1:], "/")
		return "/" + first, nil
	case "s3", "s3a", "s3n":
		bucket, _, _ := strings.Cut(rest, "/")
		return "s3://" + bucket, nil
	}
	return "", fmt.Errorf("location %q: the scheme %s is not supported", location, scheme)
}

// files is the storage as iceberg-go wants to see it, for the length of one call.
// Remove does nothing: the library removes files whose fate it has misjudged, and
// ours are removed by maintenance alone.
type files struct {
	ctx context.Context // of the call that files was made for
	s   *storage
}

var (
	_ iceio.WriteFileIO = files{}
	_ iceio.ReadFileIO  = files{}
)

// ReadFile implements iceio.ReadFileIO.
func (f files) ReadFile(name string) ([]byte, error) {
	if r, ok := f.ctx.Value(readingKey{}).(*reading); ok {
		if k := r.lookup(name); k != nil {
			return nil, k
		}
	}
	b, key, err := f.s.at(f.ctx, name)
	if err != nil {
		return nil, err
	}
	data, _, err := b.Get(f.ctx, key)
	return data, err
}

// Open implements iceio.IO. It reads the file whole: metadata and manifests.
func (f files) Open(name string) (iceio.File, error) {
	data, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &readFile{Reader: bytes.NewReader(data), name: name}, nil
}

// Remove implements iceio.IO and does nothing.
func (f files) Remove(string) error { return nil }

// WriteFile implements iceio.WriteFileIO.
func (f files) WriteFile(name string, p []byte) error {
	b, key, err := f.s.at(f.ctx, name)
	if err != nil {
		return err
	}
	_, err = b.Put(f.ctx, key, p, objstore.Always)
	return err
}

// Create implements iceio.WriteFileIO. The file is stored when it is closed.
func (f files) Create(name string) (iceio.FileWriter, error) {
	if _, _, err := f.s.at(f.ctx, name); err != nil {
		return nil, err
	}
	return &writeFile{files: f, name: name}, nil
}

type writeFile struct {
	bytes.Buffer
	files  files
	name   string
	closed bool
}

// Close stores the file.
func (w *writeFile) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.files.WriteFile(w.name, w.Bytes())
}

type readFile struct {
	*bytes.Reader
	name string
}

func (r *readFile) Close() error               { return nil }
func (r *readFile) Stat() (fs.FileInfo, error) { return fileInfo{path.Base(r.name), r.Size()}, nil }

type fileInfo struct {
	name string
	size int64
}

func (i fileInfo) Name() string     { return i.name }
func (i fileInfo) Size() int64      { return i.size }
func (fileInfo) Mode() fs.FileMode  { return 0o444 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }

// ---- iceberg-go's registry of file systems ----

// iceberg-go's catalogs find the file system of a metadata.json by its scheme, in a
// registry of the process. The entries that adopt makes hand every call on to the
// storage in its context, so that sinks do not share clients; calls that carry none
// (somebody else uses iceberg-go in this process) get what was there before.
var adopted sync.Once //nolint:gochecknoglobals // guards what is global in iceberg-go

type storageKey struct{}

// withFiles returns ctx with the storage that catalogs then use.
func (s *Sink) withFiles(ctx context.Context) context.Context {
	adopted.Do(adopt)
	return context.WithValue(ctx, storageKey{}, s.storage)
}

func (s *Sink) files(ctx context.Context) files { return files{ctx, s.storage} }

func adopt() {
	for _, scheme := range []string{"", "file", "s3", "s3a", "s3n"} {
		iceio.Unregister(scheme)
		iceio.Register(scheme, func(ctx context.Context, u *url.URL, props map[string]string) (iceio.IO, error) {
			if into, ok := ctx.Value(propsKey{}).(*map[string]string); ok {
				*into = props
			}
			if s, ok := ctx.Value(storageKey{}).(*storage); ok {
				return files{ctx, s}, nil
			}
			if u.Scheme == "" || u.Scheme == "file" {
				return iceio.LocalFS{}, nil
			}
			return nil, errors.New("no object store in this call's context")
		})
	}
}

var _ io.ReaderFrom = (*writeFile)(nil)
