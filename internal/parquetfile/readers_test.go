package parquetfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/schema"
)

// scripts read a Parquet file and print it as an Arrow stream. They share no code
// with us or with arrow-go.
func scripts() map[string]string {
	const out = `
import pyarrow as pa, sys
with pa.ipc.new_stream(sys.stdout.buffer, t.schema) as w:
    w.write_table(t)
`
	return map[string]string{
		"pyarrow": "import sys, pyarrow.parquet as pq\nt = pq.read_table(sys.argv[1], page_checksum_verification=True)\n" + out,
		"duckdb":  "import sys, duckdb\nt = duckdb.sql(f\"FROM read_parquet('{sys.argv[1]}')\").to_arrow_table()\n" + out,
	}
}

// TestReaders has engines read files with all types, lists, nulls and empty values,
// plain and in dictionaries, in several pages and row groups, in every codec.
func TestReaders(t *testing.T) {
	python := os.Getenv("FIREHOSED_PYTHON")
	if python == "" || !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), "readers") {
		t.Skip("FIREHOSED_IT does not name readers: start it with integration/components/up.sh readers")
	}
	fields := append(everyType(), nestedTypes()...)
	s := numbered(fields...)
	for name, script := range scripts() {
		for i, codec := range []string{"zstd", "snappy", "gzip", "lz4_raw", "none"} {
			t.Run(name+"/"+codec, func(t *testing.T) {
				r := &filler{Rand: rand.New(rand.NewPCG(11, uint64(i))), nulls: []float64{0.3, 0, 0.9, 0.05, 1}[i], list: 3}
				var recs []arrow.RecordBatch
				for k := range 3 {
					r.few = k != 1
					recs = append(recs, r.record(s, 700))
				}
				data, _ := writeFile(t, s, Options{Codec: codec, RowGroupBytes: 1 << 18, PageBytes: 4 << 10, Delta: i%2 == 0,
					PageVersion: 1 + i%2, PageIndex: i%3 == 0, Bloom: []string{"string", "long", "uuid"}}, recs...)
				file := filepath.Join(t.TempDir(), "f.parquet")
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
				got := readBy(t, python, script, file, 2100)
				for i, f := range s.Fields {
					want := columnJSON(t, columnOf(recs, i))
					have := columnJSON(t, columnOf(got, i))
					if name == "duckdb" && !comparable(&f) {
						continue
					}
					if diff := cmp.Diff(want, have); diff != "" {
						t.Errorf("column %s (-written +read):\n%.2000s", f.Name, diff)
					}
				}
			})
		}
	}
}

// TestReadersOfZstd has engines read pages that are compressed by ourselves, without
// matches and as texts: of one block and of several.
func TestReadersOfZstd(t *testing.T) {
	python := os.Getenv("FIREHOSED_PYTHON")
	if python == "" || !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), "readers") {
		t.Skip("FIREHOSED_IT does not name readers: start it with integration/components/up.sh readers")
	}
	s := numbered(opt("hash", prim(schema.String)), opt("x", prim(schema.Double)), opt("url", prim(schema.String)))
	r := rand.New(rand.NewPCG(5, 5))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	for range 20_000 {
		if r.IntN(10) == 0 {
			b.Field(0).AppendNull()
			b.Field(1).AppendNull()
			b.Field(2).AppendNull()
			continue
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
		b.Field(1).(*array.Float64Builder).Append(r.NormFloat64())
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("https://example.com/%x/images/%08d_normal.jpeg", r.Uint64()>>r.IntN(64), r.IntN(1e8)))
	}
	rec := b.NewRecordBatch()
	for name, script := range scripts() {
		for _, size := range []int{16 << 10, 256 << 10} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				data, _ := writeFile(t, s, Options{PageBytes: size}, rec)
				literals, texts := ownFrames(data)
				if literals < 600_000/size || size < blockSize && texts < 800_000/size { // in larger ones literals are many
					t.Fatalf("%d pages without matches, %d of texts", literals, texts)
				}
				file := filepath.Join(t.TempDir(), "f.parquet")
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
				got := readBy(t, python, script, file, rec.NumRows())
				for i, f := range s.Fields {
					if diff := cmp.Diff(columnJSON(t, columnOf([]arrow.RecordBatch{rec}, i)), columnJSON(t, columnOf(got, i))); diff != "" {
						t.Errorf("column %s (-written +read):\n%.2000s", f.Name, diff)
					}
				}
			})
		}
	}
}

// ownFrames counts the zstd frames of pages that are without a match, and those whose
// literals are few and yet have a header for many, as the library does not write it.
func ownFrames(file []byte) (literals, texts int) {
	frame := []byte("\x28\xb5\x2f\xfd\xa0")
	for at := bytes.Index(file, frame); at >= 0; at = bytes.Index(file, frame) {
		file = file[at+len(frame)+4:]
		kind, section := file[0]>>1&3, file[blockHead:]
		head := binary.LittleEndian.Uint64(section)
		if kind != blockCompressed || head&15 != 14 { // Huffman codes, four streams, 18 bits for a size
			continue
		}
		switch plain, coded := int(head>>4&(1<<18-1)), int(head>>22&(1<<18-1)); {
		case section[5+coded] == 0:
			literals++
		case plain < 1<<14:
			texts++
		}
	}
	return literals, texts
}

// comparable tells whether DuckDB gives values of a column back in a type whose JSON
// is the same: it has no fixed width, and its UUIDs are text.
func comparable(f *schema.Field) bool {
	return !slices.Contains([]string{"uuid", "tsns", "tstzns", "m", "ms"}, f.Name)
}

func columnOf(recs []arrow.RecordBatch, i int) (chunks []arrow.Array) {
	for _, r := range recs {
		chunks = append(chunks, r.Column(i))
	}
	return chunks
}

func readBy(t *testing.T, python, script, file string, want int64) []arrow.RecordBatch {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python, "-c", script, file)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	r, err := ipc.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	var recs []arrow.RecordBatch
	for r.Next() {
		rec := r.RecordBatch()
		rec.Retain()
		recs = append(recs, rec)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for _, rec := range recs {
		rows += rec.NumRows()
	}
	if rows != want {
		t.Fatalf("%d rows were read, %d were written", rows, want)
	}
	return recs
}
