package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/consumer"
	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// lane is a partition that the group gave to this worker.
type lane struct {
	s    *Source
	m    *member
	tp   tp
	part pipeline.Partition

	reader consumer.Current[*reader]
}

var _ pipeline.Lane = (*lane)(nil)

// Partition implements pipeline.Lane.
func (l *lane) Partition() pipeline.Partition { return l.part }

// Open implements pipeline.Lane.
func (l *lane) Open(ctx context.Context, st pipeline.Start) (pipeline.Reader, error) {
	l.reader.Set(nil)
	l.s.mu.Lock()
	pl := l.s.mu.live
	l.s.mu.Unlock()
	r, err := l.s.openOn(ctx, pl, l.part, st)
	if err != nil {
		return nil, err
	}
	if !l.reader.Set(r) {
		_ = r.Close()
		return nil, fmt.Errorf("open %v: the group took the partition away", l.part)
	}
	return r, nil
}

func (l *lane) end() { l.reader.End() }

// given reports whether the lane was given away.
func (l *lane) given() bool { return l.reader.Ended() }

func (l *lane) lag() (int64, bool) {
	r := l.reader.Get()
	if r == nil {
		return 0, false
	}
	n := r.lag()
	return n, n >= 0
}

// Ack implements pipeline.Lane. It does not wait for Kafka: acknowledgements are
// gathered for a second, and sent at once when the group takes partitions away.
func (l *lane) Ack(_ context.Context, low pipeline.Cursor, st pipeline.Stamp) error {
	offset, err := offsetOf(low.At)
	if err != nil {
		return fmt.Errorf("acknowledge %v: %w", l.part, err)
	}
	if l.given() {
		return fmt.Errorf("acknowledge %v: the group took the partition away", l.part)
	}
	l.m.acks.put(l, ack{offset, low.Epoch - 1, encodeStamp(st, l.part.Incarnation)})
	return nil
}

func (s *Source) remember(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.lanes[l.part] = l
}

func (s *Source) forget(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.lanes[l.part] == l {
		delete(s.mu.lanes, l.part)
	}
}

// Lag returns how many offsets lie between what was fetched and the end of the
// log, for every lane that is being read and was answered at least once.
func (s *Source) Lag() map[pipeline.Partition]int64 {
	s.mu.Lock()
	var lanes []*lane
	for _, l := range s.mu.lanes {
		lanes = append(lanes, l)
	}
	s.mu.Unlock()
	out := map[pipeline.Partition]int64{}
	for _, l := range lanes {
		if n, ok := l.lag(); ok {
			out[l.part] = n
		}
	}
	return out
}

// Hint implements pipeline.Source.
func (s *Source) Hint(ctx context.Context, p pipeline.Partition) (pipeline.Hint, error) {
	dir, _, err := s.connect()
	if err != nil {
		return pipeline.Hint{}, err
	}
	name := dir.name(p.Incarnation)
	if name == "" {
		w, err := dir.find(ctx, p)
		if err != nil {
			return pipeline.Hint{}, err
		}
		name = w.topic.name
	}
	num, err := strconv.ParseInt(p.ID, 10, 32)
	if err != nil {
		return pipeline.Hint{}, fmt.Errorf("%v is no partition of a Kafka topic", p)
	}
	s.mu.Lock()
	cl := s.mu.cl
	s.mu.Unlock()
	if cl == nil {
		return pipeline.Hint{}, errClosed
	}
	h, err := fetchHint(ctx, cl, s.cfg.Group, dir.topic(name), name, int32(num), p.Incarnation)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return pipeline.Hint{}, nil // a group that never committed
	} else if err != nil {
		return pipeline.Hint{}, fmt.Errorf("read offset of group %q for %s/%s: %w", s.cfg.Group, name, p.ID, explain(err, s.cfg))
	}
	return h, nil
}

// fetchHint reads a group offset. It is no hint if others wrote it, or if it is of
// another incarnation of the topic: Kafka keeps offsets by name.
func fetchHint(ctx context.Context, cl *kgo.Client, group string, t *topic, name string, num int32, incarnation string) (pipeline.Hint, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.Partitions = name, []int32{num}
	if t != nil {
		gt.TopicID = t.id
	}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return pipeline.Hint{}, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return pipeline.Hint{}, err
	}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return pipeline.Hint{}, err
		}
		for _, gt := range g.Topics {
			for _, p := range gt.Partitions {
				if p.Partition == num {
					return hintOf(p, incarnation)
				}
			}
		}
	}
	return pipeline.Hint{}, fmt.Errorf("the answer of %d groups does not have it", len(resp.Groups))
}

func hintOf(p kmsg.OffsetFetchResponseGroupTopicPartition, incarnation string) (pipeline.Hint, error) {
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return pipeline.Hint{}, err
	}
	if p.Offset < 0 || p.Metadata == nil {
		return pipeline.Hint{}, nil
	}
	st, of, ok := decodeStamp(*p.Metadata)
	if !ok || of != incarnation {
		return pipeline.Hint{}, nil
	}
	return pipeline.Hint{At: cursor(p.Offset, p.LeaderEpoch), Stamp: st}, nil
}

// ackEvery is how long acknowledgements are gathered.
const ackEvery = time.Second

// ack is a group offset to be.
type ack struct {
	offset int64
	epoch  int32 // -1: not known
	stamp  string
}

// acks sends group offsets, the newest of each lane, all in one request.
type acks struct {
	cl  *kgo.Client
	log *slog.Logger

	mu struct {
		sync.Mutex
		due map[*lane]ack
	}
}

func newAcks(cl *kgo.Client, log *slog.Logger) *acks {
	a := &acks{cl: cl, log: log}
	a.mu.due = map[*lane]ack{}
	return a
}

func (a *acks) put(l *lane, k ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.due[l] = k
}

func (a *acks) forget(l *lane) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.due, l)
}

func (a *acks) run(ctx context.Context) {
	for {
		pause(ctx, ackEvery)
		if ctx.Err() != nil {
			return
		}
		a.flush(ctx)
	}
}

// flush sends what is due. What fails is due again, unless it was replaced.
func (a *acks) flush(ctx context.Context) {
	a.mu.Lock()
	due := a.mu.due
	a.mu.due = map[*lane]ack{}
	a.mu.Unlock()
	if len(due) == 0 {
		return
	}
	err := failpoint.Err("group.beforeCommit")
	if err == nil {
		err = a.commit(ctx, due)
		failpoint.Hit("group.afterCommit")
	}
	if err != nil {
		a.log.Debug("commit group offsets", "partitions", len(due), "err", err)
		a.mu.Lock()
		defer a.mu.Unlock()
		for l, k := range due {
			if _, newer := a.mu.due[l]; !newer && !l.given() {
				a.mu.due[l] = k
			}
		}
	}
}

func (a *acks) commit(ctx context.Context, due map[*lane]ack) error {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	at := map[tp]*lane{}
	for l, k := range due {
		if offsets[l.tp.topic] == nil {
			offsets[l.tp.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[l.tp.topic][l.tp.num] = kgo.EpochOffset{Epoch: k.epoch, Offset: k.offset}
		at[l.tp] = l
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				stamp := due[at[tp{req.Topics[i].Topic, p.Partition}]].stamp
				p.Metadata = &stamp
			}
		}
		return nil
	})
	var err error
	a.cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, cerr error) {
		if err = cerr; err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if perr := kerr.ErrorForCode(p.ErrorCode); perr != nil {
					err = perr
				}
			}
		}
	})
	return err
}
