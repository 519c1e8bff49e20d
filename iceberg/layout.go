package iceberg

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firehosed/firehosed/schema"
)

// layout is how rows of a table become files: its schema and partition spec as
// they were committed at one time. It is immutable.
type layout struct {
	location string // of the table
	version  int    // of the format
	iceberg  *icego.Schema
	ours     *schema.Schema
	byID     map[int]*schema.Field // of ours, columns only
	spec     icego.PartitionSpec
	parts    []partitionColumn
	order    []sortColumn // of rows in a file; none: as in the log
	orderID  int          // that the table has for order; 0: none
	unsorted []string     // columns of sort_by that are not there yet
	ordered  int          // the table's default order
}

// partitionColumn is one field of the partition spec, ready to be computed.
type partitionColumn struct {
	source  int // field id of the column
	id      int // of the partition field
	logical string
	apply   func(any) any // of a value that is not null
	typ     icego.Type    // of the column
}

const maxLayouts = 8 // remembered per table: rows laid out just before an evolution still find theirs

func newLayout(md icetable.Metadata, cfg TableConfig) (*layout, error) {
	cur := md.CurrentSchema()
	ours, err := fromIceberg(cur)
	if err != nil {
		return nil, err
	}
	l := &layout{
		location: md.Location(), version: md.Version(), iceberg: cur, ours: ours,
		byID: map[int]*schema.Field{}, spec: md.PartitionSpec(), ordered: md.DefaultSortOrder(),
	}
	l.order, l.orderID, l.unsorted = cfg.order(md)
	for i := range ours.Fields {
		l.byID[ours.Fields[i].ID] = &ours.Fields[i]
	}
	for _, f := range l.spec.Fields() {
		src, ok := cur.FindFieldByID(f.SourceID())
		if !ok {
			if _, void := f.Transform.(icego.VoidTransform); !void {
				return nil, fmt.Errorf("partition field %s: the schema has no field %d", f.Name, f.SourceID())
			}
			src.Type = icego.PrimitiveTypes.Int32
		}
		apply, err := bindTransform(f.Transform, src.Type)
		if err != nil {
			return nil, fmt.Errorf("partition field %s: %w", f.Name, err)
		}
		l.parts = append(l.parts, partitionColumn{
			source: f.SourceID(), id: f.FieldID, typ: src.Type, apply: apply,
			logical: logicalType(f.Transform.ResultType(src.Type)),
		})
	}
	return l, nil
}

// same reports whether files under l can go on after a load of md.
func (l *layout) same(md icetable.Metadata) bool {
	now := md.CurrentSchema()
	return l.iceberg.ID == now.ID && l.iceberg.Equals(now) && l.spec.ID() == md.DefaultPartitionSpec() && l.ordered == md.DefaultSortOrder() &&
		l.location == md.Location() && l.version == md.Version()
}

// takes reports whether rows laid out so can be written under l.
func (l *layout) takes(laid *arrow.Schema) bool {
	for _, f := range laid.Fields() {
		id, ok := fieldID(&f)
		if !ok {
			return false
		}
		col := l.byID[id]
		if col == nil || !fitsType(f.Type, col.Type) {
			return false
		}
	}
	return true
}

func fieldID(f *arrow.Field) (int, bool) {
	text, ok := f.Metadata.GetValue(schema.FieldIDKey)
	if !ok {
		return 0, false
	}
	id, err := strconv.Atoi(text)
	return id, err == nil
}

func fitsType(t arrow.DataType, want *schema.Type) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	return arrow.TypeEqual(t, want.Arrow())
}

// layoutFor returns the newest layout that takes the rows.
func (t *table) layoutFor(laid *arrow.Schema) (*layout, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.mu.layouts {
		if l.takes(laid) {
			return l, nil
		}
	}
	return nil, fmt.Errorf("rows with columns %v fit no schema that table %s has had", laid, t.name)
}

// part is rows of one partition value.
type part struct {
	key    string
	values map[int]any // by partition field id; nil where the table is not partitioned
	rec    arrow.RecordBatch
	rows   []int32 // of rec, ascending; nil: all
}

// split sorts the rows of rec by their partition value, each part in the order of the rows.
func (l *layout) split(rec arrow.RecordBatch) ([]part, error) {
	if len(l.parts) == 0 {
		return []part{{rec: rec}}, nil
	}
	parts, err := l.group(rec)
	if len(parts) == 1 {
		parts[0].rows = nil
	}
	return parts, err
}

func (l *layout) group(rec arrow.RecordBatch) ([]part, error) {
	cols := make([]arrow.Array, len(l.parts))
	for i, f := range rec.Schema().Fields() {
		id, _ := fieldID(&f)
		for j := range l.parts {
			if l.parts[j].source == id {
				cols[j] = rec.Column(i)
			}
		}
	}
	var groups []part
	index := map[string]int{}
	var key []byte
	vals := make([]any, len(l.parts))
	for row := range int(rec.NumRows()) {
		key = key[:0]
		for j := range l.parts {
			v, err := l.parts[j].value(cols[j], row)
			if err != nil {
				return nil, err
			}
			vals[j], key = v, appendKey(key, v)
		}
		i, ok := index[string(key)]
		if !ok {
			i = len(groups)
			index[string(key)] = i
			values := map[int]any{}
			for j := range l.parts {
				values[l.parts[j].id] = vals[j]
			}
			groups = append(groups, part{key: string(key), values: values, rec: rec})
		}
		groups[i].rows = append(groups[i].rows, int32(row))
	}
	return groups, nil
}

func (p *partitionColumn) value(col arrow.Array, row int) (any, error) {
	if col == nil || col.IsNull(row) {
		return nil, nil
	}
	v, err := valueOf(col, row, p.typ)
	if err != nil {
		return nil, err
	}
	return p.apply(v), nil
}

// valueOf returns a value as iceberg-go's transforms want it.
func valueOf(col arrow.Array, row int, t icego.Type) (any, error) {
	switch a := col.(type) {
	case *array.Boolean:
		return a.Value(row), nil
	case *array.Int32:
		return a.Value(row), nil
	case *array.Int64:
		return a.Value(row), nil
	case *array.Float32:
		return a.Value(row), nil
	case *array.Float64:
		return a.Value(row), nil
	case *array.Date32:
		return icego.Date(a.Value(row)), nil
	case *array.Time64:
		return icego.Time(a.Value(row)), nil
	case *array.Timestamp:
		switch t.(type) {
		case icego.TimestampNsType, icego.TimestampTzNsType:
			return icego.TimestampNano(a.Value(row)), nil
		}
		return icego.Timestamp(a.Value(row)), nil
	case *array.Decimal128:
		return icego.Decimal{Val: a.Value(row), Scale: int(a.DataType().(*arrow.Decimal128Type).Scale)}, nil
	case *array.String:
		return string([]byte(a.Value(row))), nil // the partition outlives the batch
	case *array.Binary:
		return slices.Clone(a.Value(row)), nil
	case *array.FixedSizeBinary:
		if _, ok := t.(icego.UUIDType); ok {
			return uuid.FromBytes(a.Value(row))
		}
		return slices.Clone(a.Value(row)), nil
	case *array.Dictionary:
		return valueOf(a.Dictionary(), a.GetValueIndex(row), t)
	}
	return nil, fmt.Errorf("a table cannot be partitioned by values of type %s", col.DataType())
}

// bindTransform returns a transform as a function of values that are not null.
func bindTransform(tr icego.Transform, t icego.Type) (func(any) any, error) {
	number := func(f func(any) icego.Optional[int32]) func(any) any {
		return func(v any) any {
			if n := f(v); n.Valid {
				return n.Val
			}
			return nil
		}
	}
	switch tr := tr.(type) {
	case icego.VoidTransform:
		return func(any) any { return nil }, nil
	case icego.IdentityTransform:
		return func(v any) any { return v }, nil
	case icego.BucketTransform:
		if tr.CanTransform(t) {
			return number(tr.Transformer(t)), nil
		}
	case icego.TruncateTransform:
		return tr.Transformer(t)
	case icego.TimeTransform:
		f, err := tr.Transformer(t)
		if _, day := tr.(icego.DayTransform); !day || err != nil {
			return number(f), err
		}
		return func(v any) any {
			if n := f(v); n.Valid {
				return icego.Date(n.Val)
			}
			return nil
		}, nil
	}
	return nil, fmt.Errorf("transform %v of %v is not supported", tr, t)
}

// logicalType is the Avro name of how manifests keep a partition value; "" where
// the value is kept as it is.
func logicalType(t icego.Type) string {
	switch t.(type) {
	case icego.DateType:
		return "date"
	case icego.TimeType:
		return "time-micros"
	case icego.TimestampType, icego.TimestampTzType:
		return "timestamp-micros"
	case icego.DecimalType:
		return "decimal"
	case icego.UUIDType:
		return "uuid"
	}
	return ""
}

// appendKey appends a partition value so that different values have different keys.
func appendKey(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 0)
	case bool:
		if v {
			return append(b, 1, 1)
		}
		return append(b, 1, 0)
	case int32:
		return binary.BigEndian.AppendUint32(append(b, 2), uint32(v))
	case icego.Date:
		return binary.BigEndian.AppendUint32(append(b, 2), uint32(v))
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 3), uint64(v))
	case icego.Time:
		return binary.BigEndian.AppendUint64(append(b, 3), uint64(v))
	case icego.Timestamp:
		return binary.BigEndian.AppendUint64(append(b, 3), uint64(v))
	case icego.TimestampNano:
		return binary.BigEndian.AppendUint64(append(b, 3), uint64(v))
	case float32:
		return binary.BigEndian.AppendUint32(append(b, 4), math.Float32bits(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 5), math.Float64bits(v))
	case string:
		return append(binary.AppendUvarint(append(b, 6), uint64(len(v))), v...)
	case []byte:
		return append(binary.AppendUvarint(append(b, 6), uint64(len(v))), v...)
	}
	text := fmt.Sprint(v)
	return append(binary.AppendUvarint(append(b, 7), uint64(len(text))), text...)
}
