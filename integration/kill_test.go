package integration

import (
	"math/rand/v2"
	"testing"
	"time"
)

// poll is how often a test looks; patience is how long it waits for progress before it gives up.
const (
	poll     = 50 * time.Millisecond
	patience = 2 * time.Minute
)

// TestKillLoop moves records into a table while the worker is killed over and over, half the times at random and half in
// the middle of a commit, and wants every record there exactly once.
func TestKillLoop(t *testing.T) {
	for _, c := range []struct {
		place   string
		records int
		kills   int
	}{
		{"sqlite", *records, *kills},
		{"rest-s3", *records / 10, min(*kills, 5)},
		{"postgres-s3", *records / 10, min(*kills, 3)},
		{"rest", *records / 10, min(*kills, 3)},
	} {
		t.Run(c.place, func(t *testing.T) {
			w := newWorld(t, c.place, c.records)
			w.killLoop(c.kills)
			w.judge("", w.name)
		})
	}
}

// killLoop runs one worker after another until everything is committed, and kills all but the last.
func (w *world) killLoop(kills int) {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(*seed, 1))
	began, mid := time.Now(), 0
	for life := range kills {
		w.allow(w.total * (life + 1) / (kills + 1))
		p := w.start()
		inCommit := life%2 == 0 || mid*4 < life // make up for one that was over before the signal came
		w.until("a worker commits", p, func() bool { return p.committed() > rng.IntN(2) })
		if inCommit {
			p.arm()
			select {
			case <-p.done:
			case <-time.After(5 * time.Second): // nothing left to commit
			}
		} else {
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		}
		p.kill()
		<-p.done
		if p.midCommit() {
			mid++
		}
	}
	w.allow(w.total)
	p := w.start()
	w.drain(p)
	p.stop(w.t)
	w.t.Logf("%d records, %d kills, %d of them with a commit in flight: %v", w.total, kills, mid, time.Since(began).Round(time.Second))
	if want := kills / 4; mid < want {
		w.t.Errorf("%d kills with a commit in flight, want at least %d", mid, want)
	}
}

// drain waits until every record is below the group's offsets. Every worker must live on.
func (w *world) drain(ps ...*worker) {
	w.t.Helper()
	if err := <-w.done; err != nil {
		w.t.Fatalf("produce: %v", err)
	}
	w.done <- nil
	last, since := int64(-1), time.Now()
	for {
		lag, err := w.lag()
		if err == nil && lag == 0 {
			return
		}
		if lag != last {
			last, since = lag, time.Now()
		}
		for _, p := range ps {
			if gone := p.alive(); gone != nil {
				w.t.Fatal(gone)
			}
		}
		if time.Since(since) > patience {
			w.t.Fatalf("no progress for %v, %d records to go (%v)", patience, lag, err)
		}
		time.Sleep(poll)
	}
}

// until waits for cond while the worker lives.
func (w *world) until(what string, p *worker, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(poll) {
		if gone := p.alive(); gone != nil {
			w.t.Fatalf("until %s: %v", what, gone)
		}
		if time.Now().After(end) {
			w.t.Fatalf("until %s: not within %v", what, patience)
		}
	}
}
