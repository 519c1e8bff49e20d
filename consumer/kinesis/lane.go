package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firehosed/firehosed/consumer"
	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// lane is a shard whose lease this worker holds.
type lane struct {
	s    *Source
	m    *member
	part pipeline.Partition

	turn    chan struct{} // writing the lease
	lease   lease         // as last written
	offered bool          // the handler has been told; of the goroutine in loop

	reader consumer.Current[*reader]

	mu struct {
		sync.Mutex
		low   pipeline.Position // acknowledged
		stamp string            // of low; empty: nothing was
		lost  bool              // somebody else has the lease
		next  string            // who asks for it
	}
}

var _ pipeline.Lane = (*lane)(nil)

// Partition implements pipeline.Lane.
func (l *lane) Partition() pipeline.Partition { return l.part }

// Open implements pipeline.Lane.
func (l *lane) Open(ctx context.Context, st pipeline.Start) (pipeline.Reader, error) {
	l.reader.Set(nil)
	r, err := l.s.open(ctx, l.part, st, func(w place) fetcher {
		if l.s.cfg.FanOut != "" {
			return newSubscriber(l.s, l.part, w)
		}
		return newPoller(l.s, l.part, w)
	})
	if err != nil {
		return nil, err
	}
	if !l.reader.Set(r) {
		_ = r.Close()
		return nil, fmt.Errorf("open %v: the shard was given away", l.part)
	}
	return r, nil
}

func (l *lane) end() { l.reader.End() }

// Ack implements pipeline.Lane. It does not wait: the position is written when the
// lease is renewed, at once if it is END, and when the shard is given away.
func (l *lane) Ack(_ context.Context, low pipeline.Cursor, st pipeline.Stamp) error {
	if _, err := parsePosition(low.At); err != nil {
		return fmt.Errorf("acknowledge %v: %w", l.part, err)
	}
	l.mu.Lock()
	gone, news := l.reader.Ended(), l.mu.low != low.At
	if !gone {
		l.mu.low, l.mu.stamp = low.At, encodeStamp(st)
	}
	l.mu.Unlock()
	if gone {
		return fmt.Errorf("acknowledge %v: the shard was given away", l.part)
	}
	if news && low.At == pipeline.End {
		l.m.renewSoon()
	}
	return nil
}

// fill takes what was acknowledged, and what the reader knows, into a lease.
func (l *lane) fill(to *lease) {
	l.mu.Lock()
	low, stamp := l.mu.low, l.mu.stamp
	l.mu.Unlock()
	if stamp != "" {
		if string(low) < to.At {
			to.CaughtUpAt = 0 // there may be records behind the place it went back to
		}
		to.At, to.Stamp = string(low), stamp
	}
	if r := l.reader.Get(); r != nil && to.Stamp != "" {
		to.caught(r.silent())
	}
}

// write changes the lease, with what was acknowledged until now. ErrStale: it is
// somebody else's, and the lane is lost.
func (l *lane) write(ctx context.Context, change func(*lease)) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		now := l.lease
		now.Beat++
		l.fill(&now)
		change(&now)
		err := failpoint.Err("group.beforeCommit")
		if err == nil {
			err = l.s.leases.swap(ctx, l.part, l.lease, &now)
			failpoint.Hit("group.afterCommit")
		}
		if err == nil {
			l.lease = now
			return nil
		} else if !errors.Is(err, pipeline.ErrStale) {
			return fmt.Errorf("write lease of %v: %w", l.part, err)
		}
		is, err := l.s.leases.get(ctx, l.part)
		if err != nil {
			return fmt.Errorf("read lease of %v: %w", l.part, err)
		}
		l.mu.Lock()
		l.mu.lost, l.mu.next = is.Owner != l.m.id, is.Next
		lost := l.mu.lost
		l.mu.Unlock()
		if lost {
			return fmt.Errorf("lease of %v is held by %q: %w", l.part, is.Owner, pipeline.ErrStale)
		}
		l.lease = is // somebody asks for it
	}
}

// renew is a sign of life. True: the lane is to be given away.
func (l *lane) renew(ctx context.Context) bool {
	if err := l.write(ctx, func(*lease) {}); err != nil && ctx.Err() == nil && !errors.Is(err, pipeline.ErrStale) {
		l.s.log.Debug("renew lease", "partition", l.part, "err", err)
	}
	lost, next := l.wanted()
	return lost || next != ""
}

// wanted reports whether somebody else has the lease, or who asks for it.
func (l *lane) wanted() (lost bool, next string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.lost, l.mu.next
}

// lag returns how far the tip of the shard is ahead; false: not known.
func (l *lane) lag() (time.Duration, bool) {
	r := l.reader.Get()
	if r == nil {
		return 0, false
	}
	d := r.lag()
	return d, d >= 0
}

// Behind returns how far what was fetched is behind the tip of its shard, for every
// lane that is being read and was answered at least once. Firehose calls it
// KinesisMillisBehindLatest.
func (s *Source) Behind() map[pipeline.Partition]time.Duration {
	s.mu.Lock()
	var lanes []*lane
	for _, l := range s.mu.lanes {
		lanes = append(lanes, l)
	}
	s.mu.Unlock()
	out := map[pipeline.Partition]time.Duration{}
	for _, l := range lanes {
		if d, ok := l.lag(); ok {
			out[l.part] = d
		}
	}
	return out
}
