// Package s3sink has what objects in S3, and in stores that speak its protocol, are
// made of, as Amazon Data Firehose makes them: their names, the bytes between records,
// compression, and the objects that failed records are kept in. The pages
// docs/formats/objects.md and docs/design/exactly-once.md 3.1 are its specification.
//
// Everything here is a pure function: what a record becomes, and which object of a
// commit it is in, is the same on every reading.
//
//	names, err := s3sink.NewNames(s3sink.Naming{Prefix: "logs/"}, "clicks", ".gz")
//	key := names.Key(s3sink.Object{Commit: id, Version: 1, First: t})
//	// logs/2026/11/28/15/clicks-1-2026-11-28-15-04-05-6f1c...-b2.gz
package s3sink
