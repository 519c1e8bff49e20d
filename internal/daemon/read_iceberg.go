package daemon

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/iceberg"
	"github.com/firehosed/firehosed/internal/inspect"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// icebergTables reads tables for verify.
type icebergTables struct {
	sink  *iceberg.Sink
	where pipeline.Coordinates
}

var _ inspect.Tables = icebergTables{}

// Pin implements inspect.Tables.
func (t icebergTables) Pin(ctx context.Context, name string, _ bool) (*inspect.Pinned, error) {
	in, err := t.sink.Inspect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("pin table %s: %w", name, err)
	}
	if in.State != iceberg.OK && in.State != iceberg.Stricter {
		return nil, &pipeline.Halt{Class: string(in.State), Detail: fmt.Sprintf("table %s: %s", name, in.Reason), Remedy: "firehosed status tells more"}
	}
	left, deleted, err := t.sink.LeftOut(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("pin table %s: %w", name, err)
	}
	return &inspect.Pinned{
		Ledger: pipeline.Ledger{Stamp: in.Stamp, Marks: in.Marks},
		Schema: in.Schema, Left: left, Deleted: deleted,
		Rows: func(ctx context.Context, visit func(inspect.Row) error) error {
			return t.rows(ctx, name, in.Head, visit)
		},
		Records: func(ctx context.Context, visit func(arrow.RecordBatch) error) error {
			for rec, err := range t.sink.ScanRows(ctx, name, in.Head) {
				if err != nil {
					return err
				}
				if err := visit(rec); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// rows calls visit for every row of a snapshot that says where it came from.
func (t icebergTables) rows(ctx context.Context, name string, snapshot int64, visit func(inspect.Row) error) error {
	names := append(t.where.Columns(), schema.ColSub)
	for rows, err := range t.sink.ScanCoordinates(ctx, name, snapshot, names...) {
		if err != nil {
			return err
		}
		cols := rows.Named(names)
		for i, c := range cols {
			if c.Null == nil {
				return fmt.Errorf("table %s has lost the column %s, which says where a row came from", name, names[i])
			}
		}
		at, subs := t.where.Places(cols), cols[len(cols)-1]
		for i := range rows.N {
			log, place := at(i)
			if log == "" {
				continue // made by others
			}
			if err := visit(inspect.Row{Log: log, Place: place, Sub: int32(subs.Ints[i])}); err != nil {
				return err
			}
		}
	}
	return nil
}
