// Package s3sink writes rows as objects in S3, in stores that speak its protocol, and in
// local folders, as Amazon Data Firehose makes them, and exactly once. The pages
// docs/formats/objects.md, docs/formats/s3.md and docs/design/exactly-once.md 3.1 are its
// specification.
//
// A multipart upload is invisible until it is completed, and anybody can complete it. So
// a delivery stages its objects first. Then one swap of the table's register in the
// control prefix decides: it moves the marks and names a manifest with all uploads. Then
// they are completed, by this worker or, if it is gone, by the next one that asks for a
// mark. A mark is reported only when the rows below it are visible.
//
//	sink, err := s3sink.New(cfg, ctl)
//	table, err := sink.Table(ctx, "clicks", stamp)
//	d, err := table.Begin(ctx)
//	err = d.Write(ctx, batch, rows) // out of sight
//	err = d.Commit(ctx, stamp, claims, pipeline.CutInterval)
//
// What an object is made of is a set of pure functions: [Names], [Framer], [Compression],
// [FailedRecord]. What a record becomes, and how its object is called, is the same on
// every reading.
//
//	names, err := s3sink.NewNames(s3sink.Naming{Prefix: "logs/"}, "clicks", ".gz")
//	key := names.Key(s3sink.Object{Commit: id, Version: 1, First: t})
//	// logs/2026/11/28/15/clicks-1-2026-11-28-15-04-05-6f1c...-b2.gz
package s3sink
