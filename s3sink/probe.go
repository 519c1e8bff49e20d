package s3sink

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
)

// lifecycle is a bucket with rules of its own, which only S3 is.
type lifecycle interface {
	AbortsUploads(ctx context.Context, prefix string) (after time.Duration, rule string, err error)
}

// Probe checks what exactly-once objects need of the bucket, with a throwaway object: what
// is staged is not seen, what is completed is, at once and whole, and completing it again
// is no error. Its error says what the bucket lacks. A lifecycle rule that aborts uploads
// within 3 days is a warning in the log, as commits that wait for long could lose their
// parts to it. Leave to delete is not needed: the object then stays behind.
func (s *Sink) Probe(ctx context.Context) error {
	if err := s.openBucket(ctx); err != nil {
		return err
	}
	names, err := NewNames(s.cfg.Naming, "probe", "")
	if err != nil {
		return err
	}
	key := names.Static() + "_firehosed/" + s.pipeline + "/probe-" + rand.Text()
	if err := s.probe(ctx, key); err != nil {
		return fmt.Errorf("bucket %s: %w", s.bucket.Location(""), err)
	}
	_ = s.bucket.Delete(ctx, key) // may be denied
	s.warn(ctx, names)
	return nil
}

func (s *Sink) probe(ctx context.Context, key string) error {
	data := []byte("firehosed probes this bucket")
	out, err := s.bucket.Stage(ctx, key, objstore.Attributes{Owner: s.pipeline + "/probe"})
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	var u objstore.Upload
	if err == nil {
		u, err = out.Finish(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("stage an object: %w", err), out.Abort(ctx))
	}
	if _, err := s.bucket.Stat(ctx, key); err == nil {
		return lacks("keep an upload out of sight until it is completed")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for an object that is staged: %w", err)
	}
	for range 2 {
		if err := s.bucket.Complete(ctx, u); err != nil {
			return fmt.Errorf("complete an upload, and once more: %w", err)
		}
		got, _, err := s.bucket.Get(ctx, key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(got, data) {
			return lacks("show an object whole as soon as its upload is completed")
		}
		if err != nil {
			return fmt.Errorf("read an object that was completed: %w", err)
		}
	}
	o, err := s.bucket.Stat(ctx, key)
	if _, local := s.bucket.(*objstore.Local); err == nil && !local && o.Owner != u.Owner {
		return lacks("keep the user metadata of an upload")
	}
	return err
}

func lacks(what string) error {
	return errors.New("the store does not " + what + "; exactly-once objects need that: use another store")
}

// warn tells of lifecycle rules.
func (s *Sink) warn(ctx context.Context, names *Names) {
	b, ok := s.bucket.(lifecycle)
	if !ok {
		return
	}
	for _, folder := range names.Folders() {
		after, rule, err := b.AbortsUploads(ctx, folder)
		switch {
		case err != nil:
			s.log.LogAttrs(ctx, slog.LevelDebug, "lifecycle rules are not known", slog.Any("error", err))
		case after > 0 && after < orphanAge:
			s.log.LogAttrs(ctx, slog.LevelWarn, "a lifecycle rule aborts uploads early: make it 3 days or more, or commits that wait for long lose their parts",
				slog.String("rule", rule), slog.Duration("after", after), slog.String("prefix", folder))
		}
	}
}
