package parquetfile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/schema"
)

// TestRead reads columns back from files of every codec, pages that hardly shrink
// included: parquet-go 0.32 takes such pages of lz4_raw for what its buffer held before.
func TestRead(t *testing.T) {
	s := numbered(opt("text", prim(schema.String)), opt("long", prim(schema.Long)), req("int", prim(schema.Int)),
		opt("flag", prim(schema.Bool)), opt("id", prim(schema.UUID)), opt("list", listOf(opt("", prim(schema.Long)))))
	for _, codec := range []string{"zstd", "snappy", "gzip", "lz4", "none"} {
		for _, rows := range []int{1, 100, 20_000} {
			t.Run(fmt.Sprint(codec, rows), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(rows), 1))
				b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
				defer b.Release()
				var want []string
				for i := range rows {
					text, long := fmt.Sprintf("%x", r.Uint64()), int64(r.Uint64())
					if i%5 == 3 {
						b.Field(0).AppendNull()
						text = "null"
					} else {
						b.Field(0).(*array.StringBuilder).Append(text)
					}
					b.Field(1).(*array.Int64Builder).Append(long)
					b.Field(2).(*array.Int32Builder).Append(int32(i))
					b.Field(3).(*array.BooleanBuilder).Append(i%3 == 0)
					b.Field(4).AppendNull()
					b.Field(5).AppendNull()
					want = append(want, fmt.Sprint(text, long, i, i%3 == 0))
				}
				data, _ := writeFile(t, s, Options{Codec: codec, RowGroupBytes: 1 << 18, PageBytes: 4 << 10, Delta: rows > 100}, b.NewRecordBatch())
				at := 0
				err := Read(bytes.NewReader(data), int64(len(data)), []int{4, 1, 2, 3, 99, 5}, func(b *Block) error {
					if b.Rows > BlockRows || b.Columns[4] != nil {
						t.Fatalf("a block of %d rows with %v", b.Rows, b.Columns[4])
					}
					for i := range b.Rows {
						text := string(b.Columns[1].Bytes[i])
						if b.Columns[1].Null[i] {
							text = "null"
						}
						if got := fmt.Sprint(text, b.Columns[2].Ints[i], b.Columns[3].Ints[i], b.Columns[0].Ints[i] == 1); got != want[at] || !b.Columns[5].Null[i] {
							return fmt.Errorf("row %d is %s, want %s", at, got, want[at])
						}
						at++
					}
					return nil
				})
				if err != nil || at != rows {
					t.Errorf("%d of %d rows: %v", at, rows, err)
				}
				if err := Read(bytes.NewReader(data), int64(len(data)), []int{6}, func(*Block) error { return nil }); err == nil || !strings.Contains(err.Error(), "nested") {
					t.Errorf("a list: %v", err)
				}
				if rows > 1 {
					if err := Read(bytes.NewReader(data[:len(data)-9]), int64(len(data)-9), []int{1}, func(*Block) error { return nil }); err == nil {
						t.Error("a file that was cut is read")
					}
				}
			})
		}
	}
}
