package schema

import "slices"

// Numbered returns next as the schema after have, which may be nil, with ids for the
// fields that have none. It is for files and tables of firehosed's own: catalogs number
// the fields of theirs.
func Numbered(have, next *Schema) *Schema {
	out := &Schema{}
	last := 0
	if have != nil {
		out.ID, last = have.ID+1, lastID(have.Fields)
	}
	out.Fields = number(next.Fields, &last)
	return out
}

func lastID(fields []Field) (last int) {
	for i := range fields {
		last = max(last, fields[i].ID, lastID(fields[i].Type.Fields))
	}
	return last
}

func number(fields []Field, last *int) []Field {
	out := slices.Clone(fields)
	for i := range out {
		if out[i].ID == 0 {
			*last++
			out[i].ID = *last
		}
	}
	for i := range out {
		if len(out[i].Type.Fields) > 0 {
			typ := *out[i].Type
			typ.Fields = number(typ.Fields, last)
			out[i].Type = &typ
		}
	}
	return out
}
