// Package iceberg is the Apache Iceberg sink: rows become Parquet data files, and a
// commit publishes them together with how far each partition of the source has come.
//
// The promise is exactly once. Every table carries, as a table property written in
// the same catalog commit as the snapshot, the watermark of every source partition
// that fed it. A delivery is published only on the very base on which each watermark
// still is where the delivery begins; the catalog is asked to assert that base, and
// nothing else decides. After any error the table is read again: the rows are in, or
// they are not and the attempt is repeated, or somebody else has moved on. Nothing is
// deleted on the way. docs/design/exactly-once.md has the protocol, and
// docs/formats/watermark.md the bytes.
//
//	sink, err := iceberg.New(cfg, control, iceberg.WithLogger(log))
//	table, err := sink.Table(ctx, "events", stamp) // created and bound if need be
//	d, err := table.Begin(ctx)
//	err = d.Write(ctx, batch, rows)
//	err = d.Commit(ctx, stamp, claims, cause)
//
// Catalogs are REST, AWS Glue, PostgreSQL and SQLite through iceberg-go, used for its
// types, manifests and one attempt at a commit; its own retries, writers and
// maintenance are not used. Files go through this module's object stores: data files
// are durable, and their length was checked, before a commit names them.
//
// # One thing is global
//
// iceberg-go's catalogs find the file system of a metadata.json in a registry of the
// process, by scheme. The first sink replaces the entries for local files and S3 by
// ones that take the sink's own store from the context of each call, so that sinks do
// not share clients or credentials. Calls by others in the same process, whose
// contexts carry no store, get iceberg-go's local file system as before.
//
// # Operators
//
// A table that was rolled back, replaced, or whose property was lost or damaged is
// halted, and nothing is written to it until an operator has decided: see
// [Sink.Inspect], [Sink.Resume], [Sink.Rebind], [Sink.Forfeit] and
// [Sink.RebuildControl]. They need no running worker. [Sink.Maintain] keeps the cost of
// a commit flat over the life of a table.
package iceberg
