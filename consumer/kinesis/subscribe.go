package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/firehosed/firehosed/pipeline"
)

// Times of subscriptions.
const (
	subscribeEvery = time.Second      // a consumer may subscribe to a shard once a second
	maxSilence     = 30 * time.Second // the service sends something every few seconds
	continues      = 10 * time.Minute // for which the end of a subscription is a place to go on from
	becomesActive  = 2 * time.Minute  // for a consumer that was just registered
	maxSubscribe   = 10 * time.Second // between attempts that fail
)

// subscriber reads a shard by enhanced fan-out. A subscription lasts five minutes and
// is followed by the next, at the place where it ended.
type subscriber struct {
	s    *Source
	part pipeline.Partition
	life context.Context // of subscriptions; ends in close
	stop context.CancelFunc

	at     place     // behind the last record
	goesOn string    // the number to go on behind, of the last event; empty: go to at
	heard  time.Time // when that came
	fresh  bool      // the subscription began at a place
	tried  time.Time // when it was last subscribed
	streak int       // failures in a row

	since  time.Time // the service's clock when the subscription began
	events *kinesis.SubscribeToShardEventStream
	end    context.CancelFunc
	got    *types.SubscribeToShardEvent // waits for memory
}

func newSubscriber(s *Source, part pipeline.Partition, at place) *subscriber {
	u := &subscriber{s: s, part: part, at: at}
	u.life, u.stop = context.WithCancel(context.Background())
	return u
}

func (u *subscriber) seek(to place) {
	u.drop()
	u.at, u.goesOn, u.got = to, "", nil
}

func (u *subscriber) close() {
	u.drop()
	u.stop()
}

// drop ends the subscription.
func (u *subscriber) drop() {
	if u.events == nil {
		return
	}
	u.end()
	_ = u.events.Close()
	u.events = nil
}

// fetch implements fetcher. It tries again for as long as that can help.
func (u *subscriber) fetch(ctx context.Context) (page, error) {
	for {
		err := u.receive(ctx)
		if err == nil {
			return u.page(ctx)
		}
		if ctx.Err() != nil {
			return page{}, ctx.Err()
		}
		u.drop()
		switch code := codeOf(err); {
		case errors.Is(err, errOver):
			u.streak = 0
			continue
		case code == errNotFound: // the consumer, or more than that
			u.s.forgetConsumer(u.part)
			if u.streak > 0 {
				return page{}, err
			}
		case code != errInUse && !isTemporary(err):
			return page{}, err
		}
		switch u.streak {
		case 0:
			u.s.log.Debug("subscription ended", "partition", u.part, "err", err)
		case 5:
			u.s.log.Warn("subscribe to shard", "partition", u.part, "err", explain(err, u.s.cfg))
		}
		u.streak++
	}
}

// errOver is the end that every subscription comes to.
var errOver = errors.New("the subscription is over")

// receive has an event at hand, subscribing if need be.
func (u *subscriber) receive(ctx context.Context) error {
	if u.got != nil {
		return nil
	}
	if u.events != nil && time.Since(u.heard) > continues && time.Since(u.tried) > continues { // nobody asked for so long
		u.drop()
		u.goesOn = ""
	}
	if u.events == nil {
		if err := u.subscribe(ctx); err != nil {
			return err
		}
	}
	silence := time.NewTimer(maxSilence)
	defer silence.Stop()
	select {
	case ev, ok := <-u.events.Events():
		if !ok {
			if err := u.events.Err(); err != nil {
				return fmt.Errorf("subscription to %v: %w", u.part, err)
			}
			return errOver
		}
		e, ok := ev.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
		if !ok {
			return fmt.Errorf("subscription to %v: event %T is not known", u.part, ev)
		}
		u.got = &e.Value
		return nil
	case <-silence.C:
		return fmt.Errorf("subscription to %v: silent for %v", u.part, maxSilence)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// subscribe waits until it may be tried again, and subscribes.
func (u *subscriber) subscribe(ctx context.Context) error {
	wait := min(subscribeEvery<<min(u.streak, 10), maxSubscribe)
	if err := pause(ctx, time.Until(u.tried.Add(wait))); err != nil {
		return err
	}
	arn, err := u.s.consumer(ctx, u.part)
	if err != nil {
		return err
	}
	from := u.at.from()
	if u.fresh = u.goesOn == "" || time.Since(u.heard) > continues; !u.fresh {
		from = types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: &u.goesOn}
	}
	life, end := context.WithCancel(u.life)
	given := context.AfterFunc(ctx, end) // until it is established
	u.tried = time.Now()
	since := u.s.dir().clock()
	// A client of its own: smithy-go 1.28 decodes all event streams of a client in one buffer.
	out, err := kinesis.New(u.s.subscriptions()).SubscribeToShard(life, &kinesis.SubscribeToShardInput{ConsumerARN: &arn, ShardId: &u.part.ID, StartingPosition: &from}, once)
	switch gone := !given(); {
	case err != nil:
		end()
		return fmt.Errorf("subscribe to %v: %w", u.part, err)
	case gone:
		end()
		_ = out.GetStream().Close()
		return ctx.Err()
	}
	u.events, u.end, u.since = out.GetStream(), end, since
	return nil
}

// page takes what was received, when there is memory for it.
func (u *subscriber) page(ctx context.Context) (page, error) {
	ev := u.got
	if err := u.s.acquire(ctx, cost(ev.Records)); err != nil {
		return page{}, err
	}
	u.got, u.streak, u.heard = nil, 0, time.Now()
	behind := aws.ToInt64(ev.MillisBehindLatest)
	// An event may have waited on its way: all that is known is that it came after the subscription began.
	pg := page{recs: ev.Records, tip: behind == 0, end: len(ev.ChildShards) > 0, at: u.since, behind: time.Duration(behind) * time.Millisecond}
	if u.fresh {
		from := u.at
		pg.from, u.fresh = &from, false
	}
	u.goesOn = aws.ToString(ev.ContinuationSequenceNumber)
	if n := len(pg.recs); n > 0 {
		u.at = place{kind: afterThis, seq: aws.ToString(pg.recs[n-1].SequenceNumber)}
	}
	return pg, nil
}

// consumer returns the ARN of our consumer of a stream, which it registers if there is
// none.
func (s *Source) consumer(ctx context.Context, p pipeline.Partition) (string, error) {
	s.mu.Lock()
	arn := s.mu.consumers[p.StreamKey()]
	s.mu.Unlock()
	if arn != "" {
		return arn, nil
	}
	for end := time.Now().Add(becomesActive); ; {
		arn, ok, err := s.findConsumer(ctx, p.Stream)
		if err != nil {
			return "", err
		}
		if ok {
			s.mu.Lock()
			s.mu.consumers[p.StreamKey()] = arn
			s.mu.Unlock()
			return arn, nil
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("fan_out_consumer: consumer %q of %s is not active after %v", s.cfg.FanOut, p.Stream, becomesActive)
		}
		if err := pause(ctx, jitter(subscribeEvery)); err != nil {
			return "", err
		}
	}
}

// findConsumer describes our consumer, or registers it. False: it is not active yet.
func (s *Source) findConsumer(ctx context.Context, stream string) (string, bool, error) {
	out, err := s.client().DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{StreamARN: &stream, ConsumerName: &s.cfg.FanOut})
	if err == nil {
		return aws.ToString(out.ConsumerDescription.ConsumerARN), out.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive, nil
	} else if codeOf(err) != errNotFound {
		return "", false, fmt.Errorf("describe consumer %q of %s: %w", s.cfg.FanOut, stream, err)
	}
	_, err = s.client().RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: &stream, ConsumerName: &s.cfg.FanOut})
	if err != nil && codeOf(err) != errInUse { // another worker was faster
		return "", false, fmt.Errorf("register consumer %q of %s: %w", s.cfg.FanOut, stream, err)
	}
	return "", false, nil
}

func (s *Source) forgetConsumer(p pipeline.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.consumers, p.StreamKey())
}
