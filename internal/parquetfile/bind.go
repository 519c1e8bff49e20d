package parquetfile

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/schema"
)

// binding says where the Arrow column of a field is among its siblings.
type binding struct {
	col  int // -1: left out
	kids []binding
}

// known are the latest Arrow schemas that were bound to a plan. The lanes of a sink write
// batch after batch to many files of one plan, each batch with a schema of its own.
type known struct {
	sync.Mutex
	next  int
	laid  [16]*arrow.Schema
	bound [16][]binding
}

// bind matches the columns of records with this schema to the fields.
func (p *plan) bind(s *arrow.Schema) ([]binding, error) {
	k := &p.known
	k.Lock()
	defer k.Unlock()
	if i := slices.Index(k.laid[:], s); i >= 0 {
		return k.bound[i], nil
	}
	b, err := bind(p.fields, s.Fields(), "")
	if err != nil {
		return nil, err
	}
	k.laid[k.next], k.bound[k.next] = s, b
	k.next = (k.next + 1) % len(k.laid)
	return b, nil
}

// bind matches Arrow fields to fields of the file by field id.
func bind(fields []*field, cols []arrow.Field, parent string) ([]binding, error) {
	byID := make(map[int]int, len(cols))
	for i := range cols {
		c := &cols[i]
		id, err := fieldID(c)
		if err != nil {
			return nil, fmt.Errorf("record column %s%s: %w", parent, c.Name, err)
		}
		if _, dup := byID[id]; dup {
			return nil, fmt.Errorf("record column %s%s: field id %d comes twice", parent, c.Name, id)
		}
		byID[id] = i
	}
	out := make([]binding, len(fields))
	for i, f := range fields {
		col, ok := byID[f.id]
		if !ok {
			out[i].col = -1
			continue
		}
		delete(byID, f.id)
		b, err := bindField(f, cols[col].Type)
		if err != nil {
			return nil, err
		}
		b.col = col
		out[i] = b
	}
	for id, i := range byID {
		return nil, fmt.Errorf("record column %s%s: the file's schema has no field id %d", parent, cols[i].Name, id)
	}
	return out, nil
}

func fieldID(c *arrow.Field) (int, error) {
	v, ok := c.Metadata.GetValue(schema.FieldIDKey)
	if !ok {
		return 0, fmt.Errorf("no field id in its metadata (%s)", schema.FieldIDKey)
	}
	id, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("field id %q is not a number", v)
	}
	return id, nil
}

// bindField checks that columns of type t can be written as f. What lists and maps
// hold is matched by place; if it has an id, that must be right.
func bindField(f *field, t arrow.DataType) (binding, error) {
	switch t := t.(type) {
	case *arrow.StructType:
		if f.typ.Kind == schema.Struct {
			kids, err := bind(f.kids, t.Fields(), f.path+".")
			return binding{kids: kids}, err
		}
	case *arrow.ListType:
		if f.typ.Kind == schema.List {
			kids, err := bindInner(f, t.ElemField())
			return binding{kids: kids}, err
		}
	case *arrow.MapType:
		if f.typ.Kind == schema.Map {
			kids, err := bindInner(f, t.KeyField(), t.ItemField())
			return binding{kids: kids}, err
		}
	default:
		if f.leaf >= 0 && fits(f, t) {
			return binding{}, nil
		}
	}
	return binding{}, fmt.Errorf("column %s: records have %s, the table has %s", f.path, t, f.typ)
}

func bindInner(f *field, cols ...arrow.Field) ([]binding, error) {
	out := make([]binding, len(cols))
	for i, c := range cols {
		if id, err := fieldID(&c); err == nil && id != f.kids[i].id {
			return nil, fmt.Errorf("column %s: records have field id %d, the table has %d", f.kids[i].path, id, f.kids[i].id)
		}
		b, err := bindField(f.kids[i], c.Type)
		if err != nil {
			return nil, err
		}
		b.col = i
		out[i] = b
	}
	return out, nil
}

// fits says whether an Arrow type lays values out as the field's does, or as a
// dictionary of that.
func fits(f *field, have arrow.DataType) bool {
	switch h := have.(type) {
	case *arrow.DictionaryType:
		text := f.typ.Kind == schema.String || f.typ.Kind == schema.Binary
		return text && h.IndexType.ID() == arrow.INT32 && h.ValueType.ID() == f.arrow.ID()
	case *arrow.TimestampType: // a zone does not change the values
		w, ok := f.arrow.(*arrow.TimestampType)
		return ok && w.Unit == h.Unit
	case *arrow.Decimal128Type: // values are checked for the precision
		w, ok := f.arrow.(*arrow.Decimal128Type)
		return ok && w.Scale == h.Scale
	}
	return arrow.TypeEqual(f.arrow, have)
}
