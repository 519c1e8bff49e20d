// Package kinesis is the source for Amazon Kinesis Data Streams, and for services
// that speak its protocol.
//
// Who reads what is decided by leases in the control prefix; where reading begins is
// decided by the pipeline, at exact positions. Nothing is ever reset: what retention
// has removed before it was read is a *pipeline.Halt, never a jump.
//
//	cfg := kinesis.DefaultConfig()
//	cfg.Streams, cfg.Region = []string{"orders"}, "eu-north-1"
//	src, err := kinesis.New(cfg, store)
//	...
//	defer src.Close()
//	if err := src.Check(ctx); err != nil { ... } // streams, rights
//	err = src.Run(ctx, pipeline)
//
// # Names and positions
//
// A partition is kinesis:<stream ARN>:<creation time>:<shard id>, the time in
// milliseconds: a stream that was deleted and made again is another one. A position is
// the number of the last record passed, in 60 digits; docs/decisions/0005 has the others.
//
// # Order
//
// The children of a shard are read when reading each of its parents would begin at
// END, so the records of a partition key keep their order over splits and merges. See
// [Starts].
//
// # Leases
//
// lease/<partition>.json of the control prefix says who reads a shard, and holds its
// group position with a stamp. A worker takes its share of the shards, asks others for
// what it lacks, and is handed it with all that was acknowledged; a lease that stays
// the same for [Config.LeaseDuration] may be taken. A lease saves work: what counts is
// decided by the tables, so two readers of a shard cost reading twice, never a row.
//
// # Reading
//
// Shards are polled within their limits, or, by [Config.FanOut], pushed. A reader
// fetches when it is asked for records and has none left. Second readers always poll.
//
// # Aggregates
//
// [Source.Unpack] is a stage that takes records of the Kinesis Producer Library apart.
package kinesis
