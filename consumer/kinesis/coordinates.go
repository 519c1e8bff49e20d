package kinesis

import (
	"fmt"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Coordinates reads the columns _fh_shard and _fh_sequence.
type Coordinates struct{}

var _ pipeline.Coordinates = Coordinates{}

// Columns implements [pipeline.Coordinates].
func (Coordinates) Columns() []string { return []string{schema.ColShard, schema.ColSequence} }

// Places implements [pipeline.Coordinates].
func (Coordinates) Places(cols []pipeline.Column) func(row int) (string, pipeline.Position) {
	shards, numbers := cols[0], cols[1]
	log := "" // of the last row: rows of a file come from one shard
	return func(row int) (string, pipeline.Position) {
		if shards.Bytes == nil || numbers.Bytes == nil || shards.Null[row] || numbers.Null[row] {
			return "", ""
		}
		place, ok := placeOf(numbers.Bytes[row])
		if !ok {
			return "", ""
		}
		if string(shards.Bytes[row]) != log {
			log = string(shards.Bytes[row])
		}
		return log, place
	}
}

// placeOf is [before] for many rows: the position before the record with a sequence
// number. It is false for what is no such number.
func placeOf(seq []byte) (pipeline.Position, bool) {
	if len(seq) == 0 || len(seq) > digits {
		return "", false
	}
	var b [digits + len(beforeMark)]byte
	pad := digits - len(seq)
	for i := range pad {
		b[i] = '0'
	}
	for i, c := range seq {
		if c < '0' || c > '9' {
			return "", false
		}
		b[pad+i] = c
	}
	i := digits - 1
	for ; i >= 0 && b[i] == '0'; i-- { // one less: borrow
		b[i] = '9'
	}
	if i < 0 {
		return "", false // no record has the number 0
	}
	b[i]--
	copy(b[digits:], beforeMark)
	return pipeline.Position(b[:]), true
}

// Partition implements [pipeline.Coordinates]. Two streams that had the same name,
// one after the other, cannot be told apart by it.
func (Coordinates) Partition(stream pipeline.Partition, log string) (pipeline.Partition, bool) {
	name, shard, ok := strings.Cut(log, "/")
	if !ok || stream.Kind != Kind || name != nameOf(stream) {
		return pipeline.Partition{}, false
	}
	stream.ID = shard
	return stream, true
}

// After implements [pipeline.Coordinates].
func (Coordinates) After(place pipeline.Position) pipeline.Position {
	at, err := passed(Coordinates{}.Number(place))
	if err != nil {
		panic(fmt.Sprintf("BUG: %q is the place of no record", place))
	}
	return at
}

// Number implements [pipeline.Coordinates]: the sequence number.
func (Coordinates) Number(place pipeline.Position) string {
	p, err := parsePosition(place)
	if err != nil || p.kind != atRecord {
		return string(place)
	}
	return p.seq
}
