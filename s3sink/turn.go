package s3sink

import (
	"context"
	"time"
)

// turn is held over calls that wait, which a context can leave. Its value is a
// channel with room for one.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeWithin reports whether it was taken before the time was over.
func (t turn) takeWithin(ctx context.Context, d time.Duration) (bool, error) {
	select {
	case t <- struct{}{}:
		return true, nil
	default:
	}
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case t <- struct{}{}:
		return true, nil
	case <-over.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (t turn) give() { <-t }
