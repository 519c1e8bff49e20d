package s3sink

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
)

// orphanAge is the age at which a staged object is given up that no pending commit has.
// It is above the largest max_file_age by a day, so that no commit which may still be
// sent has so old a part: that spares lost parts, safety does not need it.
const orphanAge = 72 * time.Hour

// Clean gives up what was staged for a table, is older than 72 hours by the store's
// clock, and belongs to no pending commit: the remains of workers that were killed. It
// returns how many there were.
func (s *Sink) Clean(ctx context.Context, name string) (n int, err error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return 0, err
	}
	old, err := t.oldUploads(ctx)
	if err != nil || len(old) == 0 {
		return 0, err
	}
	r, err := t.load(ctx) // after the list: what was staged since is young
	if err != nil {
		return 0, err
	}
	keep := map[string]bool{}
	for _, u := range r.Pending {
		m, err := t.manifest(ctx, u.Commit)
		if err != nil {
			return 0, err
		}
		for i := range m.Objects {
			keep[m.Objects[i].ID] = true
		}
	}
	var errs []error
	for _, u := range old {
		if keep[u.ID] {
			continue
		}
		if err := s.bucket.AbortUpload(ctx, u.Key, u.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("clean table %s: %w", name, err)
	}
	return n, nil
}

// oldUploads lists what is old enough to be given up.
func (t *table) oldUploads(ctx context.Context) (old []objstore.Pending, err error) {
	now, err := t.sink.bucket.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("clean table %s: %w", t.name, err)
	}
	for _, folder := range t.names.Folders() {
		for u, err := range t.sink.bucket.Uploads(ctx, folder) {
			if err != nil {
				return nil, fmt.Errorf("clean table %s: %w", t.name, err)
			}
			if u.Begun.Before(now.Add(-orphanAge)) && t.isOurs(u.Key) {
				old = append(old, u)
			}
		}
	}
	return old, nil
}

// isOurs tells whether an object is called as those of the table are.
func (t *table) isOurs(key string) bool { return t.called.MatchString(path.Base(key)) }

// calledAs matches the names of a table's objects, whatever their version and extension.
func calledAs(table string) *regexp.Regexp {
	return regexp.MustCompile(`^` + regexp.QuoteMeta(table) + `-\d+-\d{4,6}(-\d\d){5}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\..*)?$`)
}
