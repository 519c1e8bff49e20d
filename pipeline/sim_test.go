package pipeline_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/pipelinetest"
)

var (
	seeds = flag.Uint64("seeds", 0, "schedules to run; 0: 200, or 300 of the runtime without a mutant and 900 of each mutant")
	first = flag.Uint64("first", 0, "seed of the first schedule")
)

// TestSimulation runs workers in a hostile world and then judges every row.
func TestSimulation(t *testing.T) {
	for seed := *first; seed < *first+cmp.Or(*seeds, 200); seed++ {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
		if !ok {
			t.Fatalf("repeat with -first %d -seeds 1", seed)
		}
	}
}

type sim struct {
	t       *testing.T
	rng     *rand.Rand
	w       *pipelinetest.World
	mem     memory.Allocator
	cfg     pipeline.Config
	workers []*worker
	parts   []pipeline.Partition
	owner   map[pipeline.Partition]*worker
	late    map[pipeline.Partition][]*worker // not told yet that they lost it
	budget  *pipeline.Budget
	halted  []string
	rules   atomic.Int64
	n       int
	wg      sync.WaitGroup
}

type worker struct {
	conn *pipelinetest.Conn
	kill context.CancelFunc

	mu   sync.Mutex
	src  *pipelinetest.Source
	left []pipeline.Partition // lost because the pipeline ended
	has  map[pipeline.Partition]bool
	dead bool
}

func simulate(t *testing.T, seed uint64) {
	pipeline.Preempt(seed)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), w: pipelinetest.NewWorld(seed), mem: mem,
		owner: map[pipeline.Partition]*worker{}, late: map[pipeline.Partition][]*worker{}, budget: pipeline.NewBudget(4 << 10),
		cfg: pipeline.Config{
			Name: "web", Rules: 1, Intervals: map[string]time.Duration{"second": 35 * time.Millisecond},
			CommitInterval: 20 * time.Millisecond, Retry: 30 * time.Millisecond, IdlePoll: 200 * time.Millisecond,
			LogPoll: 100 * time.Millisecond, LetGoAfter: 400 * time.Millisecond, RevokeWait: 60 * time.Millisecond, DrainWait: 100 * time.Millisecond,
		},
	}
	if *seeds == 1 {
		s.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if s.rng.IntN(3) == 0 {
		s.cfg.Start = time.Now().Add(time.Hour) // start at the end
	}
	for i := range 3 {
		s.parts = append(s.parts, pipeline.Partition{Kind: "kafka", Stream: "clicks", Incarnation: "1", ID: fmt.Sprint(i)})
	}
	s.parts = append(s.parts, pipeline.Partition{Kind: "kinesis", Stream: "taps", Incarnation: "1", ID: "s0"})
	s.append(20)
	for range 2 {
		s.start()
	}
	for range 60 {
		time.Sleep(time.Duration(s.rng.IntN(40)) * time.Millisecond)
		s.balance()
		s.trouble()
	}
	s.heal()
	missing, faults := s.w.Judge()
	for i := 0; (missing > 0 || !s.w.Drained()) && len(faults) == 0 && i < 1000; i++ {
		time.Sleep(50 * time.Millisecond)
		s.balance()
		missing, faults = s.w.Judge()
	}
	drained := s.w.Drained()
	for _, k := range s.workers {
		k.kill()
	}
	s.wg.Wait()
	if missing > 0 || len(faults) > 0 || !drained {
		t.Errorf("missing %d, drained %v, %s", missing, drained, strings.Join(faults[:min(3, len(faults))], "; "))
	}
	mem.AssertSize(t, 0)
}

// start adds a worker: a process that runs its pipeline again when it ends.
func (s *sim) start() {
	ctx, cancel := context.WithCancel(s.t.Context())
	k := &worker{conn: s.w.Dial(), kill: cancel, has: map[pipeline.Partition]bool{}}
	share, deaf := s.budget.Share(), s.rng.IntN(2) == 0
	k.src = k.conn.Source(share)
	s.workers = append(s.workers, k)
	s.wg.Go(func() {
		for ctx.Err() == nil {
			ctl, cfg := k.conn.Control(), s.cfg
			if deaf {
				cfg.LogPoll, cfg.IdlePoll = 2*time.Second, 2*time.Second
			}
			cfg.Pure = pipelinetest.Config(int(s.rules.Load()))
			run := pipeline.New(cfg, k.src, k.conn.Tables(ctl), ctl, share, pipelinetest.Plan(s.mem), nil)
			_ = run.Run(ctx)
			for _, tab := range run.Status().Tables {
				if tab.Pending != 0 || tab.Taken != tab.Rows+tab.LetGo {
					s.t.Errorf("table %s has taken %d rows: %d committed, %d let go, %d pending", tab.Name, tab.Taken, tab.Rows, tab.LetGo, tab.Pending)
				}
			}
			k.mu.Lock()
			for p := range k.has {
				k.left = append(k.left, p)
			}
			clear(k.has)
			k.src = k.conn.Source(share)
			k.mu.Unlock()
		}
	})
}

// someTable are tables of both sinks that others write to, and that are halted.
var someTable = []string{"a", "b", "dead", "second:a", "second:dead"}

func (s *sim) append(n int) {
	for range n {
		p := s.parts[s.rng.IntN(len(s.parts))]
		if p.ID == "s0" && len(s.parts) > 4 {
			continue
		}
		table := []string{"a", "a", "b", "y", "x", "z", fmt.Sprint("n", s.rng.IntN(4))}[s.rng.IntN(7)]
		if table == "b" && s.rng.IntN(3) > 0 {
			table = "a" // b is often silent
		}
		s.n++
		s.w.Append(p, fmt.Sprintf("%s:f%d:%d", table, s.rng.IntN(5), s.n))
	}
	for _, p := range s.parts {
		s.w.Append(p)
	}
}

// balance gives every partition without an owner to some worker.
func (s *sim) balance() {
	for _, k := range s.workers {
		k.mu.Lock()
		for _, p := range k.left {
			if s.owner[p] == k {
				delete(s.owner, p)
			}
			s.late[p] = slices.DeleteFunc(s.late[p], func(o *worker) bool { return o == k })
		}
		k.left = nil
		k.mu.Unlock()
	}
	for i, p := range s.parts {
		if s.owner[p] == nil && (i < 4 || s.w.Closed(s.parts[3])) {
			s.give(p, s.alive())
		}
	}
}

func (s *sim) alive() *worker {
	for {
		if k := s.workers[s.rng.IntN(len(s.workers))]; !k.dead {
			return k
		}
	}
}

func (s *sim) send(k *worker, c pipelinetest.Command) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return
	}
	for _, p := range c.Lanes {
		if c.Give {
			k.has[p] = true
		} else {
			delete(k.has, p)
		}
	}
	k.src.Cmds <- c
}

func (s *sim) give(p pipeline.Partition, k *worker) {
	s.tellLate(p, k)
	s.owner[p] = k
	s.send(k, pipelinetest.Command{Lanes: []pipeline.Partition{p}, Give: true})
}

func (s *sim) tellLate(p pipeline.Partition, k *worker) {
	if slices.Contains(s.late[p], k) {
		s.late[p] = slices.DeleteFunc(s.late[p], func(o *worker) bool { return o == k })
		s.send(k, pipelinetest.Command{Lanes: []pipeline.Partition{p}, Late: true})
	}
}

func (s *sim) trouble() {
	p := s.parts[s.rng.IntN(len(s.parts))]
	k := s.owner[p]
	switch n := s.rng.IntN(21); {
	case n < 8:
		s.append(s.rng.IntN(12))
	case n < 10 && k != nil: // an orderly rebalance
		done := make(chan struct{})
		s.send(k, pipelinetest.Command{Lanes: []pipeline.Partition{p}, Done: done})
		select {
		case <-done:
		case <-time.After(70 * time.Millisecond):
		}
		s.give(p, s.alive())
	case n < 12 && k != nil: // the old owner is not told
		if next := s.alive(); next != k {
			s.late[p] = append(s.late[p], k)
			s.give(p, next)
		}
	case n < 13:
		for _, k := range slices.Clone(s.late[p]) {
			s.tellLate(p, k)
		}
	case n < 14:
		s.crash()
	case n < 15:
		s.w.LoseHint(p, s.rng.IntN(2) == 0)
	case n < 16:
		s.w.Foreign(someTable[s.rng.IntN(len(someTable))])
	case n < 18:
		s.haltOrResume()
	case n < 19 && s.rng.IntN(4) == 0:
		s.w.Replay([]string{"a", "b", "second:a"}[s.rng.IntN(3)], s.rng.Float64())
	case n == 20 && s.rng.IntN(2) == 0:
		s.rules.Add(1) // workers that start from now on bring a new revision
	case n == 19 && len(s.parts) == 4: // a shard is split
		s.w.CloseLog(s.parts[3])
		s.parts = append(s.parts, pipeline.Partition{Kind: "kinesis", Stream: "taps", Incarnation: "1", ID: "s1"})
		s.append(5)
	}
}

func (s *sim) crash() {
	k := s.alive()
	k.mu.Lock()
	k.dead = true
	k.mu.Unlock()
	k.conn.Kill()
	k.kill()
	for p, o := range s.owner {
		if o == k {
			delete(s.owner, p)
		}
	}
	s.start()
}

func (s *sim) haltOrResume() {
	if len(s.halted) > 0 {
		s.w.Halt(s.halted[0], false)
		s.halted = s.halted[1:]
		return
	}
	name := someTable[s.rng.IntN(len(someTable))]
	s.halted = append(s.halted, name)
	s.w.Halt(name, true)
}

func (s *sim) heal() {
	s.w.Calm.Store(true)
	s.rules.Add(1) // a worker that was slow to start may have put an older configuration in force: an operator settles it
	for _, name := range s.halted {
		s.w.Halt(name, false)
	}
	for p, ks := range s.late {
		for _, k := range slices.Clone(ks) {
			s.tellLate(p, k)
		}
	}
}
