package iceberg

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
)

// LeftOut returns what explains rows that are not in a table though their records
// are: the spans that operators left out (a resume with Skip), as far as retained
// snapshots tell, and whether a commit that is not ours removed rows.
func (s *Sink) LeftOut(ctx context.Context, name string) (left []pipeline.Span, deleted bool, err error) {
	t, err := s.handle(name)
	if err != nil {
		return nil, false, err
	}
	b, err := t.load(ctx)
	if err != nil {
		return nil, false, err
	}
	var resumed *icetable.Snapshot // the last commit of ours that was seen, if it is a resume
	for cur := b.reg.head; cur != nil; cur = parentOf(b.md, cur) {
		switch {
		case isOurs(cur, s.pipeline):
			if resumed != nil {
				spans, err := t.between(ctx, b.md, cur, resumed)
				if err != nil {
					return nil, false, fmt.Errorf("read what was left out of table %s: %w", name, err)
				}
				left = append(left, spans...)
			}
			resumed = nil
			if cur.Summary.Properties["firehosed.kind"] == kindResume {
				resumed = cur
			}
		case cur.Summary != nil && (cur.Summary.Operation == icetable.OpDelete || cur.Summary.Operation == icetable.OpOverwrite):
			deleted = true
		}
	}
	return left, deleted, nil
}

func parentOf(md icetable.Metadata, s *icetable.Snapshot) *icetable.Snapshot {
	if s.ParentSnapshotID == nil {
		return nil
	}
	return md.SnapshotByID(*s.ParentSnapshotID)
}

// between returns what a resume claims to have that the commit of ours before it did not.
func (t *table) between(ctx context.Context, md icetable.Metadata, before, resumed *icetable.Snapshot) ([]pipeline.Span, error) {
	was, err := t.marksAt(ctx, md, before)
	if err != nil {
		return nil, err
	}
	is, err := t.marksAt(ctx, md, resumed)
	if err != nil {
		return nil, err
	}
	var out []pipeline.Span
	for _, p := range slices.SortedFunc(maps.Keys(is), func(x, y pipeline.Partition) int { return strings.Compare(x.Key(), y.Key()) }) {
		if from, to := was[p].At, is[p].At; from.At < to.At {
			out = append(out, pipeline.Span{Partition: p, From: from, To: to})
		}
	}
	return out, nil
}

// marksAt returns the marks that a commit of ours left.
func (t *table) marksAt(ctx context.Context, md icetable.Metadata, s *icetable.Snapshot) (pipeline.Vector, error) {
	text := s.Summary.Properties[vectorKey]
	if text == inControl {
		val, err := t.sink.ctl.Store().Get(ctx, vectorObject(md, s.SnapshotID))
		if err != nil {
			return nil, fmt.Errorf("read marks of snapshot %d: %w", s.SnapshotID, err)
		}
		text = string(val)
	}
	if text == "" {
		return nil, fmt.Errorf("the marks of snapshot %d are lost: object %s is not in the control prefix; restore it from a copy", s.SnapshotID, vectorObject(md, s.SnapshotID))
	}
	p := &pipeline.Packed{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("marks of snapshot %d: %w", s.SnapshotID, err)
	}
	vec, err := p.Vector()
	if err != nil {
		return nil, fmt.Errorf("marks of snapshot %d: %w", s.SnapshotID, err)
	}
	return vec, nil
}
