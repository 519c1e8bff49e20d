package iceberg

import (
	"context"
	"errors"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
)

func (t *table) restorable(ctx context.Context, b *base) (*icetable.Snapshot, pipeline.Vector, error) {
	return nil, nil, errors.New("TODO")
}
