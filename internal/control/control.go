// Package control keeps the small facts of a pipeline in a bucket: it implements
// pipeline.Store over an S3 bucket or a local folder. The control log itself is
// package pipeline's.
//
// A value is one object, written in one conditional request: created if absent,
// or replaced if it still is the one that was read. That makes every Swap atomic
// against all other workers, on S3 by If-None-Match and If-Match, in a local
// folder by link(2) and by a rename under a lock file. Probe checks that the
// bucket really does so.
package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// MaxValue is the largest value in bytes, as package pipeline promises: 16 MiB.
const MaxValue = 16 << 20

// Store keeps values in a bucket, under its root. Safe for concurrent use.
type Store struct {
	bucket objstore.Bucket
}

var _ pipeline.Store = (*Store)(nil)

// New returns the store in a bucket. It makes no call; Probe says whether the
// bucket will do.
func New(b objstore.Bucket) *Store { return &Store{bucket: b} }

// Memory returns an empty store in memory, for tests. Faults are set on a
// bucket of one's own: New(objstore.NewMemory()).
func Memory() *Store { return New(objstore.NewMemory()) }

// Location returns the absolute URI of a key.
func (s *Store) Location(key string) string { return s.bucket.Location(key) }

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~:%@=+/"

func checkKey(key string) error {
	if bad := strings.Trim(key, letters); bad != "" {
		return fmt.Errorf("control key %q: it may have ASCII letters, digits, slashes and ._-~:%%@=+ only", key)
	}
	return nil
}

// Get implements pipeline.Store. The value of an existing key is never nil.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	val, _, err := s.get(ctx, key)
	return val, err
}

func (s *Store) get(ctx context.Context, key string) (val []byte, etag string, err error) {
	if err := checkKey(key); err != nil {
		return nil, "", err
	}
	val, etag, err = s.bucket.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("control store: %w", err)
	}
	return val, etag, nil
}

// Swap implements pipeline.Store. Nil and empty are not the same: an old that is
// nil wants the key absent, one that is empty wants it to hold no bytes.
func (s *Store) Swap(ctx context.Context, key string, old, val []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(val) > MaxValue {
		return fmt.Errorf("control store: %s: value of %d bytes, at most %d are allowed", s.Location(key), len(val), MaxValue)
	}
	cond := objstore.IfAbsent
	if old != nil {
		now, etag, err := s.get(ctx, key)
		if err != nil {
			return err
		}
		if now == nil || !bytes.Equal(now, old) {
			return s.stale(key)
		}
		cond = objstore.IfMatch(etag)
	}
	_, err := s.bucket.Put(ctx, key, val, cond)
	if errors.Is(err, objstore.ErrPrecondition) {
		return s.stale(key)
	}
	if err != nil {
		return fmt.Errorf("control store: %w", err)
	}
	return nil
}

func (s *Store) stale(key string) error {
	return fmt.Errorf("control store: %s: %w", s.Location(key), pipeline.ErrStale)
}

// Keys implements pipeline.Store.
func (s *Store) Keys(ctx context.Context, prefix string) ([]string, error) {
	if err := checkKey(prefix); err != nil {
		return nil, err
	}
	var keys []string
	for o, err := range s.bucket.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("control store: %w", err)
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// Delete implements pipeline.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.bucket.Delete(ctx, key); err != nil {
		return fmt.Errorf("control store: %w", err)
	}
	return nil
}
