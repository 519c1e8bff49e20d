package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/pipeline"
)

// Limits of a batch: whichever is reached first ends it.
const (
	maxRecords    = 2_000
	maxBatchBytes = 1 << 20
)

// maxRatio is what is believed at most, in percent, when memory is set aside.
const maxRatio = 5_000

// reader reads one partition. Next and Close are its user's; the plane fills it.
type reader struct {
	p     *plane
	part  pipeline.Partition
	topic *topic
	num   int32
	order int // in requests
	meta  metaMaker

	busy  chan struct{}   // a turn: held by Next, and by Close for what is below
	from  pipeline.Cursor // where the next span begins
	pos   int64           // the offset after what was decoded
	epoch int32           // of the record before pos; -1: not known
	cur   *chunk
	raw   unpacked
	stuck error // what comes next cannot be read

	ready chan struct{} // something changed

	mu struct {
		sync.Mutex
		next    int64 // the offset to ask for
		epoch   int32 // of the last batch fetched; -1: none
		queue   []chunk
		waiting int64 // bytes in queue
		err     error // nothing more comes after the queue
		closed  bool
		asked   time.Time // when Next last returned
		idle    bool      // nobody calls Next, and others want the memory

		node      int32 // who is asked
		leader    leader
		suspect   bool // the log may have been cut; nothing is fetched until that is known
		notBefore time.Time
		failed    error     // why the last request brought nothing
		high      int64     // the end of the log as last seen; -1: not yet
		stalled   time.Time // when a transaction was first in the way; zero: none is
		said      bool      // that it is
	}
}

var _ pipeline.Reader = (*reader)(nil)

// chunk is what one response has for one partition.
type chunk struct {
	block   *block
	data    []byte // whole batches
	aborted []aborted
	open    map[int64]bool // producers whose transaction was aborted
	spare   int64          // charged for what data decompresses to
}

// aborted is a transaction that was aborted.
type aborted struct{ producer, first int64 }

// unpacked is a batch being read, its records at hand.
type unpacked struct {
	e     entry // nil: none
	data  []byte
	left  int
	block *block // what data is a window of
	old   []*kgo.Record
}

func newReader(p *plane, part pipeline.Partition, w place, at pipeline.Cursor, offset int64) *reader {
	r := &reader{p: p, part: part, topic: w.topic, num: w.num, order: int(w.num), from: at, pos: offset, epoch: at.Epoch - 1,
		ready: make(chan struct{}, 1), busy: make(chan struct{}, 1), meta: newMetaMaker(p.cfg, w)}
	r.mu.next, r.mu.epoch, r.mu.node = offset, at.Epoch-1, -1
	r.mu.leader = w.topic.parts[w.num]
	r.mu.node = r.mu.leader.node
	r.mu.high, r.mu.asked = -1, time.Now()
	return r
}

// open reports whether the reader is to be fetched for. r.mu is held.
func (r *reader) open() bool {
	return !r.mu.closed && r.mu.err == nil && !r.mu.suspect && !r.mu.idle
}

// fail ends reading once the queue is empty. r.mu is held.
func (r *reader) fail(err error) {
	if r.mu.err == nil {
		r.mu.err = err
	}
	r.signal()
}

func (r *reader) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail(err)
}

func (r *reader) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// stallAfter is how long a transaction may be open before that is worth a word.
const stallAfter = time.Minute

// stalls reports, once, that everything up to an open transaction was read long
// ago, and there is more behind it. r.mu is held.
func (r *reader) stalls(stable int64, now time.Time) bool {
	if stable < 0 || stable > r.mu.next || stable >= r.mu.high {
		r.mu.stalled, r.mu.said = time.Time{}, false
		return false
	}
	if r.mu.stalled.IsZero() {
		r.mu.stalled = now
	}
	if r.mu.said || now.Sub(r.mu.stalled) < stallAfter {
		return false
	}
	r.mu.said = true
	return true
}

// lag returns how many offsets lie between what was read and the end; -1: not known.
func (r *reader) lag() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.high < 0 {
		return -1
	}
	return max(0, r.mu.high-r.mu.next)
}

// Close implements pipeline.Reader. Anybody may call it: a Next that waits ends.
// Batches not released yet stay valid.
func (r *reader) Close() error {
	r.p.remove(r)
	r.mu.Lock()
	r.mu.closed = true
	r.mu.Unlock()
	r.signal()
	r.busy <- struct{}{} // soon: Next has been woken
	defer func() { <-r.busy }()
	r.rewind()
	r.stuck = errReaderClosed
	return nil
}

// drop gives a chunk's memory back.
func (c *chunk) drop() {
	c.block.l.Charge(-c.spare)
	c.block.drop()
}

// Next implements pipeline.Reader.
func (r *reader) Next(ctx context.Context) (*pipeline.Batch, error) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	if r.stuck != nil {
		return nil, r.stuck
	}
	r.mu.Lock()
	idle := r.mu.idle
	r.mu.idle = false
	r.mu.Unlock()
	if idle {
		r.p.wakeFor(r)
	}
	defer func() {
		r.mu.Lock()
		r.mu.asked = time.Now()
		r.mu.Unlock()
	}()
	b := newBatch(r)
	for !b.full() {
		if r.raw.e == nil && !r.unpack(ctx, b) {
			break
		}
		if err := r.read(b); err != nil {
			r.stuck = err
			break
		}
	}
	if b.empty() {
		b.release()
		if r.stuck == nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, r.stuck
	}
	return b.finish(), nil
}

// unpack makes the next batch of the log ready. It waits for one if nothing was
// read yet. False: there is none now, or r.stuck says why there never is.
func (r *reader) unpack(ctx context.Context, b *batch) bool {
	for {
		if r.cur == nil && !r.take(ctx, b.empty()) {
			return false
		}
		if b.moved() && r.p.ledger.Over() || !r.p.room(ctx) {
			return false
		}
		e, rest, err := splitEntry(r.cur.data)
		if e == nil || err != nil { // scan saw only whole ones
			r.drop()
			continue
		}
		r.cur.data = rest
		if e.last() < r.pos {
			continue
		}
		if err := r.decode(e); err != nil {
			if !r.skip(e, err) {
				return false
			}
			continue
		}
		if r.raw.e != nil {
			return true
		}
		r.passed(e) // nothing in it is a record for us
		if b.moved() && len(r.cur.data) == 0 {
			r.drop()
			return false
		}
	}
}

// skip moves past a batch that cannot be read, if an operator has decided that its
// records are left out. Else the reader is stuck.
func (r *reader) skip(e entry, err error) bool {
	end := e.last() + 1
	if next, _, _ := splitEntry(r.cur.data); next != nil && next.first() > r.pos {
		end = min(end, next.first()) // what the batch says of itself may be damaged too
	}
	r.mu.Lock()
	if r.mu.high > r.pos {
		end = min(end, r.mu.high)
	}
	r.mu.Unlock()
	end = max(end, r.pos+1)
	if r.p.skips == nil || !r.p.skips(r.part, position(r.pos), position(end)) {
		r.stuck = unreadable(r.part, r.pos, end, err)
		return false
	}
	r.pos = end
	r.rewind()
	return true
}

// rewind forgets what was fetched: it is fetched again from the position. The
// turn is held.
func (r *reader) rewind() {
	if r.raw.e != nil {
		r.close(&r.raw)
	}
	if r.cur != nil {
		r.drop()
	}
	r.mu.Lock()
	queue := r.mu.queue
	r.mu.queue, r.mu.waiting = nil, 0
	r.mu.next, r.mu.epoch = r.pos, r.epoch
	r.mu.Unlock()
	for i := range queue {
		queue[i].drop()
	}
}

// shed gives back what a reader holds that nobody has asked for a while.
func (r *reader) shed(idle time.Duration) {
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	default:
		return // in Next
	}
	r.mu.Lock()
	idles := !r.mu.closed && (len(r.mu.queue) > 0 || r.cur != nil || r.raw.e != nil) && time.Since(r.mu.asked) >= idle
	r.mu.idle = r.mu.idle || idles
	r.mu.Unlock()
	if idles {
		r.rewind()
	}
}

// passed moves the position past a batch.
func (r *reader) passed(e entry) {
	r.pos = max(r.pos, e.last()+1)
	if e.magic() >= 2 {
		r.epoch = e.epoch()
	}
}

// take gets the next chunk from the queue.
func (r *reader) take(ctx context.Context, wait bool) bool {
	for {
		r.mu.Lock()
		switch {
		case r.mu.closed:
			r.stuck = errReaderClosed
		case len(r.mu.queue) > 0:
			c := r.mu.queue[0]
			r.mu.queue[0] = chunk{}
			r.mu.queue = r.mu.queue[1:]
			r.mu.waiting -= int64(len(c.data))
			r.mu.Unlock()
			c.open = map[int64]bool{}
			r.cur = &c
			r.p.wakeFor(r)
			return true
		case r.mu.err != nil:
			if wait {
				r.stuck = r.mu.err
			}
		}
		r.mu.Unlock()
		if r.stuck != nil || !wait {
			return false
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			return false
		}
	}
}

var errReaderClosed = fmt.Errorf("the reader is closed")

// drop is done with the current chunk.
func (r *reader) drop() {
	r.cur.drop()
	r.cur = nil
}

// decode makes the records of e ready to be read, if there are any for us.
func (r *reader) decode(e entry) error {
	if e.magic() < 2 {
		return r.decodeOld(e)
	}
	if err := e.check(); err != nil {
		return err
	}
	for len(r.cur.aborted) > 0 && r.cur.aborted[0].first <= e.last() {
		r.cur.open[r.cur.aborted[0].producer] = true
		r.cur.aborted = r.cur.aborted[1:]
	}
	skip := e.attributes()&inTxn != 0 && e.attributes()&controlBatch == 0 && r.cur.open[e.producer()]
	if skip || e.i32(atCount) == 0 {
		return nil
	}
	u := unpacked{e: e, data: e[batchHeader:], left: int(e.i32(atCount)), block: r.cur.block}
	if e.compressed() {
		data, err := r.decompress(u.data, kgo.CompressionCodecType(e.attributes()&codecBits))
		if err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
		r.charge(e, data, &u)
	} else {
		u.block.hold()
	}
	if u.left > len(u.data) {
		u.block.drop()
		return fmt.Errorf("%d records in %d bytes", u.left, len(u.data))
	}
	if e.attributes()&controlBatch != 0 {
		defer u.block.drop()
		var rec record
		if _, err := e.readRecord(u.data, &rec); err != nil {
			return err
		}
		if isAbort(rec.key) {
			delete(r.cur.open, e.producer())
		}
		return nil
	}
	r.raw = u
	return nil
}

// decompress returns what data is when decompressed, in memory of the pool.
func (r *reader) decompress(data []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec != kgo.CodecLz4 {
		return r.p.unpack.Decompress(data, codec)
	}
	buf := r.p.pool.GetDecompressBytes(data, codec)
	out, err := unlz4(buf, data, int(r.p.cfg.MaxBatchBytes))
	if err != nil {
		r.p.pool.put(buf)
		return nil, err
	}
	return out, nil
}

// charge accounts for a decompressed batch: what was set aside for it is given back.
func (r *reader) charge(e entry, data []byte, u *unpacked) {
	size := int64(cap(data))
	ratio := int64(len(data)) * 100 / int64(len(e))
	r.p.ratio.Store((7*r.p.ratio.Load() + min(ratio, maxRatio) + 7) / 8)
	back := min(r.cur.spare, size)
	r.cur.spare -= back
	r.p.ledger.Charge(size - back)
	u.data, u.block = data, newBlock(r.p.ledger, size)
	u.block.buffer, u.block.pool = data, r.p.pool
	r.p.ledger.unpacked.Add(1)
}

// decodeOld reads the formats before Kafka 0.11 with the client's own decoder.
func (r *reader) decodeOld(e entry) error {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.Partition, rp.RecordBatches = r.num, e
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: r.pos, Topic: r.topic.name, Partition: r.num,
	}, &rp, r.p.unpack, nil)
	if fp.Err != nil {
		return fp.Err
	}
	if len(fp.Records) == 0 {
		return nil
	}
	r.cur.block.hold()
	r.raw = unpacked{e: e, old: fp.Records, left: len(fp.Records), block: r.cur.block}
	return nil
}

// read adds records to b until it is full or the batch at hand is done.
func (r *reader) read(b *batch) error {
	u := &r.raw
	b.holds(u.block)
	b.expect(u.left)
	rec := record{}
	for u.left > 0 && !b.full() {
		if err := r.record(&rec); err != nil {
			e := u.e
			r.close(u)
			return unreadable(r.part, r.pos, e.last()+1, err)
		}
		u.left--
		if rec.offset < r.pos {
			continue
		}
		if err := b.add(&rec); err != nil {
			e := u.e
			r.close(u)
			return unreadable(r.part, r.pos, e.last()+1, err)
		}
		r.pos = rec.offset + 1
		if u.e.magic() >= 2 {
			r.epoch = u.e.epoch()
		}
	}
	if u.left == 0 {
		r.passed(u.e)
		r.close(u)
	}
	return nil
}

func (r *reader) close(u *unpacked) {
	u.block.drop()
	*u = unpacked{}
}

// record reads the next record of the batch at hand.
func (r *reader) record(rec *record) error {
	u := &r.raw
	if u.old == nil {
		var err error
		u.data, err = u.e.readRecord(u.data, rec)
		return err
	}
	o := u.old[0]
	u.old = u.old[1:]
	*rec = record{offset: o.Offset, millis: o.Timestamp.UnixMilli(), key: o.Key, value: o.Value}
	return nil
}

// unreadable is the halt for what does not decode.
func unreadable(p pipeline.Partition, from, to int64, err error) *pipeline.Halt {
	to = max(to, from+1)
	return &pipeline.Halt{
		Class:  pipeline.HaltUnreadable,
		Detail: fmt.Sprintf("%v: offsets %d to %d cannot be read: %v", p, from, to-1, err),
		Remedy: fmt.Sprintf("firehosed offsets skip %v %d %d", p, from, to),
	}
}
