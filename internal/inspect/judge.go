package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/firehosed/firehosed/pipeline"
)

// read judges every record of a span and calls visit for each unit that has a
// table. Where the source cannot be read, the rest of the partition is cut off and
// counts as unverifiable. first: drops are counted, too.
func (v *verifier) read(ctx context.Context, s span, first bool, visit func(item, *table)) error {
	p := s.part
	to := min(s.to, p.to)
	from := max(s.from, p.from)
	if from >= to {
		return nil
	}
	at, err := v.readUntil(ctx, p, from, to, first, visit)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	v.report.Unverifiable += p.to - at
	v.report.note("%v: offsets %d to %d cannot be read: %v", p.id, at, p.to-1, err)
	p.to = max(at, p.from)
	return nil
}

// readUntil returns how far it came.
func (v *verifier) readUntil(ctx context.Context, p *part, from, to int64, first bool, visit func(item, *table)) (at int64, err error) {
	r, err := v.d.Source.Open(ctx, p.raw, pipeline.Start{At: pipeline.Cursor{At: position(from)}})
	if err != nil {
		return from, err
	}
	defer func() { _ = r.Close() }()
	for at = from; at < to; {
		wait, cancel := context.WithTimeout(ctx, v.o.Stall)
		b, err := r.Next(wait)
		cancel()
		switch {
		case errors.Is(err, io.EOF):
			return at, nil
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return at, fmt.Errorf("the source brought nothing for %v", v.o.Stall)
		case err != nil:
			return at, err
		}
		at, err = v.judge(ctx, p, b, interval{from, to}, first, visit)
		b.Release()
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// judge takes a batch through the steps of every revision that is in force
// somewhere in it, and keeps of each what lies there.
func (v *verifier) judge(ctx context.Context, p *part, b *pipeline.Batch, within interval, first bool, visit func(item, *table)) (int64, error) {
	b.Span.Partition = p.id
	begin, err := offset(b.Span.From.At)
	if err != nil {
		return within.from, err
	}
	end, err := offset(b.Span.To.At)
	if err != nil {
		return begin, err
	}
	offs := make([]int64, len(b.Values))
	for i := range offs {
		if offs[i], err = offset(b.Cursor(i).At); err != nil {
			return begin, err
		}
	}
	for i := range v.revs {
		force, err := v.inForce(p, i)
		if err != nil {
			return begin, err
		}
		force = interval{max(force.from, within.from), min(force.to, within.to)}
		if force.from >= end || force.to <= begin || force.from >= force.to {
			continue
		}
		if err := v.judgeBy(ctx, p, &v.revs[i], portion(b, offs, force, p.gaps), offs, first, visit); err != nil {
			return max(begin, force.from), err
		}
	}
	return end, nil
}

// inForce returns where revision i is the newest.
func (v *verifier) inForce(p *part, i int) (interval, error) {
	from, err := offset(v.revs[i].from[p.id].At.At)
	if err != nil {
		return interval{}, err
	}
	to := int64(1<<63 - 1)
	for _, r := range v.revs[i+1:] {
		next, err := offset(r.from[p.id].At.At)
		if err != nil {
			return interval{}, err
		}
		to = min(to, next)
	}
	return interval{from, to}, nil
}

// portion returns the records of b that lie in force and in no accepted gap, as a
// batch that stages may change without changing b.
func portion(b *pipeline.Batch, offs []int64, force interval, gaps []interval) *pipeline.Batch {
	c := *b
	c.Release = func() {}
	c.Parts, c.Rejects, c.Dropped = nil, nil, nil
	c.Values, c.Src = make([][]byte, 0, len(b.Values)), make([]int32, 0, len(b.Values))
	for i, val := range b.Values {
		if force.has(offs[i]) && !within(gaps, offs[i]) {
			c.Values, c.Src = append(c.Values, val), append(c.Src, int32(i))
		}
	}
	if len(c.Values) == len(b.Values) {
		c.Src = nil
	}
	return &c
}

func (v *verifier) judgeBy(ctx context.Context, p *part, rev *revision, b *pipeline.Batch, offs []int64, first bool, visit func(item, *table)) error {
	if rev.steps == nil {
		return fmt.Errorf("revision %d: %w", rev.Number, rev.why)
	}
	for _, st := range rev.steps.Stages {
		if err := st.Process(ctx, b); err != nil {
			return fmt.Errorf("process: %w", err)
		}
	}
	show := func(t *table, rec, sub int32, value sum) {
		off := offs[rec]
		if first {
			v.report.Units++
			if v.o.Progress != nil && v.report.Units%100_000 == 0 {
				v.o.Progress(v.report.Units)
			}
		}
		if !t.left(p, off) {
			visit(item{unit{p.index, sub, off}, value}, t)
		}
	}
	for _, share := range b.Parts {
		if v.log.Forfeited(share.Table) {
			b.Drop("forfeited", len(share.Units))
			continue
		}
		if err := v.decode(ctx, rev, b, share, show); err != nil {
			return fmt.Errorf("table %q: %w", share.Table, err)
		}
	}
	if v.log.Forfeited(v.d.DeadLetters) {
		b.Drop("forfeited", len(b.Rejects))
	} else if len(b.Rejects) > 0 {
		if err := v.lay(rev, b, show); err != nil {
			return fmt.Errorf("table %q: %w", v.d.DeadLetters, err)
		}
	}
	if first {
		for rule, n := range b.Dropped {
			v.report.Dropped[rule] += int64(n)
		}
	}
	return nil
}

// lay shows the dead letters of a batch.
func (v *verifier) lay(rev *revision, b *pipeline.Batch, show func(t *table, rec, sub int32, value sum)) error {
	dead := v.table(v.d.DeadLetters)
	if v.hash == nil {
		for _, r := range b.Rejects {
			show(dead, r.Rec, r.Sub, sum{})
		}
		return nil
	}
	slices.SortStableFunc(b.Rejects, func(x, y pipeline.Reject) int { return cmp.Or(cmp.Compare(x.Rec, y.Rec), cmp.Compare(x.Sub, y.Sub)) })
	rows, err := rev.steps.DeadLetters(b, dead.schema())
	if err != nil {
		return fmt.Errorf("lay out dead letters: %w", err)
	}
	return v.show(dead, rows, show)
}

// show hands out laid-out rows, with their values if those are compared.
func (v *verifier) show(t *table, rows pipeline.Rows, show func(t *table, rec, sub int32, value sum)) error {
	if rows.Data != nil {
		defer rows.Data.Release()
	}
	values := make([]sum, len(rows.Rec))
	if v.hash != nil && rows.Data != nil {
		var err error
		if values, err = v.hash.rows(rows.Data, t.schema()); err != nil {
			return err
		}
	}
	for i, rec := range rows.Rec {
		show(t, rec, rows.Sub[i], values[i])
	}
	return nil
}

// decode lays a share out as its table would.
func (v *verifier) decode(ctx context.Context, rev *revision, b *pipeline.Batch, share pipeline.Part, show func(t *table, rec, sub int32, value sum)) error {
	if len(share.Units) == 0 {
		return nil
	}
	t := v.table(share.Table)
	var err error
	if share.Pinned, err = v.pinned(share.Table, rev.Number); err != nil {
		return err
	}
	rows, err := rev.steps.Decoder.Decode(ctx, b, share, t.schema())
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	b.Rejects = append(b.Rejects, rows.Rejects...)
	for rule, n := range rows.Dropped {
		b.Drop(rule, n)
	}
	return v.show(t, rows, show)
}

// position is the inverse of offset.
func position(off int64) pipeline.Position { return pipeline.Position(fmt.Sprintf("%019d", off)) }
