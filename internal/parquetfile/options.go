package parquetfile

import (
	"cmp"
	"fmt"
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
	o.MetricColumns = cmp.Or(o.MetricColumns, DefaultMetricColumns)
	o.IdleBytes = cmp.Or(o.IdleBytes, DefaultIdleBytes)
	return o
}

func (o Options) validate() error {
	switch {
	case o.RowGroupBytes < 0:
		return fmt.Errorf("parquet row group bytes: %d is negative", o.RowGroupBytes)
	case o.PageBytes < 4<<10 || o.PageBytes > 1<<30:
		return fmt.Errorf("parquet page bytes: %d is outside 4096 to 1 GiB", o.PageBytes)
	case o.MetricColumns < 0:
		return fmt.Errorf("parquet metric columns: %d is negative", o.MetricColumns)
	}
	return nil
}
