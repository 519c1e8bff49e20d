package iceberg

import (
	"cmp"
	"context"
	"sync"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// table is one table of a sink. Turns are taken in the order turn, evolving.
type table struct {
	sink  *Sink
	name  string
	ident []string
	cfg   TableConfig

	turn     turn // one commit, or one binding
	evolving turn // one change of the schema

	mu struct {
		sync.Mutex
		sight
		layouts []*layout // that it has had, newest first
	}
}

var _ pipeline.Table = (*table)(nil)

func (t *table) formatVersion() int { return cmp.Or(t.cfg.FormatVersion, t.sink.cfg.FormatVersion) }

// Schema implements [pipeline.Table].
func (t *table) Schema() *schema.Schema {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.layouts) == 0 {
		return nil
	}
	return t.mu.layouts[0].ours
}

// Watermarks implements [pipeline.Table].
func (t *table) Watermarks(ctx context.Context, ps []pipeline.Partition) (pipeline.Ledger, error) {
	b, err := t.load(ctx)
	if err != nil {
		return pipeline.Ledger{}, err
	}
	switch b.reg.state {
	case OK:
	case Fresh, Half:
		return pipeline.Ledger{Stamp: pipeline.Stamp{Pipeline: t.sink.pipeline}, Marks: pipeline.Vector{}}, nil
	default:
		return pipeline.Ledger{}, t.halt(b.reg.state, "%s", b.reg.reason)
	}
	l := pipeline.Ledger{Stamp: b.reg.hdr.stamp(t.sink.pipeline), Marks: b.reg.vec}
	if ps == nil {
		return l, nil
	}
	var streams []string
	for _, p := range ps {
		streams = append(streams, p.StreamKey())
	}
	if err := t.notClaimed(b.md, b.reg.hdr, streams); err != nil { // not only at the commit: rows would be laid out for nothing
		return pipeline.Ledger{}, err
	}
	l.Marks = pipeline.Vector{}
	for _, p := range ps {
		if m, ok := b.reg.vec[p]; ok {
			l.Marks[p] = m
		}
	}
	return l, nil
}
