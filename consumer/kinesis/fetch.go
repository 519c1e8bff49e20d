package kinesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// page is what the service has of a shard next.
type page struct {
	recs   []types.Record
	tip    bool          // nothing is behind them now
	end    bool          // nothing ever will be
	at     time.Time     // the service's clock when it said so; zero: not known
	behind time.Duration // from the last of them to the tip
	from   *place        // the service was asked for this place; nil: for what follows the page before
}

// fetcher reads a shard from a place on. Polling is one, enhanced fan-out the other.
type fetcher interface {
	// fetch waits for the next page. The size of its records is charged to the ledger,
	// and the caller's to give back. If ctx ends, nothing was consumed.
	fetch(ctx context.Context) (page, error)
	// seek goes to another place.
	seek(to place)
	close()
}

// overhead is what a record takes besides its bytes.
const overhead = 128

func costOf(r *types.Record) int64 {
	return int64(len(r.Data)+len(aws.ToString(r.PartitionKey))+len(aws.ToString(r.SequenceNumber))) + overhead
}

func cost(rs []types.Record) (n int64) {
	for i := range rs {
		n += costOf(&rs[i])
	}
	return n
}

// once keeps the client from trying again by itself: its patience is for all
// shards, ours for one.
func once(o *kinesis.Options) { o.Retryer = aws.NopRetryer{} }

// poller reads a shard by GetRecords.
type poller struct {
	s    *Source
	part pipeline.Partition
	log  *slog.Logger
	pace *pace

	at       place // where the iterator begins
	iterator string
	fresh    bool      // the iterator begins at a place
	expect   int64     // bytes of the next page
	idle     bool      // the last page was the tip
	last     time.Time // when it was asked for
	failing  bool
}

// Bytes set aside for an answer.
const leastAnswer = 256 << 10

func newPoller(s *Source, part pipeline.Partition, at place) *poller {
	return &poller{s: s, part: part, log: s.log, pace: s.paceOf(part), at: at, expect: leastAnswer}
}

func (p *poller) seek(to place) { p.at, p.iterator, p.idle = to, "", false }

func (p *poller) close() {}

// fetch implements fetcher. It tries again for as long as that can help.
func (p *poller) fetch(ctx context.Context) (page, error) {
	for {
		if p.idle {
			if err := pause(ctx, time.Until(p.last.Add(p.s.cfg.PollInterval))); err != nil {
				return page{}, err
			}
		}
		err := p.ready(ctx)
		if err == nil {
			var out page
			if out, err = p.get(ctx); err == nil {
				p.failing = false
				return out, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return page{}, ctx.Err()
		case codeOf(err) == errExpired:
			p.iterator = ""
			continue
		case !isTemporary(err):
			return page{}, err
		}
		if !p.failing && !isThrottled(err) {
			p.log.Warn("read shard", "partition", p.part, "err", explain(err, p.s.cfg))
		}
		p.failing = true
		p.pace.refused()
	}
}

// ready has an iterator at hand.
func (p *poller) ready(ctx context.Context) error {
	if p.iterator != "" {
		return nil
	}
	p.fresh = true
	in := p.at.iterator(p.part)
	out, err := p.s.client().GetShardIterator(ctx, in, once)
	if err != nil {
		return fmt.Errorf("get %s iterator of %v: %w", in.ShardIteratorType, p.part, err)
	}
	p.iterator = aws.ToString(out.ShardIterator)
	return nil
}

// iterator is the request for an iterator at a place.
func (w place) iterator(part pipeline.Partition) *kinesis.GetShardIteratorInput {
	in := &kinesis.GetShardIteratorInput{StreamARN: &part.Stream, ShardId: &part.ID}
	from := w.from()
	in.ShardIteratorType, in.StartingSequenceNumber, in.Timestamp = from.Type, from.SequenceNumber, from.Timestamp
	return in
}

// from is a place as the service has it. Behind a record is at that record: it is
// expected, and skipped.
func (w place) from() types.StartingPosition {
	switch w.kind {
	case atTime:
		return types.StartingPosition{Type: types.ShardIteratorTypeAtTimestamp, Timestamp: &w.time}
	case atRecord, afterThis:
		return types.StartingPosition{Type: types.ShardIteratorTypeAtSequenceNumber, SequenceNumber: &w.seq}
	case atStart:
		return types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
	}
	panic("BUG: nothing is read at the end of a shard")
}

// get makes one call, when the shard's limits allow it.
func (p *poller) get(ctx context.Context) (page, error) {
	if err := p.pace.enter(ctx); err != nil {
		return page{}, err
	}
	defer p.pace.leave()
	hold := p.expect
	if err := p.s.acquire(ctx, hold); err != nil {
		return page{}, err
	}
	p.last, p.idle = time.Now(), false
	out, err := p.s.client().GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: &p.iterator, StreamARN: &p.part.Stream}, once)
	if err == nil && len(out.Records) > 0 {
		err = failpoint.Err("src.poll.afterFetch")
	}
	if err != nil {
		p.s.ledger.Charge(-hold)
		return page{}, fmt.Errorf("get records of %v: %w", p.part, err)
	}
	size := cost(out.Records)
	p.s.ledger.Charge(size - hold)
	p.pace.read(size)
	p.iterator = aws.ToString(out.NextShardIterator)
	p.expect = min(max(leastAnswer, size*2), maxRecordBytes)
	pg := page{
		recs: out.Records, end: p.iterator == "", tip: aws.ToInt64(out.MillisBehindLatest) == 0, at: serverTime(out.ResultMetadata),
		behind: time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond,
	}
	if p.fresh {
		from := p.at
		pg.from, p.fresh = &from, false
	}
	if n := len(pg.recs); n > 0 {
		p.at = place{kind: afterThis, seq: aws.ToString(pg.recs[n-1].SequenceNumber)}
	}
	p.idle = pg.tip && !pg.end
	return pg, nil
}

var errReaderClosed = errors.New("the reader is closed")
