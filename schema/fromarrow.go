package schema

import "github.com/apache/arrow-go/v18/arrow"

// FromArrow returns the type whose columns are laid out as t, as [Type.Arrow]
// does it; a dictionary counts as its values. ok is false if there is none.
func FromArrow(t arrow.DataType) (typ *Type, ok bool) {
	typ = &Type{}
	switch t := t.(type) {
	case *arrow.BooleanType:
		typ.Kind = Bool
	case *arrow.Int32Type:
		typ.Kind = Int
	case *arrow.Int64Type:
		typ.Kind = Long
	case *arrow.Float32Type:
		typ.Kind = Float
	case *arrow.Float64Type:
		typ.Kind = Double
	case *arrow.Decimal128Type:
		typ.Kind, typ.Precision, typ.Scale = Decimal, int(t.Precision), int(t.Scale)
	case *arrow.Date32Type:
		typ.Kind = Date
	case *arrow.Time64Type:
		typ.Kind = Time
		return typ, t.Unit == arrow.Microsecond
	case *arrow.TimestampType:
		kinds := map[arrow.TimeUnit][2]Kind{arrow.Microsecond: {Timestamp, TimestampTZ}, arrow.Nanosecond: {TimestampNS, TimestampTZNS}}
		k, known := kinds[t.Unit]
		typ.Kind = k[0]
		if t.TimeZone != "" {
			typ.Kind = k[1]
		}
		return typ, known
	case *arrow.StringType:
		typ.Kind = String
	case *arrow.BinaryType:
		typ.Kind = Binary
	case *arrow.FixedSizeBinaryType:
		typ.Kind, typ.Length = Fixed, t.ByteWidth
	case *arrow.DictionaryType:
		return FromArrow(t.ValueType)
	case *arrow.StructType:
		return nested(Struct, t.Fields()...)
	case *arrow.ListType:
		return nested(List, t.ElemField())
	case *arrow.MapType:
		return nested(Map, t.KeyField(), t.ItemField())
	default:
		return nil, false
	}
	return typ, true
}

func nested(k Kind, fields ...arrow.Field) (*Type, bool) {
	t := &Type{Kind: k}
	for i, f := range fields {
		ft, ok := FromArrow(f.Type)
		if !ok {
			return nil, false
		}
		name := f.Name
		switch k {
		case List:
			name = "element"
		case Map:
			name = [...]string{"key", "value"}[i]
		default:
		}
		t.Fields = append(t.Fields, Field{Name: name, Type: ft, Required: !f.Nullable})
	}
	return t, true
}
