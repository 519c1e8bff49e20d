package s3sink

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
)

var compressions = []Compression{"", Uncompressed, Gzip, Zip, Snappy, HadoopSnappy, Zstd}

func compress(t testing.TB, c Compression, in []byte, cut func() int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := c.NewWriter(&out, commitID, mostDeflate)
	if err != nil {
		t.Fatal(err)
	}
	for rest := in; len(rest) > 0; {
		n := min(cut(), len(rest))
		b := bytes.Clone(rest[:n])
		if m, err := w.Write(b); m != n || err != nil {
			t.Fatal(m, err)
		}
		clear(b) // what a writer must not keep
		rest = rest[n:]
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decompress reads with other code than what wrote: the standard library's, klauspost's readers, and readHadoop.
func decompress(c Compression, b []byte) ([]byte, error) {
	switch c {
	case Gzip:
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return io.ReadAll(z)
	case Zip:
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, err
		}
		if len(z.File) != 1 || z.File[0].Name != commitID.String() || z.File[0].Method != zip.Deflate {
			return nil, fmt.Errorf("other files than one: %+v", z.File)
		}
		f, err := z.File[0].Open()
		if err != nil {
			return nil, err
		}
		return io.ReadAll(f)
	case Snappy:
		return xerial.Decode(b)
	case HadoopSnappy:
		return readHadoop(b)
	case Zstd:
		z, err := zstd.NewReader(nil)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return z.DecodeAll(b, nil)
	}
	return b, nil
}

// readHadoop reads frames: the plain length of a frame, then chunks with their compressed length until the frame is full.
func readHadoop(b []byte) (out []byte, err error) {
	for len(b) > 0 {
		frame := int(binary.BigEndian.Uint32(b))
		b = b[4:]
		for frame > 0 {
			n := int(binary.BigEndian.Uint32(b))
			chunk, err := snappy.Decode(nil, b[4:4+n])
			if err != nil {
				return nil, err
			}
			out = append(out, chunk...)
			frame -= len(chunk)
			b = b[4+n:]
		}
		if frame != 0 {
			return nil, fmt.Errorf("chunks are %d bytes longer than their frame", -frame)
		}
	}
	return out, nil
}

func sample() []byte {
	var b bytes.Buffer
	for i := range 2500 {
		fmt.Fprintf(&b, "{\"n\":%d,\"square\":%d}\n", i, i*i)
	}
	return b.Bytes()
}

func TestCompressionsAreRead(t *testing.T) {
	noise := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(noise)
	for _, c := range compressions {
		for _, in := range [][]byte{[]byte("x"), sample(), noise, bytes.Repeat([]byte("a"), 2*compressBlock), bytes.Repeat(sample(), 30)} {
			out := compress(t, c, in, func() int { return 1000 })
			if got, err := decompress(c, out); err != nil || !bytes.Equal(got, in) {
				t.Errorf("%s: %d bytes come back as %d, %v", c, len(in), len(got), err)
			}
		}
	}
}

// TestCompressionIsOfBytesAlone: how the input is cut into writes does not show, nor does when it is compressed.
func TestCompressionIsOfBytesAlone(t *testing.T) {
	in := bytes.Repeat(sample(), 4)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range compressions {
		whole := compress(t, c, in, func() int { return len(in) })
		for _, cut := range []func() int{func() int { return 7 }, func() int { return compressBlock }, func() int { return 1 + rng.IntN(3*compressBlock) }} {
			if out := compress(t, c, in, cut); !bytes.Equal(out, whole) {
				t.Errorf("%s: the output depends on the writes", c)
			}
		}
	}
}

// TestSnappyBytes has what the formats say for one short block, made by hand: 5 is the length, 0x10 a literal of 5 bytes.
func TestSnappyBytes(t *testing.T) {
	f := func(c Compression, want string) {
		t.Helper()
		got := hex.EncodeToString(compress(t, c, []byte("hello"), func() int { return 5 }))
		if want = strings.ReplaceAll(want, " ", ""); got != want {
			t.Errorf("%s: got %s, want %s", c, got, want)
		}
	}
	f(Snappy, "82534e4150505900 00000001 00000001 00000007 05 10 68656c6c6f")
	f(HadoopSnappy, "00000005 00000007 05 10 68656c6c6f")
}

// TestSnappyAsJava reads what snappy-java 1.1.10.7 and the Hadoop streams of aircompressor 0.27 wrote with the readers that
// the other tests trust, and compares where blocks end. testdata/SnappyStreams.java wrote the files, and reads ours.
func TestSnappyAsJava(t *testing.T) {
	f := func(c Compression, file string) []byte {
		t.Helper()
		theirs, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decompress(c, theirs)
		if err != nil || !bytes.Equal(got, sample()) {
			t.Fatalf("%s: %d bytes, %v", file, len(got), err)
		}
		return theirs
	}
	f(HadoopSnappy, "hadoop.snappy")
	theirs := f(Snappy, "snappy-java.snappy")
	ours := compress(t, Snappy, sample(), func() int { return 100 })
	if !bytes.Equal(theirs[:16], ours[:16]) {
		t.Errorf("header: got %x, snappy-java has %x", ours[:16], theirs[:16])
	}
	lengths := func(b []byte) (plain []int) {
		for b = b[16:]; len(b) > 0; {
			n := binary.BigEndian.Uint32(b)
			l, err := snappy.DecodedLen(b[4:])
			if err != nil {
				t.Fatal(err)
			}
			plain, b = append(plain, l), b[4+n:]
		}
		return plain
	}
	if a, b := fmt.Sprint(lengths(ours)), fmt.Sprint(lengths(theirs)); a != b {
		t.Errorf("blocks: got %s, snappy-java has %s", a, b)
	}
}

// TestHadoopChunksFitItsBuffer: Hadoop's SnappyDecompressor holds 256 KiB of a chunk, plain and compressed.
func TestHadoopChunksFitItsBuffer(t *testing.T) {
	if n := snappy.MaxEncodedLen(hadoopBlock); hadoopBlock > 256<<10 || n > 256<<10 {
		t.Errorf("a chunk of %d bytes may have %d compressed", hadoopBlock, n)
	}
}

func TestWriterReportsErrors(t *testing.T) {
	for _, c := range compressions {
		broken := errors.New("no more room")
		w, err := c.NewWriter(failing{broken}, commitID, 0)
		if err != nil && !errors.Is(err, broken) {
			t.Fatal(err)
		} else if err != nil {
			continue
		}
		_, err = w.Write(bytes.Repeat(sample(), 20))
		if err = errors.Join(err, w.Close()); !errors.Is(err, broken) {
			t.Errorf("%s: got error %v, want %v", c, err, broken)
		}
	}
	if _, err := Compression("SNAPPY").NewWriter(io.Discard, commitID, mostDeflate); err == nil || !strings.Contains(err.Error(), `compression_format: "SNAPPY"`) {
		t.Errorf("got error %v, want one that names the key and value", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestWriterMemory: writers hold what they say, and no more than NewWriter documents.
func TestWriterMemory(t *testing.T) {
	limits := map[Compression]int64{Uncompressed: 0, Gzip: 256 << 10, Zip: 256 << 10, Snappy: 200 << 10, HadoopSnappy: 200 << 10, Zstd: 5 << 20}
	in := bytes.Repeat(sample(), 20)
	in = in[:len(in)/mostDeflate*mostDeflate-1000] // the last block is nearly full
	for c, limit := range limits {
		const n = 8
		_ = compress(t, c, in, func() int { return len(in) }) // what all share is there
		writers := make([]Compressor, n)
		before, says := heap(), int64(0)
		for i := range writers {
			w, err := c.NewWriter(io.Discard, commitID, mostDeflate)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(in); err != nil {
				t.Fatal(err)
			}
			writers[i], says = w, w.Held()
		}
		const besides = 128 << 10 // blocks of Snappy on their way, tables of the archive
		if held := int64(heap()-min(before, heap())) / n; held > says+besides || says > limit {
			t.Errorf("%s: a writer holds %d bytes and says %d, documented are %d", c, held, says, limit)
		}
		runtime.KeepAlive(writers)
	}
}

// TestDeflateCosts: blocks that know nothing of one another take little more than one stream.
func TestDeflateCosts(t *testing.T) {
	in, err := os.ReadFile("testdata/mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	in = bytes.Repeat(append(sample(), in...), 20)
	var whole bytes.Buffer
	z, err := gzip.NewWriterLevel(&whole, deflateLevel)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write(in)
	_ = z.Close()
	if n := len(compress(t, Gzip, in, func() int { return len(in) })); n > whole.Len()*105/100 {
		t.Errorf("%d bytes, compress/gzip makes %d", n, whole.Len())
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestExtensionsAndEncodings(t *testing.T) {
	f := func(c Compression, extension, encoding string) {
		t.Helper()
		if err := c.Validate(); err != nil || c.Extension() != extension || c.ContentEncoding() != encoding {
			t.Errorf("%s: got %q, %q, %v, want %q, %q", c, c.Extension(), c.ContentEncoding(), err, extension, encoding)
		}
	}
	f("", "", "")
	f("UNCOMPRESSED", "", "")
	f("GZIP", ".gz", "gzip")
	f("ZIP", ".zip", "zip")
	f("Snappy", ".snappy", "snappy-java")
	f("HADOOP_SNAPPY", ".snappy", "hadoop-snappy")
	f("ZSTD", ".zst", "zstd")
	if Compression("gzip").Validate() == nil {
		t.Error("gzip passed, values are case-sensitive")
	}
}
