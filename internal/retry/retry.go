// Package retry spaces out repeated attempts: exponential growth, full jitter,
// a cap, and a context that ends the wait.
//
//	wait := retry.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
//	for attempt := 0; ; attempt++ {
//		if err = call(ctx); err == nil || !temporary(err) || attempt == 5 {
//			return err
//		}
//		if wait.Wait(ctx, attempt) != nil {
//			return err
//		}
//	}
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Defaults of a zero Backoff.
const (
	DefaultMin = 100 * time.Millisecond
	DefaultMax = 10 * time.Second
)

// Backoff says how long to wait before the next attempt. The zero value waits at
// most 100 ms after the first attempt and at most 10 s after any.
type Backoff struct {
	Min time.Duration // bound of the first wait, doubled with every attempt. Default 100ms
	Max time.Duration // bound of every wait. Default 10s
}

// Bound returns the longest wait after the given attempt, counted from 0.
func (b Backoff) Bound(attempt int) time.Duration {
	d, limit := b.Min, b.Max
	if d <= 0 {
		d = DefaultMin
	}
	if limit <= 0 {
		limit = DefaultMax
	}
	for ; attempt > 0 && d < limit; attempt-- {
		if d > limit/2 {
			return limit
		}
		d *= 2
	}
	return min(d, limit)
}

// Delay returns a random wait in (0, Bound(attempt)]: workers that failed
// together do not come back together.
func (b Backoff) Delay(attempt int) time.Duration {
	return 1 + rand.N(b.Bound(attempt))
}

// Wait waits for Delay(attempt). It returns nil when the time is over, and the
// cause of ctx's end at once when ctx ends.
func (b Backoff) Wait(ctx context.Context, attempt int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := time.NewTimer(b.Delay(attempt))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
