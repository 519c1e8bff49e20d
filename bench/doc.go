// Command bench measures firehosed from outside: the built binary reads a
// backlog from a broker and commits it to a table.
//
//	go run . -mb 2000                throughput on the three data sets
//	go run . -freshness 1s,60s       how old a record is when it becomes visible
//	go run . -profile DIR            where the CPU time goes, phase by phase
//
// The broker runs in this process, so that its CPU and the worker's are told
// apart; -brokers names a real one. Data sets: A is flat telemetry of 215
// bytes, B nested events of 3.1 KB grown from real ones, C wide and sparse
// logs of 0.9 KB, 33 of 95 fields present.
//
// Throughput is MB of JSON and records for each second of the worker's CPU
// time, once over the whole life of the process and once between the first
// commit beyond 30 % of the records and the last but one, when types are known
// and caches are warm. A backlog of a few commits shows no steady part: take 2000
// MB.
//
// Phases are told by the innermost frame of a sample that belongs to one: fetch (from
// the socket to records, decompression too), parse (JSON to Arrow), encode (Arrow to
// Parquet pages), compress, commit (writing files, manifests, the catalog), garbage
// (collection in the background), and the rest. It is a module of its own, like everything that compares.
package main
