package iceberg

import (
	"context"
	"errors"

	"github.com/firehosed/firehosed/pipeline"
)

func (t *table) Begin(ctx context.Context) (pipeline.Delivery, error) {
	return nil, errors.New("TODO")
}
