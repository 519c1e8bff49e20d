package s3sink

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/google/uuid"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// Compression is how objects are compressed: a value of Firehose's CompressionFormat,
// or ZSTD, which Firehose does not have. Values are case-sensitive there and here.
type Compression string

// The compressions. The zero value is [Uncompressed].
const (
	Uncompressed Compression = "UNCOMPRESSED"
	Gzip         Compression = "GZIP"          // one gzip member
	Zip          Compression = "ZIP"           // an archive with one file, named by a UUID
	Snappy       Compression = "Snappy"        // the stream of snappy-java: a header, then blocks
	HadoopSnappy Compression = "HADOOP_SNAPPY" // the blocks of Hadoop's SnappyCodec
	Zstd         Compression = "ZSTD"          // one frame of Zstandard with a checksum
)

// Validate names the key compression_format in its error.
func (c Compression) Validate() error {
	switch c {
	case "", Uncompressed, Gzip, Zip, Snappy, HadoopSnappy, Zstd:
		return nil
	}
	return fmt.Errorf("compression_format: %q: choose UNCOMPRESSED, GZIP, ZIP, Snappy, HADOOP_SNAPPY or ZSTD, written like this", string(c))
}

// Extension returns how the names of compressed objects end. Both kinds of Snappy end
// in .snappy; the content encoding tells them apart.
func (c Compression) Extension() string {
	switch c {
	case Gzip:
		return ".gz"
	case Zip:
		return ".zip"
	case Snappy, HadoopSnappy:
		return ".snappy"
	case Zstd:
		return ".zst"
	}
	return ""
}

// ContentEncoding returns the Content-Encoding that Firehose stores objects with,
// empty: none. Their Content-Type is always application/octet-stream.
func (c Compression) ContentEncoding() string {
	switch c {
	case Gzip:
		return "gzip"
	case Zip:
		return "zip"
	case Snappy:
		return "snappy-java"
	case HadoopSnappy:
		return "hadoop-snappy"
	case Zstd:
		return "zstd"
	}
	return ""
}

const (
	// compressBlock is how many bytes compressors get at once, whatever the writes
	// are: the output is a function of the input's bytes alone.
	compressBlock = 64 << 10

	// Blocks of Deflate are compressed for themselves, so that an open object has no
	// compressor, only what is not compressed yet. The loss is what the window of 32 KiB
	// would have found before it: with the most below 2 % of the output, with the least
	// some 10 %.
	mostDeflate, leastDeflate = 256 << 10, 32 << 10

	xerialBlock = 32 << 10 // snappy-java's default

	// hadoopBlock is one frame of one chunk. Hadoop's readers have a buffer of 256
	// KiB, for the plain and for the compressed chunk.
	hadoopBlock = 64 << 10

	zstdWindow = 1 << 20
	zstdHeld   = 4 << 20 // of an encoder with that window, at most

	deflateLevel = 6
)

// xerialHeader is the magic of snappy-java, its version 1, and the oldest version that
// can read the stream, 1.
const xerialHeader = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"

// Compressor compresses what is written to it. Close ends the stream and leaves what is
// below open; without it, the output is not whole.
type Compressor interface {
	io.WriteCloser
	// Held returns the bytes that it holds in memory, besides what all share.
	Held() int64
}

// NewWriter returns a writer that compresses into w. The same bytes become the same
// output, however they are cut into writes. A writer holds up to 200 KiB, for GZIP and ZIP
// one of its blocks, for ZSTD 4 MiB, whatever the object's size, and those of GZIP and ZIP
// share 1.5 MiB for each processor. block is the size of a block of GZIP and ZIP, brought
// to 32 to 256 KiB. The id names the file in a ZIP archive.
func (c Compression) NewWriter(w io.Writer, id uuid.UUID, block int) (Compressor, error) {
	block = min(max(block, leastDeflate), mostDeflate)
	switch c {
	case "", Uncompressed:
		return plain{w}, nil
	case Gzip:
		z := &gzipMember{w: w, deflate: deflater{w}}
		return newBlocks(block, z.write, z.close), nil
	case Zip:
		return newZip(w, id, block)
	case Snappy:
		begun := false
		begin := func() error {
			if begun {
				return nil
			}
			begun = true
			_, err := io.WriteString(w, xerialHeader)
			return err
		}
		return newBlocks(xerialBlock, snappyBlocks(w, begin, 0), begin), nil
	case HadoopSnappy:
		nothing := func() error { return nil }
		return newBlocks(hadoopBlock, snappyBlocks(w, nothing, 4), nothing), nil
	case Zstd:
		z := zstdEncoders.Get().(*zstd.Encoder) //nolint:forcetypeassert // nothing else is in it
		z.Reset(w)
		b := newBlocks(compressBlock, writeAll(z), func() error {
			err := z.Close()
			z.Reset(nil)
			zstdEncoders.Put(z)
			return err
		})
		b.beside = zstdHeld
		return b, nil
	}
	return nil, c.Validate()
}

var zstdEncoders = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("BUG: options of the encoder: %v", err))
	}
	return z
}}

// newZip writes an archive in one go: sizes and checksum come after the file's bytes.
func newZip(w io.Writer, id uuid.UUID, block int) (Compressor, error) {
	archive := zip.NewWriter(w)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return deflater{w}, nil })
	file, err := archive.CreateHeader(&zip.FileHeader{Name: id.String(), Method: zip.Deflate}) // no time: it would differ
	if err != nil {
		return nil, err
	}
	return newBlocks(block, writeAll(file), archive.Close), nil
}

// deflater makes one stream of Deflate of blocks that know nothing of one another, as
// pigz does: each ends with an empty stored block, so the next begins at a byte.
type deflater struct{ w io.Writer }

var flaters = sync.Pool{New: func() any {
	z, err := flate.NewWriter(io.Discard, deflateLevel)
	if err != nil {
		panic(fmt.Sprintf("BUG: level of Deflate: %v", err))
	}
	return z
}}

// Write compresses a block.
func (d deflater) Write(block []byte) (int, error) {
	z := flaters.Get().(*flate.Writer) //nolint:forcetypeassert // nothing else is in it
	defer flaters.Put(z)
	z.Reset(d.w)
	if _, err := z.Write(block); err != nil {
		return 0, err
	}
	return len(block), z.Flush()
}

// Close ends the stream with an empty block that says that it is the last.
func (d deflater) Close() error {
	_, err := d.w.Write([]byte{0x03, 0x00})
	return err
}

// gzipMember is a file of one member (RFC 1952).
type gzipMember struct {
	w       io.Writer
	deflate deflater
	begun   bool
	crc     uint32
	size    uint32
}

func (z *gzipMember) begin() error {
	if z.begun {
		return nil
	}
	z.begun = true
	_, err := z.w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}) // Deflate, no flags, no time, unknown system
	return err
}

func (z *gzipMember) write(block []byte) error {
	if err := z.begin(); err != nil {
		return err
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, block)
	z.size += uint32(len(block)) //nolint:gosec // modulo 2^32, as the format has it
	_, err := z.deflate.Write(block)
	return err
}

func (z *gzipMember) close() error {
	if err := errors.Join(z.begin(), z.deflate.Close()); err != nil {
		return err
	}
	_, err := z.w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, z.crc), z.size))
	return err
}

// snappyBlocks returns a function that writes blocks of Snappy with their compressed
// length before them, and before that their plain length if prefix is 4.
func snappyBlocks(w io.Writer, begin func() error, prefix int) func([]byte) error {
	var out []byte
	return func(block []byte) error {
		if err := begin(); err != nil {
			return err
		}
		head := prefix + 4
		if need := head + snappy.MaxEncodedLen(len(block)); cap(out) < need {
			out = make([]byte, need)
		}
		n := len(snappy.Encode(out[head:cap(out)], block))
		if prefix > 0 {
			binary.BigEndian.PutUint32(out, uint32(len(block)))
		}
		binary.BigEndian.PutUint32(out[prefix:cap(out)], uint32(n))
		_, err := w.Write(out[:head+n])
		return err
	}
}

func writeAll(w io.Writer) func([]byte) error {
	return func(b []byte) error {
		_, err := w.Write(b)
		return err
	}
}

// plain passes bytes on.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }
func (plain) Held() int64  { return 0 }

// blocks cuts what is written into blocks of one size; the last one may be shorter.
type blocks struct {
	size   int
	buf    []byte // grows up to size
	beside int64  // bytes that are held elsewhere
	emit   func(block []byte) error
	end    func() error
	err    error // the first one, for good
	ended  bool
}

func newBlocks(size int, emit func([]byte) error, end func() error) *blocks {
	return &blocks{size: size, emit: emit, end: end}
}

// Held implements [Compressor].
func (w *blocks) Held() int64 { return int64(cap(w.buf)) + w.beside }

// Write implements [io.Writer]. It keeps nothing of b.
func (w *blocks) Write(b []byte) (int, error) {
	if w.ended {
		return 0, io.ErrClosedPipe
	}
	for n := 0; n < len(b) && w.err == nil; {
		take := min(w.size-len(w.buf), len(b)-n)
		w.buf = append(w.buf, b[n:n+take]...)
		n += take
		if len(w.buf) == w.size {
			w.flush()
		}
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(b), nil
}

func (w *blocks) flush() {
	w.err = w.emit(w.buf)
	w.buf = w.buf[:0]
}

// Close implements [io.Closer]. The second call does nothing.
func (w *blocks) Close() error {
	if w.ended {
		return w.err
	}
	w.ended = true
	if w.err == nil && len(w.buf) > 0 {
		w.flush()
	}
	if w.err == nil {
		w.err = w.end()
	}
	w.buf = nil
	return w.err
}
