package kinesis

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// Kind is the kind of this source's partitions.
const Kind = "kinesis"

// digits is the length of a sequence number in a position. The service's own have
// 56; its API would allow 129.
const digits = 60

// beforeMark ends the position before a record: that of the number one below it. It
// sorts behind that number and before the record's own.
const beforeMark = "+"

// timeMark begins a time, alone or behind another position. It sorts below digits
// and beforeMark.
const timeMark = "!"

// passed is the position after the record with a sequence number.
func passed(seq string) (pipeline.Position, error) {
	if seq == "" || len(seq) > digits || strings.Trim(seq, "0123456789") != "" {
		return "", fmt.Errorf("sequence number %q: want 1 to %d digits", seq, digits)
	}
	return pipeline.Position(strings.Repeat("0", digits-len(seq)) + seq), nil
}

// before is the position before the record with a sequence number, which is known
// to be there. It is an origin, or the end of a gap.
func before(seq string) (pipeline.Position, error) {
	at, err := passed(seq)
	if err != nil {
		return "", err
	}
	n, _ := new(big.Int).SetString(string(at), 10)
	if n.Sign() == 0 {
		return "", fmt.Errorf("sequence number %q: there is none before it", seq)
	}
	at, err = passed(n.Sub(n, big.NewInt(1)).String())
	return at + beforeMark, err
}

// fromTime is the position before all that arrived at a time or later.
func fromTime(t time.Time) pipeline.Position {
	return pipeline.Position(fmt.Sprintf("%s%013d", timeMark, max(0, t.UnixMilli())))
}

// afterGap is the position of what arrives at a time or later, behind another
// position: the end of a gap behind which the shard has no record yet.
func afterGap(at pipeline.Position, t time.Time) pipeline.Position {
	base, _, _ := strings.Cut(string(at), timeMark)
	return pipeline.Position(base) + fromTime(t)
}

// place is what a position means to the service.
type place struct {
	kind placeKind
	seq  string    // of atRecord and afterThis, as the service writes it
	time time.Time // of atTime
}

type placeKind int

const (
	atStart   placeKind = iota
	atTime              // from what arrived at a time on
	atRecord            // from a record on
	afterThis           // behind a record
	atEnd
)

// parsePosition is the inverse of passed, before, fromTime and afterGap.
func parsePosition(p pipeline.Position) (place, error) {
	bad := fmt.Errorf("%q is no position of a Kinesis shard: want a sequence number of %d digits", string(p), digits)
	switch p {
	case "":
		return place{kind: atStart}, nil
	case pipeline.End:
		return place{kind: atEnd}, nil
	}
	text, ms, isTime := strings.Cut(string(p), timeMark)
	seq, isBefore := strings.CutSuffix(text, beforeMark)
	if (text != "" || !isTime) && (len(seq) != digits || strings.Trim(seq, "0123456789") != "") {
		return place{}, bad
	}
	if isTime {
		n, err := strconv.ParseUint(ms, 10, 63)
		if err != nil || len(ms) != 13 {
			return place{}, bad
		}
		return place{kind: atTime, time: time.UnixMilli(int64(n))}, nil
	}
	n, _ := new(big.Int).SetString(seq, 10)
	if isBefore {
		return place{kind: atRecord, seq: n.Add(n, big.NewInt(1)).String()}, nil
	}
	return place{kind: afterThis, seq: n.String()}, nil
}

// ParsePosition reads a position as people write it: a sequence number, which has
// been passed; ~ for the end of a closed shard; an RFC 3339 time; or a position as a
// halt prints it.
func ParsePosition(text string) (pipeline.Position, error) {
	if _, err := parsePosition(pipeline.Position(text)); err == nil {
		return pipeline.Position(text), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return fromTime(t), nil
	}
	at, err := passed(text)
	if err != nil {
		return "", fmt.Errorf("%q is neither a sequence number nor a time such as 2026-01-31T00:00:00Z", text)
	}
	return at, nil
}

// partition names a shard of a stream.
func partition(arn string, created time.Time, shard string) pipeline.Partition {
	return pipeline.Partition{Kind: Kind, Stream: arn, Incarnation: strconv.FormatInt(created.UnixMilli(), 10), ID: shard}
}

// stampMark begins the stamp of a group position.
const stampMark = "fhd1"

// encodeStamp writes a stamp as every source does.
func encodeStamp(st pipeline.Stamp) string {
	return fmt.Sprintf("%s;%s;%d;%d;%d", stampMark, st.Pipeline, st.Epoch, st.Replay, st.Rev)
}

// decodeStamp is the inverse of encodeStamp; false for what others wrote.
func decodeStamp(s string) (st pipeline.Stamp, ok bool) {
	f := strings.Split(s, ";")
	if len(f) != 5 || f[0] != stampMark {
		return st, false
	}
	st.Pipeline = f[1]
	for i, n := range []*int64{&st.Epoch, &st.Replay, &st.Rev} {
		v, err := strconv.ParseInt(f[2+i], 10, 64)
		if err != nil || v < 0 {
			return pipeline.Stamp{}, false
		}
		*n = v
	}
	return st, true
}
