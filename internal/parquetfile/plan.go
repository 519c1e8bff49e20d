package parquetfile

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/schema"
)

// field is a place in the schema of the file. It is immutable.
type field struct {
	id       int
	name     string
	path     string // for messages: names joined by dots
	typ      *schema.Type
	optional bool
	def, rep uint8 // the levels of a value that is there; of a list, of the list itself
	kids     []*field
	leaf     int            // index in plan.leaves; -1: nested
	arrow    arrow.DataType // of a leaf
	repeated bool           // inside a list or map
	metrics  bool           // has counts
	bounds   bool           // has bounds
	names    []string       // of a leaf: its path in the file
}

// base is the definition level that says the parent is there.
func (f *field) base() uint8 {
	if f.optional {
		return f.def - 1
	}
	return f.def
}

// plan is a schema with the levels of its columns worked out. It is safe for concurrent use.
type plan struct {
	fields   []*field
	leaves   []*field
	schema   []byte // elements of the schema, as in the footer
	elements int
	known    known
}

// maxDepth bounds nesting. Iceberg has no limit; levels are kept in bytes, and
// nobody reads tables this deep.
const maxDepth = 64

func newPlan(s *schema.Schema, metricColumns int) (*plan, error) {
	if s == nil || len(s.Fields) == 0 {
		return nil, fmt.Errorf("parquet schema: no columns")
	}
	b := planner{plan: &plan{}, seen: map[int]string{}}
	fields, err := b.group(s.Fields, nil)
	if err != nil {
		return nil, fmt.Errorf("parquet schema: %w", err)
	}
	b.plan.fields = fields
	chooseMetrics(fields, metricColumns)
	b.plan.describe()
	return b.plan, nil
}

type planner struct {
	plan *plan
	seen map[int]string
}

func (b *planner) group(in []schema.Field, parent *field) ([]*field, error) {
	if len(in) == 0 {
		return nil, fmt.Errorf("struct %s has no members", parent.path)
	}
	names := map[string]bool{}
	out := make([]*field, len(in))
	for i := range in {
		if names[in[i].Name] {
			return nil, fmt.Errorf("two columns are named %q", in[i].Name)
		}
		names[in[i].Name] = true
		f, err := b.field(&in[i], parent, 0)
		if err != nil {
			return nil, err
		}
		out[i] = f
	}
	return out, nil
}

// field works out a field under a parent; repeats is 1 for what a list or map holds.
func (b *planner) field(in *schema.Field, parent *field, repeats uint8) (*field, error) {
	f := &field{id: in.ID, name: in.Name, path: in.Name, typ: in.Type, optional: !in.Required, leaf: -1}
	if parent != nil {
		f.path = parent.path + "." + in.Name
		f.def, f.rep = parent.def+repeats, parent.rep+repeats
		f.repeated = parent.repeated || repeats > 0
	}
	if f.optional {
		f.def++
	}
	if other, dup := b.seen[f.id]; dup || f.id <= 0 {
		return nil, fmt.Errorf("column %s: field id %d is not positive or taken by %q", f.path, f.id, other)
	}
	b.seen[f.id] = f.path
	if f.def > maxDepth {
		return nil, fmt.Errorf("column %s: nested deeper than %d", f.path, maxDepth)
	}
	var err error
	switch f.typ.Kind {
	case schema.Struct:
		f.kids, err = b.group(f.typ.Fields, f)
	case schema.List, schema.Map:
		for i := range f.typ.Fields {
			kid, e := b.field(&f.typ.Fields[i], f, 1)
			if e != nil {
				return nil, e
			}
			f.kids = append(f.kids, kid)
		}
		if f.typ.Kind == schema.Map && f.kids[0].optional {
			return nil, fmt.Errorf("map %s: its key is optional", f.path)
		}
	default:
		f.leaf = len(b.plan.leaves)
		f.arrow = f.typ.Arrow()
		b.plan.leaves = append(b.plan.leaves, f)
	}
	return f, err
}

// chooseMetrics picks the columns that have metrics: at most limit leaves, those of
// a struct before those of the structs, lists and maps in it.
func chooseMetrics(fields []*field, limit int) int {
	for _, f := range fields {
		own := strings.HasPrefix(f.path, schema.Reserved)
		if f.leaf >= 0 && (limit > 0 || own) {
			f.metrics = true
			f.bounds = !f.repeated && f.typ.Kind != schema.UUID // readers do not agree on the order of UUIDs
			limit--
		}
	}
	for _, f := range fields {
		if f.leaf < 0 {
			limit = chooseMetrics(f.kids, limit)
		}
	}
	return limit
}
