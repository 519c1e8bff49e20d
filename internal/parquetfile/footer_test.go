package parquetfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/firehosed/firehosed/schema"
)

// TestChunkBounds checks the bounds in the footer, row group by row group. Readers
// skip row groups by them, so that a wrong one loses rows.
func TestChunkBounds(t *testing.T) {
	le64 := func(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }
	double := func(v float64) string { return le64(math.Float64bits(v)) }
	f := func(typ *schema.Type, add func(b array.Builder, group int), want ...string) {
		t.Helper()
		s := numbered(opt("c", typ))
		var recs []arrow.RecordBatch
		for g := range 2 {
			b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
			for range 200 { // enough for a dictionary
				add(b.Field(0), g)
			}
			b.Field(0).AppendNull()
			recs = append(recs, b.NewRecordBatch())
			b.Release()
		}
		data, _ := writeFile(t, s, Options{RowGroupBytes: 1}, recs...)
		pf, err := file.NewParquetReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		defer pf.Close()
		for g := range 2 {
			c, err := pf.MetaData().RowGroup(g).ColumnChunk(0)
			if err != nil {
				t.Fatal(err)
			}
			st, err := c.Statistics()
			if err != nil || st == nil {
				t.Fatalf("%s: no statistics: %v", typ, err)
			}
			if st.NullCount() != 1 {
				t.Errorf("%s, row group %d: %d nulls", typ, g, st.NullCount())
			}
			lo, hi := want[2*g], want[2*g+1]
			if lo == "none" {
				if st.HasMinMax() {
					t.Errorf("%s, row group %d: has bounds %x, %x", typ, g, st.EncodeMin(), st.EncodeMax())
				}
			} else if !st.HasMinMax() || string(st.EncodeMin()) != lo || string(st.EncodeMax()) != hi {
				t.Errorf("%s, row group %d: bounds %x, %x, want %x, %x", typ, g, st.EncodeMin(), st.EncodeMax(), lo, hi)
			}
		}
	}
	f(prim(schema.Long), func(b array.Builder, g int) {
		b.(*array.Int64Builder).AppendValues([]int64{-5, 7, int64(100 * g)}, nil)
	}, le64(math.MaxUint64-4), le64(7), le64(math.MaxUint64-4), le64(100))
	f(prim(schema.Double), func(b array.Builder, g int) {
		b.(*array.Float64Builder).AppendValues([]float64{math.NaN(), 2, float64(g)}, nil)
	}, double(math.Copysign(0, -1)), double(2), double(1), double(2))
	f(prim(schema.Double), func(b array.Builder, g int) {
		b.(*array.Float64Builder).Append([]float64{math.NaN(), 0}[g])
	}, "none", "", double(math.Copysign(0, -1)), double(0))
	f(&schema.Type{Kind: schema.Decimal, Precision: 20}, func(b array.Builder, g int) {
		b.(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(-1), decimal128.FromI64(int64(g + 1))}, nil)
	}, strings.Repeat("\xff", 9), strings.Repeat("\x00", 8)+"\x01", strings.Repeat("\xff", 9), strings.Repeat("\x00", 8)+"\x02")
	f(prim(schema.String), func(b array.Builder, g int) {
		b.(*array.StringBuilder).AppendValues([]string{strings.Repeat("x", 64+g), ""}, nil)
	}, "", strings.Repeat("x", 64), "none", "")
	f(prim(schema.UUID), func(b array.Builder, _ int) {
		b.(*array.FixedSizeBinaryBuilder).Append(bytes.Repeat([]byte{7}, 16))
	}, "none", "", "none", "")
}
