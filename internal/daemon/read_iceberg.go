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
type icebergTables struct{ sink *iceberg.Sink }

var _ inspect.Tables = icebergTables{}

// Pin implements inspect.Tables.
func (t icebergTables) Pin(ctx context.Context, name string) (*inspect.Pinned, error) {
	in, err := t.sink.Inspect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("pin table %s: %w", name, err)
	}
	if in.State != iceberg.OK {
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
			return coordinates(ctx, t.sink, name, in.Head, visit)
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

// coordinates calls visit for every row of a snapshot that says where it came from.
func coordinates(ctx context.Context, sk *iceberg.Sink, name string, snapshot int64, visit func(inspect.Row) error) error {
	for rows, err := range sk.ScanCoordinates(ctx, name, snapshot, schema.ColTopicID, schema.ColPartition, schema.ColOffset, schema.ColSub) {
		if err != nil {
			return err
		}
		topics, parts := rows.Columns[schema.ColTopicID], rows.Columns[schema.ColPartition]
		offsets, subs := rows.Columns[schema.ColOffset], rows.Columns[schema.ColSub]
		if parts.Ints == nil || offsets.Ints == nil || subs.Ints == nil || topics.Bytes == nil {
			return fmt.Errorf("table %s has lost a column that says where a row came from", name)
		}
		last := ""
		for i := range rows.N {
			if parts.Null[i] || offsets.Null[i] {
				continue // made by others
			}
			if string(topics.Bytes[i]) != last { // runs of equal ids: one string each
				last = string(topics.Bytes[i])
			}
			row := inspect.Row{TopicID: last, Partition: int32(parts.Ints[i]), Offset: offsets.Ints[i], Sub: int32(subs.Ints[i])}
			if err := visit(row); err != nil {
				return err
			}
		}
	}
	return nil
}
