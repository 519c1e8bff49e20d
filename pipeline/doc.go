// Package pipeline moves records from a source into tables, exactly once where
// the destination can hold a watermark.
//
// A [Source] hands out lanes. A lane opens a [Reader], which yields batches.
// Stages route the units of a [Batch] into parts, a [Decoder] lays a part out
// as rows, a [Table] collects rows in a [Delivery], and committing the delivery
// makes the rows and the spans they account for visible in one step. The [Control]
// prefix keeps the decisions that must not be taken twice.
//
// [Pipeline] is the runtime: one goroutine a lane, plain calls from fetch to
// table. The protocol that makes it exactly-once is docs/design/exactly-once.md,
// whose words are used here.
package pipeline
