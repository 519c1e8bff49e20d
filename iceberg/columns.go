package iceberg

import (
	"errors"
	"fmt"

	icego "github.com/apache/iceberg-go"

	"github.com/firehosed/firehosed/schema"
)

// fromIceberg returns a table's schema in our terms. Columns of types that we never
// write (variant, unknown, geometry) are left out: they stay null.
func fromIceberg(s *icego.Schema) (*schema.Schema, error) {
	fs, err := fieldsFrom(s.Fields())
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", s.ID, err)
	}
	return &schema.Schema{ID: s.ID, Fields: fs}, nil
}

var errType = errors.New("type is not supported")

func fieldsFrom(have []icego.NestedField) ([]schema.Field, error) {
	out := make([]schema.Field, 0, len(have))
	for i := range have {
		f := &have[i]
		t, err := typeFrom(f.Type)
		switch {
		case errors.Is(err, errType) && !f.Required:
			continue
		case err != nil:
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		out = append(out, schema.Field{
			ID: f.ID, Name: f.Name, Key: schema.KeyFromDoc(f.Doc), Type: t, Required: f.Required, Doc: f.Doc,
		})
	}
	return out, nil
}

func typeFrom(t icego.Type) (*schema.Type, error) {
	switch t := t.(type) {
	case icego.BooleanType:
		return &schema.Type{Kind: schema.Bool}, nil
	case icego.Int32Type:
		return &schema.Type{Kind: schema.Int}, nil
	case icego.Int64Type:
		return &schema.Type{Kind: schema.Long}, nil
	case icego.Float32Type:
		return &schema.Type{Kind: schema.Float}, nil
	case icego.Float64Type:
		return &schema.Type{Kind: schema.Double}, nil
	case icego.DecimalType:
		return &schema.Type{Kind: schema.Decimal, Precision: t.Precision(), Scale: t.Scale()}, nil
	case icego.DateType:
		return &schema.Type{Kind: schema.Date}, nil
	case icego.TimeType:
		return &schema.Type{Kind: schema.Time}, nil
	case icego.TimestampType:
		return &schema.Type{Kind: schema.Timestamp}, nil
	case icego.TimestampTzType:
		return &schema.Type{Kind: schema.TimestampTZ}, nil
	case icego.TimestampNsType:
		return &schema.Type{Kind: schema.TimestampNS}, nil
	case icego.TimestampTzNsType:
		return &schema.Type{Kind: schema.TimestampTZNS}, nil
	case icego.StringType:
		return &schema.Type{Kind: schema.String}, nil
	case icego.UUIDType:
		return &schema.Type{Kind: schema.UUID}, nil
	case icego.FixedType:
		return &schema.Type{Kind: schema.Fixed, Length: t.Len()}, nil
	case icego.BinaryType:
		return &schema.Type{Kind: schema.Binary}, nil
	case *icego.StructType:
		fs, err := fieldsFrom(t.FieldList)
		return &schema.Type{Kind: schema.Struct, Fields: fs}, err
	case *icego.ListType:
		fs, err := fieldsFrom([]icego.NestedField{t.ElementField()})
		return nested(schema.List, fs, 1, err)
	case *icego.MapType:
		fs, err := fieldsFrom([]icego.NestedField{t.KeyField(), t.ValueField()})
		return nested(schema.Map, fs, 2, err)
	}
	return nil, fmt.Errorf("%w: %v", errType, t)
}

func nested(k schema.Kind, fs []schema.Field, n int, err error) (*schema.Type, error) {
	if err == nil && len(fs) != n {
		err = errType
	}
	return &schema.Type{Kind: k, Fields: fs}, err
}

// toIceberg returns a wanted schema with field ids from 1 where it has none.
func toIceberg(s *schema.Schema, last int) (*icego.Schema, error) {
	return extend(icego.NewSchema(0), s, &last)
}

// extend returns have with the types, and the further columns, of want. Columns with
// an id are those of have; others get ids after last.
func extend(have *icego.Schema, want *schema.Schema, last *int) (*icego.Schema, error) {
	fs, err := extendFields(have.Fields(), want.Fields, last)
	if err != nil {
		return nil, err
	}
	return icego.NewSchemaWithIdentifiers(have.ID, have.IdentifierFieldIDs, fs...), nil
}

func extendFields(have []icego.NestedField, want []schema.Field, last *int) ([]icego.NestedField, error) {
	out := have
	taken := map[string]bool{}
	for i := range have {
		taken[have[i].Name] = true
	}
next:
	for i := range want {
		w := &want[i]
		for j := range out {
			if w.ID == 0 || out[j].ID != w.ID {
				continue
			}
			t, err := extendType(out[j].Type, w.Type, last)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", w.Name, err)
			}
			out[j].Type, out[j].Required = t, out[j].Required && w.Required
			continue next
		}
		if taken[w.Name] { // a column that we cannot read stands there
			continue
		}
		f := icego.NestedField{ID: w.ID, Name: w.Name, Required: w.Required, Doc: w.Doc}
		if f.ID == 0 {
			*last++
			f.ID = *last
		}
		if f.Doc == "" && w.Key != "" && w.Key != w.Name {
			f.Doc = schema.DocForKey(w.Key)
		}
		var err error
		if f.Type, err = extendType(nil, w.Type, last); err != nil {
			return nil, fmt.Errorf("column %s: %w", w.Name, err)
		}
		out = append(out, f)
	}
	return out, nil
}

func extendType(have icego.Type, want *schema.Type, last *int) (icego.Type, error) {
	switch want.Kind {
	case schema.Struct:
		var old []icego.NestedField
		if st, ok := have.(*icego.StructType); ok {
			old = append(old, st.FieldList...)
		}
		fs, err := extendFields(old, want.Fields, last)
		return &icego.StructType{FieldList: fs}, err
	case schema.List:
		var old []icego.NestedField
		if lt, ok := have.(*icego.ListType); ok {
			old = []icego.NestedField{lt.ElementField()}
		}
		fs, err := extendFields(old, want.Fields, last)
		if err != nil {
			return nil, err
		}
		return &icego.ListType{ElementID: fs[0].ID, Element: fs[0].Type, ElementRequired: fs[0].Required}, nil
	case schema.Map:
		var old []icego.NestedField
		if mt, ok := have.(*icego.MapType); ok {
			old = []icego.NestedField{mt.KeyField(), mt.ValueField()}
		}
		fs, err := extendFields(old, want.Fields, last)
		if err != nil {
			return nil, err
		}
		return &icego.MapType{
			KeyID: fs[0].ID, KeyType: fs[0].Type,
			ValueID: fs[1].ID, ValueType: fs[1].Type, ValueRequired: fs[1].Required,
		}, nil
	default:
		return primitive(want)
	}
}

func primitive(t *schema.Type) (icego.Type, error) {
	switch t.Kind {
	case schema.Bool:
		return icego.PrimitiveTypes.Bool, nil
	case schema.Int:
		return icego.PrimitiveTypes.Int32, nil
	case schema.Long:
		return icego.PrimitiveTypes.Int64, nil
	case schema.Float:
		return icego.PrimitiveTypes.Float32, nil
	case schema.Double:
		return icego.PrimitiveTypes.Float64, nil
	case schema.Decimal:
		return icego.DecimalTypeOf(t.Precision, t.Scale), nil
	case schema.Date:
		return icego.PrimitiveTypes.Date, nil
	case schema.Time:
		return icego.PrimitiveTypes.Time, nil
	case schema.Timestamp:
		return icego.PrimitiveTypes.Timestamp, nil
	case schema.TimestampTZ:
		return icego.PrimitiveTypes.TimestampTz, nil
	case schema.TimestampNS:
		return icego.PrimitiveTypes.TimestampNs, nil
	case schema.TimestampTZNS:
		return icego.PrimitiveTypes.TimestampTzNs, nil
	case schema.String:
		return icego.PrimitiveTypes.String, nil
	case schema.UUID:
		return icego.PrimitiveTypes.UUID, nil
	case schema.Fixed:
		return icego.FixedTypeOf(t.Length), nil
	case schema.Binary:
		return icego.PrimitiveTypes.Binary, nil
	default:
		return nil, fmt.Errorf("%w: %v", errType, t)
	}
}

// fits reports why files written for one schema cannot be published under another:
// nil if every field of theirs is still there, promoted at most, or dropped, and no
// field became required that they may lack.
func fits(files, now *icego.Schema) error {
	if files.ID == now.ID {
		return nil
	}
	return holds(files, now)
}

// holds reports why what had room under one schema may have none under another, as
// fits does.
func holds(files, now *icego.Schema) error {
	was, err := flat(files)
	if err != nil {
		return err
	}
	is, err := flat(now)
	if err != nil {
		return err
	}
	for id, f := range is {
		old, there := was[id]
		switch {
		case !there && f.Required, there && f.Required && !old.Required:
			return fmt.Errorf("column %s (id %d) became required", f.Name, id)
		case !there || isNested(f.Type) && isNested(old.Type):
			continue
		}
		if f.Type.Equals(old.Type) {
			continue
		}
		if _, err := icego.PromoteType(old.Type, f.Type); err != nil {
			return fmt.Errorf("column %s (id %d) changed from %v to %v", f.Name, id, old.Type, f.Type)
		}
	}
	return nil
}

func isNested(t icego.Type) bool {
	_, ok := t.(icego.NestedType)
	return ok
}

func flat(s *icego.Schema) (map[int]icego.NestedField, error) {
	fields, err := s.FlatFields()
	if err != nil {
		return nil, err
	}
	out := map[int]icego.NestedField{}
	for f := range fields {
		out[f.ID] = f
	}
	return out, nil
}
