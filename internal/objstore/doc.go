// Package objstore is the client of object stores: S3 and what speaks its
// protocol, a local folder, and a bucket in memory for tests that can lose
// replies and crash.
//
// It promises little, and that firmly: an object is whole when it is first seen,
// durable when the call that made it returns, and replaced only by a Put that was
// asked to. Nothing that was begun and not published is ever listed. An error
// other than ErrPrecondition leaves open what became of a change.
//
//	b, err := objstore.Open(ctx, "s3://lake/warehouse", objstore.Config{})
//	...
//	w, err := b.Create(ctx, "db/t/data/fh-1/0.parquet")
//	...
//	_, err = w.Write(rows)
//	size, err := w.Close(ctx) // or w.Abort(ctx)
//
// A [Stager] takes objects in two steps: the bytes first, which nobody sees, and the
// name later, which any process can give them that knows the [Upload].
package objstore
