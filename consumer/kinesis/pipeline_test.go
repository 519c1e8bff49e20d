package kinesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/pipelinetest"
)

// plant is workers that each run the real pipeline over this source.
type plant struct {
	*world
	tables *pipelinetest.World
	mem    memory.Allocator
	cfg    pipeline.Config
	src    Config
	wg     sync.WaitGroup
}

type hand struct {
	conn *pipelinetest.Conn
	stop context.CancelFunc
}

func (p *plant) hire() hand {
	ctx, stop := context.WithCancel(p.Context())
	k := hand{p.tables.Dial(), stop}
	share := pipeline.NewBudget(64 << 20).Share()
	p.wg.Go(func() {
		for ctx.Err() == nil {
			ctl := k.conn.Control()
			var run *pipeline.Pipeline
			s, err := New(p.src, k.conn.Store(), withClient(p.Client()), WithBudget(share),
				WithStarts(func(ctx context.Context, ps []pipeline.Partition) (map[pipeline.Partition]pipeline.Position, error) {
					return run.Starts(ctx, ps)
				}))
			if err != nil {
				p.Error(err)
				return
			}
			run = pipeline.New(p.cfg, s, k.conn.Tables(ctl), ctl, share, pipelinetest.Plan(p.mem), nil)
			_ = run.Run(ctx)
			_ = s.Close()
			_ = pause(ctx, time.Second)
		}
	})
	return k
}

// judge counts the rows of each value.
func (p *plant) judge(want []string) (missing int, faults []string) {
	got := map[string]int{}
	for _, table := range []string{"a", "b"} {
		for id, vals := range p.tables.Rows(table) {
			for _, v := range vals {
				if got[v]++; got[v] > 1 {
					faults = append(faults, fmt.Sprintf("%s is in %s at %q again", v, table, id.At))
				}
			}
		}
	}
	for _, v := range want {
		if got[v] == 0 {
			missing++
		}
		delete(got, v)
	}
	for v := range got {
		faults = append(faults, v+" was never put")
	}
	return missing, faults
}

// TestExactlyOnce: the real runtime over this source, with workers that are killed and
// hired, tables that halt, and shards that are split and merged while
// the service refuses, breaks and loses answers: every record is in its table once.
func TestExactlyOnce(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, 2, func(w *world) { exactlyOnce(w, seed) })
		})
	}
}

func exactlyOnce(w *world, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	p := &plant{world: w, tables: pipelinetest.NewWorld(seed), mem: mem, src: w.config(), cfg: pipeline.Config{
		Name: "web", Rules: 1, Pure: pipelinetest.Config(0),
		CommitInterval: 2 * time.Second, Retry: time.Second, IdlePoll: 20 * time.Second,
		LogPoll: 5 * time.Second, LetGoAfter: 20 * time.Second, RevokeWait: 3 * time.Second, DrainWait: 5 * time.Second,
	}}
	if seed%2 == 1 {
		p.src.FanOut = "firehosed"
	}
	p.src.LeaseDuration = 6 * time.Second
	var mu sync.Mutex
	w.Hook(func(c kinesistest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		switch n := rng.IntN(40); {
		case p.tables.Calm.Load():
		case n == 0:
			return kinesistest.ErrLostReply
		case n == 1:
			return &kinesistest.Error{Code: "InternalFailure", Status: 500}
		case n == 2 && c.Op == "GetRecords":
			return &kinesistest.Error{Code: "ProvisionedThroughputExceededException"}
		case n == 3 && c.Op == "GetRecords":
			return &kinesistest.Error{Code: "ExpiredIteratorException"}
		}
		return nil
	})
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	hands := []hand{p.hire(), p.hire()}
	var put []string
	halted := ""
	for range 50 {
		for range roll(15) {
			v := fmt.Sprintf("%s:f%d:%d1", []string{"a", "a", "b"}[roll(3)], roll(3), len(put))
			put = append(put, v)
			w.Put("a", fmt.Sprint("k", roll(50)), []byte(v))
		}
		time.Sleep(time.Duration(roll(4000)) * time.Millisecond)
		switch n := roll(20); {
		case n < 6:
			w.reshard()
		case n < 8:
			i := roll(len(hands))
			hands[i].conn.Kill()
			hands[i].stop()
			hands[i] = p.hire()
		case n < 9:
			hands = append(hands, p.hire())
		case n < 10 && len(hands) > 1:
			hands[0].stop() // an orderly end
			hands = hands[1:]
		case n < 12 && halted == "":
			halted = []string{"a", "b"}[roll(2)]
			p.tables.Halt(halted, true)
		case n < 14 && halted != "":
			p.tables.Halt(halted, false)
			halted = ""
		case n < 15:
			p.tables.Foreign([]string{"a", "b"}[roll(2)])
		}
	}
	p.tables.Calm.Store(true)
	if halted != "" {
		p.tables.Halt(halted, false)
	}
	missing, faults := p.judge(put)
	for i := 0; missing > 0 && len(faults) == 0 && i < 2000; i++ {
		time.Sleep(time.Second)
		missing, faults = p.judge(put)
	}
	for _, k := range hands {
		k.stop()
	}
	p.wg.Wait()
	synctest.Wait()
	if missing > 0 || len(faults) > 0 {
		w.Errorf("%d of %d missing; %s", missing, len(put), strings.Join(slices.Sorted(slices.Values(faults)), "; "))
	}
	mem.AssertSize(w.T, 0)
}
