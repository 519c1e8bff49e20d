package parquetfile

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/firehosed/firehosed/schema"
)

// workload is a kind of table and a file's worth of records for it.
type workload struct {
	name string
	s    *schema.Schema
	recs []arrow.RecordBatch
}

func (w *workload) bytes() (n int64) {
	for _, r := range w.recs {
		for _, c := range r.Columns() {
			n += arrayBytes(c.Data())
		}
	}
	return n
}

func arrayBytes(d arrow.ArrayData) (n int64) {
	for _, b := range d.Buffers() {
		if b != nil {
			n += int64(b.Len())
		}
	}
	for _, c := range d.Children() {
		n += arrayBytes(c)
	}
	return n
}

// cpu returns the processor time of the process: load on the machine does not show in it.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCPU reports MB/s of processor time, and that time per operation.
func perCPU(b *testing.B, start time.Duration, bytes int64) {
	d := cpu() - start
	b.ReportMetric(float64(d.Microseconds())/float64(b.N), "cpu-us/op")
	if bytes > 0 {
		b.ReportMetric(float64(bytes)*float64(b.N)/1e6/d.Seconds(), "cpu-MB/s")
	}
}

func mixed(n int, prefix string) []schema.Field {
	kinds := []schema.Kind{schema.String, schema.Long, schema.Double, schema.TimestampTZ, schema.String, schema.Bool}
	fs := make([]schema.Field, n)
	for i := range fs {
		fs[i] = opt(fmt.Sprintf("%s%03d", prefix, i), prim(kinds[i%len(kinds)]))
	}
	return fs
}

func workloads(batches int) []workload {
	flat := numbered(mixed(12, "c")...)
	wide := numbered(mixed(95, "c")...)
	var groups []schema.Field
	for i := range 40 {
		groups = append(groups, opt(fmt.Sprintf("g%02d", i), structOf(append(mixed(12, "c"),
			opt("tags", listOf(opt("", prim(schema.String)))),
			opt("items", listOf(opt("", structOf(mixed(2, "c")...)))))...)))
	}
	nested := numbered(groups...)
	out := []workload{{name: "flat", s: flat}, {name: "wide", s: wide}, {name: "nested", s: nested}}
	for i := range out {
		r := &filler{Rand: rand.New(rand.NewPCG(5, 5)), nulls: []float64{0, 0.65, 0.85}[i], list: 3}
		for k := range batches {
			r.few = k%2 == 0
			out[i].recs = append(out[i].recs, r.record(out[i].s, 1024))
		}
	}
	return out
}

func BenchmarkWrite(b *testing.B) {
	for _, w := range workloads(16) {
		pool, err := NewPool(Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(w.name+"/parquetfile", func(b *testing.B) {
			b.ReportAllocs()
			start := cpu()
			defer func() { perCPU(b, start, w.bytes()) }()
			for b.Loop() {
				f, err := pool.Writer(io.Discard, w.s)
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range w.recs {
					if err := f.Write(r); err != nil {
						b.Fatal(err)
					}
				}
				m, err := f.Close()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(m.Size), "filebytes")
			}
		})
		b.Run(w.name+"/pqarrow", func(b *testing.B) {
			b.ReportAllocs()
			start := cpu()
			defer func() { perCPU(b, start, w.bytes()) }()
			for b.Loop() {
				var out bytes.Buffer
				props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1))
				f, err := pqarrow.NewFileWriter(w.recs[0].Schema(), &out, props, pqarrow.DefaultWriterProps())
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range w.recs {
					if err := f.WriteBuffered(r); err != nil {
						b.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(out.Len()), "filebytes")
			}
		})
	}
}

// BenchmarkSmallFile is a file a second: few rows, many columns.
func BenchmarkSmallFile(b *testing.B) {
	for _, cols := range []int{100, 600} {
		s := numbered(mixed(cols, "c")...)
		r := &filler{Rand: rand.New(rand.NewPCG(5, 5)), nulls: 0.3}
		if cols > 100 {
			r.nulls = 0.9
		}
		rec := r.record(s, 100)
		pool, err := NewPool(Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%dx100", cols), func(b *testing.B) {
			b.ReportAllocs()
			start := cpu()
			defer func() { perCPU(b, start, 0) }()
			for b.Loop() {
				f, err := pool.Writer(io.Discard, s)
				if err != nil {
					b.Fatal(err)
				}
				if err := f.Write(rec); err != nil {
					b.Fatal(err)
				}
				m, err := f.Close()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(m.Size), "filebytes")
			}
		})
	}
}

// BenchmarkParts sorts the rows of a batch into 200 files, as partitions do, rows picked while they are
// written against rows gathered before.
func BenchmarkParts(b *testing.B) {
	const parts = 200
	for _, w := range workloads(2) {
		pool, err := NewPool(Options{RowGroupBytes: 1 << 30, IdleBytes: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		rows := make([][]int32, parts)
		for i := range int(w.recs[0].NumRows()) {
			rows[i*7919%parts] = append(rows[i*7919%parts], int32(i))
		}
		run := func(write func(f *Writer, rec arrow.RecordBatch, rows []int32) error) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				start := cpu()
				defer func() { perCPU(b, start, w.bytes()) }()
				for b.Loop() {
					for i := range parts {
						f, err := pool.Writer(io.Discard, w.s)
						if err != nil {
							b.Fatal(err)
						}
						for _, rec := range w.recs {
							if err := write(f, rec, rows[i]); err != nil {
								b.Fatal(err)
							}
						}
						f.Abort()
					}
				}
			}
		}
		b.Run(w.name+"/picked", run((*Writer).WriteRows))
		b.Run(w.name+"/gathered", run(func(f *Writer, rec arrow.RecordBatch, rows []int32) error {
			return f.Write(taken(b, rec, rows))
		}))
	}
}

// TestIdleMemory opens many writers of 600 columns that have taken a few rows.
func TestIdleMemory(t *testing.T) {
	s := numbered(mixed(600, "c")...)
	r := &filler{Rand: rand.New(rand.NewPCG(5, 5)), nulls: 0.9}
	rec := r.record(s, 20)
	pool, err := NewPool(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var open []*Writer
	before := heap()
	for range 20 {
		w, err := pool.Writer(io.Discard, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
		open = append(open, w)
	}
	each, says := (heap()-before)/int64(len(open)), open[0].Held()
	if each > 1<<20 || says < each*3/4 { // budgets rely on what it says
		t.Errorf("an idle writer of 600 columns takes %d KiB, and says %d", each>>10, says>>10)
	}
	for _, w := range open {
		w.Abort()
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
