package iceberg

import (
	"context"
	"fmt"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	icetable "github.com/apache/iceberg-go/table"
)

// ScanRows reads every row of a snapshot of a table, 0 being its head, with all
// columns that the snapshot's schema has. A batch is valid until the next is asked
// for. Data files are held in memory whole, one at a time. An error ends the
// sequence. To find out only where rows came from, see [Sink.ScanCoordinates].
func (s *Sink) ScanRows(ctx context.Context, name string, snapshot int64) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		batches, err := s.rows(ctx, name, snapshot)
		if err != nil {
			yield(nil, fmt.Errorf("scan table %s: %w", name, err))
			return
		}
		for batch, err := range batches {
			if err != nil {
				yield(nil, fmt.Errorf("scan table %s: %w", name, err))
				return
			}
			more := yield(batch, nil)
			batch.Release()
			if !more {
				return
			}
		}
	}
}

func (s *Sink) rows(ctx context.Context, name string, snapshot int64) (iter.Seq2[arrow.RecordBatch, error], error) {
	t, err := s.handle(name)
	if err != nil {
		return nil, err
	}
	b, err := t.load(ctx)
	if err != nil {
		return nil, err
	}
	if snapshot == 0 {
		if b.reg.head == nil {
			return func(func(arrow.RecordBatch, error) bool) {}, nil
		}
		snapshot = b.reg.head.SnapshotID
	}
	scan := b.tbl.Scan(icetable.WithSnapshotID(snapshot), icetable.WithMaxConcurrency(1))
	_, batches, err := scan.ToArrowRecords(s.withFiles(ctx))
	return batches, err
}
