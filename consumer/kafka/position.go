package kafka

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
)

// Kind is the kind of this source's partitions.
const Kind = "kafka"

// unnamed begins the incarnation of a topic on brokers that give topics no ids.
const unnamed = "name~"

// position encodes an offset.
func position(offset int64) pipeline.Position {
	const digits = "0000000000000000000"
	s := strconv.FormatInt(offset, 10)
	return pipeline.Position(digits[:max(0, len(digits)-len(s))] + s)
}

// offsetOf is the inverse of position; "" is offset 0.
func offsetOf(p pipeline.Position) (int64, error) {
	if p == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	if err != nil || n < 0 || len(p) != 19 {
		return 0, fmt.Errorf("%q is no position of a Kafka log: want an offset of 19 digits", p)
	}
	return n, nil
}

// cursor is the place before offset, whose last record has a leader epoch; -1: not known.
func cursor(offset int64, leaderEpoch int32) pipeline.Cursor {
	return pipeline.Cursor{At: position(offset), Epoch: max(leaderEpoch, -1) + 1}
}

// stampMark begins the metadata of an offset that firehosed committed.
const stampMark = "fhd1"

// encodeStamp returns the metadata of an offset of one incarnation of a topic.
func encodeStamp(st pipeline.Stamp, incarnation string) string {
	return fmt.Sprintf("%s;%s;%d;%d;%d;%s", stampMark, st.Pipeline, st.Epoch, st.Replay, st.Rev, incarnation)
}

// decodeStamp is the inverse of encodeStamp; false for what others wrote.
func decodeStamp(s string) (st pipeline.Stamp, incarnation string, ok bool) {
	f := strings.Split(s, ";")
	if len(f) != 6 || f[0] != stampMark {
		return st, "", false
	}
	st.Pipeline = f[1]
	for i, n := range []*int64{&st.Epoch, &st.Replay, &st.Rev} {
		v, err := strconv.ParseInt(f[2+i], 10, 64)
		if err != nil || v < 0 {
			return pipeline.Stamp{}, "", false
		}
		*n = v
	}
	return st, f[5], true
}
