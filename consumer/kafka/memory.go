package kafka

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/consumer"
)

// ledger counts what a source has fetched and not released.
type ledger struct {
	*consumer.Ledger
	unpacked atomic.Int64 // decompressed batches that are not released
}

func newLedger(limit int64) *ledger { return &ledger{Ledger: consumer.NewLedger(limit)} }

// room waits until less than the limit is used, or nothing that is decompressed is
// still to be released. False: ctx ended.
func (l *ledger) room(ctx context.Context) bool {
	return l.Room(ctx, func() bool { return l.unpacked.Load() == 0 })
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
		b.l.unpacked.Add(-1)
	}
	b.l.Charge(-b.size)
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
