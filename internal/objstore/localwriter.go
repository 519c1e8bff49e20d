package objstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// localWriter is an object that has no name yet.
type localWriter struct {
	l    *Local
	key  string
	path string
	dir  string
	temp string
	f    *os.File // nil: ended
	size int64
}

func (w *localWriter) fail(err error) error {
	return fmt.Errorf("write %s: %w", w.l.Location(w.key), cause(err))
}

// Write implements Writer.
func (w *localWriter) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, w.fail(fs.ErrClosed)
	}
	if err := w.l.before("write", w.temp); err != nil {
		return 0, err
	}
	n, err := w.f.Write(p)
	w.size += int64(n)
	if err != nil {
		return n, w.fail(err)
	}
	return n, nil
}

// Close implements Writer.
func (w *localWriter) Close(ctx context.Context) (int64, error) {
	return w.publish(ctx, IfAbsent)
}

// publish syncs the file and gives it its name.
func (w *localWriter) publish(ctx context.Context, cond Cond) (int64, error) {
	if w.f == nil {
		return 0, w.fail(fs.ErrClosed)
	}
	if err := w.l.before("sync", w.temp); err != nil {
		return 0, err
	}
	if err := w.f.Sync(); err != nil {
		return 0, w.fail(err)
	}
	err := w.f.Close()
	w.f = nil
	if err == nil {
		err = w.link(ctx, cond)
	}
	w.discard()
	switch {
	case errors.Is(err, fs.ErrExist):
		return 0, fmt.Errorf("create %s: %w (%w)", w.l.Location(w.key), ErrPrecondition, fs.ErrExist)
	case errors.Is(err, ErrPrecondition):
		return 0, fmt.Errorf("replace %s: %w", w.l.Location(w.key), err)
	case err != nil:
		return 0, w.fail(err)
	}
	if err := w.l.syncDir(w.dir); err != nil {
		return 0, w.fail(err)
	}
	return w.size, nil
}

// link gives the file its name if cond holds.
func (w *localWriter) link(ctx context.Context, cond Cond) error {
	if cond == IfAbsent {
		if err := w.l.before("link", w.path); err != nil {
			return err
		}
		if err := os.Link(w.temp, w.path); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w (the file system must have hard links)", err)
		} else if err != nil {
			return err
		}
		return nil
	}
	unlock, err := lock(ctx, w.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if cond != Always {
		old, err := w.l.read(w.path)
		if errors.Is(err, fs.ErrNotExist) {
			return ErrPrecondition
		}
		if err != nil {
			return err
		}
		if tag(old) != string(cond) {
			return ErrPrecondition
		}
	}
	if err := w.l.before("rename", w.path); err != nil {
		return err
	}
	return os.Rename(w.temp, w.path)
}

// Abort implements Writer.
func (w *localWriter) Abort(context.Context) error {
	w.discard()
	return nil
}

// discard removes the unnamed file. What it cannot remove is hidden.
func (w *localWriter) discard() {
	if w.f != nil {
		w.f.Close()
		w.f = nil
	}
	if w.temp != "" && w.l.before("discard", w.temp) == nil {
		os.Remove(w.temp)
	}
	w.temp = ""
}
