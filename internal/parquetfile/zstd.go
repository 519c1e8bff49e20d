package parquetfile

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/format"
)

// zstdCodec is zstd with one encoder for all, and a window no larger than a page can
// use: the library's own keeps 4 to 8 MiB for each encoder.
type zstdCodec struct {
	enc   *zstd.Encoder
	level int
}

func newZstd(level int) (compress.Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderCRC(false),
		zstd.WithZeroFrames(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, fmt.Errorf("parquet codec zstd: %w", err)
	}
	return zstdCodec{enc: enc, level: level}, nil
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
	case n > 0 && n < largePage && unmatched(src, fewOfSmall), n >= largePage && unmatched(src, fewOfLarge):
		return appendLiterals(dst[:0], src), nil
	default:
		return c.enc.EncodeAll(src, dst[:0]), nil
	}
	dst = appendFrameHead(dst[:0], n)
	return appendRaw(dst, src, true), nil
}

// EncodeTexts is Encode for a page whose texts (each a length of four bytes, and the
// bytes) begin at the first-th byte, as far as there is something better for it.
func (c zstdCodec) EncodeTexts(t *texts, dst, src []byte, first int) ([]byte, error) {
	switch {
	case c.level != 1 || len(src) < minTexts || len(src) > maxTexts:
		return c.Encode(dst, src)
	case len(src) >= 2*sampleSize && unmatched(src, fewOfTexts):
		return appendLiterals(dst[:0], src), nil
	}
	out, ok := t.append(dst[:0], src, first)
	t.src = nil // an encoder gives a large page back
	if !ok {
		out = c.enc.EncodeAll(src, dst[:0])
	}
	return out, nil
}

// Decode implements [compress.Codec]. Writers have no use for it.
func (zstdCodec) Decode(dst, src []byte) ([]byte, error) { return parquet.Zstd.Decode(dst, src) }

// Some pages have hardly anything in them that comes twice, only bytes that are more
// frequent than others: hashes, UUIDs, base64, doubles of full precision. There zstd's
// fastest level spends most of its time on matches that save nothing, or finds none and
// then takes the bytes for random and leaves them as they are. For such pages a zstd
// frame is written that consists of literals (RFC 8878, 3.1.1.3.1), coded by Huffman's
// method: in a third of the time, and mostly smaller.

const (
	blockSize  = 1 << 17 // the most that a block may have
	sampleSize = 1 << 12 // bytes that are looked at of a page of largePage; a quarter of a smaller one
	largePage  = 16 << 10

	// Of a hundred sequences of six bytes, what comes twice in a page without matches. A
	// small page is mostly levels and numbers of a dictionary, and tables for matches are
	// most of what it takes: there a few matches do not pay.
	fewOfTexts = 2
	fewOfLarge = 5
	fewOfSmall = 20
)

//nolint:gochecknoglobals // scratch memory
var literals = sync.Pool{New: func() any { return &huff0.Scratch{Reuse: huff0.ReusePolicyNone} }}

// unmatched tells by a sample from the middle whether there is little in src that comes
// twice: fewer than a number of the sequences of six bytes in a hundred.
func unmatched(src []byte, few int) bool {
	n := sampleSize
	if len(src) < largePage {
		n /= 4
	}
	n = min(n, len(src)-8)
	at := (len(src) - 8 - n) / 2
	sample := src[at : at+n+8]
	var last [1 << 12]uint16 // by hash: where the sequence was, plus 1
	found := 0
	for i := range n {
		if i%256 == 0 && 100*found >= few*n { // mostly a part of the sample is enough
			return false
		}
		v := binary.LittleEndian.Uint64(sample[i:])
		slot := &last[uint32(v)*2654435761>>20]
		if *slot > 0 && (v^binary.LittleEndian.Uint64(sample[*slot-1:]))<<16 == 0 {
			found++
		}
		*slot = uint16(i + 1)
	}
	return 100*found < few*n
}

// appendLiterals appends src as a zstd frame without matches.
func appendLiterals(dst, src []byte) []byte {
	s := literals.Get().(*huff0.Scratch)
	defer literals.Put(s)
	dst = appendFrameHead(dst, len(src))
	for last := false; !last; {
		b := src[:min(len(src), blockSize)]
		src = src[len(b):]
		last = len(src) == 0
		head := len(dst)
		dst = appendLiteralSection(append(dst, 0, 0, 0), b, s)
		if size := len(dst) - head - blockHead + 1; size < len(b) {
			dst = append(dst, 0) // sequences
			putBlockHead(dst[head:], size, blockCompressed, last)
		} else {
			dst = appendRaw(dst[:head], b, last)
		}
	}
	return dst
}

// Kinds of blocks, and the size of their head (RFC 8878, 3.1.1.2).
const (
	blockRaw        = 0
	blockCompressed = 2
	blockHead       = 3
)

// appendFrameHead appends the magic number and a header without a window of its own: the
// content is the window, and its size is given (RFC 8878, 3.1.1.1).
func appendFrameHead(dst []byte, n int) []byte {
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd)
	if n < 256 {
		return append(dst, 0x20, byte(n))
	}
	return binary.LittleEndian.AppendUint32(append(dst, 0xa0), uint32(n))
}

// putBlockHead writes the head of a block of size bytes.
func putBlockHead(dst []byte, size, kind int, last bool) {
	head := uint32(size)<<3 | uint32(kind)<<1
	if last {
		head |= 1
	}
	dst[0], dst[1], dst[2] = byte(head), byte(head>>8), byte(head>>16)
}

// appendRaw appends a block that is b as it is.
func appendRaw(dst, b []byte, last bool) []byte {
	dst = append(dst, 0, 0, 0)
	putBlockHead(dst[len(dst)-blockHead:], len(b), blockRaw, last)
	return append(dst, b...)
}

// appendLiteralSection appends the literals of a block, coded if that saves anything
// (RFC 8878, 3.1.1.3.1).
func appendLiteralSection(dst, lits []byte, s *huff0.Scratch) []byte {
	const (
		raw        = 0
		compressed = 2
		rawLong    = 3 // size: 20 bits
		fourLong   = 3 // streams: four; sizes: 18 bits
	)
	if len(lits) >= tinyPage {
		// An error says that there is no saving, or one value only.
		if coded, _, err := huff0.Compress4X(lits, s); err == nil && len(coded)+2 < len(lits) {
			sizes := compressed | fourLong<<2 | uint64(len(lits))<<4 | uint64(len(coded))<<22
			dst = append(dst, byte(sizes), byte(sizes>>8), byte(sizes>>16), byte(sizes>>24), byte(sizes>>32))
			return append(dst, coded...)
		}
	}
	size := raw | rawLong<<2 | uint32(len(lits))<<4
	dst = append(dst, byte(size), byte(size>>8), byte(size>>16))
	return append(dst, lits...)
}
