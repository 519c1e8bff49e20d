package kinesis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// checkWait bounds Check where ctx has no deadline.
const checkWait = 15 * time.Second

// Check reports whether the configuration works here and now: the service answers, the
// streams exist, and the credentials may read their shards and look at the consumer of
// enhanced fan-out. Every problem is reported at once. It changes nothing: a consumer
// that does not exist yet is registered by the first subscription.
func (s *Source) Check(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkWait)
		defer cancel()
	}
	dir, err := s.connect(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range s.cfg.Streams {
		err := s.checkStream(ctx, dir, name)
		for range checkTries - 1 {
			if !brokeOff(err) || pause(ctx, jitter(checkPause)) != nil {
				break
			}
			err = s.checkStream(ctx, dir, name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

const (
	checkTries = 5
	checkPause = time.Second
)

// brokeOff reports whether the service answered, and its answer was cut short, which the
// SDK does not try again.
func brokeOff(err error) bool {
	var answer *awshttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusOK && codeOf(err) == ""
}

func (s *Source) checkStream(ctx context.Context, dir *directory, name string) error {
	st, err := dir.look(ctx, name)
	if err == nil {
		err = s.checkReads(ctx, st)
	}
	if err == nil && s.cfg.FanOut != "" {
		err = s.checkConsumer(ctx, st)
	}
	return err
}

// checkReads reads the tip of a shard.
func (s *Source) checkReads(ctx context.Context, st *stream) error {
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(st.shards))) {
		if st.shards[id].closed {
			continue
		}
		it, err := s.client().GetShardIterator(ctx, place{kind: atTime, time: s.dir().clock()}.iterator(st.partition(id)))
		if err == nil {
			_, err = s.client().GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it.ShardIterator, StreamARN: &st.arn})
		}
		if err != nil && !isThrottled(err) && codeOf(err) != errExpired { // else it can be read
			return fmt.Errorf("read stream %q: %w", st.name, explain(err, s.cfg))
		}
		return nil
	}
	return nil
}

func (s *Source) checkConsumer(ctx context.Context, st *stream) error {
	_, err := s.client().DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{StreamARN: &st.arn, ConsumerName: &s.cfg.FanOut})
	switch codeOf(err) {
	case errNotFound:
		return nil
	case "AccessDeniedException":
		return fmt.Errorf("fan_out_consumer: the credentials may not look at consumers of stream %q; allow kinesis:DescribeStreamConsumer, RegisterStreamConsumer and SubscribeToShard: %w", st.name, err)
	}
	if err != nil {
		return fmt.Errorf("describe consumer %q of stream %q: %w", s.cfg.FanOut, st.name, explain(err, s.cfg))
	}
	return nil
}
