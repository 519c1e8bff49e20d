package kafka

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Coordinates reads the columns _fh_topic_id, _fh_partition and _fh_offset.
type Coordinates struct{}

var _ pipeline.Coordinates = Coordinates{}

// Columns implements [pipeline.Coordinates].
func (Coordinates) Columns() []string {
	return []string{schema.ColTopicID, schema.ColPartition, schema.ColOffset}
}

// Places implements [pipeline.Coordinates]. Rows of a table that has no topic id say
// the partition alone.
func (Coordinates) Places(cols []pipeline.Column) func(row int) (string, pipeline.Position) {
	topics, parts, offsets := cols[0], cols[1], cols[2]
	var topic, log string // of the last row: rows of a file come from one partition
	part := int64(-1)
	return func(row int) (string, pipeline.Position) {
		if parts.Ints == nil || offsets.Ints == nil || parts.Null[row] || offsets.Null[row] {
			return "", ""
		}
		id := []byte(nil)
		if topics.Bytes != nil && !topics.Null[row] {
			id = topics.Bytes[row]
		}
		if string(id) != topic || parts.Ints[row] != part {
			topic, part = string(id), parts.Ints[row]
			log = topic + "/" + strconv.FormatInt(part, 10)
		}
		return log, position(offsets.Ints[row])
	}
}

// Partition implements [pipeline.Coordinates].
func (Coordinates) Partition(stream pipeline.Partition, log string) (pipeline.Partition, bool) {
	topic, id, ok := strings.Cut(log, "/")
	if !ok || stream.Kind != Kind || topic != "" && topic != stream.Incarnation {
		return pipeline.Partition{}, false
	}
	stream.ID = id
	return stream, true
}

// After implements [pipeline.Coordinates].
func (Coordinates) After(place pipeline.Position) pipeline.Position {
	n, err := strconv.ParseInt(string(place), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("BUG: %q is the place of no record", place))
	}
	return position(n + 1)
}

// Number implements [pipeline.Coordinates]: the offset.
func (Coordinates) Number(place pipeline.Position) string {
	if n := strings.TrimLeft(string(place), "0"); n != "" {
		return n
	}
	return "0"
}
