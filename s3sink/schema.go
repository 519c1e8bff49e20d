package s3sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// layout is a schema that files of columns are written under.
type layout struct {
	schema *schema.Schema
	fields map[string]arrow.DataType // by the field's id, as Arrow has it
}

func newLayout(s *schema.Schema) *layout {
	l := &layout{schema: s, fields: map[string]arrow.DataType{}}
	for i := range s.Fields {
		f := s.Fields[i].ArrowField()
		id, _ := f.Metadata.GetValue(schema.FieldIDKey)
		l.fields[id] = f.Type
	}
	return l
}

// takes tells whether rows that were laid out so fit.
func (l *layout) takes(laid *arrow.Schema) bool {
	for _, f := range laid.Fields() {
		id, _ := f.Metadata.GetValue(schema.FieldIDKey)
		have := f.Type
		if d, ok := have.(*arrow.DictionaryType); ok {
			have = d.ValueType
		}
		if want, ok := l.fields[id]; !ok || !arrow.TypeEqual(want, have) {
			return false
		}
	}
	return true
}

// maxLayouts bounds the schemas that a table remembers: batches laid out for an older
// one may still come.
const maxLayouts = 8

// layoutFor returns the newest schema that rows fit.
func (t *table) layoutFor(laid *arrow.Schema) (*layout, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.mu.layouts {
		if l.takes(laid) {
			return l, nil
		}
	}
	return nil, errors.New("rows are laid out for a schema that the table does not have any more")
}

// Schema implements [pipeline.Table]. Of formats that keep records as they came it is
// the unit's bytes and the partition keys, always.
func (t *table) Schema() *schema.Schema {
	if !t.columnar() {
		return t.plain()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.layouts) == 0 {
		return nil
	}
	return t.mu.layouts[0].schema
}

// plainSchema is that of records as they came.
func (t *table) plainSchema() *schema.Schema {
	s := &schema.Schema{Fields: []schema.Field{{ID: 1, Name: schema.ColBytes, Type: &schema.Type{Kind: schema.Binary}, Required: true}}}
	for i, k := range t.names.Keys() {
		s.Fields = append(s.Fields, schema.Field{ID: i + 2, Name: t.keyColumn(k), Type: &schema.Type{Kind: schema.String}})
	}
	return s
}

// openSchema reads the table's newest schema, or makes the first one.
func (t *table) openSchema(ctx context.Context) error {
	if !t.columnar() {
		return nil
	}
	if t.Schema() == nil {
		if err := t.readSchema(ctx); err != nil {
			return err
		}
	}
	_, err := t.evolve(ctx, t.sink.base(t.name))
	return err
}

// Evolve implements [pipeline.Table]. A schema is a value of its own, made once, before
// any file uses it; whoever loses decides again on the winner's.
func (t *table) Evolve(ctx context.Context, want *schema.Schema) (*schema.Schema, error) {
	if !t.columnar() {
		return t.plain(), nil
	}
	if have := t.Schema(); have != nil {
		if _, changed, _ := schema.MergeWithin(have, want, t.sink.cfg.MaxColumns); !changed {
			return have, nil
		}
	}
	return t.evolve(ctx, want)
}

func (t *table) evolve(ctx context.Context, want *schema.Schema) (*schema.Schema, error) {
	if err := t.evolving.take(ctx); err != nil {
		return nil, err
	}
	defer t.evolving.give()
	for {
		have := t.Schema()
		next, changed, _ := schema.MergeWithin(have, want, t.sink.cfg.MaxColumns)
		if have != nil && !changed {
			return have, nil
		}
		if next == nil {
			next = &schema.Schema{}
		}
		next = schema.Numbered(have, next)
		val, err := json.Marshal(next)
		if err != nil {
			return nil, fmt.Errorf("evolve table %s: %w", t.name, err)
		}
		err = t.store().Swap(ctx, t.schemaKey(next.ID), nil, val)
		if err != nil && !errors.Is(err, pipeline.ErrStale) {
			return nil, fmt.Errorf("evolve table %s: %w", t.name, err)
		}
		if err == nil {
			t.addSchema(next)
			return next, nil
		}
		if err := t.readSchema(ctx); err != nil {
			return nil, err
		}
		if now := t.Schema(); now == nil || have != nil && now.ID <= have.ID {
			return nil, fmt.Errorf("evolve table %s: schema %d is there and cannot be read", t.name, next.ID)
		}
	}
}

func (t *table) schemaKey(id int) string { return t.key(fmt.Sprintf("schema/%010d", id)) }

// readSchema takes over schemas that others have made.
func (t *table) readSchema(ctx context.Context) error {
	keys, err := t.store().Keys(ctx, t.key("schema/"))
	if err != nil {
		return fmt.Errorf("list schemas of table %s: %w", t.name, err)
	}
	for _, key := range keys[max(0, len(keys)-maxLayouts):] {
		val, err := t.store().Get(ctx, key)
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		s := &schema.Schema{}
		if err := json.Unmarshal(val, s); err != nil || t.schemaKey(s.ID) != key {
			return t.halt(pipeline.HaltCorrupt, "schema %s is damaged (%v)", key, err)
		}
		t.addSchema(s)
	}
	return nil
}

func (t *table) addSchema(s *schema.Schema) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.ContainsFunc(t.mu.layouts, func(l *layout) bool { return l.schema.ID == s.ID }) {
		return
	}
	t.mu.layouts = append(t.mu.layouts, newLayout(s))
	slices.SortFunc(t.mu.layouts, func(a, b *layout) int { return b.schema.ID - a.schema.ID })
	t.mu.layouts = t.mu.layouts[:min(len(t.mu.layouts), maxLayouts)]
}
