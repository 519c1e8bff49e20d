package parquetfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/schema"
)

// checkMetrics compares m with the footer, for counts, and with the values of the
// top-level columns, for bounds.
func checkMetrics(t testing.TB, s *schema.Schema, recs []arrow.RecordBatch, m Metrics, b []byte) {
	t.Helper()
	pf, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer pf.Close()
	want := Metrics{ColumnSizes: map[int]int64{}, ValueCounts: map[int]int64{}}
	if pf.NumRows() > 0 { // else there are no row groups to add up
		want.Rows = pf.NumRows()
		for g := range pf.NumRowGroups() {
			for i := range pf.MetaData().Schema.NumColumns() {
				id := int(pf.MetaData().Schema.Column(i).SchemaNode().FieldID())
				c, err := pf.MetaData().RowGroup(g).ColumnChunk(i)
				if err != nil {
					t.Fatal(err)
				}
				want.ColumnSizes[id] += c.TotalCompressedSize()
				want.ValueCounts[id] += c.NumValues()
			}
		}
		got := Metrics{Rows: m.Rows, ColumnSizes: m.ColumnSizes, ValueCounts: m.ValueCounts}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metrics differ from the footer (-footer +metrics):\n%s", diff)
		}
		if len(m.SplitOffsets) != pf.NumRowGroups() || m.SplitOffsets[0] != 4 {
			t.Errorf("split offsets %v for %d row groups", m.SplitOffsets, pf.NumRowGroups())
		}
	}
	for i := range s.Fields {
		if f := &s.Fields[i]; len(f.Type.Fields) == 0 {
			checkColumn(t, f, i, recs, m)
		}
	}
}

func checkColumn(t testing.TB, f *schema.Field, col int, recs []arrow.RecordBatch, m Metrics) {
	t.Helper()
	nulls, nans, values := int64(0), int64(0), 0
	lower, hasLower := m.Lower[f.ID]
	upper, hasUpper := m.Upper[f.ID]
	for _, rec := range recs {
		arr := rec.Column(col)
		for i := range arr.Len() {
			if arr.IsNull(i) {
				nulls++
				continue
			}
			v := boundable(arr, i)
			if x, ok := v.(float64); ok && x != x {
				nans++
				continue
			}
			values++
			if hasLower && compareBound(f.Type, v, lower) < 0 {
				t.Fatalf("column %s: %v is below the lower bound %x", f.Name, v, lower)
			}
			if hasUpper && compareBound(f.Type, v, upper) > 0 {
				t.Fatalf("column %s: %v is above the upper bound %x", f.Name, v, upper)
			}
		}
	}
	if m.NullCounts[f.ID] != nulls || m.NaNCounts[f.ID] != nans {
		t.Errorf("column %s: %d nulls, %d NaNs, want %d, %d", f.Name, m.NullCounts[f.ID], m.NaNCounts[f.ID], nulls, nans)
	}
	if wanted := values > 0 && f.Type.Kind != schema.UUID; hasLower != wanted {
		t.Errorf("column %s (%s): lower bound is %t with %d values", f.Name, f.Type, hasLower, values)
	}
	if hasUpper && values == 0 {
		t.Errorf("column %s: upper bound %x without values", f.Name, upper)
	}
}

// boundable returns a value as something that compareBound takes.
func boundable(arr arrow.Array, i int) any {
	switch a := arr.(type) {
	case *array.Boolean:
		if a.Value(i) {
			return int64(1)
		}
		return int64(0)
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Float32:
		return float64(a.Value(i))
	case *array.Float64:
		return a.Value(i)
	case *array.Date32:
		return int64(a.Value(i))
	case *array.Time64:
		return int64(a.Value(i))
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Decimal128:
		return a.Value(i).BigInt()
	case *array.String:
		return []byte(a.Value(i))
	case *array.Binary:
		return a.Value(i)
	case *array.FixedSizeBinary:
		return a.Value(i)
	}
	panic(fmt.Sprintf("no bounds for %s", arr.DataType()))
}

// compareBound compares a value with a bound in Iceberg's serialization.
func compareBound(t *schema.Type, v any, bound []byte) int {
	switch v := v.(type) {
	case int64:
		var b int64
		switch len(bound) {
		case 1:
			b = int64(bound[0])
		case 4:
			b = int64(int32(binary.LittleEndian.Uint32(bound)))
		default:
			b = int64(binary.LittleEndian.Uint64(bound))
		}
		return cmpOrdered(v, b)
	case float64:
		if t.Kind == schema.Float {
			return cmpOrdered(v, float64(math.Float32frombits(binary.LittleEndian.Uint32(bound))))
		}
		return cmpOrdered(v, math.Float64frombits(binary.LittleEndian.Uint64(bound)))
	case *big.Int:
		b := new(big.Int).SetBytes(bound)
		if bound[0] >= 0x80 {
			b.Sub(b, new(big.Int).Lsh(big.NewInt(1), uint(8*len(bound))))
		}
		return v.Cmp(b)
	case []byte:
		return bytes.Compare(v, bound)
	}
	panic("BUG")
}

func cmpOrdered[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// boundsOf writes one column and returns its bounds.
func boundsOf(t *testing.T, typ *schema.Type, add func(b array.Builder)) (lower, upper []byte) {
	t.Helper()
	s := numbered(opt("c", typ))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	b.Field(0).AppendNull()
	add(b.Field(0))
	m := roundTrip(t, s, Options{}, b.NewRecordBatch())
	return m.Lower[1], m.Upper[1]
}

func TestBoundsOfText(t *testing.T) {
	f := func(values []string, lower, upper string, omitted bool) {
		t.Helper()
		lo, hi := boundsOf(t, prim(schema.String), func(b array.Builder) {
			b.(*array.StringBuilder).AppendValues(values, nil)
		})
		if string(lo) != lower || string(hi) != upper || (hi == nil) != omitted {
			t.Errorf("bounds of %.60q are %q and %q, want %q and %q", values, lo, hi, lower, upper)
		}
	}
	long := strings.Repeat("a", 16)
	top := strings.Repeat("\U0010FFFF", 16)
	f([]string{"b", "a", "c"}, "a", "c", false)
	f([]string{"", "a"}, "", "a", false)
	f([]string{long}, long, long, false)
	f([]string{long + "b"}, long, long[:15]+"b", false)
	f([]string{strings.Repeat("日", 20)}, strings.Repeat("日", 16), strings.Repeat("日", 15)+"旦", false)
	f([]string{strings.Repeat("🙂", 20)}, strings.Repeat("🙂", 16), strings.Repeat("🙂", 15)+"🙃", false)
	f([]string{long[:15] + "\U0010FFFF" + "x"}, long[:15]+"\U0010FFFF", long[:14]+"b", false)
	f([]string{long[:15] + "\uD7FF" + "x"}, long[:15]+"\uD7FF", long[:15]+"\uE000", false)
	f([]string{top}, top, top, false)
	f([]string{top + "x", "a"}, "a", "", true)
	f([]string{strings.Repeat("x", 8<<20)}, strings.Repeat("x", 16), strings.Repeat("x", 15)+"y", false)
}

func TestBoundsOfBytes(t *testing.T) {
	f := func(values [][]byte, lower, upper []byte) {
		t.Helper()
		lo, hi := boundsOf(t, prim(schema.Binary), func(b array.Builder) {
			b.(*array.BinaryBuilder).AppendValues(values, nil)
		})
		if !bytes.Equal(lo, lower) || !bytes.Equal(hi, upper) {
			t.Errorf("bounds of %.60x are %x and %x, want %x and %x", values, lo, hi, lower, upper)
		}
	}
	ff := bytes.Repeat([]byte{0xff}, 20)
	f([][]byte{{1, 2}, {1}}, []byte{1}, []byte{1, 2})
	f([][]byte{make([]byte, 20)}, make([]byte, 16), append(make([]byte, 15), 1))
	f([][]byte{append([]byte{7}, ff...)}, append([]byte{7}, ff[:15]...), []byte{8})
	f([][]byte{ff}, ff[:16], nil)
}

func TestBoundsOfFloats(t *testing.T) {
	f := func(values []float64, lower, upper []byte) {
		t.Helper()
		lo, hi := boundsOf(t, prim(schema.Double), func(b array.Builder) {
			b.(*array.Float64Builder).AppendValues(values, nil)
		})
		if !bytes.Equal(lo, lower) || !bytes.Equal(hi, upper) {
			t.Errorf("bounds of %v are %x and %x, want %x and %x", values, lo, hi, lower, upper)
		}
	}
	le := func(v float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)) }
	nan, minus := math.NaN(), math.Copysign(0, -1)
	f([]float64{nan, nan}, nil, nil)
	f([]float64{1, nan, 2}, le(1), le(2))
	f([]float64{0}, le(minus), le(0))
	f([]float64{minus}, le(minus), le(0))
	f([]float64{math.Inf(1), math.Inf(-1), nan}, le(math.Inf(-1)), le(math.Inf(1)))
}

func TestBoundsOfDecimals(t *testing.T) {
	f := func(values []string, lower, upper []byte) {
		t.Helper()
		lo, hi := boundsOf(t, &schema.Type{Kind: schema.Decimal, Precision: 30}, func(b array.Builder) {
			for _, v := range values {
				d, err := decimal128.FromString(v, 30, 0)
				if err != nil {
					t.Fatal(err)
				}
				b.(*array.Decimal128Builder).Append(d)
			}
		})
		if !bytes.Equal(lo, lower) || !bytes.Equal(hi, upper) {
			t.Errorf("bounds of %v are %x and %x, want %x and %x", values, lo, hi, lower, upper)
		}
	}
	f([]string{"0"}, []byte{0}, []byte{0})
	f([]string{"-1", "128"}, []byte{0xff}, []byte{0, 0x80})
	f([]string{"-129", "127"}, []byte{0xff, 0x7f}, []byte{0x7f})
	f([]string{"-256", "256"}, []byte{0xff, 0}, []byte{1, 0})
}

// TestMetricColumns checks who has metrics: leaves of upper levels first, firehosed's
// own always, and nothing in a list has bounds.
func TestMetricColumns(t *testing.T) {
	long := prim(schema.Long)
	s := numbered(
		opt("s", structOf(opt("in", long))),                         // 1, 2
		opt("l", listOf(opt("", long))),                             // 3, 4
		opt("a", long), opt("b", long), opt(schema.ColOffset, long), // 5, 6, 7
	)
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	const row = `{"s": {"in": 1}, "l": [1, null], "a": 1, "b": 2, "_fh_offset": 3}`
	if err := b.UnmarshalJSON([]byte(row)); err != nil {
		t.Fatal(err)
	}
	rec := b.NewRecordBatch()
	f := func(limit int, counts, bounds []int) {
		t.Helper()
		_, m := writeFile(t, s, Options{MetricColumns: limit}, rec)
		if diff := cmp.Diff(counts, keys(m.ValueCounts)); diff != "" {
			t.Errorf("limit %d, columns with counts:\n%s", limit, diff)
		}
		if diff := cmp.Diff(bounds, keys(m.Lower)); diff != "" {
			t.Errorf("limit %d, columns with bounds:\n%s", limit, diff)
		}
	}
	f(0, []int{2, 4, 5, 6, 7}, []int{2, 5, 6, 7})
	f(1, []int{5, 7}, []int{5, 7})
	f(4, []int{2, 5, 6, 7}, []int{2, 5, 6, 7})
	_, m := writeFile(t, s, Options{}, rec)
	if m.ValueCounts[4] != 2 || m.NullCounts[4] != 1 {
		t.Errorf("list element: %d values, %d nulls", m.ValueCounts[4], m.NullCounts[4])
	}
}

func keys[V any](m map[int]V) []int {
	var out []int
	for id := range 100 {
		if _, ok := m[id]; ok {
			out = append(out, id)
		}
	}
	return out
}
