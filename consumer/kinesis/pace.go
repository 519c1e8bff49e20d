package kinesis

import (
	"context"
	"sync"
	"time"
)

// pace keeps the readers of one shard, together, within the shard's limits, and
// away from it while the service refuses: a hot shard holds up no other. They call one
// at a time, as what a call uses up is known by its answer.
type pace struct {
	turn chan struct{}

	mu struct {
		sync.Mutex
		calls  [shardReads]time.Time // the last ones, oldest at next
		next   int
		until  time.Time // what was read so far uses the shard up until then
		streak int       // refusals without a success between
	}
}

// slack is added to the second in which the service counts calls: it counts when
// they arrive.
const slack = 20 * time.Millisecond

func newPace() *pace { return &pace{turn: make(chan struct{}, 1)} }

// enter returns when the shard may be read, having booked the call. Call leave after it.
func (p *pace) enter(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		d := p.book(time.Now())
		if d <= 0 {
			return nil
		}
		if err := pause(ctx, d); err != nil {
			p.leave()
			return err
		}
	}
}

func (p *pace) leave() { <-p.turn }

// book books a call, or returns how long to wait first.
func (p *pace) book(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.mu.until
	if free := p.mu.calls[p.mu.next].Add(time.Second + slack); free.After(at) {
		at = free
	}
	if at.After(now) {
		return at.Sub(now)
	}
	p.mu.calls[p.mu.next] = now
	p.mu.next = (p.mu.next + 1) % shardReads
	return 0
}

// read books the bytes that a call brought.
func (p *pace) read(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.mu.until.Before(now) {
		p.mu.until = now
	}
	p.mu.until = p.mu.until.Add(time.Duration(float64(bytes) / shardBytes * float64(time.Second)))
	p.mu.streak = 0
}

// Waits after a refusal, doubled with each in a row.
const (
	minRefused = 200 * time.Millisecond
	maxRefused = 10 * time.Second
)

// refused keeps readers away for a while: other consumers use the shard too.
func (p *pace) refused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := maxRefused
	if p.mu.streak < 6 {
		d = minRefused << p.mu.streak
	}
	p.mu.streak++
	if at := time.Now().Add(jitter(d)); at.After(p.mu.until) {
		p.mu.until = at
	}
}
