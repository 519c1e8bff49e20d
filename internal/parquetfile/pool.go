package parquetfile

import (
	"io"
	"runtime"
	"sync"

	"github.com/parquet-go/parquet-go/compress"

	"github.com/firehosed/firehosed/schema"
)

// Pool makes writers that share options, encoders and the memory of files that are
// done. There is an encoder for each processor, with some MiB of memory each; what
// else is idle goes with the next garbage collections. It is safe for concurrent use.
type Pool struct {
	opts     Options
	codec    compress.Codec
	encoders chan *encoder // those that are free

	mu struct {
		sync.Mutex
		shelves map[*schema.Schema]*shelf
	}
}

// shelf keeps what files of one schema can use again.
type shelf struct {
	plan  *plan
	codec compress.Codec
	sets  sync.Pool // of *columnSet
	feet  sync.Pool // of *footer
}

// maxShelves bounds the schemas remembered; evolved tables leave old ones behind.
const maxShelves = 256

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
	p.mu.shelves = map[*schema.Schema]*shelf{}
	return p, nil
}

// Writer returns a writer of one file of the schema, whose fields must all have
// ids. Nothing is written before the first row group is full.
func (p *Pool) Writer(w io.Writer, s *schema.Schema) (*Writer, error) {
	sh, err := p.shelf(s)
	if err != nil {
		return nil, err
	}
	set, foot := sh.get()
	return &Writer{pool: p, shelf: sh, out: &countingWriter{w: w}, set: set, foot: foot}, nil
}

func (p *Pool) shelf(s *schema.Schema) (*shelf, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sh := p.mu.shelves[s]; sh != nil {
		return sh, nil
	}
	pl, err := newPlan(s, p.opts.MetricColumns)
	if err != nil {
		return nil, err
	}
	if len(p.mu.shelves) >= maxShelves {
		clear(p.mu.shelves)
	}
	sh := &shelf{plan: pl, codec: p.codec}
	p.mu.shelves[s] = sh
	return sh, nil
}

// get returns empty columns and a footer without row groups.
func (sh *shelf) get() (*columnSet, *footer) {
	set, ok := sh.sets.Get().(*columnSet)
	if !ok {
		set = newColumnSet(sh.plan)
	}
	foot, ok := sh.feet.Get().(*footer)
	if !ok {
		foot = newFooter(sh.plan, sh.codec)
	}
	return set, foot
}

// put takes back what a file used.
func (sh *shelf) put(set *columnSet, foot *footer) {
	for _, c := range set.cols {
		c.reset()
		c.total.reset()
	}
	foot.reset()
	sh.sets.Put(set)
	sh.feet.Put(foot)
}
