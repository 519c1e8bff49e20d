// Command bench measures firehosed from outside: the built binary reads a
// backlog from a broker and commits it to a table.
//
//	go run . -mb 2000                throughput on the three data sets
//	go run . -sets B -sinks iceberg,s3-parquet,s3-gzip,s3-zstd -runs 7    sinks side by side
//	go run . -source kinesis-fan-out -mb 1000    shards of a Kinesis stream in place of the topic; or kinesis, polled
//	go run . -freshness 1s,60s       how old a record is when it becomes visible
//	go run . -profile DIR            where the CPU time goes, phase by phase
//
// The broker, or the service of Kinesis, runs in this process, so that its CPU and the
// worker's are told apart; -brokers names a real broker. Shards have none of the limits of
// the real service on what is read in a second. Data sets: A is flat telemetry of 215
// bytes, B nested events of 3.1 KB grown from real ones, C wide and sparse
// logs of 0.9 KB, 33 of 95 fields present.
//
// Sinks have their turns one after the other, as often as -runs says, so that what the machine does meanwhile meets all of
// them; what counts is how they stand to the first in the same turn. Sizes of the files are told where there is one run.
//
// Throughput is MB of JSON and records for each second of the worker's CPU
// time, once over the whole life of the process and once between the first
// commit beyond 30 % of the records and the last but one, when types are known
// and caches are warm. A backlog of a few commits shows no steady part: take 2000
// MB.
//
// Phases are told by the innermost frame of a sample that belongs to one: fetch (from
// the socket to records, decompression too), parse (JSON to Arrow), encode (Arrow to
// Parquet pages, or to lines of objects), compress, commit (writing files, manifests, the catalog), garbage
// (collection in the background), and the rest. It is a module of its own, like everything that compares.
package main
