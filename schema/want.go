package schema

import "slices"

// DefaultMaxColumns is how many leaf columns a table gets unless more are allowed.
const DefaultMaxColumns = 1_000

// Leaves returns how many columns the fields take in a file: their parts that
// are neither struct, list nor map.
func Leaves(fields []Field) int {
	n := 0
	for i := range fields {
		n += fields[i].Type.leaves()
	}
	return n
}

func (t *Type) leaves() int {
	if t.Kind == Struct || t.Kind == List || t.Kind == Map {
		return Leaves(t.Fields)
	}
	return 1
}

// A wish builds the schema with room for what a batch had no column for.
type wish struct {
	left    int // columns that may still be added
	limit   int // bytes of a name
	changed bool
}

// want returns the wanted schema of the table, or nil if nothing is to be added.
func (r *reader) want(s *Schema) *Schema {
	if !r.news && (!r.rescued.has() || s.Column(Rescued) != nil) {
		return nil
	}
	opt := r.cut.scan.opt
	var fields []Field
	if s != nil {
		fields = s.Fields
	}
	w := wish{left: opt.MaxColumns - Leaves(fields), limit: opt.MaxName}
	hasRescued := s.Column(Rescued) != nil
	if !hasRescued {
		w.left--
	}
	fields = w.fields(fields, &r.root)
	if !hasRescued && (w.changed || r.rescued.has()) {
		fields = append(slices.Clip(fields), Field{Name: Rescued, Type: &Type{Kind: String}})
		w.changed = true
	}
	if !w.changed {
		return nil
	}
	return &Schema{ID: -1, Fields: fields}
}

// fields returns the fields of a struct, with room for what its node found.
func (w *wish) fields(have []Field, n *node) []Field {
	out := slices.Clone(have)
	for _, kid := range n.kids {
		out[kid.at].Type = w.typeOf(have[kid.at].Type, kid)
	}
	if n.found != nil {
		out = w.addMembers(out, n.field == nil, n.found.members)
	}
	return out
}

// typeOf returns the type of a node's column, with room for what it found.
func (w *wish) typeOf(t *Type, n *node) *Type {
	if n.promote != nil {
		w.changed = true
		return n.promote
	}
	c := *t
	switch t.Kind {
	case Struct:
		c.Fields = w.fields(t.Fields, n)
	case List, Map:
		c.Fields = slices.Clone(t.Fields)
		for i, kid := range n.kids {
			c.Fields[i].Type = w.typeOf(t.Fields[i].Type, kid)
		}
	default:
		return t
	}
	return &c
}

// addMembers appends columns for members that have none, in the order in which
// they were seen, as far as names and columns go.
func (w *wish) addMembers(fields []Field, top bool, members []*evidence) []Field {
	names := newNamer(fields, top, w.limit)
	for _, m := range members {
		if w.left <= 0 {
			break
		}
		f, ok := names.field(m.key)
		if !ok {
			continue
		}
		if m.declared != nil && m.declared.Name != m.declared.JSONKey() {
			f.Name, f.Key, f.Doc = names.free(m.declared.Name), m.key, DocForKey(m.key)
		}
		if f.Type = w.evidenceType(m); f.Type == nil {
			continue
		}
		names.take(&f)
		fields = append(fields, f)
		w.changed = true
	}
	return fields
}

// evidenceType returns the type that the evidence speaks for, or nil if there are
// not enough columns left for any of it.
func (w *wish) evidenceType(e *evidence) *Type {
	if e.declared != nil {
		return w.declaredType(e)
	}
	t := &Type{}
	switch e.class {
	case classBool:
		t.Kind = Bool
	case classNumber:
		t.Kind = Long
		if e.floats && !e.bigInts {
			t.Kind = Double
		}
	case classText:
		t.Kind = String
		if !e.texts {
			t.Kind = TimestampTZ
		}
	case classObject:
		t.Kind = Struct
		if t.Fields = w.addMembers(nil, false, e.members); len(t.Fields) == 0 {
			return nil
		}
		return t
	case classArray:
		el := w.evidenceType(e.element)
		if el == nil {
			return nil
		}
		return &Type{Kind: List, Fields: []Field{{Name: "element", Type: el}}}
	default:
		panic("BUG: evidence of no type was kept")
	}
	w.left--
	return t
}

// declaredType returns the declared type, as far as columns go, with room for
// members that are not declared.
func (w *wish) declaredType(e *evidence) *Type {
	t := unnumbered(e.declared.Type)
	n := t.leaves()
	if n > w.left {
		return nil
	}
	w.left -= n
	return w.extend(t, e)
}

// extend adds members that are not declared to a declared type.
func (w *wish) extend(t *Type, e *evidence) *Type {
	switch {
	case t.Kind == Struct && e.class == classObject:
		var undeclared []*evidence
		for _, m := range e.members {
			i := slices.IndexFunc(t.Fields, func(f Field) bool { return f.JSONKey() == m.key })
			if i < 0 {
				undeclared = append(undeclared, m)
			} else {
				t.Fields[i].Type = w.extend(t.Fields[i].Type, m)
			}
		}
		t.Fields = w.addMembers(t.Fields, false, undeclared)
	case t.Kind == List && e.class == classArray && e.element != nil:
		t.Fields[0].Type = w.extend(t.Fields[0].Type, e.element)
	}
	return t
}

// unnumbered returns a copy of t in which nothing is numbered or required, keys
// of maps aside.
func unnumbered(t *Type) *Type {
	c := *t
	c.Fields = slices.Clone(t.Fields)
	for i := range c.Fields {
		f := &c.Fields[i]
		f.ID, f.Required = 0, t.Kind == Map && i == 0
		f.Type = unnumbered(f.Type)
		if f.Key != "" && f.Doc == "" {
			f.Doc = DocForKey(f.Key)
		}
	}
	return &c
}
