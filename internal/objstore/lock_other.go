//go:build !unix

package objstore

import (
	"context"
	"errors"
)

// lock is not to be had: a local folder serves for objects that are only created.
func lock(context.Context, string) (func(), error) {
	return nil, errors.New("lock: a local folder takes replacements and removals on Unix systems only; use S3")
}

func notDir(error) bool { return false }
