package parquetfile

import (
	"fmt"

	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/compress/gzip"
	"github.com/parquet-go/parquet-go/compress/lz4"
	"github.com/parquet-go/parquet-go/compress/snappy"
	"github.com/parquet-go/parquet-go/compress/uncompressed"
)

func newCodec(name string, level int) (compress.Codec, error) {
	switch name {
	case "zstd":
		if level < 1 || level > 22 {
			return nil, fmt.Errorf("parquet level: %d is outside 1 to 22 for zstd", level)
		}
		return newZstd(level)
	case "gzip":
		if level < 1 || level > 9 {
			return nil, fmt.Errorf("parquet level: %d is outside 1 to 9 for gzip", level)
		}
		return &gzip.Codec{Level: level}, nil
	case "snappy":
		return &snappy.Codec{}, nil
	case "lz4_raw", "lz4":
		return &lz4.Codec{Level: lz4.Fastest}, nil
	case "none":
		return &uncompressed.Codec{}, nil
	}
	return nil, fmt.Errorf("parquet codec: %q is not one of zstd, snappy, gzip, lz4_raw, none", name)
}
