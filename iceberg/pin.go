package iceberg

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// What a table that others made requires of a record is pinned in the control log,
// for a revision each, so that all readers of a record agree whether it is a dead
// letter, whatever becomes of the table (docs/design/exactly-once.md D4).

// nothing is the pin of a table of others that requires nothing. A table of ours has
// none at all.
var nothing = json.RawMessage(`{"ID":0,"Fields":null}`)

// pin returns the required columns of a table that others made, as JSON of a
// [schema.Schema]: what a record must be able to fill. Nil for a table of ours.
func (t *table) pin(md icetable.Metadata) (json.RawMessage, error) {
	if md.Properties()[createdKey] == t.sink.pipeline {
		return nil, nil
	}
	p, err := requirements(md)
	if err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

// requirements returns the columns that a record must have values for.
func requirements(md icetable.Metadata) (*schema.Schema, error) {
	s, err := fromIceberg(md.CurrentSchema())
	if err != nil {
		return nil, err
	}
	p := &schema.Schema{}
	for i := range s.Fields {
		if f := &s.Fields[i]; f.Required && !schema.IsMeta(f) {
			p.Fields = append(p.Fields, *f)
		}
	}
	return p, nil
}

// stricter says what a table requires now of records that were judged by what is
// pinned; "": nothing. The table may require less, or promote a type.
func stricter(md icetable.Metadata, pinned json.RawMessage) (string, error) {
	if len(pinned) == 0 { // a table of ours requires nothing
		return "", nil
	}
	now, err := requirements(md)
	if err != nil || len(now.Fields) == 0 {
		return "", err
	}
	was := &schema.Schema{}
	if err := json.Unmarshal(pinned, was); err != nil {
		return "", fmt.Errorf("control log: pinned requirements: %w", err)
	}
	before, err := toIceberg(was, 0)
	if err != nil {
		return "", fmt.Errorf("control log: pinned requirements: %w", err)
	}
	after, err := toIceberg(now, 0)
	if err != nil {
		return "", err
	}
	if err := holds(before, after); err != nil {
		return err.Error(), nil //nolint:nilerr // the answer
	}
	for i := range now.Fields { // records are asked for a value by name
		if f := &now.Fields[i]; was.Column(f.Name) == nil {
			return fmt.Sprintf("required column %s (id %d) had another name", f.Name, f.ID), nil
		}
	}
	return "", nil
}

// pinAgain enters what a table of others requires now for the revision of st, unless
// somebody has. It comes before the table is fenced under st, hence before a record is
// judged under it. b may be of a table that is another now, or damaged.
func (t *table) pinAgain(ctx context.Context, b *base, st pipeline.Stamp) error {
	pin, err := t.pin(b.md)
	if err != nil {
		return err
	}
	_, err = t.sink.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
		was := log.Bound(t.name)
		switch {
		case was == nil || len(was.Pinned) == 0 || was.Rev >= st.Rev:
			return nil, nil
		case log.Stamp().Newer(st):
			return nil, fmt.Errorf("pin table %s under %v: %w: the control log is at %v", t.name, st, pipeline.ErrStale, log.Stamp())
		}
		e := *was
		if e.Rev = st.Rev; e.UUID == b.md.TableUUID().String() {
			e.Pinned = pin
		}
		return &e, nil
	})
	return err
}

// outdated reports whether a revision would pin something else than is in force.
func (t *table) outdated(md icetable.Metadata, log *pipeline.Decisions) (bool, error) {
	e := log.BoundFor(t.name, log.Stamp().Rev)
	pin, err := t.pin(md)
	return e != nil && !bytes.Equal(pin, e.Pinned), err
}
