package integration

import (
	"testing"
	"time"
)

// poll is how often a test looks; patience is how long it waits without progress before it gives up.
const (
	poll     = 50 * time.Millisecond
	patience = 2 * time.Minute
)

// TestKillLoop moves records into a table while the worker is killed over and over, half the times at random and half in
// the middle of a commit, and wants every record there exactly once.
func TestKillLoop(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for _, c := range []struct {
		place   string
		records int
		kills   int
	}{
		{"sqlite", 200_000, 5},
		{"rest-s3", 20_000, 5},
		{"postgres-s3", 20_000, 3},
		{"rest", 20_000, 3},
	} {
		t.Run(c.place, func(t *testing.T) {
			t.Parallel()
			kills := sized(*kills, c.kills)
			w := newWorld(t, c.place, sized(*records, c.records))
			w.killLoop(0, kills, kills)
			w.finish(w.start())
			w.wantMidCommit()
			w.judge("", w.name)
		})
	}
}

// killLoop starts and kills n workers, one after another. The stream is cut into cuts+1 equal pieces; each worker gets one
// more, the first of them piece number from. It is not killed before all earlier pieces are committed, so the kills spread
// over the stream, and half of its piece is held back until it is about to be, so there is something to commit.
func (w *world) killLoop(from, n, cuts int) {
	w.t.Helper()
	for life := from; life < from+n; life++ {
		w.allow(w.total * (2*life + 1) / (2 * (cuts + 1)))
		p := w.start()
		w.until("a worker commits", func() bool { return p.committed() > w.rng.IntN(2) && w.passed(w.total*life/(cuts+1)) }, p)
		inCommit := life%2 == 0 || w.behind()
		if inCommit {
			p.arm(sent)
		}
		w.allow(w.total * (life + 1) / (cuts + 1))
		if inCommit {
			p.await(30 * time.Second)
		} else {
			time.Sleep(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
		}
		w.kill(p)
	}
}

// kill ends a worker that lives until then, and counts.
func (w *world) kill(p *worker) {
	w.t.Helper()
	p.kill()
	<-p.done
	if !p.killed() {
		w.t.Fatalf("a worker ended before it was killed: %v", p.alive())
	}
	w.sum.Kills++
	if p.diedAt(sent) {
		w.sum.KillsMidCommit++
	}
}

// behind reports whether too few of the kills so far came in the middle of a commit: a commit can be over before the
// signal arrives.
func (w *world) behind() bool { return w.sum.KillsMidCommit*4 < w.sum.Kills }

// wantMidCommit wants a quarter of the kills to have come with a commit in flight.
func (w *world) wantMidCommit() {
	w.t.Helper()
	if mid, want := w.sum.KillsMidCommit, w.sum.Kills/4; mid < want {
		w.t.Errorf("%d kills with a commit in flight, want at least %d", mid, want)
	}
}

// finish lets the producer end, waits until everything is committed, and asks the workers to stop.
func (w *world) finish(crew ...*worker) {
	w.t.Helper()
	w.allow(w.total)
	w.drain(crew...)
	for _, p := range crew {
		p.stop(w.t)
	}
	w.sum.RunSeconds = w.lap()
}

// drain waits until every record is below the group's offsets. Every worker must live on.
func (w *world) drain(ps ...*worker) {
	w.t.Helper()
	w.produced()
	last, since := -1, time.Now()
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

// until waits for cond while every one of the workers lives. Commits are progress.
func (w *world) until(what string, cond func() bool, crew ...*worker) {
	w.t.Helper()
	last, since := 0, time.Now()
	for ; !cond(); time.Sleep(poll) {
		for _, p := range crew {
			if gone := p.alive(); gone != nil {
				w.t.Fatalf("until %s: %v", what, gone)
			}
		}
		if n := committed(crew); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > patience {
			w.t.Fatalf("until %s: no progress for %v", what, patience)
		}
	}
}
