//go:build unix

package objstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/firehosed/firehosed/internal/retry"
)

// lock takes the lock of a folder against other goroutines and processes. The
// lock file is removed with the lock; whoever opened it before and gets the lock
// then sees that it has lost its name, and begins again.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	path := dir + "/" + hidden + "lock"
	wait := retry.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}
	for attempt := 0; ; attempt++ {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return func() { os.Remove(path); f.Close() }, nil
		}
		f.Close()
		switch {
		case err == nil, errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, fmt.Errorf("lock %s: %w (the file system must have flock)", path, err)
		}
		if err := wait.Wait(ctx, attempt); err != nil {
			return nil, fmt.Errorf("lock %s: held by another process or call: %w", path, err)
		}
	}
}

// notDir reports whether a path leads through a file.
func notDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
