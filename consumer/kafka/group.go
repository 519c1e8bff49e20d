package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/pipeline"
)

// Times of a group member.
const (
	revokeWait  = 5 * time.Second        // for the commits in flight, when partitions are taken away
	leaveWait   = 2 * time.Second        // for the group to let us go; it may be waiting for others
	retryAssign = 500 * time.Millisecond // after the pipeline could not take partitions over
	maxRetry    = 10 * time.Second
)

// internalTopics are Kafka's own.
const internalTopics = "^__(consumer_offsets|transaction_state|share_group_state|cluster_metadata)$"

// member is this worker's part in the group, for one Run.
//
// The client's callbacks only pass events on; one goroutine talks to the handler,
// so that its calls never overlap and a partition is never given and taken at once.
type member struct {
	s      *Source
	h      pipeline.Handler
	cl     *kgo.Client
	dir    *directory
	acks   *acks
	events chan event
	done   chan struct{} // closed when nobody takes events any more

	mu struct {
		sync.Mutex
		stop   context.CancelFunc // ends the call of Assigned that is running; nil: none is
		urgent int                // events that wait for it
	}

	// Of the goroutine in loop.
	owned map[tp]*lane // nil: given to us, but not yet taken over by the pipeline
	wait  time.Duration
}

// tp names a partition as the group does.
type tp struct {
	topic string
	num   int32
}

func compareTP(a, b tp) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.num, b.num))
}

type event struct {
	kind  eventKind
	parts []tp
	done  chan struct{}
}

type eventKind int

const (
	given eventKind = iota
	taken
	lost
)

// Run implements pipeline.Source. It ends with ctx, or with what Assigned returned
// if that is a *pipeline.Halt or pipeline.ErrStale; any other error of Assigned is
// tried again for as long as the partitions are ours.
func (s *Source) Run(ctx context.Context, h pipeline.Handler) error {
	dir, _, err := s.connect()
	if err != nil {
		return err
	}
	m := &member{s: s, h: h, dir: dir, events: make(chan event), done: make(chan struct{}), owned: map[tp]*lane{}, wait: retryAssign}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // of the client, which answers for a while after ctx
	defer end()
	if m.cl, err = kgo.NewClient(append(slices.Clone(s.opts), append(m.options(), kgo.WithContext(life))...)...); err != nil {
		return fmt.Errorf("set up client of group %q: %w", s.cfg.Group, err)
	}
	m.acks = newAcks(m.cl, s.log)
	var wg sync.WaitGroup
	side, stop := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { m.watch(side) })
	wg.Go(func() { m.acks.run(side) })
	err = m.loop(ctx)
	close(m.done)
	stop()
	wg.Wait()
	leaving, cancel := context.WithTimeout(life, leaveWait)
	_ = m.cl.LeaveGroupContext(leaving) // a member that is still there when its session is over is not missed
	cancel()
	end() // else Close waits for the answer to a request to join, which comes when the last member has joined
	m.cl.Close()
	return err
}

// options make the client a member that fetches nothing.
func (m *member) options() []kgo.Opt {
	cfg := m.s.cfg
	opts := []kgo.Opt{
		kgo.ConsumerGroup(cfg.Group),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, cfg.SessionTimeout/3)),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.tell(given, ps) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.tell(taken, ps) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.tell(lost, ps) }),
		// Nothing is assigned to the client itself, so it fetches nothing.
		kgo.AdjustFetchOffsetsFn(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return nil, nil
		}),
	}
	if cfg.TopicsRegex != "" {
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(anchored(cfg.TopicsRegex)),
			kgo.ConsumeExcludeTopics(internalTopics)) // has the client match names under either protocol
	} else {
		opts = append(opts, kgo.ConsumeTopics(cfg.Topics...))
	}
	if cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(cfg.InstanceID))
	}
	if cfg.GroupProtocol == Consumer {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	return opts
}

// tell passes an event on and, unless it is a gift, waits until it was acted on.
func (m *member) tell(kind eventKind, parts map[string][]int32) {
	e := event{kind: kind, done: make(chan struct{})}
	for t, nums := range parts {
		for _, n := range nums {
			e.parts = append(e.parts, tp{t, n})
		}
	}
	if len(e.parts) == 0 {
		return
	}
	slices.SortFunc(e.parts, compareTP)
	if kind == given {
		select {
		case m.events <- e:
		case <-m.done:
		}
		return
	}
	m.interrupt(1)
	defer m.interrupt(-1)
	select {
	case m.events <- e:
	case <-m.done:
		return
	}
	select {
	case <-e.done:
	case <-m.done:
	}
}

// interrupt ends a call of Assigned, and keeps the next from starting until the
// event was acted on: part of what it takes over is being taken away.
func (m *member) interrupt(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.urgent += n
	if m.mu.stop != nil && m.mu.urgent > 0 {
		m.mu.stop()
	}
}

// begin returns the context of a call of Assigned. False: something else is urgent.
func (m *member) begin(ctx context.Context) (context.Context, func(), bool) {
	ctx, stop := context.WithCancel(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.urgent > 0 {
		stop()
		return nil, nil, false
	}
	m.mu.stop = stop
	return ctx, func() {
		m.mu.Lock()
		m.mu.stop = nil
		m.mu.Unlock()
		stop()
	}, true
}

// watch reads the errors of the group; there is nothing else to poll.
func (m *member) watch(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		fs := m.cl.PollFetches(ctx)
		if fs.IsClientClosed() || ctx.Err() != nil {
			return
		}
		fs.EachError(func(topic string, _ int32, err error) {
			if text := err.Error(); text != last { // said once, however often it happens
				last = text
				m.s.log.Warn("consumer group", "group", m.s.cfg.Group, "topic", topic, "err", explain(err, m.s.cfg))
			}
		})
	}
}

// loop acts on events one after the other until ctx ends.
func (m *member) loop(ctx context.Context) error {
	look := time.NewTicker(m.s.cfg.MetadataMaxAge)
	defer look.Stop()
	var again <-chan time.Time
	for {
		try := false
		select {
		case <-ctx.Done():
			m.finish(ctx)
			return ctx.Err()
		case e := <-m.events:
			m.handle(ctx, e)
			close(e.done)
			try = e.kind == given
		case <-look.C:
			try = m.renew(ctx)
		case <-again:
			try = true
		}
		if !try || !m.pending() {
			continue
		}
		again = nil
		switch err := m.assign(ctx); {
		case m.fatal(err):
			m.finish(ctx)
			return err
		case errors.Is(err, errTaken):
			again = time.After(0) // after what interrupted it, which is waiting already
		case err != nil && ctx.Err() == nil:
			m.s.log.Warn("take over partitions", "group", m.s.cfg.Group, "err", err, "again_in", m.wait)
			again = time.After(m.wait)
			m.wait = min(2*m.wait, maxRetry)
		default:
			m.wait = retryAssign
		}
	}
}

// pending reports whether partitions were given to us that the pipeline lacks.
func (m *member) pending() bool {
	for _, l := range m.owned {
		if l == nil {
			return true
		}
	}
	return false
}

// errTaken: partitions are being taken away, so none are taken over now.
var errTaken = errors.New("the group is taking partitions away")

func (m *member) fatal(err error) bool {
	h := (*pipeline.Halt)(nil)
	return errors.Is(err, pipeline.ErrStale) || errors.As(err, &h)
}

// handle books what the group decided.
func (m *member) handle(ctx context.Context, e event) {
	switch e.kind {
	case given:
		for _, p := range e.parts {
			if m.owned[p] == nil {
				m.owned[p] = nil
			}
		}
	case taken:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
		defer cancel()
		m.giveUp(ctx, e.parts)
	case lost:
		ctx, cancel := context.WithCancel(ctx)
		cancel() // someone else's by now
		m.giveUp(ctx, e.parts)
	}
}

// giveUp has the pipeline let go of partitions; what it acknowledges meanwhile is
// sent before the group goes on.
func (m *member) giveUp(ctx context.Context, parts []tp) {
	var lanes []pipeline.Lane
	var gone []*lane
	for _, p := range parts {
		if l := m.owned[p]; l != nil {
			lanes, gone = append(lanes, l), append(gone, l)
		}
		delete(m.owned, p)
	}
	if len(lanes) == 0 {
		return
	}
	m.s.log.Info("giving up partitions", "group", m.s.cfg.Group, "partitions", len(lanes), "lost", ctx.Err() != nil)
	if err := m.h.Revoked(ctx, lanes); err != nil {
		m.s.log.Warn("give up partitions", "group", m.s.cfg.Group, "err", err)
	}
	if ctx.Err() == nil {
		m.acks.flush(ctx)
	}
	for _, l := range gone {
		m.acks.forget(l)
		m.s.forget(l)
		l.end()
	}
}

func (m *member) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
	defer cancel()
	m.giveUp(ctx, sortedKeys(m.owned))
}

// assign has the pipeline take over what was given to us and is not read yet.
func (m *member) assign(ctx context.Context) error {
	ctx, end, ok := m.begin(ctx)
	if !ok {
		return errTaken
	}
	defer end()
	fresh := map[tp]*lane{}
	var lanes []pipeline.Lane
	for _, p := range sortedKeys(m.owned) {
		if m.owned[p] != nil {
			continue
		}
		part, err := m.partition(ctx, p)
		if err != nil {
			return err
		}
		l := &lane{s: m.s, m: m, tp: p, part: part}
		fresh[p], lanes = l, append(lanes, l)
	}
	if err := m.h.Assigned(ctx, lanes); err != nil && ctx.Err() != nil && !m.fatal(err) {
		return errTaken
	} else if err != nil {
		return err
	}
	for p, l := range fresh {
		m.owned[p] = l
		m.s.remember(l)
	}
	m.s.log.Info("reading partitions", "group", m.s.cfg.Group, "more", len(lanes), "all", len(m.owned))
	return nil
}

// partition finds out which incarnation of a topic the group means.
func (m *member) partition(ctx context.Context, p tp) (pipeline.Partition, error) {
	has := func() *topic {
		if t := m.dir.topic(p.topic); t != nil {
			if _, ok := t.parts[p.num]; ok {
				return t
			}
		}
		return nil
	}
	t := has()
	if t == nil {
		if err := m.dir.refresh(ctx, 0); err != nil {
			return pipeline.Partition{}, err
		}
		if t = has(); t == nil {
			return pipeline.Partition{}, fmt.Errorf("topic %q partition %d: %w", p.topic, p.num, kerr.UnknownTopicOrPartition)
		}
	}
	return m.dir.partition(t, p.num), nil
}

// renew looks for topics that were made again under their name: the group does not
// tell, but to the pipeline they are other partitions. True: there are some.
func (m *member) renew(ctx context.Context) bool {
	if err := m.dir.refresh(ctx, m.s.cfg.MetadataMaxAge/2); err != nil {
		m.s.log.Debug("look at the cluster", "err", err)
		return false
	}
	var again []tp
	for p, l := range m.owned {
		if t := m.dir.topic(p.topic); l != nil && t != nil && t.incarnation != l.part.Incarnation {
			again = append(again, p)
		}
	}
	if len(again) == 0 {
		return false
	}
	slices.SortFunc(again, compareTP)
	m.s.log.Warn("topics were deleted and made again", "group", m.s.cfg.Group, "partitions", len(again))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	m.giveUp(ended, again)
	for _, p := range again {
		m.owned[p] = nil
	}
	return true
}

func sortedKeys(m map[tp]*lane) []tp {
	var ks []tp
	for k := range m {
		ks = append(ks, k)
	}
	slices.SortFunc(ks, compareTP)
	return ks
}
