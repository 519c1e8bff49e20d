package kafka

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Budget is the memory that a source may use; *pipeline.Share is one.
type Budget interface {
	// Acquire waits until n bytes are free.
	Acquire(ctx context.Context, n int64) error
	// Charge adds n bytes, or gives -n back, without waiting.
	Charge(n int64)
}

// ledger counts what a source has fetched and not released, within a limit of its
// own and the budget of the pipeline.
type ledger struct {
	budget Budget // nil: only the limit
	limit  int64

	mu struct {
		sync.Mutex
		used     int64
		unpacked int           // decompressed batches that are not released
		freed    chan struct{} // closed and replaced whenever memory comes back
	}
}

func newLedger(budget Budget, limit int64) *ledger {
	l := &ledger{budget: budget, limit: limit}
	l.mu.freed = make(chan struct{})
	return l
}

// acquire waits until n bytes are free. One request passes whatever its size.
func (l *ledger) acquire(ctx context.Context, n int64) error {
	for {
		l.mu.Lock()
		if l.mu.used == 0 || l.mu.used+n <= l.limit {
			l.mu.used += n
			l.mu.Unlock()
			break
		}
		freed := l.mu.freed
		l.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if l.budget == nil {
		return nil
	}
	if err := l.budget.Acquire(ctx, n); err != nil {
		l.count(-n)
		return err
	}
	return nil
}

// room waits until less than the limit is used, or nothing that is decompressed is
// still to be released. False: ctx ended.
func (l *ledger) room(ctx context.Context) bool {
	for {
		l.mu.Lock()
		ok, freed := l.mu.used <= l.limit || l.mu.unpacked == 0, l.mu.freed
		l.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

// over reports whether more than the limit is used.
func (l *ledger) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used > l.limit
}

// unpacked counts decompressed batches.
func (l *ledger) unpacked(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.unpacked += n
}

// charge adds n bytes, or gives -n back.
func (l *ledger) charge(n int64) {
	if n == 0 {
		return
	}
	l.count(n)
	if l.budget != nil {
		l.budget.Charge(n)
	}
}

func (l *ledger) count(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.used += n
	if n < 0 {
		close(l.mu.freed)
		l.mu.freed = make(chan struct{})
	}
}

func (l *ledger) used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used
}

// block is memory that records are windows of. Chunks and batches hold it.
type block struct {
	l      *ledger
	size   int64 // charged for it
	holds  atomic.Int32
	buffer []byte // goes back to the pool; nil: not from there
	pool   *pool
}

// newBlock returns a block that is held once and whose size is charged already.
func newBlock(l *ledger, size int64) *block {
	b := &block{l: l, size: size}
	b.holds.Store(1)
	return b
}

func (b *block) hold() { b.holds.Add(1) }

func (b *block) drop() {
	if b.holds.Add(-1) > 0 {
		return
	}
	if b.buffer != nil {
		b.l.unpacked(-1)
	}
	b.l.charge(-b.size)
	if b.buffer != nil {
		b.pool.put(b.buffer)
	}
}

// pool keeps buffers for decompressed batches and the values of batches.
type pool struct{ p, v sync.Pool }

// values returns an empty list of records.
func (p *pool) values() [][]byte {
	if v, _ := p.v.Get().(*[][]byte); v != nil {
		return *v
	}
	return nil
}

// putValues takes a list back; nobody may use it any more.
func (p *pool) putValues(v [][]byte) {
	if cap(v) > 0 {
		clear(v) // or it would keep what it pointed to
		v = v[:0]
		p.v.Put(&v)
	}
}

// maxPooled is the largest buffer worth keeping.
const maxPooled = 8 << 20

var _ kgo.PoolDecompressBytes = (*pool)(nil)

// GetDecompressBytes implements kgo's interface.
func (p *pool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if b, _ := p.p.Get().(*[]byte); b != nil {
		return *b
	}
	return make([]byte, 0, 4*len(compressed))
}

// PutDecompressBytes implements kgo's interface.
func (p *pool) PutDecompressBytes(b []byte) { p.put(b) }

func (p *pool) put(b []byte) {
	if cap(b) <= maxPooled {
		b = b[:0]
		p.p.Put(&b)
	}
}
