package iceberg

import (
	"context"
	"fmt"

	icego "github.com/apache/iceberg-go"

	"github.com/firehosed/firehosed/pipeline"
)

// fenceOff is [pipeline.Sink.Fence].
func (t *table) fenceOff(ctx context.Context, st pipeline.Stamp) (pipeline.Ledger, error) {
	if err := t.turn.take(ctx); err != nil {
		return pipeline.Ledger{}, err
	}
	defer t.turn.give()
	var ledger pipeline.Ledger
	err := t.run(ctx, newChange(kindFence, newID()), func(ctx context.Context, b *base) (*edit, error) {
		if err := t.pinAgain(ctx, b, st); err != nil {
			return nil, err
		}
		e, vec, err := t.fence(ctx, b, st)
		ledger = pipeline.Ledger{Stamp: st, Marks: vec}
		if err == nil && e == nil && b.reg.hdr != nil {
			ledger.Stamp = b.reg.hdr.stamp(t.sink.pipeline)
		}
		return e, err
	})
	return ledger, err
}

// fence returns the edit that fences one base, nil if it is fenced, and the marks
// that count afterwards.
func (t *table) fence(ctx context.Context, b *base, st pipeline.Stamp) (*edit, pipeline.Vector, error) {
	r := &b.reg
	switch r.state {
	case Fresh, Half:
		if err := t.bind(ctx, st); err != nil {
			return nil, nil, err
		}
		return nil, nil, errAgain
	case OK, Stricter:
		was := r.hdr.stamp(t.sink.pipeline)
		if !st.Newer(was) {
			return nil, r.vec, nil
		}
		vec := advance(r.vec, nil, was, st)
		if st.Epoch > was.Epoch {
			vec = pipeline.Vector{}
		}
		e := continued(r.hdr, vec, st)
		if st.Epoch > was.Epoch {
			e.header = func(sid, seq int64) *header {
				h := r.hdr.next(st, sid, seq, false)
				h.Src, h.Ended = nil, nil
				return h
			}
		}
		return e, vec, nil
	case Replaced: // not the table that we fed: there is nothing of ours to fence
		return nil, nil, nil
	case Rewound, Lost, Corrupt:
	}
	if r.hdr != nil && r.hdr.stamp(t.sink.pipeline).Newer(st) {
		return nil, nil, fmt.Errorf("fence table %s under %v: %w", t.name, st, pipeline.ErrStale)
	}
	vec, err := t.believed(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	if r.head != nil && r.head.Summary != nil && r.head.Summary.Properties[fenceKey] == st.String() {
		return nil, vec, nil
	}
	e := &edit{hidden: true, extra: icego.Properties{fenceKey: st.String()}}
	if r.state == Rewound {
		e.vec = r.vec
		e.header = func(int64, int64) *header { // as it was, but no expiry makes it OK any more
			h := *r.hdr
			h.SNo = sealed
			return &h
		}
	}
	return e, vec, nil
}

// believed returns the marks of a table that is not OK, for a barrier: of a rewound
// table those of its property, else what a replay would restore.
func (t *table) believed(ctx context.Context, b *base) (pipeline.Vector, error) {
	if b.reg.state == Rewound {
		return b.reg.vec, nil
	}
	_, vec, err := t.restorable(ctx, b)
	return vec, err
}
