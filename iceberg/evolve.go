package iceberg

import (
	"context"
	"errors"
	"fmt"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/schema"
)

// Evolve implements [pipeline.Table]. The change is a commit of metadata alone,
// asserted on the schema it was made from and on the last field id, so that two
// workers never give one id to two columns. It carries no watermark. Whoever loses
// decides again on the winner's schema.
func (t *table) Evolve(ctx context.Context, want *schema.Schema) (*schema.Schema, error) {
	if have := t.Schema(); have != nil {
		if _, changed, _ := schema.MergeWithin(have, want, t.sink.cfg.MaxColumns); !changed {
			return have, nil
		}
	}
	return t.evolve(ctx, want, false)
}

// evolve is Evolve without a look at what was seen before; rebinding: of a table that
// took the place of the one that is bound.
func (t *table) evolve(ctx context.Context, want *schema.Schema, rebinding bool) (*schema.Schema, error) {
	if err := t.evolving.take(ctx); err != nil {
		return nil, err
	}
	defer t.evolving.give()
	var last error
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			if err := t.sink.pause(ctx, attempt); err != nil {
				return nil, fmt.Errorf("evolve table %s: %w", t.name, errors.Join(err, last))
			}
			if attempt >= ownTries && last == nil { // the catalog took the schemas, and shows others
				return t.Schema(), nil
			}
			if attempt >= ownTries {
				return nil, fmt.Errorf("evolve table %s: %w", t.name, last)
			}
		}
		have, reqs, ups, err := t.evolution(ctx, want, rebinding)
		if err != nil || ups == nil {
			return have, err
		}
		failpoint.Hit("schema.beforeEvolve")
		cat, err := t.sink.catalog(ctx)
		if err == nil {
			_, _, err = cat.CommitTable(t.sink.withFiles(ctx), t.ident, reqs, ups)
		}
		err = errors.Join(err, failpoint.Err("schema.afterEvolveSent"))
		if last = err; err == nil { // whatever it is: what counts is the schema that the next load shows
			failpoint.Hit("schema.afterEvolve")
		}
	}
}

// evolution loads the table and returns its schema, and the commit that makes room
// for want, nil if there is nothing to do.
func (t *table) evolution(ctx context.Context, want *schema.Schema, rebinding bool) (*schema.Schema, []icetable.Requirement, []icetable.Update, error) {
	b, err := t.load(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if b.reg.state.halts() && (!rebinding || b.reg.state != Replaced) {
		return nil, nil, nil, t.halt(b.reg.state, "%s", b.reg.reason)
	}
	cur := b.md.CurrentSchema()
	have, err := fromIceberg(cur)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("evolve table %s: %w", t.name, err)
	}
	merged, changed, _ := schema.MergeWithin(have, want, t.sink.cfg.MaxColumns)
	next := cur
	if last := b.md.LastColumnID(); changed {
		if next, err = extend(cur, merged, &last); err != nil {
			return nil, nil, nil, fmt.Errorf("evolve table %s: %w", t.name, err)
		}
	}
	const justAdded = -1
	var ups []icetable.Update
	if !next.Equals(cur) {
		next = icego.NewSchemaWithIdentifiers(nextSchemaID(b.md), next.IdentifierFieldIDs, next.Fields()...)
		ups = append(ups, icetable.NewAddSchemaUpdate(next), icetable.NewSetCurrentSchemaUpdate(justAdded))
	}
	order, err := t.newOrder(b.md, next)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("evolve table %s: sort order: %w", t.name, err)
	}
	if order != nil {
		ups = append(ups, icetable.NewAddSortOrderUpdate(order), icetable.NewSetDefaultSortOrderUpdate(justAdded))
	}
	if ups == nil {
		return have, nil, nil, nil
	}
	return have, []icetable.Requirement{
		icetable.AssertTableUUID(b.md.TableUUID()),
		icetable.AssertCurrentSchemaID(cur.ID),
		icetable.AssertLastAssignedFieldID(b.md.LastColumnID()),
		icetable.AssertDefaultSortOrderID(b.md.DefaultSortOrder()),
	}, ups, nil
}

func nextSchemaID(md icetable.Metadata) int {
	id := 0
	for _, s := range md.Schemas() {
		id = max(id, s.ID+1)
	}
	return id
}
