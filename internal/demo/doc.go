// Package demo runs firehosed against itself: a broker in memory, a stream of
// events with drifting fields and some broken records, and a worker that is
// killed over and over. At the end every record must be in its table exactly once.
//
// The parent process holds the broker and the truth about every record. The worker
// is the same binary running "run" on a config file written into the demo's
// folder; nothing about it is special.
package demo
