package iceberg

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
)

// sorter collects the rows of a file until there is enough for a row group, and
// then hands them on sorted: a row group is in order, a file is if it has one. Rows
// that compare equal stay in the order of the log.
type sorter struct {
	by    []sortColumn
	limit int64 // bytes held at which rows are handed on
	held  int64
	runs  int // times that rows were handed on
	recs  []arrow.RecordBatch
}

// add keeps the rows of rec that have the indexes rows (nil: all). When there are enough it
// returns all that are kept and their order, else nil. The caller releases them.
func (s *sorter) add(rec arrow.RecordBatch, rows []int32) (sorted arrow.RecordBatch, order []int32, err error) {
	if rows == nil {
		rec.Retain()
	} else if rec, err = take(rec, rows); err != nil { // the other rows are not to be kept with them
		return nil, nil, err
	}
	s.recs = append(s.recs, rec)
	for _, col := range rec.Columns() {
		s.held += int64(col.Data().SizeInBytes())
	}
	if s.held < s.limit {
		return nil, nil, nil
	}
	return s.flush()
}

// flush returns the rows kept and their order; nil if there are none.
func (s *sorter) flush() (rows arrow.RecordBatch, order []int32, err error) {
	if len(s.recs) == 0 {
		return nil, nil, nil
	}
	defer s.drop()
	all, err := concatenate(s.recs)
	if err != nil {
		return nil, nil, fmt.Errorf("sort rows: %w", err)
	}
	s.runs++
	var less []func(a, b int32) int
	for _, by := range s.by {
		for i, f := range all.Schema().Fields() {
			if id, _ := fieldID(&f); id == by.field.SourceID() { // rows without the column are equal in it
				c, err := by.comparer(all.Column(i))
				if err != nil {
					all.Release()
					return nil, nil, fmt.Errorf("sort rows by %s: %w", f.Name, err)
				}
				less = append(less, c)
			}
		}
	}
	idx := make([]int32, all.NumRows())
	for i := range idx {
		idx[i] = int32(i)
	}
	slices.SortStableFunc(idx, func(a, b int32) int {
		for _, c := range less {
			if d := c(a, b); d != 0 {
				return d
			}
		}
		return 0
	})
	return all, idx, nil
}

// take gathers rows.
func take(rec arrow.RecordBatch, idx []int32) (arrow.RecordBatch, error) {
	b := array.NewInt32Builder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(idx, nil)
	at := b.NewArray()
	defer at.Release()
	cols := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, col := range rec.Columns() {
		var err error
		if cols[i], err = compute.TakeArray(context.Background(), col, at); err != nil {
			return nil, fmt.Errorf("gather rows of column %s: %w", rec.ColumnName(i), err)
		}
	}
	return array.NewRecordBatch(rec.Schema(), cols, int64(len(idx))), nil
}

func (s *sorter) drop() {
	for _, r := range s.recs {
		r.Release()
	}
	s.recs, s.held = nil, 0
}

// concatenate makes one batch of several. A column that some lack is null there;
// dictionaries become what they stand for.
func concatenate(recs []arrow.RecordBatch) (arrow.RecordBatch, error) {
	var fields []arrow.Field
	var rows int64
	for _, r := range recs {
		rows += r.NumRows()
		for _, f := range r.Schema().Fields() {
			if d, ok := f.Type.(*arrow.DictionaryType); ok {
				f.Type = d.ValueType
			}
			if !slices.ContainsFunc(fields, func(have arrow.Field) bool { return have.Name == f.Name }) {
				fields = append(fields, f)
			}
		}
	}
	cols := make([]arrow.Array, len(fields))
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, f := range fields {
		var err error
		if cols[i], err = concatenateColumn(recs, f); err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, rows), nil
}

func concatenateColumn(recs []arrow.RecordBatch, f arrow.Field) (arrow.Array, error) {
	parts := make([]arrow.Array, len(recs))
	defer func() {
		for _, p := range parts {
			if p != nil {
				p.Release()
			}
		}
	}()
	for i, r := range recs {
		at := r.Schema().FieldIndices(f.Name)
		if len(at) == 0 {
			parts[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(r.NumRows()))
			continue
		}
		col := r.Column(at[0])
		if _, ok := col.(*array.Dictionary); ok {
			plain, err := compute.CastArray(context.Background(), col, compute.SafeCastOptions(f.Type))
			if err != nil {
				return nil, err
			}
			parts[i] = plain
			continue
		}
		col.Retain()
		parts[i] = col
	}
	return array.Concatenate(parts, memory.DefaultAllocator)
}

// comparer compares two rows of a column.
func (c *sortColumn) comparer(col arrow.Array) (func(a, b int32) int, error) {
	values, err := valueComparer(col)
	null := func(i int32) bool { return col.IsNull(int(i)) }
	if c.apply != nil {
		var keys []any
		if keys, err = c.transformed(col); err == nil {
			values = func(a, b int) int { return compareKeys(keys[a], keys[b]) }
			null = func(i int32) bool { return keys[i] == nil }
		}
	}
	if err != nil {
		return nil, err
	}
	sign, nulls := 1, -1
	if c.field.Direction == icetable.SortDESC {
		sign = -1
	}
	if c.field.NullOrder == icetable.NullsLast {
		nulls = 1
	}
	return func(a, b int32) int {
		switch an, bn := null(a), null(b); {
		case an && bn:
			return 0
		case an:
			return nulls
		case bn:
			return -nulls
		}
		return sign * values(int(a), int(b))
	}, nil
}

// transformed returns what the order's transform makes of every value; nil: null.
func (c *sortColumn) transformed(col arrow.Array) ([]any, error) {
	keys := make([]any, col.Len())
	for i := range keys {
		if col.IsNull(i) {
			continue
		}
		v, err := valueOf(col, i, c.typ)
		if err != nil {
			return nil, err
		}
		keys[i] = c.apply(v)
	}
	return keys, nil
}

// compareKeys compares two results of one transform.
func compareKeys(a, b any) int {
	switch a := a.(type) {
	case int32:
		return cmp.Compare(a, b.(int32))
	case icego.Date:
		return cmp.Compare(a, b.(icego.Date))
	case int64:
		return cmp.Compare(a, b.(int64))
	case string:
		return strings.Compare(a, b.(string))
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case icego.Decimal:
		return a.Val.Cmp(b.(icego.Decimal).Val)
	}
	return 0
}

// floatOrder maps a float to an integer in Iceberg's order: -0 before 0, NaN above all.
func floatOrder(f float64) int64 {
	if math.IsNaN(f) {
		return math.MaxInt64
	}
	bits := int64(math.Float64bits(f))
	if bits < 0 {
		return bits ^ math.MaxInt64
	}
	return bits
}

func valueComparer(col arrow.Array) (func(a, b int) int, error) {
	switch c := col.(type) {
	case *array.Boolean:
		n := func(i int) int {
			if c.Value(i) {
				return 1
			}
			return 0
		}
		return func(a, b int) int { return n(a) - n(b) }, nil
	case *array.Int32:
		return func(a, b int) int { return cmp.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.Int64:
		return func(a, b int) int { return cmp.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.Float32:
		return func(a, b int) int {
			return cmp.Compare(floatOrder(float64(c.Value(a))), floatOrder(float64(c.Value(b))))
		}, nil
	case *array.Float64:
		return func(a, b int) int { return cmp.Compare(floatOrder(c.Value(a)), floatOrder(c.Value(b))) }, nil
	case *array.Date32:
		return func(a, b int) int { return cmp.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.Time64:
		return func(a, b int) int { return cmp.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.Timestamp:
		return func(a, b int) int { return cmp.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.Decimal128:
		return func(a, b int) int { return c.Value(a).Cmp(c.Value(b)) }, nil
	case *array.String:
		return func(a, b int) int { return strings.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.Binary:
		return func(a, b int) int { return bytes.Compare(c.Value(a), c.Value(b)) }, nil
	case *array.FixedSizeBinary:
		return func(a, b int) int { return bytes.Compare(c.Value(a), c.Value(b)) }, nil
	}
	return nil, fmt.Errorf("values of type %s have no order", col.DataType())
}
