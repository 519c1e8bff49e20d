package daemon

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// maintain keeps the tables of a pipeline small, off the path of commits, until ctx
// ends. Which worker does it is decided by a lease for each table. What fails is
// tried again at the next turn.
func (r *running) maintain(ctx context.Context, every time.Duration) {
	if r.snk.maintain == nil || every == 0 {
		return
	}
	for {
		t := time.NewTimer(every/2 + rand.N(every)) // workers that start together do not ask together
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		for _, table := range r.run.Status().Tables {
			if ctx.Err() != nil || table.Halt != nil || table.LastCommit.IsZero() {
				continue // halted, or not written to by this worker
			}
			if err := r.snk.maintain(ctx, table.Name); err != nil && ctx.Err() == nil {
				r.log.Warn("table not maintained", slog.String("table", table.Name), slog.Any("err", err))
			}
		}
	}
}
