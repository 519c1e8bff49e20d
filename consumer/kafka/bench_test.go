package kafka

import (
	"context"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/pipeline"
)

// BenchmarkNext measures what a reader does to what was fetched, without a network.
func BenchmarkNext(b *testing.B) {
	for _, compressed := range []bool{false, true} {
		b.Run(fmt.Sprintf("zstd=%v", compressed), func(b *testing.B) {
			const records = 4_000
			var rs []kmsg.Record
			size := 0
			for i := range records {
				v := fmt.Appendf(nil, `{"id":%d,"device":"sensor-%d","temperature":%d.%d,"status":"ok","tags":["a","b"],"note":"the quick brown fox jumps over the lazy dog"}`, i, i%97, i%40, i%10)
				rs, size = append(rs, kmsg.Record{Value: v, TimestampDelta64: int64(i)}), size+len(v)
			}
			data := encode(0, 0, rs...)
			if compressed {
				enc, err := zstd.NewWriter(nil)
				if err != nil {
					b.Fatal(err)
				}
				data = recompress(data, enc.EncodeAll(data[batchHeader:], nil))
			}
			r := offline(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				r.pos, r.from = 0, pipeline.Cursor{}
				r.mu.queue = append(r.mu.queue, chunk{block: newBlock(r.p.ledger, 0), data: data})
				for got := 0; got < records; {
					out, err := r.Next(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					got += len(out.Values)
					out.Release()
				}
			}
		})
	}
}

// recompress replaces the records of a batch with what a codec made of them: zstd.
func recompress(e, body []byte) []byte {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(e); err != nil {
		panic(err)
	}
	b.Records, b.Attributes, b.Length = body, 4, int32(49+len(body))
	return seal(b.AppendTo(nil))
}
