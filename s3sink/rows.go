package s3sink

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// NoKey is the value of a partition key where a row has none that an object can be named
// after, in the words of Hive, which readers take for null.
const NoKey = "__HIVE_DEFAULT_PARTITION__"

// share is what goes to one prefix of the rows of a batch.
type share struct {
	group  string   // the evaluated prefix, at one time
	values []string // of the partition keys
	failed string   // the error-output-type; empty: data
	rows   []int32  // ascending; nil: all of n
	n      int
}

// appender appends a row to bytes, framed.
type appender func(dst []byte, row int) []byte

// row returns the i-th row of the share.
func (s *share) row(i int) int {
	if s.rows == nil {
		return i
	}
	return int(s.rows[i])
}

// keyColumn returns the column that has the values of a partition key.
func (t *table) keyColumn(k PartitionKey) string {
	switch {
	case t.sink.cfg.columnar():
		return k.Name
	case k.Lambda:
		return schema.ColLambdaKey + k.Name
	}
	return schema.ColQueryKey + k.Name
}

func column(rec arrow.RecordBatch, name string) arrow.Array {
	if i := rec.Schema().FieldIndices(name); len(i) > 0 {
		return rec.Column(i[0])
	}
	return nil
}

// shares sorts rows by what their prefix evaluates to, in the order of their first rows.
func (t *table) shares(rec arrow.RecordBatch) []share {
	n := int(rec.NumRows())
	keys := t.names.Keys()
	if len(keys) == 0 {
		return []share{{group: t.names.Group(nil), n: n}}
	}
	cols := make([]arrow.Array, len(keys))
	for i, k := range keys {
		cols[i] = column(rec, t.keyColumn(k))
	}
	var out []share
	at := map[string]int{}        // of a share in out, by group
	groups := map[string]string{} // by the values
	values := make([]string, len(keys))
	for row := range n {
		for i, col := range cols {
			values[i] = keyValue(col, row)
		}
		id := strings.Join(values, "\x00")
		group, ok := groups[id]
		if !ok {
			t.presentable(values)
			group = t.names.Group(values)
			groups[id] = group
		}
		i, ok := at[group]
		if !ok {
			i = len(out)
			at[group] = i
			out = append(out, share{group: group, values: append([]string(nil), values...)})
		}
		out[i].rows = append(out[i].rows, int32(row))
		out[i].n++
	}
	return out
}

func keyValue(col arrow.Array, row int) string {
	if col == nil {
		return NoKey
	}
	v, err := ColumnKey(col, row)
	if err != nil {
		return NoKey
	}
	return v
}

// presentable replaces values that no object can be named after. A decoder that knows
// of the prefix has rejected such records.
func (t *table) presentable(values []string) {
	if t.names.CheckKeys(values) == nil {
		return
	}
	for i := range values {
		values[i] = NoKey
	}
}

// payloads returns the bytes of the rows of a format that keeps records as they came.
func payloads(rec arrow.RecordBatch) (*array.Binary, error) {
	col, ok := column(rec, schema.ColBytes).(*array.Binary)
	if !ok {
		return nil, fmt.Errorf("rows have no binary column %s: they are not laid out for this table", schema.ColBytes)
	}
	return col, nil
}

var errOrder = errors.New("rows of a partition are not in the order of the log")

// tally is what the rows of one partition in a delivery add up to.
type tally struct {
	rows        int64
	first, last pipeline.Position
	sum         uint64
}

// add counts the rows of a batch whose records were at places. bytes are nil in columnar formats, whose rows are
// hashed by where they come from alone.
func (t *tally) add(places func(rec int) pipeline.Position, r *pipeline.Rows, bytes *array.Binary) error {
	at, rec := pipeline.Position(""), int32(-1)
	for i := range r.Rec {
		if r.Rec[i] != rec { // a record may have many rows
			rec = r.Rec[i]
			at = places(int(rec))
			if t.rows > 0 && at < t.last {
				return fmt.Errorf("%w: %q after %q", errOrder, at, t.last)
			}
		}
		var sub int32
		if r.Sub != nil {
			sub = r.Sub[i]
		}
		var payload []byte
		if bytes != nil {
			payload = bytes.Value(i)
		}
		t.sum += rowHash(at, sub, payload)
		if t.rows == 0 {
			t.first = at
		}
		t.last = at
		t.rows++
	}
	return nil
}

// rowHash is what a row adds to the sum of its partition: the CRC-32C of its position,
// a zero byte and its number within the record (four bytes, big endian), and above it
// that of its bytes, mixed as splitmix64 does, so that sums of changed rows differ.
func rowHash(at pipeline.Position, sub int32, bytes []byte) uint64 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once, by the library
	var buf [80]byte
	where := append(append(buf[:0], at...), 0, byte(sub>>24), byte(sub>>16), byte(sub>>8), byte(sub))
	x := uint64(crc32.Checksum(where, table)) | uint64(crc32.Checksum(bytes, table))<<32
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
