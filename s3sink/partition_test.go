package s3sink

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// TestKeySources has the sentences that the service was seen to answer with.
func TestKeySources(t *testing.T) {
	const q, l = "!{partitionKeyFromQuery:a}/", "!{partitionKeyFromLambda:a}/"
	f := func(prefix string, s KeySources, want ...string) {
		t.Helper()
		err := newNames(t, Naming{Prefix: prefix, ErrorOutputPrefix: "e/"}).CheckSources(s)
		if err == nil && len(want) > 0 || err != nil && len(want) == 0 {
			t.Errorf("%s %+v: got error %v, want %q", prefix, s, err, want)
		}
		for _, w := range want {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%s %+v: got error %v, want one with %q", prefix, s, err, w)
			}
		}
	}
	f("", KeySources{})
	f(q, KeySources{Query: []string{"a"}})
	f(q, KeySources{Columns: true})
	f(l, KeySources{Lambda: true})
	f(q+l, KeySources{Query: []string{"a"}, Lambda: true})
	f(q+"!{partitionKeyFromQuery:b}", KeySources{Query: []string{"a"}, Columns: true})
	f("x/", KeySources{Query: []string{"a"}}, "prefix: S3 Prefix should contain Dynamic Partitioning namespaces when Dynamic Partitioning is enabled")
	f("x/", KeySources{Columns: true}, "S3 Prefix should contain Dynamic Partitioning namespaces")
	f(q, KeySources{}, "MetadataExtraction processor should be present when S3 Prefix has partitionKeyFromQuery namespace")
	f(l, KeySources{}, "Lambda should be present when S3 Prefix contains keys from partitionKeyFromLambda namespace")
	f(q+l, KeySources{}, "MetadataExtraction processor", "Lambda should be present")
	f(q, KeySources{Query: []string{"b"}}, `the query has no key "a"`, `the key "b" of the query is not used`)
	f(l, KeySources{Query: []string{"a"}, Lambda: true}, `the key "a" of the query is not used`)
}

func TestPartitionedBuffering(t *testing.T) {
	f := func(prefix string, size int64, interval time.Duration, want ...string) {
		t.Helper()
		err := newNames(t, Naming{Prefix: prefix, ErrorOutputPrefix: "e/"}).CheckBuffering(size, interval)
		var rule *RuleError
		if len(want) == 0 && err != nil || len(want) > 0 && !errors.As(err, &rule) {
			t.Errorf("%s %d %s: got error %v, want %q", prefix, size, interval, err, want)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s %d %s: got error %v, want one with %q", prefix, size, interval, err, w)
			}
		}
	}
	const partitioned = "!{partitionKeyFromQuery:a}/"
	f("x/", 1, 0)
	f(partitioned, 64<<20, time.Minute)
	f(partitioned, 64<<20-1, time.Minute, "BufferingHints.SizeInMBs must be at least 64 when Dynamic Partitioning is enabled.")
	f(partitioned, 64<<20, time.Minute-1, "BufferingHints.IntervalInSeconds must be at least 60 seconds when Dynamic Partitioning is enabled.")
	f(partitioned, 5<<20, time.Second, "SizeInMBs must be", "IntervalInSeconds must be")
}

func TestColumnKey(t *testing.T) {
	f := func(typ arrow.DataType, json string, want ...string) {
		t.Helper()
		col, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(json))
		if err != nil {
			t.Fatal(err)
		}
		defer col.Release()
		for i, w := range want {
			got, err := ColumnKey(col, i)
			if err != nil {
				got = "! " + err.Error()
			}
			if got != w {
				t.Errorf("%s %s [%d]: got %q, want %q", typ, json, i, got, w)
			}
		}
	}
	us := arrow.Microsecond
	f(arrow.BinaryTypes.String, `["x/y", "", null]`, "x/y", "", "! is null")
	f(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, `["b", "a", "b", null]`, "b", "a", "b", "! is null")
	f(arrow.FixedWidthTypes.Boolean, `[true, false]`, "true", "false")
	f(arrow.PrimitiveTypes.Int32, `[-7]`, "-7")
	f(arrow.PrimitiveTypes.Int64, `[9223372036854775807]`, "9223372036854775807")
	f(arrow.PrimitiveTypes.Float64, `[1, 1.5, 1e21, 1e-7]`, "1", "1.5", "1e+21", "1e-7")
	f(arrow.PrimitiveTypes.Float32, `[0.1]`, "0.1")
	f(&arrow.Decimal128Type{Precision: 12, Scale: 2}, `["-12.50", "0.05"]`, "-12.50", "0.05")
	f(arrow.FixedWidthTypes.Date32, `["2026-11-28", "1969-12-31"]`, "2026-11-28", "1969-12-31")
	f(arrow.FixedWidthTypes.Time64us, `["15:04:05.1", "00:00:00"]`, "15:04:05.1", "00:00:00")
	f(&arrow.TimestampType{Unit: us}, `["2026-11-28 15:04:05.123"]`, "2026-11-28T15:04:05.123")
	f(&arrow.TimestampType{Unit: us, TimeZone: "UTC"}, `["2026-11-28 15:04:05Z", "1969-12-31 23:59:59.999999Z"]`, "2026-11-28T15:04:05Z", "1969-12-31T23:59:59.999999Z")
	f(&arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, `["2026-11-28 15:04:05.000000001Z"]`, "2026-11-28T15:04:05.000000001Z")
	f(&arrow.FixedSizeBinaryType{ByteWidth: 16}, `["AZjB3ns6fBGdXi8aawxNPg=="]`, commitID.String())
	f(&arrow.FixedSizeBinaryType{ByteWidth: 2}, `["AAA="]`, "! is a fixed_size_binary[2], which has no text for a partition key")
	f(arrow.BinaryTypes.Binary, `["AAA="]`, "! is a binary, which has no text for a partition key")
	f(arrow.ListOf(arrow.PrimitiveTypes.Int64), `[[1]]`, "! is a list<item: int64, nullable>, which has no text for a partition key")
}

func TestColumnKeyOfNoNumber(t *testing.T) {
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues([]float64{math.NaN(), math.Inf(1)}, nil)
	col := b.NewArray()
	defer col.Release()
	for i := range 2 {
		if got, err := ColumnKey(col, i); err == nil {
			t.Errorf("%v became %q", col.ValueStr(i), got)
		}
	}
}
