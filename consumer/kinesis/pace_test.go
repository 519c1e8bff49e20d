package kinesis

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPace: five calls a second, two megabytes a second, and back-off that ends.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := newPace(), time.Now()
		wait := func() {
			if err := p.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.leave()
		}
		for range 3 * shardReads {
			wait()
		}
		if d := time.Since(began); d != 2*(time.Second+slack) {
			t.Errorf("15 calls took %v", d)
		}
		time.Sleep(time.Minute)
		p.read(10 << 20)
		began = time.Now()
		if wait(); time.Since(began) != 5*time.Second {
			t.Errorf("after 10 MiB the next call came after %v", time.Since(began))
		}
		last := time.Duration(0)
		for i := range 12 {
			time.Sleep(time.Minute)
			p.refused()
			began = time.Now()
			wait()
			bound := min(minRefused<<min(i, 10), maxRefused)
			if last = time.Since(began); last < bound/2 || last > bound {
				t.Errorf("refusal %d: %v, want %v to %v", i, last, bound/2, bound)
			}
		}
		p.read(0)
		time.Sleep(time.Minute)
		p.refused()
		began = time.Now()
		if wait(); time.Since(began) > minRefused {
			t.Errorf("a refusal after a success: %v", time.Since(began))
		}
	})
}
