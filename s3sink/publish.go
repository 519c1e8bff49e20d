package s3sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

const (
	completers = 16          // objects completed, or finished, at a time
	ownTries   = 10          // of a call that its caller repeats
	sendTries  = 3           // of a Complete, within one of these
	settling   = time.Minute // how long another may take to say that it has published what is gone
)

// errAgain: look at the register again.
var errAgain = errors.New("look again")

// publish makes the objects of a commit visible that is on the chain, and takes it out
// of what is pending. Anybody may, any number of times. ErrStale: the commit was taken
// back, or is about to be. A *Halt: parts are lost.
func (t *table) publish(ctx context.Context, m *manifest) error {
	began := time.Now()
	gone, err := t.complete(ctx, m)
	if err != nil {
		return fmt.Errorf("publish %s of table %s: %w", m.name(), t.name, err)
	}
	if len(gone) > 0 {
		if err := t.settled(ctx, m, gone); err != nil {
			return err
		}
	}
	if err := t.clear(ctx, m); err != nil {
		return err
	}
	t.sink.obs.published(t.name, len(m.Objects), time.Since(began))
	return nil
}

// complete completes the uploads of a commit and returns the keys that are gone.
func (t *table) complete(ctx context.Context, m *manifest) (gone []string, err error) {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(t.sink.completers)
	for i := range m.Objects {
		g.Go(func() error {
			err := t.completeOne(gctx, m.Objects[i].Upload)
			if errors.Is(err, objstore.ErrUploadGone) {
				mu.Lock()
				defer mu.Unlock()
				gone = append(gone, m.Objects[i].Key)
				return nil
			}
			return err
		})
	}
	err = g.Wait()
	slices.Sort(gone)
	return gone, err
}

func (t *table) completeOne(ctx context.Context, u objstore.Upload) error {
	var last error
	for attempt := range sendTries {
		if attempt > 0 {
			if err := t.sink.pause(ctx, attempt); err != nil {
				return errors.Join(err, last)
			}
		}
		if last = t.sink.bucket.Complete(ctx, u); last == nil || errors.Is(last, objstore.ErrUploadGone) {
			return last
		}
	}
	return last
}

// settled waits until somebody says that the commit is published, whose keys are gone:
// another may have completed them, and a consumer taken them, a moment ago. A *Halt:
// nobody does.
func (t *table) settled(ctx context.Context, m *manifest, gone []string) error {
	for attempt, began := 0, t.sink.now(); ; attempt++ {
		r, err := t.load(ctx)
		if err != nil {
			return err
		}
		st, _, err := t.standingOf(ctx, r, m.name())
		switch {
		case err != nil:
			return err
		case st == void || st == replaying || st == absent:
			return t.takenBack(m)
		case st == published:
			return nil
		case t.isLost(m) || t.sink.now().Sub(began) >= t.sink.settling:
			t.setLost(m)
			t.sink.obs.lost(t.name, len(gone))
			return t.partsLost(m, gone)
		}
		if err := t.sink.pause(ctx, attempt+1); err != nil {
			return err
		}
	}
}

// clear takes a commit out of what is pending.
func (t *table) clear(ctx context.Context, m *manifest) error {
	return t.try(ctx, ownTries, func(ctx context.Context) error {
		r, err := t.load(ctx)
		if err != nil {
			return err
		}
		st, _, err := t.standingOf(ctx, r, m.name())
		switch {
		case err != nil:
			return err
		case st == void || st == replaying || st == absent:
			return t.takenBack(m)
		case st == published:
			return nil
		}
		n := r.next()
		n.settle(m.name())
		return again(t.swap(ctx, r, n))
	})
}

func (t *table) takenBack(m *manifest) error {
	return fmt.Errorf("publish %s of table %s: %w: an operator takes it back", m.name(), t.name, pipeline.ErrStale)
}

// partsLost is the halt of a table that has a commit which cannot be published.
func (t *table) partsLost(m *manifest, gone []string) *pipeline.Halt {
	const show = 5
	keys := strings.Join(gone[:min(len(gone), show)], ", ")
	if len(gone) > show {
		keys += fmt.Sprintf(" and %d more", len(gone)-show)
	}
	return &pipeline.Halt{
		Class: pipeline.HaltPartsLost,
		Detail: fmt.Sprintf("table %s: commit %s cannot be published: of its %d objects, these are gone with their uploads: %s",
			t.name, m.name(), len(m.Objects), keys),
		Remedy: fmt.Sprintf("firehosed table resume %[1]s --replay if no consumer has any object of this commit (its rows come again), "+
			"or --skip if consumers took them (what is missing stays away); and let no lifecycle rule abort uploads younger than 3 days", t.name),
	}
}

func (t *table) isLost(m *manifest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.lost[m.name()]
}

func (t *table) setLost(m *manifest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.lost[m.name()] = true
}

// again marks an error after which the register is to be read again.
func again(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errAgain, err)
}

// try calls f until it returns something else than errAgain, at most so many times; 0:
// until ctx ends. Errors of reading are errAgain too: f is to start over.
func (t *table) try(ctx context.Context, tries int, f func(ctx context.Context) error) error {
	var last error
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			if err := t.sink.pause(ctx, attempt); err != nil {
				return errors.Join(err, last)
			}
			if tries > 0 && attempt >= tries {
				return last
			}
			if attempt >= 4 && attempt&(attempt-1) == 0 {
				t.sink.log.LogAttrs(ctx, slog.LevelWarn, "table is tried again", slog.String("table", t.name), slog.Int("attempt", attempt), slog.Any("error", last))
			}
		}
		last = f(ctx)
		if h := (*pipeline.Halt)(nil); last == nil || errors.As(last, &h) || errors.Is(last, pipeline.ErrStale) && !errors.Is(last, errAgain) || errors.Is(last, errRebuild) {
			return last
		}
		if ctx.Err() != nil {
			return last
		}
	}
}
