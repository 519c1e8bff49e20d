package parquetfile

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/firehosed/firehosed/schema"
)

// Pool makes writers that share options, a compressor and the memory of files that
// are done. It keeps at most 32 MiB of encoders for the next files; anything else
// that is idle goes with the next garbage collections. It is safe for concurrent use.
type Pool struct {
	opts  Options
	codec compress.Codec
	pages parquet.BufferPool
	turns chan struct{} // held while a row group is encoded

	mu struct {
		sync.Mutex
		shelves map[*schema.Schema]*shelf
		idle    []*encoder // the latest last
	}
}

// shelf keeps what files of one schema can use again.
type shelf struct {
	plan *plan
	sets sync.Pool // of *columnSet
	encs sync.Pool // of *encoder: those too large to be idle

	mu struct {
		sync.Mutex
		choice choice // of the last file
	}
}

// maxShelves bounds the schemas remembered; evolved tables leave old ones behind.
const maxShelves = 256

// maxIdle bounds the memory of idle encoders. A new one costs more than a small
// file does, and collections come more often than files.
const maxIdle = 32 << 20

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
	p := &Pool{opts: o, codec: codec, pages: &pageBuffers{}}
	p.turns = make(chan struct{}, runtime.GOMAXPROCS(0)) // more would only take memory
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
	set, ok := sh.sets.Get().(*columnSet)
	if !ok {
		set = newColumnSet(sh.plan)
	}
	return &Writer{pool: p, shelf: sh, out: &countingWriter{w: w}, set: set}, nil
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
	sh := &shelf{plan: pl}
	p.mu.shelves[s] = sh
	return sh, nil
}

// encoder returns an encoder for a file whose first row group is set.
func (p *Pool) encoder(sh *shelf, set *columnSet, out io.Writer) (*encoder, error) {
	sh.mu.Lock()
	last := sh.mu.choice
	sh.mu.Unlock()
	ch := choose(set, last)
	sh.mu.Lock()
	sh.mu.choice = ch
	sh.mu.Unlock()
	if e := p.take(sh, ch); e != nil {
		e.start(out)
		return e, nil
	}
	e, err := newEncoder(sh.plan, ch, p)
	if err != nil {
		return nil, fmt.Errorf("parquet schema: %w", err)
	}
	e.start(out)
	return e, nil
}

// put takes back what a finished file used. The encoder of a failed one is nil.
func (p *Pool) put(sh *shelf, set *columnSet, e *encoder) {
	for _, c := range set.cols {
		c.reset()
		c.total.reset()
	}
	sh.sets.Put(set)
	if e == nil {
		return
	}
	e.start(io.Discard)
	if e.held > maxIdle {
		sh.encs.Put(e)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.idle = append(p.mu.idle, e)
	sum := int64(0)
	for i := len(p.mu.idle) - 1; i >= 0; i-- {
		if sum += p.mu.idle[i].held; sum > maxIdle {
			p.mu.idle = slices.Delete(p.mu.idle, 0, i+1)
			break
		}
	}
}

// take returns an idle encoder for the schema and the choice, or nil.
func (p *Pool) take(sh *shelf, ch choice) *encoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, e := range slices.Backward(p.mu.idle) {
		if e.plan == sh.plan && e.choice == ch {
			p.mu.idle = slices.Delete(p.mu.idle, i, i+1)
			return e
		}
	}
	if e, ok := sh.encs.Get().(*encoder); ok && e.choice == ch {
		return e
	}
	return nil
}

// pageBuffers lend out memory for finished pages.
type pageBuffers struct{ free sync.Pool }

func (p *pageBuffers) GetBuffer() io.ReadWriteSeeker {
	if b, ok := p.free.Get().(*pageBuffer); ok {
		return b
	}
	return &pageBuffer{}
}

func (p *pageBuffers) PutBuffer(b io.ReadWriteSeeker) {
	pb := b.(*pageBuffer)
	pb.b, pb.off = pb.b[:0], 0
	p.free.Put(pb)
}

// pageBuffer is written to, rewound, and read. It is as large as what it holds,
// where the Parquet library's own takes 32 KiB for a page of ten bytes.
type pageBuffer struct {
	b   []byte
	off int
}

func (p *pageBuffer) Write(b []byte) (int, error) {
	p.b = append(p.b, b...)
	return len(b), nil
}

func (p *pageBuffer) Read(b []byte) (int, error) {
	if p.off == len(p.b) {
		return 0, io.EOF
	}
	n := copy(b, p.b[p.off:])
	p.off += n
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (p *pageBuffer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p.b[p.off:])
	p.off += n
	return int64(n), err
}

// Seek implements [io.Seeker] as far as it is used: from the start.
func (p *pageBuffer) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 || offset > int64(len(p.b)) {
		return 0, fmt.Errorf("seek page buffer to %d, whence %d", offset, whence)
	}
	p.off = int(offset)
	return offset, nil
}
