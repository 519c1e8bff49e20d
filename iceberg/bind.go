package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	icego "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// open makes sure that the table exists, holds our columns and is bound under st.
// A table that is rewound, lost, corrupt or replaced stays as it is.
func (t *table) open(ctx context.Context, st pipeline.Stamp) error {
	b, err := t.load(ctx)
	if errors.Is(err, icecat.ErrNoSuchTable) || errors.Is(err, icecat.ErrNoSuchNamespace) {
		if err = t.create(ctx); err != nil {
			return err
		}
		b, err = t.load(ctx)
	}
	if err != nil {
		return err
	}
	if b.reg.state.halts() {
		return t.halt(b.reg.state, "%s", b.reg.reason)
	}
	if b.reg.state == OK {
		order, err := t.newOrder(b.md, b.md.CurrentSchema())
		if err == nil && order != nil { // sort_by was written since
			_, err = t.evolve(ctx, t.columns(), false)
		} else if err == nil {
			_, err = t.Evolve(ctx, t.columns()) // columns that were declared since
		}
		return err
	}
	if err := t.acceptable(ctx, b); err != nil {
		return err
	}
	return t.bind(ctx, st)
}

// create makes the namespace and the table. Somebody may be faster.
func (t *table) create(ctx context.Context) error {
	cat, err := t.sink.catalog(ctx)
	if err != nil {
		return err
	}
	sc, spec, err := t.cfg.creation(t.columns(), t.formatVersion())
	if err != nil {
		return t.refused(err)
	}
	ctx = t.sink.withFiles(ctx)
	ns := icecat.NamespaceFromIdent(t.ident)
	if ok, err := cat.CheckNamespaceExists(ctx, ns); err != nil {
		return fmt.Errorf("look up namespace %v: %w", ns, err)
	} else if !ok {
		if err := cat.CreateNamespace(ctx, ns, nil); err != nil && !errors.Is(err, icecat.ErrNamespaceAlreadyExists) {
			return fmt.Errorf("create namespace %v: %w", ns, err)
		}
	}
	order := icetable.UnsortedSortOrder
	if fields, missing := t.cfg.wanted(sc); len(fields) > 0 && len(missing) == 0 { // else with the last of its columns
		if order, err = icetable.NewSortOrder(icetable.InitialSortOrderID, fields); err != nil {
			return t.refused(fmt.Errorf("sort_by: %w", err))
		}
	}
	opts := []icecat.CreateTableOpt{
		icecat.WithSortOrder(order),
		icecat.WithPartitionSpec(spec),
		icecat.WithProperties(icego.Properties{
			icetable.PropertyFormatVersion: strconv.Itoa(t.formatVersion()),
			createdKey:                     t.sink.pipeline,
		}),
	}
	if loc := t.location(); loc != "" {
		opts = append(opts, icecat.WithLocation(loc))
	}
	if _, err = cat.CreateTable(ctx, t.ident, sc, opts...); err == nil || errors.Is(err, icecat.ErrTableAlreadyExists) {
		return nil
	}
	if _, again := cat.LoadTable(ctx, t.ident); again == nil { // the answer was lost, or somebody was faster
		return nil
	}
	return fmt.Errorf("create table %s: %w", t.name, err)
}

// acceptable refuses a table that cannot become ours, and gives it the columns it lacks.
func (t *table) acceptable(ctx context.Context, b *base) error {
	if err := t.recent(b.md); err != nil {
		return err
	}
	want := t.columns()
	have, err := t.evolve(ctx, want, b.reg.state == Replaced)
	if err != nil {
		return err
	}
	return t.lacks(want, have)
}

// bind makes the table ours: a zero-file snapshot whose header has an empty vector,
// then the `bound` entry of the control log. It finishes what another began.
func (t *table) bind(ctx context.Context, st pipeline.Stamp) error {
	ch := newChange(kindBind, newID())
	err := t.run(ctx, ch, func(_ context.Context, b *base) (*edit, error) {
		r := &b.reg
		switch {
		case r.hdr != nil && r.hdr.stamp(t.sink.pipeline).Newer(st):
			return nil, fmt.Errorf("bind table %s under %v: %w: it has seen a newer stamp", t.name, st, pipeline.ErrStale)
		case r.state.halts():
			return nil, t.halt(r.state, "%s", r.reason)
		case r.state == OK, r.state == Half && r.hdr.stamp(t.sink.pipeline) == st:
			return nil, nil
		}
		return binding(r.hdr, st), nil
	})
	if err != nil {
		return err
	}
	b, err := t.load(ctx)
	if err != nil {
		return err
	}
	if err := t.sameBytes(b, ch.sid); err != nil {
		return err
	}
	switch {
	case b.reg.state == OK:
		return nil
	case b.reg.state != Half:
		return t.halt(b.reg.state, "right after it was bound: %s", b.reg.reason)
	}
	return t.enter(ctx, b.md, st, false)
}

// binding is the edit of a bind commit; was may be nil.
func binding(was *header, st pipeline.Stamp) *edit {
	if was == nil {
		was = &header{}
	}
	return &edit{vec: pipeline.Vector{}, header: func(sid, seq int64) *header { return was.next(st, sid, seq, true) }}
}

// sameBytes reads back what the commit of snapshot sid wrote, if that is the head: a
// catalog that keeps properties otherwise than they were sent is refused. A damaged
// property has no readable header; then it was not kept.
func (t *table) sameBytes(b *base, sid int64) error {
	if b.reg.head == nil || b.reg.head.SnapshotID != sid {
		return nil
	}
	key := headerKey(t.sink.pipeline)
	got := b.md.Properties()[key]
	if b.reg.hdr != nil {
		again := *b.reg.hdr
		set, _, err := again.encode(b.reg.vec, t.sink.pipeline, t.sink.chunkBytes(), nil)
		if err != nil || set[key] == got {
			return err
		}
	}
	return &pipeline.Halt{
		Class:  pipeline.HaltRefused,
		Detail: fmt.Sprintf("table %s: the catalog did not keep property %s as it was written: it is now %q", t.name, key, got),
		Remedy: "use a catalog that keeps table properties as they are",
	}
}

// enter appends the `bound` entry, unless there is one for this very table. Only
// rebinding replaces the entry of another; records may have been judged under the
// newest revision by then, so that what was pinned stays until the next.
func (t *table) enter(ctx context.Context, md icetable.Metadata, st pipeline.Stamp, rebinding bool) error {
	pin, err := t.pin(md)
	if err != nil {
		return err
	}
	_, err = t.sink.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
		switch b := log.Bound(t.name); {
		case b != nil && b.UUID == md.TableUUID().String():
			return nil, nil
		case b != nil && !rebinding:
			return nil, t.halt(Replaced, "the table's uuid is %s, bound is %s", md.TableUUID(), b.UUID)
		}
		if log.Stamp().Newer(st) {
			return nil, fmt.Errorf("bind table %s under %v: %w: the control log is at %v", t.name, st, pipeline.ErrStale, log.Stamp())
		}
		e := &pipeline.Entry{
			Kind: pipeline.KindBound, Table: t.name, Rev: st.Rev,
			Identifier: slices.Clone(t.ident), UUID: md.TableUUID().String(), Pinned: pin,
		}
		if rebinding {
			if e.Pinned = log.BoundFor(t.name, st.Rev).Pinned; e.Pinned == nil && pin != nil {
				e.Pinned = nothing
			}
		}
		return e, nil
	})
	return err
}

func isReserved(column string) bool {
	return len(column) >= len(schema.Reserved) && column[:len(schema.Reserved)] == schema.Reserved
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
