package parquetfile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/schema"
)

func jsonRecord(t *testing.T, s *arrow.Schema, rows ...string) arrow.RecordBatch {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	defer b.Release()
	for _, row := range rows {
		if err := b.UnmarshalJSON([]byte(row)); err != nil {
			t.Fatal(err)
		}
	}
	return b.NewRecordBatch()
}

func TestRefused(t *testing.T) {
	long, text := prim(schema.Long), prim(schema.String)
	have := numbered(req("a", long), opt("b", text), opt("s", structOf(req("x", long)))) // 1, 2, 3, 4
	f := func(rec arrow.RecordBatch, want string) {
		t.Helper()
		var out bytes.Buffer
		w, err := New(&out, have, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Write(rec)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if again := w.Write(rec); again != err {
			t.Errorf("the next write returned %v", again)
		}
		if _, closed := w.Close(); closed != err {
			t.Errorf("close returned %v", closed)
		}
		w.Abort()
		if out.Len() > 0 {
			t.Errorf("%d bytes went out", out.Len())
		}
	}
	from := func(s *schema.Schema, rows ...string) arrow.RecordBatch {
		return jsonRecord(t, arrowSchema(s), rows...)
	}

	f(from(numbered(opt("a", long)), `{"a": null}`), "column a: row 0")
	f(from(numbered(opt("a", long)), `{"a": 1}`, `{"a": null}`), "column a: entry 1")
	f(from(numbered(opt("a", text)), `{"a": "1"}`), "column a: records have utf8, the table has long")
	other := numbered(opt("z", text))
	other.Fields[0].ID = 2
	f(from(other, `{"z": "x"}`), "column a")
	more := numbered(opt("a", long), opt("b", text), opt("s", structOf(opt("x", long))), opt("t", text))
	f(from(more, `{"a": 1, "t": "x"}`), "record column t: the file's schema has no field id 5")
	f(from(more, `{"a": 1, "s": {}}`), "")
	f(from(numbered(opt("a", long), opt("b", text), opt("s", structOf(opt("x", long)))), `{"a": 1, "s": {"x": null}}`), "column s.x")
	f(jsonRecord(t, arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}, nil), `{"a": 1}`), "no field id")
}

func TestRefusedSchemas(t *testing.T) {
	long := prim(schema.Long)
	f := func(s *schema.Schema, o Options, want string) {
		t.Helper()
		if _, err := New(io.Discard, s, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	ok := numbered(opt("a", long))
	f(nil, Options{}, "no columns")
	f(&schema.Schema{Fields: []schema.Field{opt("a", long)}}, Options{}, "field id 0")
	f(&schema.Schema{Fields: []schema.Field{{ID: 1, Name: "a", Type: long}, {ID: 1, Name: "b", Type: long}}}, Options{}, `taken by "a"`)
	f(&schema.Schema{Fields: []schema.Field{{ID: 1, Name: "a", Type: long}, {ID: 2, Name: "a", Type: long}}}, Options{}, `two columns are named "a"`)
	f(numbered(opt("s", structOf())), Options{}, "struct s has no members")
	f(ok, Options{Codec: "brotli"}, `parquet codec: "brotli" is not one of`)
	f(ok, Options{Level: 23}, "parquet level: 23")
	f(ok, Options{Codec: "gzip", Level: 10}, "parquet level: 10")
	f(ok, Options{PageBytes: 10}, "parquet page bytes: 10")
	f(ok, Options{RowGroupBytes: -1}, "parquet row group bytes: -1")
}

// failing is an output that takes some bytes.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

func TestOutputFails(t *testing.T) {
	s := numbered(mixed(20, "c")...)
	r := &filler{Rand: rand.New(rand.NewPCG(5, 5))}
	rec := r.record(s, 2000)
	full := errors.New("disk full")
	for _, left := range []int{0, 10_000, 200_000} {
		w, err := New(&failing{left: left, err: full}, s, Options{RowGroupBytes: 50_000})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err = w.Write(rec); err != nil {
				break
			}
		}
		if err == nil {
			_, err = w.Close()
		}
		if !errors.Is(err, full) {
			t.Errorf("after %d bytes: error %v", left, err)
		}
		w.Abort()
		w.Abort()
		if w.Held() != 0 {
			t.Errorf("an aborted writer holds %d bytes", w.Held())
		}
	}
}

func TestEmptyFile(t *testing.T) {
	s := numbered(append(everyType(), nestedTypes()...)...)
	r := &filler{Rand: rand.New(rand.NewPCG(1, 1))}
	for _, recs := range [][]arrow.RecordBatch{nil, {r.record(s, 0)}} {
		b, m := writeFile(t, s, Options{}, recs...)
		if m.Rows != 0 || len(m.SplitOffsets) != 0 {
			t.Errorf("%d rows, split offsets %v", m.Rows, m.SplitOffsets)
		}
		for id, col := range readFile(t, b) {
			if col != "[]" && col != "null" {
				t.Errorf("column %d has values: %s", id, col)
			}
		}
	}
}

// TestSizes follows what a writer says about itself while it writes row groups.
func TestSizes(t *testing.T) {
	s := numbered(mixed(12, "c")...)
	r := &filler{Rand: rand.New(rand.NewPCG(5, 5))}
	pool, err := NewPool(Options{RowGroupBytes: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := pool.Writer(&out, s)
	if err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for i := range 20 {
		if err := w.Write(r.record(s, 500)); err != nil {
			t.Fatal(err)
		}
		if w.Held() <= 0 || w.Held() > 2_000_000 {
			t.Errorf("after %d records the writer holds %d", i+1, w.Held())
		}
		if w.Size() < last/2 { // an estimate; it may be corrected
			t.Errorf("after %d records the size went from %d to %d", i+1, last, w.Size())
		}
		last = w.Size()
	}
	m, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if w.Rows() != 10_000 || m.Rows != 10_000 || w.Size() != int64(out.Len()) || w.Held() != 0 {
		t.Errorf("rows %d, %d; size %d of %d; held %d", w.Rows(), m.Rows, w.Size(), out.Len(), w.Held())
	}
	if last < m.Size*8/10 || last > m.Size*12/10 {
		t.Errorf("the last estimate was %d, the file has %d", last, m.Size)
	}
	if len(m.SplitOffsets) < 3 {
		t.Errorf("%d row groups", len(m.SplitOffsets))
	}
	if _, err := w.Close(); err == nil {
		t.Error("closed twice without an error")
	}
	if err := w.Write(r.record(s, 1)); err == nil {
		t.Error("wrote after close")
	}
}

// TestPool writes files of two schemas at the same time. What a file is like must
// not depend on the files before it.
func TestPool(t *testing.T) {
	flat, nested := numbered(everyType()...), numbered(nestedTypes()...)
	r := &filler{Rand: rand.New(rand.NewPCG(5, 5)), nulls: 0.3, few: true, list: 3}
	pool, err := NewPool(Options{RowGroupBytes: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, s := range []*schema.Schema{flat, nested, flat, nested} {
		recs := []arrow.RecordBatch{r.record(s, 300), r.record(s, 500), r.record(s, 200)}
		want, _ := writeFile(t, s, Options{RowGroupBytes: 20_000}, recs...)
		wg.Go(func() {
			for i := range 10 {
				var out bytes.Buffer
				w, err := pool.Writer(&out, s)
				if err != nil {
					t.Error(err)
					return
				}
				for _, rec := range recs {
					if err := w.Write(rec); err != nil {
						t.Error(err)
						return
					}
				}
				if i%3 == 2 {
					w.Abort()
					continue
				}
				if _, err := w.Close(); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(out.Bytes(), want) {
					t.Errorf("file %d of a pool has other bytes than one of its own: %d, %d", i, out.Len(), len(want))
				}
			}
		})
	}
	wg.Wait()
}

// TestIdle checks that the memory of files is kept for the next file, and not without
// limit.
func TestIdle(t *testing.T) {
	const limit = 1 << 20
	pool, err := NewPool(Options{IdleBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	r := &filler{Rand: rand.New(rand.NewPCG(5, 5)), few: true}
	write := func(s *schema.Schema) {
		t.Helper()
		w, err := pool.Writer(io.Discard, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(r.record(s, 100)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	first := numbered(mixed(10, "c")...)
	for range 3 {
		write(first)
	}
	if n := len(pool.mu.idle); n != 1 {
		t.Errorf("the columns of %d files are idle after three files of a schema", n)
	}
	kept := pool.mu.idle[0]
	for range 12 {
		write(numbered(mixed(300, "c")...))
	}
	sum := int64(0)
	for _, s := range pool.mu.idle {
		_, held := s.size()
		sum += held
		if s == kept {
			t.Error("the oldest columns are still idle")
		}
	}
	if sum > limit || sum < limit/2 {
		t.Errorf("idle columns take %d bytes", sum)
	}
}

// TestEncodings checks what columns are encoded as: few values in a dictionary,
// other columns plain.
func TestEncodings(t *testing.T) {
	s := numbered(opt("few", prim(schema.String)), opt("many", prim(schema.String)), opt("ints", prim(schema.Long)),
		opt("seq", prim(schema.Long)), opt("none", prim(schema.String)), opt("flag", prim(schema.Bool)))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	for i := range 20_000 {
		b.Field(0).(*array.StringBuilder).Append([]string{"ok", "degraded", "offline"}[i%3])
		b.Field(1).(*array.StringBuilder).Append(strings.Repeat("x", i%7) + string(rune('0'+i%10)) + string(rune(i)))
		b.Field(2).(*array.Int64Builder).Append(int64(i % 100 * 1_000_003))
		b.Field(3).(*array.Int64Builder).Append(int64(i))
		b.Field(4).AppendNull()
		b.Field(5).(*array.BooleanBuilder).Append(i%2 == 0)
	}
	rec := b.NewRecordBatch()
	for _, delta := range []bool{false, true} {
		data, _ := writeFile(t, s, Options{Delta: delta}, rec)
		pf, err := file.NewParquetReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		defer pf.Close()
		want := map[string]parquet.Encoding{"few": parquet.Encodings.RLEDict, "ints": parquet.Encodings.RLEDict}
		if delta {
			want["seq"] = parquet.Encodings.DeltaBinaryPacked
		}
		for i := range s.Fields {
			c, err := pf.MetaData().RowGroup(0).ColumnChunk(i)
			if err != nil {
				t.Fatal(err)
			}
			name := c.PathInSchema().String()
			if c.HasDictionaryPage() != (want[name] == parquet.Encodings.RLEDict) {
				t.Errorf("delta %t, column %s: dictionary %t", delta, name, c.HasDictionaryPage())
			}
			if e := c.Encodings(); want[name] != parquet.Encodings.Plain && !slices.Contains(e, want[name]) || len(e) > 2 && want[name] == parquet.Encodings.Plain {
				t.Errorf("delta %t, column %s: encodings %v", delta, name, e)
			}
		}
	}
}

// TestLongStrings checks that the footer does not hold bounds of any length.
func TestLongStrings(t *testing.T) {
	s := numbered(opt("c", prim(schema.String)))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = 'a' + byte(rand.N(26))
	}
	b.Field(0).(*array.StringBuilder).Append(string(long))
	b.Field(0).(*array.StringBuilder).Append("b")
	data, m := writeFile(t, s, Options{Codec: "none"}, b.NewRecordBatch())
	if over := len(data) - len(long); over > 2_000 {
		t.Errorf("the file has %d bytes more than its values", over)
	}
	if len(m.Lower[1]) > 16 || len(m.Upper[1]) > 16 {
		t.Errorf("bounds of %d and %d bytes", len(m.Lower[1]), len(m.Upper[1]))
	}
}

// TestAllocations checks that there are none by row.
func TestAllocations(t *testing.T) {
	s := numbered(append(mixed(24, "c"), opt("l", listOf(opt("", prim(schema.String)))))...)
	r := &filler{Rand: rand.New(rand.NewPCG(5, 5)), nulls: 0.2, list: 3}
	rec := r.record(s, 5000)
	pool, err := NewPool(Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(5, func() {
		w, err := pool.Writer(io.Discard, s)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := w.Write(rec); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if n > 5000 {
		t.Errorf("%v allocations for 15000 rows", n)
	}
}

// TestDictionaryOutgrown writes columns that get a dictionary for their first row
// group, and then hold more than any dictionary.
func TestDictionaryOutgrown(t *testing.T) {
	s := numbered(opt("text", prim(schema.String)), opt("num", prim(schema.Long)), opt("l", listOf(opt("", prim(schema.String)))))
	record := func(rows, distinct int) arrow.RecordBatch {
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
		defer b.Release()
		for i := range rows {
			text := strings.Repeat(string(rune('a'+i%distinct%26)), 100) + strconv.Itoa(i%distinct)
			b.Field(0).(*array.StringBuilder).Append(text)
			b.Field(1).(*array.Int64Builder).Append(int64(i%distinct) << 20)
			list := b.Field(2).(*array.ListBuilder)
			list.Append(true)
			for range i % 3 {
				list.ValueBuilder().(*array.StringBuilder).Append(text)
			}
		}
		return b.NewRecordBatch()
	}
	recs := []arrow.RecordBatch{record(2000, 10), record(40_000, 40_000), record(2000, 10)}
	pool, err := NewPool(Options{RowGroupBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := recordsJSON(t, s, recs)
	for range 2 {
		var out bytes.Buffer
		w, err := pool.Writer(&out, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if err := w.Write(rec); err != nil {
				t.Fatal(err)
			}
		}
		m, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.SplitOffsets) != 3 {
			t.Errorf("%d row groups", len(m.SplitOffsets))
		}
		for id, col := range readFile(t, out.Bytes()) {
			if col != want[id] {
				t.Errorf("column %d does not hold what was written", id)
			}
		}
	}
}

// TestParallel: a file does not depend on how many processors made it.
func TestParallel(t *testing.T) {
	s := numbered(append(mixed(24, "c"), opt("l", listOf(opt("", prim(schema.String)))))...)
	r := &filler{Rand: rand.New(rand.NewPCG(6, 6)), nulls: 0.2, list: 3}
	var recs []arrow.RecordBatch
	for range 4 {
		recs = append(recs, r.record(s, 8000))
	}
	var files [][]byte
	for _, processors := range []int{1, 4} {
		before := runtime.GOMAXPROCS(processors)
		data, _ := writeFile(t, s, Options{RowGroupBytes: 5 << 20, PageIndex: true, Bloom: []string{"c000"}}, recs...)
		runtime.GOMAXPROCS(before)
		files = append(files, data)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Errorf("files of %d and %d bytes differ", len(files[0]), len(files[1]))
	}
	if diff := cmp.Diff(recordsJSON(t, s, recs), readFile(t, files[1])); diff != "" {
		t.Errorf("the file does not hold what was written (-written +read):\n%.2000s", diff)
	}
}

// TestParallelFailure: an output that fails, fails the file, whoever writes.
func TestParallelFailure(t *testing.T) {
	s := numbered(mixed(24, "c")...)
	r := &filler{Rand: rand.New(rand.NewPCG(6, 6)), nulls: 0.2}
	rec := r.record(s, 20_000)
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	for _, room := range []int{0, 100_000, 1_000_000} {
		w, err := New(&shortOutput{room}, s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err = w.Write(rec); err == nil {
			_, err = w.Close()
		}
		if !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}

var errFull = errors.New("full")

// shortOutput takes so many bytes.
type shortOutput struct{ room int }

func (o *shortOutput) Write(p []byte) (int, error) {
	if o.room -= len(p); o.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}
