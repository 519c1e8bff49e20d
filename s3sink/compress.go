package s3sink

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// Compression is how objects are compressed: a value of Firehose's CompressionFormat,
// or ZSTD, which Firehose does not have. Values are case-sensitive there and here.
type Compression string

// The compressions. The zero value is [Uncompressed].
const (
	Uncompressed Compression = "UNCOMPRESSED"
	Gzip         Compression = "GZIP"          // one gzip stream
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

	xerialBlock = 32 << 10 // snappy-java's default

	// hadoopBlock is one frame of one chunk. Hadoop's readers have a buffer of 256
	// KiB, for the plain and for the compressed chunk.
	hadoopBlock = 64 << 10

	zstdWindow = 1 << 20

	deflateLevel = 6
)

// xerialHeader is the magic of snappy-java, its version 1, and the oldest version that
// can read the stream, 1.
const xerialHeader = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"

// NewWriter returns a writer that compresses into w. Close ends the stream and leaves w
// open; without it, the output is not whole. The same bytes become the same output,
// however they are cut into writes. A writer holds up to 200 KiB, for GZIP and ZIP 1.5
// MiB, for ZSTD 4 MiB, whatever the object's size. The id names the file in a ZIP
// archive.
func (c Compression) NewWriter(w io.Writer, id uuid.UUID) (io.WriteCloser, error) {
	switch c {
	case "", Uncompressed:
		return plain{w}, nil
	case Gzip:
		z, err := gzip.NewWriterLevel(w, deflateLevel)
		if err != nil {
			return nil, err
		}
		return newBlocks(compressBlock, writeAll(z), z.Close), nil
	case Zip:
		return newZip(w, id)
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
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
		return newBlocks(compressBlock, writeAll(z), z.Close), nil
	}
	return nil, c.Validate()
}

// newZip writes an archive in one go: sizes and checksum come after the file's bytes.
func newZip(w io.Writer, id uuid.UUID) (io.WriteCloser, error) {
	archive := zip.NewWriter(w)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, deflateLevel) })
	file, err := archive.CreateHeader(&zip.FileHeader{Name: id.String(), Method: zip.Deflate}) // no time: it would differ
	if err != nil {
		return nil, err
	}
	return newBlocks(compressBlock, writeAll(file), archive.Close), nil
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

// blocks cuts what is written into blocks of one size; the last one may be shorter.
type blocks struct {
	buf   []byte
	emit  func(block []byte) error
	end   func() error
	err   error // the first one, for good
	ended bool
}

func newBlocks(size int, emit func([]byte) error, end func() error) *blocks {
	return &blocks{buf: make([]byte, 0, size), emit: emit, end: end}
}

// Write implements [io.Writer]. It keeps nothing of b.
func (w *blocks) Write(b []byte) (int, error) {
	if w.ended {
		return 0, io.ErrClosedPipe
	}
	for n := 0; n < len(b) && w.err == nil; {
		take := min(cap(w.buf)-len(w.buf), len(b)-n)
		w.buf = append(w.buf, b[n:n+take]...)
		n += take
		if len(w.buf) == cap(w.buf) {
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
	return w.err
}
