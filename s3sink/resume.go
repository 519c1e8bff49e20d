package s3sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// Stuck is a commit that is on a table's chain and not published.
type Stuck struct {
	Commit    string   // its manifest
	Replaying bool     // a replay was decided: only that can end it
	Gone      []string // keys of objects that are gone with their uploads
}

// Stuck lists the commits of a table that cannot be published, and tries. Those that
// merely wait for somebody to publish them are not in it.
func (s *Sink) Stuck(ctx context.Context, name string) ([]Stuck, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := t.load(ctx)
	if err != nil {
		return nil, err
	}
	var out []Stuck
	for _, u := range r.Pending {
		m, err := t.manifest(ctx, u.Commit)
		if err != nil {
			return nil, err
		}
		if u.Replaying {
			out = append(out, Stuck{Commit: u.Commit, Replaying: true})
			continue
		}
		gone, err := t.complete(ctx, m)
		if err != nil {
			return nil, err
		}
		if len(gone) > 0 {
			out = append(out, Stuck{Commit: u.Commit, Gone: gone})
		}
	}
	return out, nil
}

// Replay takes a commit back that cannot be published: its rows come again. No consumer
// may have any object of it, and all stand still until Replay returns. It removes the
// objects that are there. Doing it again carries on; a worker that finds it half done
// does too. ErrStale: the commit is published.
func (s *Sink) Replay(ctx context.Context, name, commit string) error {
	t, m, err := s.commitOf(ctx, name, commit)
	if err != nil {
		return err
	}
	if err := t.resume(ctx, m, actReplaying, nil); err != nil {
		return err
	}
	return t.carryOn(ctx, m)
}

// Skip lets a commit count as published that cannot be: what is missing of it stays
// away. It completes the rest first, and returns the keys that are left out. ErrStale:
// a replay was decided.
func (s *Sink) Skip(ctx context.Context, name, commit string) (leftOut []string, err error) {
	t, m, err := s.commitOf(ctx, name, commit)
	if err != nil {
		return nil, err
	}
	r, err := t.load(ctx)
	if err != nil {
		return nil, err
	}
	u := r.pending(commit)
	switch {
	case u == nil: // it is published, or taken back
		return nil, t.resume(ctx, m, actSkip, nil)
	case u.Replaying:
		return nil, fmt.Errorf("%s commit %s of table %s: %w: it is %v", actSkip, commit, name, pipeline.ErrStale, replaying)
	}
	if leftOut, err = t.complete(ctx, m); err != nil {
		return nil, err
	}
	return leftOut, t.resume(ctx, m, actSkip, leftOut)
}

func (s *Sink) commitOf(ctx context.Context, name, commit string) (*table, *manifest, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	m, err := t.manifest(ctx, commit)
	return t, m, err
}

// carryOn finishes a replay that was decided: all uploads are given up, so that no late
// request can complete one, then all keys are removed, and only when nothing is there
// the claims go back to where they began.
func (t *table) carryOn(ctx context.Context, m *manifest) error {
	if err := t.removeAll(ctx, m); err != nil {
		return fmt.Errorf("replay commit %s of table %s: %w", m.name(), t.name, err)
	}
	return t.resume(ctx, m, actVoid, nil)
}

// from is where a commit must stand for what an operator decides.
func from(action string) standing {
	if action == actVoid {
		return replaying
	}
	return waiting
}

// resume puts an operator's decision about a pending commit on the chain, and takes a
// commit out of what is pending that is void or skipped. What was decided stays.
func (t *table) resume(ctx context.Context, m *manifest, action string, leftOut []string) error {
	id := uuid.Must(uuid.NewV7()).String()
	err := t.try(ctx, ownTries, func(ctx context.Context) error {
		r, err := t.load(ctx)
		if err != nil {
			return err
		}
		now, _, err := t.standingOf(ctx, r, m.name())
		if err != nil {
			return err
		}
		switch {
		case now == from(action):
		case action == actReplaying && (now == replaying || now == void), action == actVoid && now == void, action == actSkip && now == published:
			return nil
		default:
			return fmt.Errorf("%w: it is %v", pipeline.ErrStale, now)
		}
		entry := &manifest{Kind: kindResume, ID: id, Stamp: r.stamp(t.sink.pipeline), Action: action, Commit: m.name(), LeftOut: leftOut}
		claimed, err := m.claimed()
		if err != nil {
			return t.halt(pipeline.HaltCorrupt, "%v", err)
		}
		return again(t.append(ctx, r, entry, func(n *register) {
			switch action {
			case actReplaying:
				n.pending(m.name()).Replaying = true
			case actVoid:
				n.settle(m.name())
				n.count(m, -1)
				if n.Epoch == m.Stamp.Epoch { // else its marks are void already
					n.goBack(claimed)
				}
			case actSkip:
				n.settle(m.name())
			}
		}))
	})
	if err != nil {
		return fmt.Errorf("%s commit %s of table %s: %w", action, m.name(), t.name, err)
	}
	return nil
}

// goBack sets the marks of claims back to where they began. Floors stay: they are marks
// of the whole pipeline, which never passed rows that could not be seen.
func (r *register) goBack(claimed map[pipeline.Partition]*claim) {
	for p, c := range claimed {
		mark := r.vec[p]
		mark.At = pipeline.Cursor{At: c.From, Epoch: c.FromEpoch}
		r.vec[p] = mark
		if c.From == "" {
			delete(r.vec, p)
		}
	}
}

func (t *table) removeAll(ctx context.Context, m *manifest) error {
	each := func(do func(ctx context.Context, u *objstore.Upload) error) error {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(t.sink.completers)
		for i := range m.Objects {
			g.Go(func() error { return do(gctx, &m.Objects[i].Upload) })
		}
		return g.Wait()
	}
	b := t.sink.bucket
	if err := each(func(ctx context.Context, u *objstore.Upload) error { return b.AbortUpload(ctx, u.Key, u.ID) }); err != nil {
		return err
	}
	if err := each(func(ctx context.Context, u *objstore.Upload) error { return b.Delete(ctx, u.Key) }); err != nil {
		return err
	}
	return each(func(ctx context.Context, u *objstore.Upload) error {
		_, err := b.Stat(ctx, u.Key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err == nil {
			err = fmt.Errorf("%s is still there", u.Key)
		}
		return err
	})
}
