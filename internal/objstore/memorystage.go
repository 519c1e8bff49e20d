package objstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// memoryUpload is a staged object.
type memoryUpload struct {
	key, owner string
	parts      [][]byte
	begun      time.Time
}

// RepeatComplete makes the bucket answer a repeated Complete well, as some stores do,
// whatever has become of the object.
func (m *Memory) RepeatComplete() {
	m.store.Lock()
	defer m.store.Unlock()
	m.store.complete = map[string]bool{}
}

// memoryStaging uploads parts as they fill.
type memoryStaging struct {
	m     *Memory
	ctx   context.Context // of Stage, for the parts: io.Writer has no room for it
	up    Upload
	buf   []byte
	ended bool
}

// Stage implements Stager.
func (m *Memory) Stage(ctx context.Context, key string, a Attributes) (Staging, error) {
	if err := checkOwner(a.Owner); err != nil {
		return nil, err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return &memoryStaging{m: m, ctx: ctx, up: Upload{Key: key, Owner: a.Owner}}, nil
}

// Write implements Staging.
func (s *memoryStaging) Write(p []byte) (n int, err error) {
	if s.ended {
		return 0, fmt.Errorf("stage %s: %w", s.m.Location(s.up.Key), fs.ErrClosed)
	}
	size := cmp.Or(s.m.PartSize, DefaultPartSize)
	for len(p) > 0 {
		if len(s.buf) == size {
			if err := s.flush(s.ctx); err != nil {
				return n, err
			}
		}
		k := min(len(p), size-len(s.buf))
		s.buf, p, n = append(s.buf, p[:k]...), p[k:], n+k
	}
	if len(s.buf) == size {
		return n, s.flush(s.ctx)
	}
	return n, nil
}

func (s *memoryStaging) flush(ctx context.Context) error {
	m := s.m
	if s.up.ID == "" {
		err := m.call(ctx, "stage", s.up.Key, func() error {
			m.store.writes++
			s.up.ID = "u" + strconv.Itoa(m.store.writes)
			m.store.uploads[s.up.ID] = &memoryUpload{key: s.up.Key, owner: s.up.Owner, begun: time.Now()}
			return nil
		})
		if err != nil {
			return err
		}
	}
	part := bytes.Clone(s.buf)
	s.buf = s.buf[:0]
	return m.call(ctx, "part", s.up.Key, func() error {
		u := m.store.uploads[s.up.ID]
		if u == nil {
			return ErrUploadGone
		}
		u.parts = append(u.parts, part)
		s.up.Parts = append(s.up.Parts, Part{ETag: tag(part), Size: int64(len(part))})
		return nil
	})
}

// Held implements Staging.
func (s *memoryStaging) Held() int64 { return int64(len(s.buf)) }

// Finish implements Staging.
func (s *memoryStaging) Finish(ctx context.Context) (Upload, error) {
	if s.ended {
		return Upload{}, fmt.Errorf("stage %s: %w", s.m.Location(s.up.Key), fs.ErrClosed)
	}
	if len(s.buf) > 0 || s.up.ID == "" {
		if err := s.flush(ctx); err != nil {
			return Upload{}, err
		}
	}
	s.ended = true
	return s.up, nil
}

// Abort implements Staging.
func (s *memoryStaging) Abort(ctx context.Context) error {
	s.ended = true
	if s.up.ID == "" {
		return nil
	}
	return s.m.AbortUpload(ctx, s.up.Key, s.up.ID)
}

// Complete implements Stager.
func (m *Memory) Complete(ctx context.Context, u Upload) error {
	return m.call(ctx, "complete", u.Key, func() error {
		s := m.store
		up := s.uploads[u.ID]
		if up == nil {
			if o, err := s.find(u.Key); s.complete[u.ID] || err == nil && o.owner == u.Owner && int64(len(o.data)) == u.Size() {
				return nil
			}
			return ErrUploadGone
		}
		if up.key != u.Key || !slices.EqualFunc(up.parts, u.Parts, func(b []byte, p Part) bool { return tag(b) == p.ETag }) {
			return fmt.Errorf("upload %s: these are not its parts", u.ID)
		}
		delete(s.uploads, u.ID)
		if s.complete != nil {
			s.complete[u.ID] = true
		}
		if _, err := s.put(u.Key, slices.Concat(up.parts...), Always); err != nil {
			return err
		}
		o := s.objects[u.Key]
		o.owner = up.owner
		s.objects[u.Key] = o
		return nil
	})
}

// AbortUpload implements Stager.
func (m *Memory) AbortUpload(ctx context.Context, key, id string) error {
	return m.call(ctx, "giveup", key, func() error {
		delete(m.store.uploads, id)
		return nil
	})
}

// Uploads implements Stager.
func (m *Memory) Uploads(ctx context.Context, prefix string) iter.Seq2[Pending, error] {
	return func(yield func(Pending, error) bool) {
		var found []Pending
		err := m.call(ctx, "uploads", prefix, func() error {
			found = m.store.pending(prefix)
			return nil
		})
		if err != nil {
			yield(Pending{}, err)
			return
		}
		for _, p := range found {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// pending lists the uploads under a prefix. The store is locked.
func (s *memoryStore) pending(prefix string) (found []Pending) {
	for id, u := range s.uploads {
		if strings.HasPrefix(u.key, prefix) {
			found = append(found, Pending{u.key, id, u.begun})
		}
	}
	slices.SortFunc(found, func(a, b Pending) int { return cmp.Compare(a.Key+a.ID, b.Key+b.ID) })
	return found
}

// Sweep implements Bucket: it gives staged objects up. What else is not published is
// nowhere.
func (m *Memory) Sweep(ctx context.Context, prefix string, before time.Time) (n int, err error) {
	err = m.call(ctx, "sweep", prefix, func() error {
		for _, p := range m.store.pending(prefix) {
			if p.Begun.Before(before) {
				delete(m.store.uploads, p.ID)
				n++
			}
		}
		return nil
	})
	return n, err
}
