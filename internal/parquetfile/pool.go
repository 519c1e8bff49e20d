package parquetfile

import (
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go/compress"

	"github.com/firehosed/firehosed/schema"
)

// Pool makes writers that share options, encoders and the memory of files that are
// done. There is an encoder for each processor, with some MiB of memory each. It is
// safe for concurrent use.
type Pool struct {
	opts     Options
	codec    compress.Codec
	encoders chan *encoder // those that are free

	mu struct {
		sync.Mutex
		plans map[*schema.Schema]*plan
		idle  []*columnSet // the latest last
	}
}

// maxPlans bounds the schemas remembered; evolved tables leave old ones behind.
const maxPlans = 256

// NewPool checks o and returns a pool.
func NewPool(o Options) (*Pool, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	codec, err := newCodec(o.Codec, o.Level)
	if err != nil {
		return nil, err
	}
	n := runtime.GOMAXPROCS(0)
	p := &Pool{opts: o, codec: codec, encoders: make(chan *encoder, n)}
	for range n {
		p.encoders <- newEncoder(&o, codec)
	}
	p.mu.plans = map[*schema.Schema]*plan{}
	return p, nil
}

// Writer returns a writer of one file of the schema, whose fields must all have
// ids. Nothing is written before the first row group is full.
func (p *Pool) Writer(w io.Writer, s *schema.Schema) (*Writer, error) {
	pl, err := p.plan(s)
	if err != nil {
		return nil, err
	}
	return &Writer{pool: p, out: &countingWriter{w: w}, set: p.take(pl)}, nil
}

func (p *Pool) plan(s *schema.Schema) (*plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.mu.plans[s]; pl != nil {
		return pl, nil
	}
	pl, err := newPlan(s, p.opts.MetricColumns)
	if err != nil {
		return nil, err
	}
	if len(p.mu.plans) >= maxPlans {
		clear(p.mu.plans)
	}
	p.mu.plans[s] = pl
	return pl, nil
}

// take returns empty columns, those of a finished file if there are any. Memory
// that has grown to the size of a file need not grow again.
func (p *Pool) take(pl *plan) *columnSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range slices.Backward(p.mu.idle) {
		if s.plan == pl {
			p.mu.idle = slices.Delete(p.mu.idle, i, i+1)
			return s
		}
	}
	return newColumnSet(pl, p.codec)
}

// put takes back what a file used. What has been idle for longest is given up first.
func (p *Pool) put(set *columnSet) {
	set.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.idle = append(p.mu.idle, set)
	sum := int64(0)
	for i, s := range slices.Backward(p.mu.idle) {
		_, held := s.size()
		if sum += held; sum > p.opts.IdleBytes {
			p.mu.idle = slices.Delete(p.mu.idle, 0, i+1)
			break
		}
	}
}
