package s3sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"
)

// MaxPartitions is how many different values of partition keys a delivery writes to at
// a time, Firehose's quota of active partitions. Firehose delivers records beyond it
// under the error prefix; here the delivery is committed early instead.
const MaxPartitions = 500

const (
	minPartitionedSize     = 64 << 20
	minPartitionedInterval = 60 * time.Second
)

// KeySources says where the values of partition keys come from.
type KeySources struct {
	Query   []string // the names of the keys of a query; nil: there is no query
	Columns bool     // keys that no query has are columns of the rows, by name
	Lambda  bool     // a function returns partitionKeys
}

// CheckSources says whether the keys of the prefix and their sources go together, by
// Firehose's rules: what the prefix uses is there, and every key of a query is used.
// What breaks a rule that Firehose words is a [*RuleError].
func (n *Names) CheckSources(s KeySources) error {
	var errs []error
	query, lambda := false, false
	for _, k := range n.keys {
		switch {
		case k.Lambda:
			lambda = true
		case s.Query != nil && !s.Columns && !slices.Contains(s.Query, k.Name):
			errs = append(errs, fmt.Errorf("prefix: !{partitionKeyFromQuery:%s}: the query has no key %q: add it, it has %q", k.Name, k.Name, s.Query))
		case !s.Columns:
			query = true
		}
	}
	rule := func(message, fix string) { errs = append(errs, &RuleError{Key: "prefix", Message: message, Fix: fix}) }
	if query && s.Query == nil {
		rule("MetadataExtraction processor should be present when S3 Prefix has partitionKeyFromQuery namespace",
			"write a query with these keys, or name columns")
	}
	if lambda && !s.Lambda {
		rule("Lambda should be present when S3 Prefix contains keys from partitionKeyFromLambda namespace",
			"configure the function, or take the keys from a query")
	}
	if len(n.keys) == 0 && (s.Query != nil || s.Columns) {
		rule("S3 Prefix should contain Dynamic Partitioning namespaces when Dynamic Partitioning is enabled",
			"use a key, as in !{partitionKeyFromQuery:customer_id}, or remove the query")
	} else {
		for _, name := range s.Query {
			if !slices.Contains(n.keys, PartitionKey{Name: name}) {
				errs = append(errs, fmt.Errorf("prefix: the key %q of the query is not used: add !{partitionKeyFromQuery:%s}, or remove the key", name, name))
			}
		}
	}
	return errors.Join(errs...)
}

// CheckBuffering says whether objects may end at a size, in bytes, and interval:
// Firehose wants at least 64 MiB and 60 s of a prefix with partition keys. What breaks
// that is a [*RuleError].
func (n *Names) CheckBuffering(size int64, interval time.Duration) error {
	if len(n.keys) == 0 {
		return nil
	}
	var errs []error
	if size < minPartitionedSize {
		errs = append(errs, &RuleError{
			Key: "buffer_size", Message: "BufferingHints.SizeInMBs must be at least 64 when Dynamic Partitioning is enabled.", Fix: "write 64MiB or more",
		})
	}
	if interval < minPartitionedInterval {
		errs = append(errs, &RuleError{
			Key: "buffer_interval", Message: "BufferingHints.IntervalInSeconds must be at least 60 seconds when Dynamic Partitioning is enabled.",
			Fix: "write 60s or more",
		})
	}
	return errors.Join(errs...)
}

// ColumnKey returns the text of a value as a partition key: text as it is, numbers as
// JSON has them, decimals with all digits of their scale, true and false, dates as
// 2026-11-28, timestamps as 2026-11-28T15:04:05.123Z, without the Z if the column has
// no zone, times as 15:04:05.123, UUIDs in the usual form. The error says why there is
// none: null, or a type that has no text. It keeps nothing of col.
func ColumnKey(col arrow.Array, row int) (string, error) {
	if col.IsNull(row) {
		return "", errors.New("is null")
	}
	switch c := col.(type) {
	case *array.Dictionary:
		return ColumnKey(c.Dictionary(), c.GetValueIndex(row))
	case *array.String:
		return string([]byte(c.Value(row))), nil // a copy
	case *array.Boolean, *array.Int32, *array.Int64:
		return col.ValueStr(row), nil
	case *array.Decimal128:
		return c.Value(row).ToString(c.DataType().(*arrow.Decimal128Type).Scale), nil
	case *array.Float32:
		return floatText(c.Value(row))
	case *array.Float64:
		return floatText(c.Value(row))
	case *array.Date32:
		return c.Value(row).ToTime().Format(time.DateOnly), nil
	case *array.Time64:
		return c.Value(row).ToTime(c.DataType().(*arrow.Time64Type).Unit).Format("15:04:05.999999999"), nil
	case *array.Timestamp:
		t := c.DataType().(*arrow.TimestampType)
		layout := "2006-01-02T15:04:05.999999999"
		if t.TimeZone != "" {
			layout += "Z"
		}
		return c.Value(row).ToTime(t.Unit).UTC().Format(layout), nil
	case *array.FixedSizeBinary:
		if id, err := uuid.FromBytes(c.Value(row)); err == nil {
			return id.String(), nil
		}
	}
	return "", fmt.Errorf("is a %s, which has no text for a partition key", col.DataType())
}

func floatText[T float32 | float64](v T) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("is %v, which is no number", v)
	}
	return string(b), nil
}
