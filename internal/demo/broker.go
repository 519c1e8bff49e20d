package demo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic      = "events"
	partitions = 4
)

// broker is a Kafka broker in this process's memory, on a free loopback port.
type broker struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	group   string
}

func newBroker(group string) (*broker, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.SeedTopics(partitions, topic))
	if err != nil {
		return nil, fmt.Errorf("start the demo's broker: %w", err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(20_000),
	)
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("connect to the demo's broker: %w", err)
	}
	return &broker{cluster, client, kadm.NewClient(client), group}, nil
}

func (b *broker) addr() string { return b.cluster.ListenAddrs()[0] }

func (b *broker) close() {
	b.client.Close()
	b.cluster.Close()
}

// acked returns how many records lie below the worker's group offsets: below a
// group offset every record is in its table.
func (b *broker) acked(ctx context.Context) (int64, error) {
	offsets, err := b.admin.FetchOffsets(ctx, b.group)
	if err != nil {
		return 0, fmt.Errorf("fetch the worker's group offsets: %w", err)
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.Topic == topic && o.At > 0 {
			sum += o.At
		}
	})
	return sum, nil
}

// producer appends the demo's records, as many as it is allowed to, and keeps the
// truth about each.
type producer struct {
	events *events
	truth  *truth
	total  int

	limit  atomic.Int64 // of records that may be appended now
	sent   atomic.Int64 // that were
	failed struct {
		sync.Mutex
		err error
	}
}

func newProducer(seed uint64, total int) *producer {
	return &producer{events: newEvents(seed, total), truth: newTruth(total), total: total}
}

// tick is how often records are appended, share how much of what is allowed then:
// the stream slows down and goes on while the demo waits for the right moment.
const (
	tick  = 50 * time.Millisecond
	share = 0.04
)

// run appends records until all are in the broker or ctx ends.
func (p *producer) run(ctx context.Context, b *broker) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for i := 0; i < p.total; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		open := int(p.limit.Load()) - i
		least := 1
		if open+i == p.total { // nothing to wait for any more
			least = max(1, p.total/100)
		}
		for range min(open, max(least, int(share*float64(open)))) {
			p.send(ctx, b, i)
			i++
		}
		if err := p.err(); err != nil {
			return err
		}
	}
	if err := b.client.Flush(ctx); err != nil {
		return err
	}
	return p.err()
}

func (p *producer) send(ctx context.Context, b *broker, i int) {
	part, offset := p.truth.add(i)
	rec := &kgo.Record{Topic: topic, Partition: part, Value: p.events.record(i)}
	b.client.Produce(ctx, rec, func(r *kgo.Record, err error) {
		if err == nil && r.Offset != offset {
			err = fmt.Errorf("record %d got offset %d of partition %d, not %d", i, r.Offset, part, offset)
		}
		if err != nil {
			p.fail(fmt.Errorf("append to the demo's broker: %w", err))
			return
		}
		p.sent.Add(1)
	})
}

func (p *producer) fail(err error) {
	p.failed.Lock()
	defer p.failed.Unlock()
	if p.failed.err == nil {
		p.failed.err = err
	}
}

func (p *producer) err() error {
	p.failed.Lock()
	defer p.failed.Unlock()
	return p.failed.err
}
