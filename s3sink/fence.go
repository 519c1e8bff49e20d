package s3sink

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/firehosed/firehosed/pipeline"
)

// fence is [pipeline.Sink.Fence]. A commit that is pending stays so: it is on the chain,
// whoever reads the marks of its partitions publishes it, and its marks count for the
// barrier, whatever an operator decides about it.
func (t *table) fence(ctx context.Context, st pipeline.Stamp) (pipeline.Ledger, error) {
	id := uuid.Must(uuid.NewV7()).String()
	var l pipeline.Ledger
	err := t.try(ctx, ownTries, func(ctx context.Context) error {
		r, err := t.load(ctx)
		if err != nil {
			return err
		}
		was := r.stamp(t.sink.pipeline)
		l = pipeline.Ledger{Stamp: was, Marks: r.vec}
		if !st.Newer(was) {
			return nil
		}
		m := &manifest{Kind: kindFence, ID: id, Stamp: st}
		return again(t.append(ctx, r, m, func(n *register) {
			if st.Epoch > was.Epoch {
				n.vec, n.Src = pipeline.Vector{}, nil
			}
			advance(n.vec, nil, was, st)
			n.stampWith(st)
			l = pipeline.Ledger{Stamp: st, Marks: n.vec}
		}))
	})
	if err != nil {
		return pipeline.Ledger{}, fmt.Errorf("fence table %s under %v: %w", t.name, st, err)
	}
	return l, nil
}
