package s3sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/pipeline/pipelinetest"
	"github.com/firehosed/firehosed/schema"
)

// The real runtime over this sink: workers that are killed, partitions that move, with
// and without a word to their old owner, a store and a bucket that lose answers. Every
// record must be in one object.

type fleet struct {
	*testing.T
	rng    *rand.Rand
	world  *pipelinetest.World
	bucket *objstore.Memory
	cfg    Config
	calm   atomic.Bool
	wg     sync.WaitGroup
	hands  []*hand
	owner  map[pipeline.Partition]*hand
	parts  []pipeline.Partition
	n      int
}

// hand is a worker: a process that runs its pipeline again when it ends.
type hand struct {
	conn   *pipelinetest.Conn
	bucket *objstore.Memory
	stop   context.CancelFunc
	dead   atomic.Bool

	mu  sync.Mutex
	src *pipelinetest.Source
	has map[pipeline.Partition]bool
}

// plan sends every record to one table, by its first letter to one of its prefixes.
func plan(pipeline.Revision, []byte, pipeline.Admit) (func() []pipeline.Steps, error) {
	return func() []pipeline.Steps {
		return []pipeline.Steps{{
			Stages:      []pipeline.Stage{toOne{}},
			Decoder:     decode.NewBytes(decode.BytesConfig{Keys: firstWord{}}),
			DeadLetters: "dead",
			LayRejects: func(b *pipeline.Batch, s *schema.Schema) (pipeline.Rows, error) {
				return decode.DeadLetters{Rev: 1}.Lay(b, s)
			},
		}}
	}, nil
}

type toOne struct{}

func (toOne) Process(_ context.Context, b *pipeline.Batch) error {
	part := pipeline.Part{Table: "t"}
	for i := range b.Values {
		part.Units = append(part.Units, int32(i))
	}
	b.Parts = append(b.Parts, part)
	return nil
}

func (f *fleet) hire() {
	ctx, stop := context.WithCancel(f.Context())
	h := &hand{conn: f.world.Dial(), bucket: f.bucket.Restart(), stop: stop, has: map[pipeline.Partition]bool{}}
	rng := rand.New(rand.NewPCG(f.rng.Uint64(), 5))
	h.bucket.SetFaults(func(objstore.Call) objstore.Outcome {
		switch {
		case h.dead.Load():
			return objstore.Crash
		case f.calm.Load() || rng.IntN(15) > 0:
			return objstore.Pass
		}
		return objstore.Fail + objstore.Outcome(rng.IntN(3))
	})
	share := pipeline.NewBudget(8 << 20).Share()
	h.src = h.conn.Source(share)
	f.hands = append(f.hands, h)
	cfg := pipeline.Config{
		Name: "web", Rules: 1, Pure: pipelinetest.Config(0), CommitInterval: 200 * time.Millisecond, Retry: 100 * time.Millisecond,
		IdlePoll: 2 * time.Second, LogPoll: time.Second, LetGoAfter: 20 * time.Second, RevokeWait: 500 * time.Millisecond, DrainWait: time.Second,
	}
	f.wg.Go(func() {
		for ctx.Err() == nil {
			ctl := h.conn.Control()
			sink, err := New(f.cfg, ctl, WithDeadLetters(func(table string) bool { return table == "dead" }))
			if err != nil {
				f.Error(err)
				return
			}
			sink.bucket = h.bucket
			_ = pipeline.New(cfg, h.src, sink, ctl, share, plan, nil).Run(ctx)
			h.mu.Lock()
			h.src = h.conn.Source(share)
			for p := range h.has { // the group gives them again
				h.src.Cmds <- pipelinetest.Command{Lanes: []pipeline.Partition{p}, Give: true}
			}
			h.mu.Unlock()
		}
	})
}

func (h *hand) send(c pipelinetest.Command) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range c.Lanes {
		if delete(h.has, p); c.Give {
			h.has[p] = true
		}
	}
	h.src.Cmds <- c
}

func (f *fleet) give(p pipeline.Partition) {
	h := f.hands[f.rng.IntN(len(f.hands))]
	f.owner[p] = h
	h.send(pipelinetest.Command{Lanes: []pipeline.Partition{p}, Give: true})
}

func (f *fleet) kill(i int) {
	h := f.hands[i]
	h.dead.Store(true)
	h.conn.Kill()
	h.stop()
	f.hands = append(f.hands[:i:i], f.hands[i+1:]...)
	f.hire()
	for p, o := range f.owner {
		if o == h {
			f.give(p)
		}
	}
}

func (f *fleet) trouble() {
	p := f.parts[f.rng.IntN(len(f.parts))]
	switch n := f.rng.IntN(10); {
	case n < 5:
		for range f.rng.IntN(20) {
			f.world.Append(f.parts[f.rng.IntN(len(f.parts))], fmt.Sprintf("%c %d", 'a'+f.rng.IntN(3), f.n))
			f.n++
		}
	case n < 7: // told, and sometimes given away before it is done
		h, done := f.owner[p], make(chan struct{})
		h.send(pipelinetest.Command{Lanes: []pipeline.Partition{p}, Done: done})
		select {
		case <-done:
		case <-time.After(300 * time.Millisecond):
		}
		f.give(p)
	case n < 8: // told when it is too late
		h := f.owner[p]
		f.give(p)
		if f.owner[p] != h {
			time.Sleep(time.Duration(f.rng.IntN(500)) * time.Millisecond)
			h.send(pipelinetest.Command{Lanes: []pipeline.Partition{p}, Late: true})
		}
	case n < 9:
		f.kill(f.rng.IntN(len(f.hands)))
	default:
		f.bucket.Land()
	}
}

// missing counts the records that are in no object, and complains of those in several.
func (f *fleet) missing() int {
	w := &world{TB: f.T, bucket: f.bucket}
	seen := map[string]bool{}
	for _, l := range w.lines() {
		if seen[l] && l != "" {
			f.Errorf("%q is there twice", l)
		}
		seen[l] = true
	}
	delete(seen, "")
	return f.n - len(seen)
}

func (f *fleet) run() {
	for _, p := range f.parts {
		f.world.Append(p)
	}
	f.hire()
	f.hire()
	for _, p := range f.parts {
		f.give(p)
	}
	for range 60 {
		time.Sleep(time.Duration(f.rng.IntN(400)) * time.Millisecond)
		f.trouble()
		if f.missing(); f.Failed() {
			break
		}
	}
	f.calm.Store(true)
	f.world.Calm.Store(true)
	for i := 0; f.missing() > 0 && i < 300 && !f.Failed(); i++ {
		time.Sleep(time.Second)
	}
	if n := f.missing(); n > 0 {
		f.Errorf("%d of %d records are in no object", n, f.n)
	}
	f.bucket.Land()
	f.missing()
	if keys := (&world{TB: f.T, bucket: f.bucket}).keys(); f.n < 100 || len(keys) < 20 {
		f.Errorf("only %d records in %d objects", f.n, len(keys))
	}
	for _, h := range f.hands {
		h.stop()
	}
	f.wg.Wait()
}

func TestRuntime(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Bucket, cfg.BufferSize, cfg.BufferInterval = "s3://lake", 64<<20, time.Minute
	cfg.Prefix, cfg.ErrorOutputPrefix = "data/!{partitionKeyFromQuery:k}/", "failed/!{firehose:error-output-type}/"
	cfg.Delimiter = `\n`
	for seed := *firstSeed; seed < *firstSeed+4; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{
					T: t, rng: rand.New(rand.NewPCG(seed, 4)), world: pipelinetest.NewWorld(seed), bucket: objstore.NewMemory(), cfg: cfg,
					owner: map[pipeline.Partition]*hand{}, parts: []pipeline.Partition{p0, p1, {Kind: "kafka", Stream: "c", Incarnation: "t", ID: "2"}},
				}
				f.bucket.PartSize = 64
				f.run()
			})
		})
	}
}
