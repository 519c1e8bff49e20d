package parquetfile

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/schema"
)

// numbered gives every field of a schema an id, in order.
func numbered(fields ...schema.Field) *schema.Schema {
	id := 0
	var walk func(fs []schema.Field)
	walk = func(fs []schema.Field) {
		for i := range fs {
			id++
			fs[i].ID = id
			if len(fs[i].Type.Fields) > 0 {
				t := *fs[i].Type
				t.Fields = append([]schema.Field(nil), t.Fields...)
				fs[i].Type = &t
				walk(t.Fields)
			}
		}
	}
	walk(fields)
	return &schema.Schema{Fields: fields}
}

func opt(name string, t *schema.Type) schema.Field { return schema.Field{Name: name, Type: t} }

func req(name string, t *schema.Type) schema.Field {
	return schema.Field{Name: name, Type: t, Required: true}
}

func prim(k schema.Kind) *schema.Type { return &schema.Type{Kind: k} }

func listOf(e schema.Field) *schema.Type {
	e.Name = "element"
	return &schema.Type{Kind: schema.List, Fields: []schema.Field{e}}
}

func structOf(fs ...schema.Field) *schema.Type { return &schema.Type{Kind: schema.Struct, Fields: fs} }

func mapOf(k, v *schema.Type) *schema.Type {
	return &schema.Type{Kind: schema.Map, Fields: []schema.Field{req("key", k), opt("value", v)}}
}

func arrowSchema(s *schema.Schema) *arrow.Schema {
	fs := make([]arrow.Field, len(s.Fields))
	for i := range s.Fields {
		fs[i] = s.Fields[i].ArrowField()
	}
	return arrow.NewSchema(fs, nil)
}

// filler makes random values.
type filler struct {
	*rand.Rand
	nulls float64 // share of optional values that are null
	few   bool    // values come from a small set
	list  int     // lists are shorter than this
}

func (r *filler) record(s *schema.Schema, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema(s))
	defer b.Release()
	for i := range s.Fields {
		for range rows {
			r.value(b.Field(i), &s.Fields[i])
		}
	}
	return b.NewRecordBatch()
}

func (r *filler) num() int64 {
	if r.few {
		return r.Int64N(5)
	}
	return r.Int64() - math.MaxInt64/2
}

func (r *filler) text() string {
	alphabet := []string{"a", "b", "0", "ß", "日", "🙂", " "}
	n := r.IntN(24)
	if r.few {
		n = r.IntN(3)
	}
	var b bytes.Buffer
	for range n {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func (r *filler) float() float64 {
	switch r.IntN(10) {
	case 0:
		return math.NaN()
	case 1:
		return math.Copysign(0, -1)
	case 2:
		return math.Inf(r.IntN(2)*2 - 1)
	}
	return float64(r.num()) / 16
}

func (r *filler) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
		if r.few {
			b[i] &= 1
		}
	}
	return b
}

func (r *filler) decimal(t *schema.Type) decimal128.Num {
	limit := decimal128.FromI64(1)
	for range t.Precision {
		limit = limit.Mul(decimal128.FromI64(10))
	}
	v := decimal128.New(r.num(), r.Uint64())
	_, v = v.Div(limit)
	return v
}

func (r *filler) value(b array.Builder, f *schema.Field) {
	if !f.Required && r.Float64() < r.nulls {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(r.IntN(2) == 0)
	case *array.Int32Builder:
		b.Append(int32(r.num()))
	case *array.Int64Builder:
		b.Append(r.num())
	case *array.Float32Builder:
		b.Append(float32(r.float()))
	case *array.Float64Builder:
		b.Append(r.float())
	case *array.Decimal128Builder:
		b.Append(r.decimal(f.Type))
	case *array.Date32Builder:
		b.Append(arrow.Date32(r.IntN(40000) - 10000))
	case *array.Time64Builder:
		b.Append(arrow.Time64(r.Int64N(86400e6)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(r.num() / 4096))
	case *array.StringBuilder:
		b.Append(r.text())
	case *array.BinaryBuilder:
		b.Append(r.bytes(1 + r.IntN(40))) // arrow-go prints empty ones as null where an array has no others
	case *array.FixedSizeBinaryBuilder:
		b.Append(r.bytes(b.Type().(*arrow.FixedSizeBinaryType).ByteWidth))
	case *array.StructBuilder:
		b.Append(true)
		for i := range f.Type.Fields {
			r.value(b.FieldBuilder(i), &f.Type.Fields[i])
		}
	case *array.MapBuilder:
		b.Append(true)
		for range r.IntN(r.list + 1) {
			r.value(b.KeyBuilder(), &f.Type.Fields[0])
			r.value(b.ItemBuilder(), &f.Type.Fields[1])
		}
	case *array.ListBuilder:
		b.Append(true)
		for range r.IntN(r.list + 1) {
			r.value(b.ValueBuilder(), &f.Type.Fields[0])
		}
	default:
		panic("no random values for " + b.Type().String())
	}
}

// writeFile writes records to a file in memory.
func writeFile(t testing.TB, s *schema.Schema, o Options, recs ...arrow.RecordBatch) ([]byte, Metrics) {
	t.Helper()
	var out bytes.Buffer
	w, err := New(&out, s, o)
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
	if m.Size != int64(out.Len()) {
		t.Errorf("metrics say %d bytes, the file has %d", m.Size, out.Len())
	}
	return out.Bytes(), m
}

// readFile returns the values of each column by field id, as JSON, read by arrow-go.
func readFile(t testing.TB, b []byte) map[int]string {
	t.Helper()
	pf, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer pf.Close()
	r, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := r.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Release()
	out := map[int]string{}
	for i := range int(tab.NumCols()) {
		v, _ := tab.Schema().Field(i).Metadata.GetValue(schema.FieldIDKey)
		id, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("column %s: field id %q", tab.Schema().Field(i).Name, v)
		}
		out[id] = columnJSON(t, tab.Column(i).Data().Chunks())
	}
	return out
}

// columnJSON prints values in a way that does not depend on how they are laid out.
func columnJSON(t testing.TB, chunks []arrow.Array) string {
	t.Helper()
	var all []any
	for _, c := range chunks {
		if e, ok := c.(array.ExtensionArray); ok {
			c = e.Storage()
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var vs []any
		if err := d.Decode(&vs); err != nil {
			t.Fatal(err)
		}
		all = append(all, vs...)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func recordsJSON(t testing.TB, s *schema.Schema, recs []arrow.RecordBatch) map[int]string {
	t.Helper()
	out := map[int]string{}
	for i := range s.Fields {
		var chunks []arrow.Array
		for _, r := range recs {
			chunks = append(chunks, r.Column(i))
		}
		out[s.Fields[i].ID] = columnJSON(t, chunks)
	}
	return out
}

// roundTrip fails if the file does not hold what was written.
func roundTrip(t testing.TB, s *schema.Schema, o Options, recs ...arrow.RecordBatch) Metrics {
	t.Helper()
	b, m := writeFile(t, s, o, recs...)
	if diff := cmp.Diff(recordsJSON(t, s, recs), readFile(t, b)); diff != "" {
		t.Fatalf("the file does not hold what was written (-written +read):\n%s", diff)
	}
	return m
}
