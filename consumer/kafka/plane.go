package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// Sizes of requests, in bytes on the wire.
const (
	leastRequest = 32 << 10
	minRequest   = 256 << 10 // to a broker that had nothing last time
	maxRequest   = 8 << 20
	maxPartition = 1 << 20 // of one partition in a response, and waiting in a reader
)

// hurried is how long a broker may wait while a reader that is full now will want
// more soon.
const hurried = 20 * time.Millisecond

// plane fetches for readers: for each broker one request at a time, for all its
// readers that have room. It is safe for concurrent use.
type plane struct {
	cl     *kgo.Client
	dir    *directory
	logs   *logs
	ledger *ledger
	pool   *pool
	unpack kgo.Decompressor
	cfg    Config
	log    *slog.Logger
	life   context.Context // of its goroutines; ends in close
	stop   context.CancelFunc
	wg     sync.WaitGroup
	kick   chan struct{} // look at the cluster soon

	patience time.Duration // with readers that are not read from, when others wait for memory
	skips    Skips

	ratio atomic.Int64 // what fetched bytes decompress to, in percent, lately

	mu struct { // before reader.mu
		sync.Mutex
		closed  bool
		readers map[*reader]struct{}
		nodes   map[int32]*node
	}
}

// node is the loop for one broker.
type node struct {
	id   int32
	wake chan struct{}
	next int // where the next request begins, so that no partition is always last
}

func newPlane(cl *kgo.Client, dir *directory, s *Source) *plane {
	p := &plane{cl: cl, dir: dir, logs: &logs{cl, dir}, ledger: s.ledger, pool: s.pool, cfg: s.cfg, log: s.log,
		patience: s.patience, skips: s.skips, kick: make(chan struct{}, 1)}
	p.unpack, _ = cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	p.life, p.stop = context.WithCancel(context.Background())
	p.ratio.Store(400)
	p.mu.readers, p.mu.nodes = map[*reader]struct{}{}, map[int32]*node{}
	p.wg.Go(p.watch)
	return p
}

// close ends every reader and waits for the goroutines.
func (p *plane) close() {
	p.mu.Lock()
	p.mu.closed = true
	var rs []*reader
	for r := range p.mu.readers {
		rs = append(rs, r)
	}
	p.mu.Unlock()
	p.stop()
	for _, r := range rs {
		_ = r.Close()
	}
	p.wg.Wait()
}

// add begins to fetch for a reader.
func (p *plane) add(r *reader) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return errClosed
	}
	p.mu.readers[r] = struct{}{}
	p.settle(r, r.topic.parts[r.num])
	return nil
}

var errClosed = errors.New("the source is closed")

func (p *plane) remove(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.readers, r)
}

// settle tells a reader which broker it is fetched from. p.mu is held.
func (p *plane) settle(r *reader, l leader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.epoch != r.mu.leader.epoch && r.mu.epoch >= 0 {
		r.mu.suspect = true // the new leader's log may have diverged
	}
	if l != r.mu.leader {
		r.mu.leader, r.mu.node = l, l.node
	}
	p.wake(r.mu.node)
}

// wake makes the loop of a broker look at its readers, and starts it. p.mu is held.
func (p *plane) wake(id int32) {
	if id < 0 || p.mu.closed {
		return
	}
	n := p.mu.nodes[id]
	if n == nil {
		n = &node{id: id, wake: make(chan struct{}, 1)}
		p.mu.nodes[id] = n
		p.wg.Go(func() { p.serve(n) })
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (p *plane) wakeFor(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.mu.Lock()
	id := r.mu.node
	r.mu.Unlock()
	p.wake(id)
}

// look makes watch look at the cluster soon.
func (p *plane) look() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// serve fetches from one broker.
func (p *plane) serve(n *node) {
	size, failing := int64(minRequest), false
	for p.life.Err() == nil {
		switch wanted, soon := p.wanted(n.id); {
		case wanted == 0 && soon:
			pause(p.life, hurried)
			continue
		case wanted == 0:
			select {
			case <-n.wake:
			case <-p.life.Done():
			}
			continue
		default:
			size = min(size, maxRequest, maxPartition*int64(wanted))
		}
		ask, hold := p.afford(size)
		if !p.acquire(hold) {
			return
		}
		got, err := p.fetch(n, ask, hold)
		switch {
		case err != nil && p.life.Err() == nil:
			if !failing {
				p.log.Warn("fetch from broker", "broker", n.id, "err", explain(err, p.cfg))
			}
			failing = true
			p.look()
			pause(p.life, 250*time.Millisecond)
		case got >= ask/2:
			size, failing = ask*2, false
		case got == 0:
			size, failing = max(size/2, minRequest), false
		default:
			failing = false
		}
	}
}

// afford returns how much to ask for, and to hold for it and what it decompresses
// to: at most half of the limit, so that one request does not stop all others.
func (p *plane) afford(size int64) (ask, hold int64) {
	ratio := p.ratio.Load()
	ask = max(min(size, p.cfg.FetchBytes/4*100/(100+ratio)), leastRequest)
	return ask, min(ask+ask*ratio/100, p.cfg.FetchBytes/2)
}

// acquire waits for memory. When that takes long, readers that nobody reads from,
// those of halted partitions for example, give theirs up. False: the plane is closed.
func (p *plane) acquire(n int64) bool {
	for p.life.Err() == nil {
		ctx, cancel := context.WithTimeout(p.life, p.patience)
		err := p.ledger.Acquire(ctx, n)
		cancel()
		if err == nil {
			return true
		}
		p.shed()
	}
	return false
}

// shed takes memory back from readers that are not read from.
func (p *plane) shed() {
	p.mu.Lock()
	var rs []*reader
	for r := range p.mu.readers {
		rs = append(rs, r)
	}
	p.mu.Unlock()
	for _, r := range rs {
		r.shed(p.patience)
	}
}

// room waits until a batch may be decompressed. What was fetched is paid for by an
// estimate; where that was too low, readers wait for each other's batches.
func (p *plane) room(ctx context.Context) bool {
	for ctx.Err() == nil {
		wait, cancel := context.WithTimeout(ctx, p.patience)
		ok := p.ledger.room(wait)
		cancel()
		if ok {
			return true
		}
		p.shed()
	}
	return false
}

// wanted counts the readers of a broker that have room, and reports whether others
// will want to be asked for soon.
func (p *plane) wanted(id int32) (n int, soon bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for r := range p.mu.readers {
		r.mu.Lock()
		if r.mu.node == id && r.open() {
			switch {
			case now.Before(r.mu.notBefore):
				soon = true
			case r.mu.waiting < maxPartition:
				n++
			}
		}
		r.mu.Unlock()
	}
	return n, soon
}

// pick returns the readers that the next request is for, at most one of each
// partition, and whether every reader of the broker is among them.
func (p *plane) pick(n *node) (rs []*reader, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, seen := time.Now(), map[pipeline.Partition]bool{}
	all = true
	for r := range p.mu.readers {
		r.mu.Lock()
		switch {
		case r.mu.node != n.id || !r.open():
		case seen[r.part] || now.Before(r.mu.notBefore) || r.mu.waiting >= maxPartition:
			all = false
		default:
			seen[r.part] = true
			rs = append(rs, r)
		}
		r.mu.Unlock()
	}
	slices.SortFunc(rs, func(a, b *reader) int { return a.order - b.order })
	if len(rs) > 1 {
		n.next = (n.next + 1) % len(rs)
		rs = append(rs[n.next:], rs[:n.next]...)
	}
	return rs, all
}

// fetch sends one request and hands out what it brings. hold is what was acquired
// for it. It returns the bytes that came.
func (p *plane) fetch(n *node, size, hold int64) (int64, error) {
	asked, all := p.pick(n)
	if len(asked) == 0 {
		p.ledger.Charge(-hold)
		return 0, nil
	}
	req, at := p.request(asked, size, all)
	var resp *kmsg.FetchResponse
	got, err := p.cl.Broker(int(n.id)).Request(p.life, named(req, asked))
	if resp, _ = got.(*kmsg.FetchResponse); err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	size = sizeOf(resp)
	if err == nil && size > 0 {
		err = failpoint.Err("src.poll.afterFetch")
	}
	if err != nil {
		p.ledger.Charge(-hold)
		return 0, err
	}
	p.ledger.Charge(size - hold)
	b := newBlock(p.ledger, size)
	defer b.drop()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			key := fetchKey{t.Topic, t.TopicID, rp.Partition}
			if resp.Version >= 13 {
				key.name = ""
			} else {
				key.id = [16]byte{}
			}
			if a, ok := at[key]; ok {
				p.deliver(a.r, a.offset, rp, b)
			}
		}
	}
	return size, nil
}

// sizeOf returns the bytes of records in a response, which may be nil.
func sizeOf(resp *kmsg.FetchResponse) (size int64) {
	if resp == nil {
		return 0
	}
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			size += int64(len(resp.Topics[i].Partitions[j].RecordBatches))
		}
	}
	return size
}

// byName is a request in the last version that names topics by their names.
type byName struct{ *kmsg.FetchRequest }

// MaxVersion implements kmsg.Request.
func (byName) MaxVersion() int16 { return 12 }

// named limits the version where a topic has no id, as on clusters that were
// upgraded halfway.
func named(req *kmsg.FetchRequest, asked []*reader) kmsg.Request {
	if slices.ContainsFunc(asked, func(r *reader) bool { return r.topic.id == [16]byte{} }) {
		return byName{req}
	}
	return req
}

// fetchKey is a partition in a response: by topic id from version 13 on, by name before.
type fetchKey struct {
	name string
	id   [16]byte
	num  int32
}

type askedFor struct {
	r      *reader
	offset int64
}

// request lists what to fetch. The version, hence how topics are named, is known
// only when it is sent.
func (p *plane) request(asked []*reader, size int64, all bool) (*kmsg.FetchRequest, map[fetchKey]askedFor) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(min(p.cfg.FetchMaxWait, hurried).Milliseconds())
	if all {
		req.MaxWaitMillis = int32(p.cfg.FetchMaxWait.Milliseconds())
	}
	req.MinBytes, req.MaxBytes = 1, int32(size)
	req.IsolationLevel, req.Rack = 1, p.cfg.Rack
	req.SessionID, req.SessionEpoch = 0, -1 // no session: what is asked for changes all the time
	at := map[fetchKey]askedFor{}
	index := map[fetchKey]int{}
	for _, r := range asked {
		r.mu.Lock()
		offset, epoch := r.mu.next, r.mu.leader.epoch
		r.mu.Unlock()
		of := fetchKey{r.topic.name, r.topic.id, 0}
		i, ok := index[of]
		if !ok {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = r.topic.name, r.topic.id
			i = len(req.Topics)
			index[of], req.Topics = i, append(req.Topics, t)
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.CurrentLeaderEpoch = r.num, offset, epoch
		rp.PartitionMaxBytes = int32(min(size, maxPartition))
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
		at[fetchKey{"", r.topic.id, r.num}] = askedFor{r, offset}
		at[fetchKey{r.topic.name, [16]byte{}, r.num}] = askedFor{r, offset}
	}
	return req, at
}

// deliver takes one partition of a response.
func (p *plane) deliver(r *reader, asked int64, rp *kmsg.FetchResponseTopicPartition, b *block) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open() || r.mu.next != asked {
		return
	}
	if rp.ErrorCode != 0 {
		p.refused(r, kerr.ErrorForCode(rp.ErrorCode))
		return
	}
	r.mu.high = rp.HighWatermark
	if r.stalls(rp.LastStableOffset, time.Now()) {
		p.log.Warn("a transaction is open for long, and nothing behind it can be read", "partition", r.part, "topic", r.topic.name,
			"offset", rp.LastStableOffset, "end", rp.HighWatermark, "since", r.mu.stalled)
	}
	if rp.PreferredReadReplica >= 0 && rp.PreferredReadReplica != r.mu.node {
		r.mu.node = rp.PreferredReadReplica
		p.wg.Go(func() { p.wakeFor(r) })
		return
	}
	c, last, epoch, err := p.scan(rp, asked)
	if err != nil {
		r.fail(unreadable(r.part, asked, asked+1, err))
		return
	}
	if len(c.data) == 0 {
		return
	}
	b.hold()
	c.block = b
	p.ledger.Charge(c.spare)
	r.mu.next, r.mu.epoch = last+1, epoch
	r.mu.queue = append(r.mu.queue, c)
	r.mu.waiting += int64(len(c.data))
	r.signal()
}

// scan finds the whole batches of a response, where the next request goes on, and
// what they may decompress to.
func (p *plane) scan(rp *kmsg.FetchResponseTopicPartition, asked int64) (c chunk, last int64, epoch int32, err error) {
	rest, ratio := rp.RecordBatches, p.ratio.Load()
	last, epoch = asked-1, -1
	for {
		var e entry
		if e, rest, err = splitEntry(rest); err != nil || e == nil {
			break
		}
		c.data = rp.RecordBatches[:len(c.data)+len(e)]
		if e.compressed() {
			c.spare += int64(len(e)) * ratio / 100
		}
		if e.last() > last {
			last = e.last()
		}
		if e.magic() >= 2 {
			epoch = e.epoch()
		}
	}
	if len(c.data) > 0 {
		err = nil // what cannot be split comes again, first in its response
	} else if err == nil && len(rp.RecordBatches) > 0 {
		err = fmt.Errorf("a response of %d bytes has no whole batch", len(rp.RecordBatches))
	}
	if err == nil && len(c.data) > 0 && last < asked {
		err = fmt.Errorf("asked for offset %d, the broker sent batches up to %d", asked, last)
	}
	for i := range rp.AbortedTransactions {
		c.aborted = append(c.aborted, aborted{rp.AbortedTransactions[i].ProducerID, rp.AbortedTransactions[i].FirstOffset})
	}
	slices.SortFunc(c.aborted, func(a, b aborted) int { return int(min(max(a.first-b.first, -1), 1)) })
	return c, last, epoch, err
}

// refused acts on the error of a partition. r.mu is held.
func (p *plane) refused(r *reader, err error) {
	r.mu.notBefore = time.Now().Add(minRefresh)
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		if r.mu.node == r.mu.leader.node {
			r.mu.suspect = true
		}
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		r.fail(fmt.Errorf("read topic %q: %w: allow the user READ on the topic", r.topic.name, err))
	case errors.Is(err, kerr.FencedLeaderEpoch), errors.Is(err, kerr.UnknownLeaderEpoch):
		if r.mu.epoch >= 0 {
			r.mu.suspect = true
		}
	case kerr.IsRetriable(err):
	default:
		r.fail(fmt.Errorf("read %s at offset %d: %w", r.topic.name+"/"+strconv.Itoa(int(r.num)), r.mu.next, err))
	}
	r.mu.node = r.mu.leader.node
	r.mu.failed = err
	p.look()
}

// watch keeps up with the cluster: leaders, topic ids, and what they say of logs
// that may have changed.
func (p *plane) watch() {
	for p.life.Err() == nil {
		age := p.cfg.MetadataMaxAge / 2
		select {
		case <-p.life.Done():
			return
		case <-p.kick:
			age = minRefresh / 2
			pause(p.life, minRefresh)
		case <-time.After(p.cfg.MetadataMaxAge):
		}
		if err := p.dir.refresh(p.life, age); err != nil && p.life.Err() == nil {
			p.log.Debug("look at the cluster", "err", err)
			p.look()
			continue
		}
		p.review()
	}
}

// review settles every reader by what the directory knows now.
func (p *plane) review() {
	p.mu.Lock()
	var suspects []*reader
	for r := range p.mu.readers {
		switch t := p.dir.topic(r.topic.name); {
		case t == nil:
			r.end(fmt.Errorf("topic %q does not exist any more", r.topic.name))
		case t.incarnation != r.part.Incarnation:
			r.end(p.dir.recreated(r.part, t))
		default:
			if l, ok := t.parts[r.num]; ok {
				p.settle(r, l)
			}
		}
		r.mu.Lock()
		if r.mu.suspect && r.mu.err == nil {
			suspects = append(suspects, r)
		}
		if r.mu.node < 0 {
			p.look()
		}
		r.mu.Unlock()
	}
	p.mu.Unlock()
	for _, r := range suspects {
		p.verify(r)
	}
}

// verify asks whether the log still is what a reader has read.
func (p *plane) verify(r *reader) {
	r.mu.Lock()
	at := cursor(r.mu.next, r.mu.epoch)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(p.life, 30*time.Second)
	defer cancel()
	err := p.logs.check(ctx, place{r.topic, r.num}, r.part, pipeline.Start{At: at})
	if h := (*pipeline.Halt)(nil); errors.As(err, &h) {
		r.end(h)
		return
	} else if err != nil {
		p.log.Debug("check the log", "partition", r.part, "err", err)
		p.look()
		return
	}
	r.mu.Lock()
	r.mu.suspect = false
	r.mu.Unlock()
	p.wakeFor(r)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
