package integration

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestWorkersComeAndGo moves records into a table with two or three workers in one group: some are killed, some asked to
// stop, some put to sleep beyond their session and woken again, and new ones join.
func TestWorkersComeAndGo(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for _, c := range []struct {
		place   string
		workers int
	}{{"sqlite", 2}, {"sqlite", 3}, {"rest-s3", 3}} {
		t.Run(fmt.Sprintf("%s/%d", c.place, c.workers), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.place, sized(*records, 20_000))
			w.configure("", "")
			var crew []*worker
			steps := 2 * sized(*kills, 2)
			for step := range steps {
				for len(crew) < c.workers {
					crew = append(crew, w.start())
				}
				crew = w.disturb(crew, step, steps)
			}
			for len(crew) < c.workers {
				crew = append(crew, w.start())
			}
			w.finish(crew...)
			w.wantMidCommit()
			w.judge("", w.name)
		})
	}
}

// disturb lets one piece of the stream flow, of as many as there are steps and one more, and does something to one of the
// workers, by turns. It returns those left.
func (w *world) disturb(crew []*worker, step, steps int) []*worker {
	w.t.Helper()
	w.until("every worker has partitions, and all before is committed", func() bool {
		return !slices.ContainsFunc(crew, func(p *worker) bool { return !p.reading() }) && w.passed(w.total*step/(steps+1))
	}, crew...)
	p, before := crew[w.rng.IntN(len(crew))], committed(crew)
	inCommit := step%4 == 2 || step%2 == 0 && w.behind()
	if inCommit {
		p.arm(sent)
	}
	w.allow(w.total * (step + 1) / (steps + 1))
	if inCommit {
		p.await(30 * time.Second)
		w.kill(p)
		return without(crew, p)
	}
	w.until("a worker commits", func() bool { return committed(crew) > before }, crew...)
	time.Sleep(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
	switch step % 4 {
	case 0:
		w.kill(p)
	case 1:
		p.stop(w.t)
		w.sum.Stops++
	default: // a zombie: its partitions are given away, then it wakes up
		p.signal(w.t, syscall.SIGSTOP)
		time.Sleep(8 * time.Second) // the session times out after 6
		p.signal(w.t, syscall.SIGCONT)
		w.sum.Sleeps++
		return crew
	}
	return without(crew, p)
}

// committed returns how many commits the workers saw answered.
func committed(crew []*worker) int {
	n := 0
	for _, p := range crew {
		n += p.committed()
	}
	return n
}

func without(crew []*worker, p *worker) []*worker {
	return slices.DeleteFunc(crew, func(q *worker) bool { return q == p })
}

// TestRoutesChangeMidStream changes the routes while records flow and workers are killed: one worker still runs the old
// file when the first with the new one starts. Each record must be in one table, the one that was in force at its
// position.
func TestRoutesChangeMidStream(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for _, place := range []string{"sqlite", "rest-s3"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, place, sized(*records, 20_000))
			half := sized(*kills, 2) / 2
			cuts := 2*half + 2
			w.killLoop(0, half, cuts)
			w.configure("old", "")
			old := w.start()
			w.allow(w.total * (half + 1) / (cuts + 1))
			w.until("the old configuration commits", func() bool { return old.committed() > 0 }, old)
			w.configure("young", `routes: [{field: /type, table: "`+w.name+`.{value}", max_tables: 50}]`)
			young := w.start()
			w.until("the new configuration has partitions", young.reading, young)
			w.allow(w.total * (half + 2) / (cuts + 1))
			w.until("the new configuration commits", func() bool { return young.committed() > 0 }, young)
			old.kill() // or it has ended by itself: it was superseded
			<-old.done
			w.sum.ConfigChanges++
			w.kill(young)
			w.killLoop(half+2, half, cuts)
			w.finish(w.start())
			w.wantMidCommit()
			w.judge("any", "*")
		})
	}
}
