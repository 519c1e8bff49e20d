package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/pipeline"
)

// minRefresh is the least time between two looks at the cluster's metadata.
const minRefresh = 100 * time.Millisecond

// topicGrace is longer than a controller needs to make a topic known everywhere.
const topicGrace = 15 * time.Second

// directory knows the cluster: which topics match, their ids, who leads their
// partitions. It is safe for concurrent use.
type directory struct {
	adm    *kadm.Client
	topics []string
	regex  *regexp.Regexp // nil: topics
	turn   chan struct{}  // one look at a time
	grace  time.Duration  // how long a topic may be unknown before it is gone

	mu struct {
		sync.Mutex
		cluster string
		seen    time.Time
		topics  map[string]*topic    // by name, as last seen
		missing map[string]time.Time // since when the cluster does not know a topic that it knew
		names   map[string]string    // by incarnation, also of topics that are gone
	}
}

// topic is one topic as last seen. It is immutable.
type topic struct {
	name        string
	id          [16]byte
	incarnation string
	parts       map[int32]leader
}

type leader struct {
	node  int32 // -1: none now
	epoch int32
}

func newDirectory(cl *kgo.Client, cfg Config) *directory {
	d := &directory{adm: kadm.NewClient(cl), topics: cfg.Topics, turn: make(chan struct{}, 1), grace: topicGrace}
	if cfg.TopicsRegex != "" {
		d.topics, d.regex = nil, wholeName(cfg.TopicsRegex)
	}
	d.mu.topics, d.mu.names, d.mu.missing = map[string]*topic{}, map[string]string{}, map[string]time.Time{}
	return d
}

// wholeName compiles an expression that Validate has checked.
func wholeName(expr string) *regexp.Regexp { return regexp.MustCompile(anchored(expr)) }

func anchored(expr string) string { return "^(?:" + expr + ")$" }

// refresh looks at the cluster, unless somebody did less than age ago.
func (d *directory) refresh(ctx context.Context, age time.Duration) error {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	d.mu.Lock()
	fresh := time.Since(d.mu.seen) < age
	d.mu.Unlock()
	if fresh {
		return nil
	}
	m, err := d.adm.Metadata(ctx, d.topics...)
	if err != nil {
		return fmt.Errorf("read metadata of the cluster: %w", err)
	}
	if m.Cluster == "" {
		return errors.New("read metadata of the cluster: the brokers tell no cluster id; Kafka 0.10.1 or newer is needed")
	}
	return d.take(m)
}

// take keeps what was seen. A topic that could not be loaded stays as it was.
func (d *directory) take(m kadm.Metadata) error {
	var errs []error
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[string]*topic{}
	for name, t := range m.Topics {
		if d.regex != nil && (t.IsInternal || !d.regex.MatchString(name)) {
			continue
		}
		switch {
		case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			continue
		case t.Err != nil:
			if errors.Is(t.Err, kerr.TopicAuthorizationFailed) {
				errs = append(errs, fmt.Errorf("topic %q: %w", name, t.Err))
			}
			if old := d.mu.topics[name]; old != nil {
				seen[name] = old
			}
			continue
		}
		n := &topic{name: name, id: t.ID, incarnation: incarnation(name, t.ID), parts: map[int32]leader{}}
		for i, p := range t.Partitions {
			n.parts[i] = leader{p.Leader, p.LeaderEpoch}
		}
		seen[name] = n
		d.mu.names[n.incarnation] = name
	}
	d.keep(seen)
	d.mu.cluster, d.mu.topics, d.mu.seen = m.Cluster, seen, time.Now()
	return errors.Join(errs...)
}

// keep adds topics to seen that were there a moment ago: while controllers change,
// brokers may not know a topic for some seconds. d.mu is held.
func (d *directory) keep(seen map[string]*topic) {
	for name, t := range d.mu.topics {
		if seen[name] != nil {
			delete(d.mu.missing, name)
			continue
		}
		since, ok := d.mu.missing[name]
		if !ok {
			since = time.Now()
			d.mu.missing[name] = since
		}
		if time.Since(since) < d.grace {
			seen[name] = t
		} else {
			delete(d.mu.missing, name)
		}
	}
}

// incarnation writes a topic id as Kafka's tools do.
func incarnation(name string, id [16]byte) string {
	if id == [16]byte{} {
		return unnamed + name
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// topic returns the topic of that name as last seen, or nil.
func (d *directory) topic(name string) *topic {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.topics[name]
}

// name returns the name of an incarnation, or "".
func (d *directory) name(incarnation string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.names[incarnation]
}

func (d *directory) cluster() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.cluster
}

// all returns the topics as last seen, by name.
func (d *directory) all() []*topic {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ts []*topic
	for _, name := range slices.Sorted(maps.Keys(d.mu.topics)) {
		ts = append(ts, d.mu.topics[name])
	}
	return ts
}

// partition names one partition of a topic.
func (d *directory) partition(t *topic, num int32) pipeline.Partition {
	return pipeline.Partition{Kind: Kind, Stream: d.cluster(), Incarnation: t.incarnation, ID: strconv.Itoa(int(num))}
}

// place is a partition as the cluster knows it.
type place struct {
	topic *topic
	num   int32
}

func (w place) String() string { return w.topic.name + "/" + strconv.Itoa(int(w.num)) }

// find returns where a partition is. It asks the cluster if it is not known.
func (d *directory) find(ctx context.Context, p pipeline.Partition) (place, error) {
	w, err := d.look(p)
	if err == nil {
		return w, nil
	}
	if rerr := d.refresh(ctx, 0); rerr != nil {
		return place{}, rerr
	}
	return d.look(p)
}

func (d *directory) look(p pipeline.Partition) (place, error) {
	num, err := strconv.ParseInt(p.ID, 10, 32)
	if p.Kind != Kind || err != nil || num < 0 {
		return place{}, fmt.Errorf("%v is no partition of a Kafka topic", p)
	}
	if c := d.cluster(); c != p.Stream {
		return place{}, fmt.Errorf("%v is of another Kafka cluster: the brokers here are of cluster %q", p, c)
	}
	name := d.name(p.Incarnation)
	if name == "" {
		return place{}, &pipeline.Halt{
			Class:  pipeline.HaltRecreated,
			Detail: fmt.Sprintf("no topic of the cluster has the id %s any more", p.Incarnation),
			Remedy: "firehosed offsets accept-incarnation TOPIC, where TOPIC is the one that takes its place",
		}
	}
	t := d.topic(name)
	if t == nil {
		return place{}, fmt.Errorf("topic %q does not exist: %w", name, kerr.UnknownTopicOrPartition)
	}
	if t.incarnation != p.Incarnation {
		return place{}, d.recreated(p, t)
	}
	if _, ok := t.parts[int32(num)]; !ok {
		return place{}, fmt.Errorf("topic %q has no partition %d: %w", name, num, kerr.UnknownTopicOrPartition)
	}
	return place{t, int32(num)}, nil
}

func (d *directory) recreated(p pipeline.Partition, now *topic) *pipeline.Halt {
	next := d.partition(now, 0).StreamKey()
	return &pipeline.Halt{
		Class:  pipeline.HaltRecreated,
		Detail: fmt.Sprintf("topic %q was deleted and made again: its id was %s and is now %s", now.name, p.Incarnation, now.incarnation),
		Remedy: fmt.Sprintf("firehosed offsets accept-incarnation %s: take its records as new ones, from the start of its log", next),
	}
}
