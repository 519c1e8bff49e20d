package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/bench/data"
	"github.com/firehosed/firehosed/internal/convert"
	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/schema"
)

// sample is the beginning of a set, in batches, with its columns.
type sample struct {
	batches [][][]byte
	bytes   int
	columns *schema.Schema
}

func sampleOf(b *testing.B, set string, size int) *sample {
	b.Helper()
	next, err := data.New(set, 1)
	if err != nil {
		b.Fatal(err)
	}
	var s sample
	d := schema.NewDecoder(schema.Options{})
	var scratch []byte
	for i := 0; s.bytes < size; {
		scratch = scratch[:0]
		ends := make([]int, 0, batchRows)
		for range batchRows {
			scratch = next(scratch, i)
			ends = append(ends, len(scratch))
			scratch = append(scratch, '\n')
			i++
		}
		text := append(make([]byte, 0, len(scratch)+schema.Padding), scratch...)[:len(scratch)+schema.Padding]
		batch, from := make([][]byte, 0, batchRows), 0
		for _, to := range ends {
			batch = append(batch, text[from:to:to+schema.Padding])
			s.bytes += to - from
			from = to + 1
		}
		s.batches = append(s.batches, batch)
		o := d.Decode(batch, s.columns, nil)
		o.Data.Release()
		if o.Want != nil {
			merged, _, _ := schema.Merge(s.columns, o.Want)
			s.columns = schema.Numbered(s.columns, merged)
		}
	}
	return &s
}

// perCPU reports MB per second of processor time, which other load on the machine changes less than it does the clock's.
func perCPU(b *testing.B, size int) func() {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	user, system, _ := used()
	return func() {
		u, s, _ := used()
		b.ReportMetric(float64(size)*float64(b.N)/1e6/(u+s-user-system), "MB/cpu-s")
	}
}

// BenchmarkDecode is JSON to record batches.
func BenchmarkDecode(b *testing.B) {
	for _, set := range []string{"A", "B", "C", "D"} {
		b.Run(set, func(b *testing.B) {
			s := sampleOf(b, set, 16<<20)
			d := schema.NewDecoder(schema.Options{Padded: true, Mem: schema.NewSlabs(16 << 20)})
			done := perCPU(b, s.bytes)
			for b.Loop() {
				for _, batch := range s.batches {
					o := d.Decode(batch, s.columns, nil)
					if len(o.Rejects) > 0 || o.Want != nil {
						b.Fatal(o.Rejects, o.Want)
					}
					o.Data.Release()
				}
			}
			done()
		})
	}
}

// BenchmarkEncode is record batches to a Parquet file.
func BenchmarkEncode(b *testing.B) {
	for _, set := range []string{"A", "B", "C", "D"} {
		b.Run(set, func(b *testing.B) {
			s := sampleOf(b, set, 32<<20)
			d := schema.NewDecoder(schema.Options{})
			var recs []arrow.RecordBatch
			for _, batch := range s.batches {
				recs = append(recs, d.Decode(batch, s.columns, nil).Data)
			}
			pool, err := parquetfile.NewPool(parquetfile.Options{Delta: true})
			if err != nil {
				b.Fatal(err)
			}
			done := perCPU(b, s.bytes)
			for b.Loop() {
				w, err := pool.Writer(io.Discard, s.columns)
				if err != nil {
					b.Fatal(err)
				}
				for _, rec := range recs {
					if err := w.Write(rec); err != nil {
						b.Fatal(err)
					}
				}
				m, err := w.Close()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(s.bytes)/float64(m.Size), "ratio")
			}
			done()
		})
	}
}

// BenchmarkConvert is JSON lines to a Parquet file, columns given.
func BenchmarkConvert(b *testing.B) {
	for _, set := range []string{"A", "B", "C", "D"} {
		b.Run(set, func(b *testing.B) {
			s := sampleOf(b, set, 64<<20)
			dir := b.TempDir()
			in, out := filepath.Join(dir, "in.ndjson"), filepath.Join(dir, "out.parquet")
			var text bytes.Buffer
			for _, batch := range s.batches {
				for _, line := range batch {
					text.Write(line)
					text.WriteByte(0x0a)
				}
			}
			if err := os.WriteFile(in, text.Bytes(), 0o600); err != nil {
				b.Fatal(err)
			}
			s.batches, text = nil, bytes.Buffer{}
			c, err := convert.New(parquetfile.Options{Delta: true})
			if err != nil {
				b.Fatal(err)
			}
			done := perCPU(b, s.bytes)
			for b.Loop() {
				if _, err := c.Run(context.Background(), convert.Options{Inputs: []string{in}, Output: out, Schema: s.columns}); err != nil {
					b.Fatal(err)
				}
			}
			done()
		})
	}
}
