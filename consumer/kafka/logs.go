package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/pipeline"
)

// logs asks brokers about the logs of partitions. It is safe for concurrent use.
type logs struct {
	cl  *kgo.Client
	dir *directory
}

// Timestamps of ListOffsets with a meaning of their own.
const (
	latest   = -1
	earliest = -2
)

// offset returns the first offset at or after a time in milliseconds, or one of
// the constants, and its leader epoch; -1 if there is none. committed: the end is
// that of the records whose transactions are decided.
func (l *logs) offset(ctx context.Context, w place, millis int64, committed bool) (int64, int32, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if committed {
		req.IsolationLevel = 1
	}
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = w.topic.name
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = w.num, millis
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return 0, 0, fmt.Errorf("list offsets of %v: %w", w, err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic != w.topic.name || p.Partition != w.num {
				continue
			}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, 0, fmt.Errorf("list offsets of %v: %w", w, err)
			}
			return p.Offset, p.LeaderEpoch, nil
		}
	}
	return 0, 0, fmt.Errorf("list offsets of %v: the answer does not have it", w)
}

// locate is Locate of the contract.
func (l *logs) locate(ctx context.Context, w place, t time.Time) (pipeline.Cursor, error) {
	what, committed := int64(earliest), false
	switch {
	case t.IsZero():
	case t.After(time.Now()):
		what, committed = latest, true
	default:
		what = max(0, t.Add(time.Millisecond-1).UnixMilli())
	}
	offset, epoch, err := l.offset(ctx, w, what, committed)
	if err == nil && offset < 0 {
		offset, epoch, err = l.offset(ctx, w, latest, true) // every record is older
	}
	if err != nil {
		return pipeline.Cursor{}, err
	}
	return cursor(offset, epoch), nil
}

// check returns a *pipeline.Halt if the log is no longer the one that s is a place in.
func (l *logs) check(ctx context.Context, w place, p pipeline.Partition, s pipeline.Start) error {
	at, err := offsetOf(s.At.At)
	if err != nil {
		return err
	}
	start, _, err := l.offset(ctx, w, earliest, false)
	if err != nil {
		return err
	}
	if start > at {
		return &pipeline.Halt{
			Class:  pipeline.HaltOvertaken,
			Detail: fmt.Sprintf("%v (topic %q): retention has removed offsets %d to %d before they were read", p, w.topic.name, at, start-1),
			Remedy: fmt.Sprintf("firehosed offsets accept-gap %v %d %d", p, at, start),
		}
	}
	end, _, err := l.offset(ctx, w, latest, false)
	if err != nil {
		return err
	}
	high := at
	if s.High != "" && s.High != pipeline.End {
		n, err := offsetOf(s.High)
		if err != nil {
			return err
		}
		high = max(high, n)
	}
	if end < high {
		return truncated(p, w, end, fmt.Sprintf("it ends at offset %d, but was read up to %d", end, high))
	}
	if s.At.Epoch == 0 {
		return nil
	}
	return l.checkEpoch(ctx, w, p, at, s.At.Epoch-1)
}

// checkEpoch asks the leader where the epoch of the last record ended: before our
// position means that another leader, without our records, wrote what follows.
func (l *logs) checkEpoch(ctx context.Context, w place, p pipeline.Partition, at int64, epoch int32) error {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = w.topic.name
	q := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	q.Partition, q.LeaderEpoch = w.num, epoch
	t.Partitions = append(t.Partitions, q)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return fmt.Errorf("ask %v for the end of leader epoch %d: %w", w, epoch, err)
	}
	for _, t := range resp.Topics {
		for _, q := range t.Partitions {
			if err := kerr.ErrorForCode(q.ErrorCode); err != nil {
				return fmt.Errorf("ask %v for the end of leader epoch %d: %w", w, epoch, err)
			}
			if q.EndOffset >= 0 && q.EndOffset < at {
				return truncated(p, w, q.EndOffset, fmt.Sprintf("leader epoch %d ends at offset %d, but was read up to %d", epoch, q.EndOffset, at))
			}
		}
	}
	return nil
}

func truncated(p pipeline.Partition, w place, end int64, what string) *pipeline.Halt {
	return &pipeline.Halt{
		Class:  pipeline.HaltTruncated,
		Detail: fmt.Sprintf("%v (topic %q): the log was cut: %s", p, w.topic.name, what),
		Remedy: fmt.Sprintf("firehosed offsets accept-incarnation %v --from %d: take what follows as a new log", p, end),
	}
}
