package daemon

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/firehosed/firehosed/consumer/kafka"
	"github.com/firehosed/firehosed/consumer/kinesis"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/schema"
)

// sources lists the sources to choose from.
func sources() []sourceKind {
	return []sourceKind{{
		kind:    kindOf("kafka", kafka.DefaultConfig, newKafka),
		where:   kafka.Coordinates{},
		columns: func(cfg any) *schema.Schema { return kafka.MetaSchema(*cfg.(*kafka.Config)) },
		streams: func(cfg any) decode.Streams { return kafkaStreams(cfg.(*kafka.Config)) },
	}, {
		kind:    kindOf("kinesis", kinesis.DefaultConfig, newKinesis),
		where:   kinesis.Coordinates{},
		columns: func(cfg any) *schema.Schema { return kinesis.MetaSchema(*cfg.(*kinesis.Config)) },
		streams: func(cfg any) decode.Streams { return kinesisStreams(cfg.(*kinesis.Config)) },
		judges:  func(cfg any, part *pure) { part.WrongShard = cfg.(*kinesis.Config).WrongShard },
	}}
}

// kafkaStreams returns the topics of a configuration that is in order.
func kafkaStreams(cfg *kafka.Config) decode.Streams {
	s := decode.Streams{Names: cfg.Topics}
	if re, err := regexp.Compile("^(?:" + cfg.TopicsRegex + ")$"); err == nil && cfg.TopicsRegex != "" {
		s.Matching = re
	}
	return s
}

func newKafka(cfg kafka.Config, d deps) (*source, error) {
	cfg.Group = cmp.Or(cfg.Group, d.name)
	cfg.FetchBytes = min(cfg.FetchBytes, max(1<<20, d.budget/2)) // the rest is for rows
	start, err := cfg.StartTime()
	if err != nil {
		return nil, err
	}
	src, err := kafka.New(cfg, kafka.WithLogger(d.log), kafka.WithBudget(d.share), kafka.WithSkips(d.ctl.Skipped))
	if err != nil {
		return nil, err
	}
	return &source{
		Source:   src,
		start:    start,
		check:    func(ctx context.Context) error { return checkKafka(ctx, cfg, src) },
		position: kafkaPosition,
		distance: kafkaDistance,
		oldest:   src.Oldest,
		close:    func() { _ = src.Close() },
	}, nil
}

// kafkaDigits is the length of a position: an offset.
const kafkaDigits = 19

func kafkaPosition(text string) (pipeline.Position, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return "", fmt.Errorf("%q is not an offset: write a number from 0", text)
	}
	if n == 0 {
		return "", nil // the start of the log, whatever it begins with
	}
	return pipeline.Position(fmt.Sprintf("%0*d", kafkaDigits, n)), nil
}

func kafkaDistance(from, to pipeline.Position) (int64, bool) {
	a, err := strconv.ParseInt(cmp.Or(string(from), "0"), 10, 64)
	b, err2 := strconv.ParseInt(cmp.Or(string(to), "0"), 10, 64)
	return max(0, b-a), err == nil && err2 == nil
}

// checkKafka says in a line each what stands in the way of reading.
func checkKafka(ctx context.Context, cfg kafka.Config, src *kafka.Source) error {
	if err := src.Check(ctx); err != nil {
		return below("source.kafka", err)
	}
	parts, err := src.Partitions(ctx)
	if err == nil && len(parts) == 0 {
		err = fmt.Errorf("topics_regex: no topic matches %q: create one, or correct the expression", cfg.TopicsRegex)
	}
	return below("source.kafka", err)
}
