package retry

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestBound(t *testing.T) {
	f := func(b Backoff, attempt int, want time.Duration) {
		t.Helper()
		if got := b.Bound(attempt); got != want {
			t.Errorf("%+v.Bound(%d) = %v, want %v", b, attempt, got, want)
		}
	}
	b := Backoff{Min: time.Second, Max: 10 * time.Second}
	f(b, -1, time.Second)
	f(b, 0, time.Second)
	f(b, 1, 2*time.Second)
	f(b, 3, 8*time.Second)
	f(b, 4, 10*time.Second)
	f(b, math.MaxInt, 10*time.Second)
	f(Backoff{}, 0, DefaultMin)
	f(Backoff{}, 100, DefaultMax)
	f(Backoff{Min: time.Minute, Max: time.Second}, 0, time.Second)
	f(Backoff{Min: 1, Max: math.MaxInt64}, 1000, math.MaxInt64) // doubling does not overflow
}

func TestDelayIsSpread(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Second}
	var low, high int
	for range 1000 {
		d := b.Delay(3)
		if d <= 0 || d > time.Second {
			t.Fatalf("delay %v is outside (0, 1s]", d)
		}
		if d < 250*time.Millisecond {
			low++
		}
		if d > 750*time.Millisecond {
			high++
		}
	}
	if low < 100 || high < 100 {
		t.Errorf("of 1000 delays %d are in the first quarter and %d in the last: not full jitter", low, high)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Hour, Max: 24 * time.Hour}
		start := time.Now()
		for attempt := range 20 {
			if err := b.Wait(t.Context(), attempt); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d == 0 || d > 20*24*time.Hour {
			t.Errorf("20 waits took %v of fake time", d)
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		b := Backoff{Min: time.Hour, Max: time.Hour}
		time.AfterFunc(time.Nanosecond, func() { cancel(stop) })
		if err := b.Wait(ctx, 0); err != stop {
			t.Errorf("Wait = %v, want the cause %v", err, stop)
		}
		start := time.Now()
		if err := b.Wait(ctx, 0); err != stop || time.Since(start) != 0 {
			t.Errorf("Wait on an ended context = %v after %v, want %v at once", err, time.Since(start), stop)
		}
	})
}
