package s3sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// errRebuild: the staged objects can no longer be published; the rows have to be read
// and written again.
var errRebuild = errors.New("rows must be written again")

// commit is a delivery that is being committed.
type commit struct {
	m      *manifest
	claims []pipeline.Claim
	born   time.Time // of the oldest part
	tried  []string  // names of the manifests written: one of them may be on the chain
}

// commit puts a delivery on the chain and publishes it, or returns an answer of
// pipeline.Delivery.Commit. It ends when the register says so or ctx does, never by a
// count, and gives up nothing that may be on the chain.
func (t *table) commit(ctx context.Context, c *commit, st pipeline.Stamp) error {
	claimed := make(map[pipeline.Partition]bool, len(c.claims))
	for i := range c.claims {
		claimed[c.claims[i].Partition] = true
	}
	err := t.try(ctx, 0, func(ctx context.Context) error {
		failpoint.Hit("commit.beforeLoad")
		r, err := t.load(ctx)
		if err != nil {
			return err
		}
		failpoint.Hit("commit.afterLoad")
		if len(c.tried) > 0 {
			failpoint.Hit("commit.afterResolve")
		}
		m, err := t.decide(ctx, r, c, claimed, st)
		if m == nil || err != nil {
			return err
		}
		if err := t.publish(ctx, m); err != nil {
			return err
		}
		t.event(ctx, "commit.done")
		return nil
	})
	if err != nil {
		t.event(ctx, "commit.failed", slog.Any("error", err))
		return fmt.Errorf("commit to table %s: %w", t.name, err)
	}
	return nil
}

// decide takes the commit as far as the chain. It returns the manifest to publish: our
// own. Nil and no error: another commit has done the same.
func (t *table) decide(ctx context.Context, r *register, c *commit, claimed map[pipeline.Partition]bool, st pipeline.Stamp) (*manifest, error) {
	was := r.stamp(t.sink.pipeline)
	if was.Newer(st) {
		return nil, fmt.Errorf("%w: the table has seen %v, this is %v", pipeline.ErrStale, was, st)
	}
	at, name, err := t.standingOf(ctx, r, c.tried...)
	switch {
	case err != nil:
		return nil, err
	case at == replaying || at == void:
		return nil, fmt.Errorf("%w: an operator takes commit %s back", pipeline.ErrStale, name)
	case at == waiting || at == published:
		return t.manifest(ctx, name)
	}
	other, err := t.pendingOn(ctx, r, claimed)
	if err != nil {
		return nil, err
	}
	if other != nil {
		_, err := t.showPending(ctx, r, claimed)
		return nil, again(orAgain(err))
	}
	switch judge(c.claims, r.vec) {
	case done:
		return nil, nil
	case stale:
		return nil, fmt.Errorf("%w: its marks moved", pipeline.ErrStale)
	case apply:
	}
	if age := t.sink.now().Sub(c.born); age > t.sink.cfg.MaxFileAge {
		return nil, fmt.Errorf("%w: a part is %v old", errRebuild, age.Round(time.Second))
	}
	failpoint.Hit("commit.afterCheck")
	return t.send(ctx, r, c, st)
}

// send makes one attempt to put the commit on the chain. Its error says nothing about
// the outcome: only the register does.
func (t *table) send(ctx context.Context, r *register, c *commit, st pipeline.Stamp) (*manifest, error) {
	m := *c.m // a manifest that is written never changes
	m.Stamp, m.Seq = st, r.Seq+1
	c.tried = append(c.tried, m.name())
	failpoint.Hit("commit.beforeSend")
	t.event(ctx, "commit.send")
	err := failpoint.Err("commit.sent")
	if err == nil {
		err = t.append(ctx, r, &m, func(n *register) {
			advance(n.vec, c.claims, r.stamp(t.sink.pipeline), st)
			n.stampWith(st)
			n.Pending = append(n.Pending, unshown{Commit: m.name()})
			n.count(&m, +1)
		})
	}
	err = errors.Join(err, failpoint.Err("commit.afterReply"))
	t.sink.obs.sent(t.name, err)
	if err != nil {
		failpoint.Hit("commit.beforeResolve")
		t.event(ctx, "commit.unknown", slog.Any("error", err))
		return nil, again(err)
	}
	t.event(ctx, "commit.decided", slog.String("commit", m.name()))
	return &m, nil
}

// event tells those who follow a worker how far a commit of rows is: staged, send (the
// swap), unknown or decided, done, or failed.
func (t *table) event(ctx context.Context, what string, attrs ...slog.Attr) {
	t.sink.log.LogAttrs(ctx, slog.LevelDebug, what, append(attrs, slog.String("table", t.name), slog.String("kind", kindData))...)
}

// orAgain is errAgain where there is no error.
func orAgain(err error) error {
	if err == nil {
		return errAgain
	}
	return err
}
