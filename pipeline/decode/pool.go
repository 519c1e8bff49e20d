package decode

import (
	"runtime"
	"slices"
	"sync"

	"github.com/firehosed/firehosed/schema"
)

// Pool lends decoders to lanes. The memory that one keeps grows with the columns of
// its tables; were each lane to have its own, it would grow with the number of
// partitions as well. No more are out at a time than there are processors: nothing
// but computing is done with one. It is safe for concurrent use.
type Pool struct {
	keep  int
	slabs *schema.Slabs // of the batches that go out
	turns chan struct{} // one for each decoder that is out

	mu struct {
		sync.Mutex
		idle []idle // the latest last
	}
}

// idle is a decoder that nobody uses, and the options it was made with.
type idle struct {
	opt schema.Options
	d   *schema.Decoder
}

// NewPool returns a pool that keeps at most keep bytes of decoders while nobody decodes,
// and batches bytes for the next batches: those of a row group come back all at once, when
// it is encoded. It lends at most so many decoders at a time.
func NewPool(keep, batches, atOnce int) *Pool {
	return &Pool{
		keep: keep, slabs: schema.NewSlabs(batches),
		turns: make(chan struct{}, max(1, min(atOnce, runtime.GOMAXPROCS(0)))),
	}
}

// use calls f with a decoder of these options, which f must not keep. It waits for
// other calls to end.
func (p *Pool) use(opt schema.Options, f func(*schema.Decoder)) {
	p.turns <- struct{}{}
	defer func() { <-p.turns }()
	d := p.take(opt)
	f(d)
	p.put(idle{opt, d}) // not when f panics: the decoder is in an unknown state
}

// take returns the decoder that was used last with these options, or a new one.
func (p *Pool) take(opt schema.Options) *schema.Decoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, it := range slices.Backward(p.mu.idle) {
		if it.opt == opt {
			p.mu.idle = slices.Delete(p.mu.idle, i, i+1)
			return it.d
		}
	}
	if opt.Mem == nil {
		opt.Mem = p.slabs
	}
	return schema.NewDecoder(opt)
}

// put takes a decoder back and forgets those not used for longest, as far as that
// is needed for the rest not to hold too much.
func (p *Pool) put(it idle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.idle = append(p.mu.idle, it)
	held := 0
	for i, it := range slices.Backward(p.mu.idle) {
		if held += it.d.Held(); held > p.keep {
			p.mu.idle = slices.Delete(p.mu.idle, 0, i+1)
			return
		}
	}
}
