package decode

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// meta makes the columns that do not come from the records' own text.
type meta struct{ mem memory.Allocator }

func newMeta(mem memory.Allocator) meta {
	if mem == nil {
		mem = memory.DefaultAllocator
	}
	return meta{mem}
}

// inBatch tells whether the source fills a column.
func inBatch(b *pipeline.Batch, name string) bool {
	return b.Meta != nil && len(b.Meta.Schema().FieldIndices(name)) > 0
}

// take returns the source's column for f, a row for each of the records, or nil
// if the source has none.
func (m meta) take(ctx context.Context, b *pipeline.Batch, f *schema.Field, rec []int32) (arrow.Array, error) {
	if !inBatch(b, f.Name) {
		return nil, nil
	}
	col := b.Meta.Column(b.Meta.Schema().FieldIndices(f.Name)[0])
	if start, ok := run(rec); ok {
		return m.shaped(ctx, f, array.NewSlice(col, start, start+int64(len(rec))))
	}
	index := m.int32s(rec)
	defer index.Release()
	ctx = compute.WithAllocator(ctx, m.mem)
	dict, isDict := col.(*array.Dictionary)
	if isDict {
		col = dict.Indices()
	}
	taken, err := compute.TakeArrayOpts(ctx, col, index, compute.TakeOptions{BoundsCheck: false})
	if err != nil {
		return nil, fmt.Errorf("metadata column %q: %w", f.Name, err)
	}
	if isDict {
		indices := taken
		taken = array.NewDictionaryArray(dict.DataType(), indices, dict.Dictionary())
		indices.Release()
	}
	return m.shaped(ctx, f, taken)
}

// keys returns the source's column of partition keys for f, a row for each of the units
// and records, or nil if the source has none. A unit that was put with a key of its own
// has that.
func (m meta) keys(ctx context.Context, b *pipeline.Batch, f *schema.Field, units, rec []int32) (arrow.Array, error) {
	col, err := m.take(ctx, b, f, rec)
	of, ok := col.(*array.String)
	if err != nil || b.Keys == nil || !ok {
		return col, err
	}
	defer col.Release()
	bld := array.NewStringBuilder(m.mem)
	defer bld.Release()
	bld.Reserve(len(units))
	for i, u := range units {
		switch key := b.Keys[u]; {
		case key != nil:
			bld.Append(strings.ToValidUTF8(string(key), "\uFFFD")) // the aggregate may hold anything
		case of.IsNull(i):
			bld.AppendNull()
		default:
			bld.Append(of.Value(i))
		}
	}
	return bld.NewArray(), nil
}

// run tells whether the records follow one another without a gap, and where they
// begin.
func run(rec []int32) (start int64, ok bool) {
	if len(rec) == 0 {
		return 0, true
	}
	for i, r := range rec {
		if r != rec[0]+int32(i) {
			return 0, false
		}
	}
	return int64(rec[0]), true
}

// shaped returns col as a column of f, which it takes over. A dictionary of
// strings stays one.
func (m meta) shaped(ctx context.Context, f *schema.Field, col arrow.Array) (arrow.Array, error) {
	defer col.Release()
	want := f.Type.Arrow()
	have := col.DataType()
	if d, ok := have.(*arrow.DictionaryType); ok && arrow.TypeEqual(d.ValueType, want) {
		col.Retain()
		return col, nil
	}
	if laidAlike(have, want) {
		data := retyped(col.Data(), want)
		defer data.Release()
		return array.MakeFromData(data), nil
	}
	cast, err := compute.CastArray(compute.WithAllocator(ctx, m.mem), col, compute.SafeCastOptions(want))
	if err != nil {
		return nil, fmt.Errorf("metadata column %q: the source has %s, the table %s: %w", f.Name, have, f.Type, err)
	}
	return cast, nil
}

// laidAlike tells whether data of the two types looks the same: they may differ in
// what is required and in the names of parts.
func laidAlike(a, b arrow.DataType) bool {
	ka, kb := parts(a), parts(b)
	if ka == nil && kb == nil {
		return arrow.TypeEqual(a, b)
	}
	if a.ID() != b.ID() || len(ka) != len(kb) {
		return false
	}
	for i := range ka {
		if !laidAlike(ka[i], kb[i]) {
			return false
		}
	}
	return true
}

// parts returns the types of the children of a type's data, nil if it has none.
func parts(t arrow.DataType) (types []arrow.DataType) {
	switch t := t.(type) {
	case *arrow.StructType:
		for _, f := range t.Fields() {
			types = append(types, f.Type)
		}
	case *arrow.ListType:
		types = append(types, t.Elem())
	case *arrow.MapType:
		types = append(types, t.Elem())
	}
	return types
}

// retyped returns the data under a type that it is laid out alike for; its fields
// have the table's ids.
func retyped(d arrow.ArrayData, t arrow.DataType) arrow.ArrayData {
	var kids []arrow.ArrayData
	for i, kt := range parts(t) {
		k := retyped(d.Children()[i], kt)
		defer k.Release()
		kids = append(kids, k)
	}
	return array.NewData(t, d.Len(), d.Buffers(), kids, d.NullN(), d.Offset())
}

func (m meta) int32s(v []int32) arrow.Array {
	bld := array.NewInt32Builder(m.mem)
	defer bld.Release()
	bld.AppendValues(v, nil)
	return bld.NewArray()
}

// ints returns a column of f from integers.
func (m meta) ints(ctx context.Context, f *schema.Field, v []int32) (arrow.Array, error) {
	return m.shaped(ctx, f, m.int32s(v))
}

// times returns a column of f from microseconds since 1970 UTC.
func (m meta) times(ctx context.Context, f *schema.Field, n int, at func(i int) int64) (arrow.Array, error) {
	bld := array.NewTimestampBuilder(m.mem, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"})
	defer bld.Release()
	bld.Reserve(n)
	for i := range n {
		bld.UnsafeAppend(arrow.Timestamp(at(i)))
	}
	return m.shaped(ctx, f, bld.NewArray())
}
