// Package kafka is the source for Apache Kafka and everything that speaks its
// protocol: Amazon MSK, Redpanda, Confluent.
//
// Who reads what is decided by a consumer group; where reading begins is decided
// by the pipeline, at exact offsets. The two are kept apart: one client is a
// member of the group and fetches nothing, the others fetch what readers were
// opened for and know nothing of the group. Nothing is ever reset: an offset that
// the log does not have any more is a *pipeline.Halt, never a jump.
//
//	cfg := kafka.DefaultConfig()
//	cfg.Brokers, cfg.Topics, cfg.Group = []string{"localhost:9092"}, []string{"orders"}, "orders"
//	src, err := kafka.New(cfg)
//	...
//	defer src.Close()
//	if err := src.Check(ctx); err != nil { ... } // brokers, topics, rights
//	err = src.Run(ctx, pipeline)
//
// # Names and positions
//
// A partition is kafka:<cluster id>:<topic id>:<partition>. The topic id is
// written as Kafka's own tools print it; brokers without topic ids give
// name~<topic>. A position is the offset of the next record, as 19 digits; "" is
// before offset 0. Cursor.Epoch is the leader epoch of the record before the
// position plus one, 0 where it is not known.
//
// The group offset carries a stamp in its metadata, see [pipeline.Stamp]:
//
//	fhd1;<pipeline>;<epoch>;<replay>;<rev>;<topic id>
//
// An offset without it, or with the id of another topic, is no hint.
//
// # Memory
//
// One request is in flight for each broker, and only for partitions whose reader
// has room. Its size, and what it may become once decompressed, is acquired from
// the budget before it is sent. Records are windows into what was fetched.
package kafka
