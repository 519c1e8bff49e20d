package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Refusal is a part of a wanted schema that a table does not get.
type Refusal struct {
	Path   string // of the column, dotted
	Reason string
}

// Merge adds to a table's schema what want has beyond it, as far as Iceberg
// allows: optional columns and nested fields, int to long, float to double, a
// wider decimal. Nothing is dropped, narrowed, renamed or required. have may be
// nil. A table gets at most [DefaultMaxColumns] leaf columns; want's order
// decides which. The columns that firehosed fills itself are added in any case.
//
// Added fields have the id 0: who commits the schema numbers them. If nothing
// changed, next is have; otherwise its ID is -1.
func Merge(have, want *Schema) (next *Schema, changed bool, refused []Refusal) {
	return MergeWithin(have, want, DefaultMaxColumns)
}

// MergeWithin is [Merge] for a table that may have maxColumns leaf columns.
func MergeWithin(have, want *Schema, maxColumns int) (next *Schema, changed bool, refused []Refusal) {
	if want == nil {
		return have, false, nil
	}
	var fields []Field
	if have != nil {
		fields = have.Fields
	}
	m := merger{left: maxColumns - Leaves(fields)}
	fields = m.fields(fields, want.Fields, "")
	if !m.changed {
		return have, false, m.refused
	}
	return &Schema{ID: -1, Fields: fields}, true, m.refused
}

type merger struct {
	left    int // columns that may still be added
	changed bool
	refused []Refusal
}

func (m *merger) refuse(path, format string, args ...any) {
	m.refused = append(m.refused, Refusal{path, fmt.Sprintf(format, args...)})
}

// fields merges the fields of a struct.
func (m *merger) fields(have, want []Field, path string) []Field {
	out := slices.Clone(have)
	byName := make(map[string]int, len(have))
	for i := range have {
		byName[strings.ToLower(have[i].Name)] = i
	}
	for i := range want {
		w := &want[i]
		at := path + w.Name
		j, exists := byName[strings.ToLower(w.Name)]
		switch {
		case !exists:
			f := Field{Name: w.Name, Key: w.Key, Doc: w.Doc}
			if f.Key != "" && f.Doc == "" {
				f.Doc = DocForKey(f.Key)
			}
			if path == "" && isReserved(w.Name) {
				f.Type = unnumbered(w.Type)
				m.left -= f.Type.leaves()
			} else if f.Type = m.added(w.Type, at); f.Type == nil {
				m.refuse(at, "the table has as many columns as it may have")
				continue
			}
			byName[strings.ToLower(f.Name)] = len(out)
			out = append(out, f)
			m.changed = true
		case out[j].Name != w.Name:
			m.refuse(at, "column %q differs in case only", out[j].Name)
		case out[j].JSONKey() != w.JSONKey():
			m.refuse(at, "the column is filled from the key %q, not %q", out[j].JSONKey(), w.JSONKey())
		default:
			out[j].Type = m.typeOf(out[j].Type, w.Type, at)
		}
	}
	return out
}

// added returns t as far as columns are left for it, unnumbered and with nothing
// required, or nil.
func (m *merger) added(t *Type, path string) *Type {
	c := *t
	switch t.Kind {
	case Struct:
		c.Fields = nil
		for _, f := range t.Fields {
			at := path + "." + f.Name
			if f.Type = m.added(f.Type, at); f.Type == nil {
				continue
			}
			f.ID, f.Required = 0, false
			c.Fields = append(c.Fields, f)
		}
		if len(c.Fields) == 0 {
			return nil
		}
	case List:
		el := t.Fields[0]
		if el.Type = m.added(el.Type, path+"."+el.Name); el.Type == nil {
			return nil
		}
		el.ID, el.Required = 0, false
		c.Fields = []Field{el}
	case Map:
		c = *unnumbered(t)
		if c.leaves() > m.left {
			return nil
		}
		m.left -= c.leaves()
	default:
		if m.left <= 0 {
			return nil
		}
		m.left--
	}
	return &c
}

// typeOf merges the types of one place.
func (m *merger) typeOf(have, want *Type, path string) *Type {
	if have.Kind == want.Kind {
		switch have.Kind {
		case Struct:
			return m.with(have, m.fields(have.Fields, want.Fields, path+"."))
		case List, Map:
			parts := slices.Clone(have.Fields)
			for i := range parts {
				at := path + "." + parts[i].Name
				if have.Kind == Map && i == 0 {
					m.sameKey(parts[i].Type, want.Fields[i].Type, at)
					continue
				}
				parts[i].Type = m.typeOf(parts[i].Type, want.Fields[i].Type, at)
			}
			return m.with(have, parts)
		default:
		}
	}
	switch {
	case sameScalar(have, want), promotes(want, have):
		return have // it is as wide already
	case promotes(have, want):
		m.changed = true
		return want
	}
	m.refuse(path, "%s cannot become %s", have, want)
	return have
}

// with returns t with these parts.
func (m *merger) with(t *Type, parts []Field) *Type {
	c := *t
	c.Fields = parts
	return &c
}

// sameKey refuses to change the key of a map.
func (m *merger) sameKey(have, want *Type, path string) {
	if have.String() != want.String() {
		m.refuse(path, "the key of a map cannot change from %s to %s", have, want)
	}
}

func sameScalar(a, b *Type) bool {
	return a.Kind == b.Kind && a.Precision == b.Precision && a.Scale == b.Scale && a.Length == b.Length
}

// promotes tells whether Iceberg lets a column of type from become one of type to.
func promotes(from, to *Type) bool {
	switch from.Kind {
	case Int:
		return to.Kind == Long
	case Float:
		return to.Kind == Double
	case Decimal:
		return to.Kind == Decimal && to.Scale == from.Scale && to.Precision > from.Precision
	default:
		return false
	}
}
