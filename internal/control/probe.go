package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/firehosed/firehosed/internal/objstore"
)

// probePrefix is where the throwaway keys of Probe are.
const probePrefix = "_probe/"

// Probe checks what exactly-once delivery needs of the control prefix, with a
// throwaway key: create-if-absent, swap, and reading back at once what was
// written (assumption A6 of the design). Its error says what the bucket lacks
// and what to do. Leave to delete is not needed: the key then stays behind.
func (s *Store) Probe(ctx context.Context) error {
	key := probePrefix + rand.Text()
	err := s.probe(ctx, key)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("control prefix %s: %w", s.bucket.Location(""), err)
	}
	_ = s.bucket.Delete(ctx, key) // may be denied
	return err
}

func (s *Store) probe(ctx context.Context, key string) error {
	if data, _, err := s.get(ctx, key); err != nil || data != nil {
		return orElse(err, "a key that was never written holds %d bytes", len(data))
	}
	v1, err := s.bucket.Put(ctx, key, []byte("1"), objstore.IfAbsent)
	if err != nil {
		return fmt.Errorf("create if absent: %w", err)
	}
	if err := s.holds(ctx, key, "1", v1); err != nil {
		return err
	}
	_, err = s.bucket.Put(ctx, key, []byte("x"), objstore.IfAbsent)
	if !errors.Is(err, objstore.ErrPrecondition) {
		return orElse(err, "%s", unsafe("create an object only if it is absent (If-None-Match): it replaced one"))
	}
	if err := s.holds(ctx, key, "1", v1); err != nil {
		return err
	}
	v2, err := s.bucket.Put(ctx, key, []byte("2"), objstore.IfMatch(v1))
	if err != nil {
		return fmt.Errorf("replace if unchanged: %w", err)
	}
	if err := s.holds(ctx, key, "2", v2); err != nil {
		return err
	}
	_, err = s.bucket.Put(ctx, key, []byte("x"), objstore.IfMatch(v1))
	if !errors.Is(err, objstore.ErrPrecondition) {
		return orElse(err, "%s", unsafe("replace an object only if it is unchanged (If-Match): it replaced a newer one"))
	}
	if err := s.holds(ctx, key, "2", v2); err != nil {
		return err
	}
	keys, err := s.Keys(ctx, key)
	if err != nil {
		return err
	}
	if len(keys) != 1 || keys[0] != key {
		return fmt.Errorf("%s", unsafe(fmt.Sprintf("list an object that was just written: it lists %q", keys)))
	}
	return nil
}

// holds checks that a key reads as it was written.
func (s *Store) holds(ctx context.Context, key, want, wantTag string) error {
	got, etag, err := s.get(ctx, key)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, []byte(want)) || etag != wantTag {
		return fmt.Errorf("%s", unsafe(fmt.Sprintf("read back what was just written: %q with tag %s instead of %q with tag %s", got, etag, want, wantTag)))
	}
	return nil
}

func unsafe(lacks string) string {
	return "the store does not " + lacks + "; exactly-once delivery needs that: " +
		"set control to a bucket on a store that has it, or to a local folder if one machine runs the pipeline"
}

// orElse returns err, or the error of the format if err is nil.
func orElse(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}
