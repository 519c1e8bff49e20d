package kafka

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/firehosed/firehosed/pipeline"
)

// batch is a pipeline.Batch being made, and what it stands on.
type batch struct {
	r       *reader
	from    pipeline.Cursor
	start   int64 // offset of from
	values  [][]byte
	offsets []int64
	times   []int64
	untimed []int // records that the source gave no time
	epochs  []epochFrom
	bytes   int64
	blocks  []*block
	cols    optional
	done    atomic.Bool
}

// epochFrom says that records from an index on have a leader epoch.
type epochFrom struct {
	i     int
	epoch int32
}

func newBatch(r *reader) *batch {
	return &batch{r: r, from: r.from, start: r.pos, cols: r.meta.optional()}
}

// expect makes room for n more records, as far as the batch takes them.
func (b *batch) expect(n int) {
	n = min(n, maxRecords-len(b.values))
	if b.values == nil {
		b.values = b.r.p.pool.values()
	}
	b.values = slices.Grow(b.values, n)
	b.offsets, b.times = slices.Grow(b.offsets, n), slices.Grow(b.times, n)
}

func (b *batch) full() bool  { return len(b.values) >= maxRecords || b.bytes >= maxBatchBytes }
func (b *batch) moved() bool { return b.r.pos > b.start }

// empty reports whether there is nothing to hand out: neither records nor a
// position that moved over holes.
func (b *batch) empty() bool { return !b.moved() }

// holds keeps a block until the batch is released.
func (b *batch) holds(m *block) {
	if !slices.Contains(b.blocks, m) {
		m.hold()
		b.blocks = append(b.blocks, m)
	}
}

// add appends a record, which stays a window, except for what goes into columns.
func (b *batch) add(rec *record) error {
	if err := b.cols.add(rec); err != nil {
		return err
	}
	if epoch := b.r.raw.epoch(); len(b.epochs) == 0 || b.epochs[len(b.epochs)-1].epoch != epoch {
		b.epochs = append(b.epochs, epochFrom{len(b.values), epoch})
	}
	if rec.millis < 0 {
		b.untimed = append(b.untimed, len(b.values))
	}
	b.values = append(b.values, rec.value)
	b.offsets = append(b.offsets, rec.offset)
	b.times = append(b.times, micros(rec.millis))
	b.bytes += int64(len(rec.value) + len(rec.key))
	return nil
}

func (u *unpacked) epoch() int32 {
	if u.old != nil || u.e.magic() < 2 {
		return -1
	}
	return u.e.epoch()
}

// micros converts Kafka's time. A record without one counts as 1970.
func micros(millis int64) int64 {
	if millis < 0 {
		return 0
	}
	return min(millis, math.MaxInt64/1000) * 1000
}

// finish makes the batch. The reader's next span begins where this one ends.
func (b *batch) finish() *pipeline.Batch {
	r := b.r
	to := cursor(r.pos, r.epoch)
	out := &pipeline.Batch{
		Span: pipeline.Span{Partition: r.part, From: b.from, To: to},
		Name: r.topic.name, Values: b.values, Times: b.times,
		Meta: r.meta.record(b),
	}
	out.Cursor = func(i int) pipeline.Cursor {
		if i >= len(b.offsets) {
			return to
		}
		epoch := b.from.Epoch - 1
		for _, e := range b.epochs {
			if e.i < i {
				epoch = e.epoch
			}
		}
		return cursor(b.offsets[i], epoch)
	}
	meta := out.Meta
	out.Release = func() {
		if b.done.CompareAndSwap(false, true) {
			meta.Release()
			b.release()
		}
	}
	r.from = to
	return out
}

func (b *batch) release() {
	for _, m := range b.blocks {
		m.drop()
	}
	b.r.p.pool.putValues(b.values)
	b.blocks, b.values = nil, nil
}
