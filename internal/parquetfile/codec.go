package parquetfile

import (
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/compress/gzip"
	"github.com/parquet-go/parquet-go/compress/lz4"
	"github.com/parquet-go/parquet-go/compress/snappy"
	"github.com/parquet-go/parquet-go/compress/uncompressed"
	"github.com/parquet-go/parquet-go/format"
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

// zstdCodec is zstd with one encoder for all, and a window no larger than a page can
// use: the library's own keeps 4 to 8 MiB for each encoder.
type zstdCodec struct{ enc *zstd.Encoder }

func newZstd(level int) (compress.Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderCRC(false),
		zstd.WithZeroFrames(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, fmt.Errorf("parquet codec zstd: %w", err)
	}
	return zstdCodec{enc: enc}, nil
}

func (zstdCodec) String() string { return "ZSTD" }

func (zstdCodec) CompressionCodec() format.CompressionCodec { return format.Zstd }

// tinyPage is below what compression can save much of, at 5 to 10 us a page: files of
// few rows and many columns consist of such pages.
const tinyPage = 256

// Encode implements [compress.Codec].
func (c zstdCodec) Encode(dst, src []byte) ([]byte, error) {
	n := len(src)
	switch {
	case n > 0 && n < tinyPage:
	case unmatched(src):
		return appendLiterals(dst[:0], src), nil
	default:
		return c.enc.EncodeAll(src, dst[:0]), nil
	}
	// A frame (magic, single segment, one byte of size) with one raw block, the last.
	block := uint32(n)<<3 | 1
	dst = append(dst[:0], 0x28, 0xb5, 0x2f, 0xfd, 0x20, byte(n), byte(block), byte(block>>8), byte(block>>16))
	return append(dst, src...), nil
}

// Decode implements [compress.Codec]. Writers have no use for it.
func (zstdCodec) Decode(dst, src []byte) ([]byte, error) { return parquet.Zstd.Decode(dst, src) }
