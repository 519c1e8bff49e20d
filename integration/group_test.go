package integration

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// TestWorkersComeAndGo moves records into a table with up to three workers in one group: some are killed, some asked to
// stop, some put to sleep beyond their session and woken again, and new ones join.
func TestWorkersComeAndGo(t *testing.T) {
	w := newWorld(t, "sqlite", *records/10)
	w.static = ""
	w.configure("")
	rng := rand.New(rand.NewPCG(*seed, 2))
	const steps = 6
	crew := []*worker{w.start()}
	for step := range steps {
		w.allow(w.total * (step + 1) / (steps + 1))
		for len(crew) < 2+step%2 {
			crew = append(crew, w.start())
		}
		w.until("the workers commit", crew[0], func() bool { return crew[0].committed() > 0 })
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		victim := rng.IntN(len(crew))
		p := crew[victim]
		switch step % 3 {
		case 0:
			p.kill()
			<-p.done
		case 1:
			p.stop(t)
		case 2: // a zombie: its partitions are given away, then it wakes up
			p.signal(t, syscall.SIGSTOP)
			time.Sleep(8 * time.Second) // the session times out after 6
			p.signal(t, syscall.SIGCONT)
			continue
		}
		crew = append(crew[:victim], crew[victim+1:]...)
	}
	for len(crew) < 2 {
		crew = append(crew, w.start())
	}
	w.allow(w.total)
	w.drain(crew...)
	for _, p := range crew {
		p.stop(t)
	}
	w.judge("", w.name)
}

// TestRoutesChangeMidStream changes the routes while records flow: one worker still runs the old file when the first with
// the new one starts. Each record must be in one table, the one that was in force at its position.
func TestRoutesChangeMidStream(t *testing.T) {
	w := newWorld(t, "sqlite", *records/10)
	w.static = ""
	w.configure("")
	old := w.start()
	w.allow(w.total / 2)
	w.until("the old configuration commits", old, func() bool { return old.committed() > 0 })
	w.configure(`routes: [{field: /type, table: "` + w.name + `.{value}", max_tables: 50}]`)
	young := w.start()
	w.until("the new configuration commits", young, func() bool { return young.committed() > 0 })
	old.kill() // or it has ended by itself: it was superseded
	<-old.done
	w.allow(w.total)
	w.drain(young)
	young.stop(t)
	w.judge("any", "*")
}
