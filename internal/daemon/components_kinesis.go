package daemon

import (
	"context"
	"time"

	"github.com/firehosed/firehosed/consumer/kinesis"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
)

// kinesisStreams returns the streams of a configuration.
func kinesisStreams(cfg *kinesis.Config) decode.Streams {
	var s decode.Streams
	for _, stream := range cfg.Streams {
		s.Names = append(s.Names, kinesis.StreamName(stream))
	}
	return s
}

func newKinesis(cfg kinesis.Config, d deps) (*source, error) {
	cfg.FetchBytes = min(cfg.FetchBytes, max(kinesis.MinFetchBytes, d.budget/2)) // the rest is for rows
	start, err := cfg.StartTime()
	if err != nil {
		return nil, err
	}
	src, err := kinesis.New(cfg, d.store, kinesis.WithLogger(d.log), kinesis.WithBudget(d.share), kinesis.WithStarts(d.starts))
	if err != nil {
		return nil, err
	}
	return &source{
		Source:   src,
		start:    start,
		check:    func(ctx context.Context) error { return below("source.kinesis", src.Check(ctx)) },
		position: kinesis.ParsePosition,
		distance: func(_, _ pipeline.Position) (int64, bool) { return 0, false },
		oldest:   src.Oldest,
		behind:   func() map[pipeline.Partition]time.Duration { return src.Behind() },
		unpack:   func(part *pure) pipeline.Stage { return src.Unpack(part.WrongShard) },
		close:    func() { _ = src.Close() },
	}, nil
}
