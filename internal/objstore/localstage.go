package objstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// localStaging is a file beside its key, with a hidden name that holds the id of the
// upload: random letters, a dot, the name that it will have, and what tells it from that
// for those who go by the end of a name.
type localStaging struct {
	*localWriter
	owner string
	sum   uint32
	named string // the file, once it is finished
}

const (
	maxSuffix = 220 // keeps hidden names within 255 bytes
	stagedEnd = ".staged"
)

// Stage implements Stager. Nothing of the attributes is kept: the bytes tell whose an
// object is.
func (l *Local) Stage(ctx context.Context, key string, a Attributes) (Staging, error) {
	if err := checkOwner(a.Owner); err != nil {
		return nil, err
	}
	suffix := "." + path.Base(key) + stagedEnd
	if len(suffix) > maxSuffix {
		suffix = "" // Uploads knows its folder only
	}
	w, err := l.createAs(ctx, key, suffix)
	if err != nil {
		return nil, err
	}
	return &localStaging{localWriter: w, owner: a.Owner}, nil
}

// Write implements Staging.
func (s *localStaging) Write(p []byte) (int, error) {
	n, err := s.localWriter.Write(p)
	s.sum = crc32.Update(s.sum, castagnoli, p[:n])
	return n, err
}

// Held implements Staging.
func (s *localStaging) Held() int64 { return 0 }

// Finish implements Staging.
func (s *localStaging) Finish(context.Context) (Upload, error) {
	w := s.localWriter
	if w.f == nil {
		return Upload{}, w.fail(fs.ErrClosed)
	}
	if err := w.l.before("sync", w.temp); err != nil {
		return Upload{}, err
	}
	if err := w.f.Sync(); err != nil {
		return Upload{}, w.fail(err)
	}
	err := w.f.Close()
	w.f = nil
	if err == nil {
		err = w.l.syncDir(w.dir)
	}
	if err != nil {
		return Upload{}, w.fail(err)
	}
	s.named, w.temp = w.temp, ""
	return Upload{Key: w.key, ID: s.id(), Parts: []Part{{CRC32C: encodeCRC(s.sum), Size: w.size}}, Owner: s.owner}, nil
}

// Abort implements Staging.
func (s *localStaging) Abort(ctx context.Context) error {
	s.discard()
	if s.named == "" {
		return nil
	}
	return s.l.AbortUpload(ctx, s.key, s.id())
}

func (s *localStaging) id() string { return strings.TrimPrefix(filepath.Base(s.named), hidden) }

// stagedPath returns the file of an upload, and that of its key.
func (l *Local) stagedPath(ctx context.Context, key, id string) (staged, path string, err error) {
	if path, err = l.path(ctx, key); err != nil {
		return "", "", err
	}
	if id == "" || id[0] == '.' || strings.ContainsAny(id, `/\`) {
		return "", "", fmt.Errorf("upload %q of %s: it is no id of an upload", id, l.Location(key))
	}
	return filepath.Dir(path) + "/" + hidden + id, path, nil
}

// Complete implements Stager. The file gets its name by a rename under the folder's
// lock: a link that is followed by the removal of the hidden name would show the object
// again if it was taken away in between, and both were repeated.
func (l *Local) Complete(ctx context.Context, u Upload) error {
	staged, path, err := l.stagedPath(ctx, u.Key, u.ID)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	unlock, err := lock(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("complete %s: %w", l.Location(u.Key), ErrUploadGone)
	}
	if err != nil {
		return fmt.Errorf("complete %s: %w", l.Location(u.Key), cause(err))
	}
	defer unlock()
	err = l.rename(staged, path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		err = l.same(path, u)
	}
	if err == nil {
		err = l.syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("complete %s: %w", l.Location(u.Key), cause(err))
	}
	return nil
}

// rename gives a staged file its name unless the name is taken. The folder is locked.
func (l *Local) rename(staged, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	if _, err := os.Lstat(staged); err != nil {
		return err
	}
	if err := l.before("rename", path); err != nil {
		return err
	}
	return os.Rename(staged, path)
}

// same says whether a file has the bytes of an upload.
func (l *Local) same(path string, u Upload) error {
	f, size, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUploadGone
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if size != u.Size() || len(u.Parts) != 1 || encodeCRC(sum.Sum32()) != u.Parts[0].CRC32C {
		return fmt.Errorf("%w: a file of other bytes has its name", ErrUploadGone)
	}
	return nil
}

// AbortUpload implements Stager.
func (l *Local) AbortUpload(ctx context.Context, key, id string) error {
	staged, _, err := l.stagedPath(ctx, key, id)
	if err != nil {
		return err
	}
	if err := l.before("discard", staged); err != nil {
		return err
	}
	if err := os.Remove(staged); err != nil && !errors.Is(cause(err), fs.ErrNotExist) {
		return fmt.Errorf("abort %s: %w", l.Location(key), cause(err))
	}
	return nil
}

// Uploads implements Stager. The key of what was not begun by Stage is its hidden name.
func (l *Local) Uploads(ctx context.Context, prefix string) iter.Seq2[Pending, error] {
	return func(yield func(Pending, error) bool) {
		err := l.leftovers(ctx, prefix, func(file string, info fs.FileInfo) error {
			folder, name := path.Split(strings.TrimPrefix(filepath.ToSlash(file), l.root+"/"))
			id := strings.TrimPrefix(name, hidden)
			if _, base, ok := strings.Cut(id, "."); ok {
				name = strings.TrimSuffix(base, stagedEnd)
			}
			if !yield(Pending{Key: folder + name, ID: id, Begun: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Pending{}, fmt.Errorf("list uploads of %s: %w", l.Location(prefix), err))
		}
	}
}

// leftovers walks over files without a name of their own.
func (l *Local) leftovers(ctx context.Context, prefix string, do func(path string, info fs.FileInfo) error) error {
	root := l.root + "/" + prefix[:strings.LastIndexByte(prefix, '/')+1]
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return skipMissing(err)
		case !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), hidden) || !strings.HasPrefix(filepath.ToSlash(path), l.root+"/"+prefix):
			return nil
		}
		info, err := e.Info()
		if err == nil {
			err = do(path, info)
		}
		return skipMissing(err)
	})
}
