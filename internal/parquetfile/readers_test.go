package parquetfile

import (
	"bytes"
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
				data, _ := writeFile(t, s, Options{Codec: codec, RowGroupBytes: 1 << 18, PageBytes: 4 << 10}, recs...)
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

// TestReadersOfLiterals has engines read pages that are coded without matches: of one
// block and of several.
func TestReadersOfLiterals(t *testing.T) {
	python := os.Getenv("FIREHOSED_PYTHON")
	if python == "" || !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), "readers") {
		t.Skip("FIREHOSED_IT does not name readers: start it with integration/components/up.sh readers")
	}
	s := numbered(opt("hash", prim(schema.String)), opt("x", prim(schema.Double)))
	r := rand.New(rand.NewPCG(5, 5))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	for range 20_000 {
		if r.IntN(10) == 0 {
			b.Field(0).AppendNull()
			b.Field(1).AppendNull()
			continue
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
		b.Field(1).(*array.Float64Builder).Append(r.NormFloat64())
	}
	rec := b.NewRecordBatch()
	for name, script := range scripts() {
		for _, size := range []int{16 << 10, 256 << 10} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				data, _ := writeFile(t, s, Options{PageBytes: size}, rec)
				const frame = "\x28\xb5\x2f\xfd\x80\x38" // as appendLiterals begins it
				if n := bytes.Count(data, []byte(frame)); n < 600_000/size {
					t.Fatalf("%d pages without matches", n)
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
