package s3sink

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
)

// BenchmarkWrite lays records out and writes them into objects, as a lane does: 1,000
// records of 500 bytes a batch, one prefix or 100.
func BenchmarkWrite(b *testing.B) {
	for _, prefixes := range []int{1, 100} {
		for _, c := range []Compression{Uncompressed, Gzip, Snappy, Zstd} {
			b.Run(fmt.Sprintf("%s/%d", c, prefixes), func(b *testing.B) { benchmarkWrite(b, c, prefixes) })
		}
	}
}

func benchmarkWrite(b *testing.B, c Compression, prefixes int) {
	w := newWorld(b)
	w.bucket.PartSize = 0
	w.cfg.CompressionFormat, w.cfg.BufferSize = c, 64<<20
	if prefixes > 1 {
		w.cfg.Prefix, w.cfg.ErrorOutputPrefix = "data/!{partitionKeyFromQuery:k}/", "failed/!{firehose:error-output-type}/"
	}
	k := w.worker()
	tab := k.table()
	rng := rand.New(rand.NewPCG(1, 2))
	in := batch(p0, 0, 1000, "a")
	part := pipeline.Part{Table: "t"}
	for i := range in.Values {
		v := fmt.Appendf(nil, "k%d ", rng.IntN(prefixes))
		for len(v) < 500 {
			v = fmt.Appendf(v, `"field%d":%d,`, len(v)%7, rng.IntN(1000))
		}
		in.Values[i] = v[:500]
		part.Units = append(part.Units, int32(i))
	}
	dec := decode.NewBytes(decode.BytesConfig{Keys: firstWord{}})
	ctx := context.Background()
	d, err := tab.Begin(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(bytes.Join(in.Values, nil))))
	b.ReportAllocs()
	from := 0
	for b.Loop() {
		at := from // a log goes on
		in.Cursor = func(i int) pipeline.Cursor { return pipeline.Cursor{At: pos(at + i)} }
		from += 1000
		r, err := dec.Decode(ctx, in, part, tab.Schema())
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Write(ctx, in, r); err != nil {
			b.Fatal(err)
		}
		r.Data.Release()
		if _, _, full := d.Size(); full {
			b.StopTimer()
			if err := d.Abort(ctx); err != nil {
				b.Fatal(err)
			}
			if d, err = tab.Begin(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	if err := d.Abort(ctx); err != nil {
		b.Fatal(err)
	}
}
