// Package transform has the steps between a source and a decoder that Amazon Data
// Firehose calls processors: [Unpack] opens records that hold others, [PartitionKeys]
// evaluates what objects in S3 are partitioned by.
//
// What a step makes of a record depends on the record and the configuration alone: a
// replay repeats it. Limits count bytes, steps and outputs, never time.
package transform
