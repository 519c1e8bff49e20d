package parquetfile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/firehosed/firehosed/schema"
)

// Defaults of [Options].
const (
	DefaultRowGroupBytes = 64 << 20
	DefaultPageBytes     = 256 << 10
	DefaultMetricColumns = 100
	DefaultIdleBytes     = 32 << 20
)

// boundLength is how much of a string (in code points) or of bytes a bound keeps,
// as Iceberg's write.metadata.metrics.default=truncate(16).
const boundLength = 16

// Options of the files of a [Pool]. The zero value has the defaults.
type Options struct {
	// Codec compresses pages: zstd, snappy, gzip, lz4_raw (or lz4, the same) or
	// none. Default zstd. Iceberg's write.parquet.compression-codec.
	Codec string

	// Level of zstd (1 to 22, mapped onto the four that the encoder has) or gzip
	// (1 to 9). Default 1. The other codecs ignore it.
	Level int

	// RowGroupBytes is how many bytes of values a row group holds before it is
	// encoded. A row group ends with the record that reaches it. This is also what
	// bounds the memory of a writer. Default 64 MiB. Iceberg's
	// write.parquet.row-group-size-bytes counts the same but waits for 128 MiB.
	RowGroupBytes int64

	// PageBytes is the size a page is closed at, before compression. Default
	// 256 KiB, at least 4 KiB. Iceberg's write.parquet.page-size-bytes.
	PageBytes int

	// Delta allows the encoding DELTA_BINARY_PACKED for integers and times, where it takes
	// less than half of what they take as they are: files get smaller and are written
	// faster. Engines read it, but for the vectorized reader of Iceberg for Spark before
	// 1.10. Default false.
	Delta bool

	// PageVersion is 1 or 2. Pages of version 2 leave levels uncompressed, and values where
	// that saves nothing. Default 1, which every engine reads.
	PageVersion int

	// PageIndex adds the bounds and the places of pages, so that engines can skip those
	// without a row of interest. Default false.
	PageIndex bool

	// Bloom has the columns that get a Bloom filter for each row group, by their names
	// joined by dots as in the schema; those with a dictionary get one of its values.
	// Iceberg's write.parquet.bloom-filter-enabled.column. Default: none.
	Bloom []string

	// MetricColumns is how many leaf columns have metrics, those outside lists and
	// maps of the upper levels first. firehosed's own columns always have them.
	// Default 100, as Iceberg's write.metadata.metrics.max-inferred-column-defaults.
	MetricColumns int

	// IdleBytes bounds the memory of files that are done which is kept for the next
	// ones. Default 32 MiB; less than 0: none.
	IdleBytes int64
}

func (o Options) withDefaults() Options {
	o.Codec = cmp.Or(o.Codec, "zstd")
	o.Level = cmp.Or(o.Level, 1)
	o.RowGroupBytes = cmp.Or(o.RowGroupBytes, DefaultRowGroupBytes)
	o.PageBytes = cmp.Or(o.PageBytes, DefaultPageBytes)
	o.PageVersion = cmp.Or(o.PageVersion, 1)
	o.MetricColumns = cmp.Or(o.MetricColumns, DefaultMetricColumns)
	o.IdleBytes = cmp.Or(o.IdleBytes, DefaultIdleBytes)
	return o
}

// blooms tells whether a column has a filter: booleans never do.
func (o *Options) blooms(f *field) bool {
	return len(o.Bloom) > 0 && f.typ.Kind != schema.Bool && slices.Contains(o.Bloom, f.path)
}

// CheckBloom returns an error if one of the columns is not in s, or has no filters.
func CheckBloom(columns []string, s *schema.Schema) error {
	if len(columns) == 0 {
		return nil
	}
	p, err := newPlan(s, 0)
	if err != nil {
		return err
	}
	for _, name := range columns {
		i := slices.IndexFunc(p.leaves, func(f *field) bool { return f.path == name })
		switch {
		case i < 0:
			return fmt.Errorf("bloom filter of column %q: there is no such column, or it is not a leaf", name)
		case p.leaves[i].typ.Kind == schema.Bool:
			return fmt.Errorf("bloom filter of column %q: a boolean has none", name)
		}
	}
	return nil
}

func (o Options) validate() error {
	switch {
	case o.RowGroupBytes < 0:
		return fmt.Errorf("parquet row group bytes: %d is negative", o.RowGroupBytes)
	case o.PageBytes < 4<<10 || o.PageBytes > 1<<30:
		return fmt.Errorf("parquet page bytes: %d is outside 4096 to 1 GiB", o.PageBytes)
	case o.PageVersion != 1 && o.PageVersion != 2:
		return fmt.Errorf("parquet page version: %d is neither 1 nor 2", o.PageVersion)
	case o.MetricColumns < 0:
		return fmt.Errorf("parquet metric columns: %d is negative", o.MetricColumns)
	}
	return nil
}
