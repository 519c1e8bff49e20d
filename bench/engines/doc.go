// Command engines converts JSON lines to Parquet with firehosed and with other engines, by turns on the same
// files, and prints what each took.
//
//	go run ./engines                        # sets A, B, C and D, 200 MiB each, five turns
//	go run ./engines -sets A -runs 3
//	go run ./engines -data events.ndjson    # any file
//
// Every turn is a process of its own that converts the file three times: the first counts as fresh, the last as
// steady. All have one thread, zstd level 1 and the columns from a file. The engines of others are those of the
// Python that -python names; one that cannot be started is told and left out.
package main
