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

// visitor is told what the source says.
type visitor struct {
	first   bool                                      // everything is booked that is not compared: drops, what cannot be judged
	records func(p *part, places []pipeline.Position) // of every batch, in order; may be nil
	unit    func(item, *table)                        // each that has a table
}

// read judges every record of a span. Where the source cannot be read, the rest of
// the partition is cut off and counts as unverifiable.
func (v *verifier) read(ctx context.Context, s span, visit visitor) error {
	p := s.part
	r := s.and(p.run)
	if r.empty() {
		return nil
	}
	at, err := v.readUntil(ctx, p, r, visit)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	v.report.Unverifiable += v.count(run{at, p.to})
	v.report.note("%v: records from %s to before %s cannot be read: %v", p.id, v.number(at), v.number(p.to), err)
	p.to = max(at, p.from)
	return nil
}

// readUntil returns how far it came.
func (v *verifier) readUntil(ctx context.Context, p *part, what run, visit visitor) (at pipeline.Position, err error) {
	r, err := v.d.Source.Open(ctx, p.raw, pipeline.Start{At: pipeline.Cursor{At: what.from}})
	if err != nil {
		return what.from, err
	}
	defer func() { _ = r.Close() }()
	for at = what.from; at < what.to; {
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
		at, err = v.judge(ctx, p, b, what, visit)
		b.Release()
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// judge takes a batch through the steps of every revision that is in force
// somewhere in it, and keeps of each what lies there.
func (v *verifier) judge(ctx context.Context, p *part, b *pipeline.Batch, what run, visit visitor) (pipeline.Position, error) {
	b.Span.Partition = p.id
	begin, end := b.Span.From.At, b.Span.To.At
	places, err := v.places(b)
	if err != nil {
		return max(begin, what.from), err
	}
	if visit.records != nil {
		from, _ := slices.BinarySearch(places, what.from)
		to, _ := slices.BinarySearch(places, what.to)
		visit.records(p, places[from:to])
	}
	for i := range v.revs {
		force := v.inForce(p, i).and(what)
		if force.and(run{begin, end}).empty() {
			continue
		}
		if err := v.judgeBy(ctx, p, &v.revs[i], portion(b, places, force, p.gaps), places, visit); err != nil {
			return max(begin, force.from), err
		}
	}
	return end, nil
}

// places returns where the records of a batch were, as their metadata says it: in
// the words that rows use.
func (v *verifier) places(b *pipeline.Batch) ([]pipeline.Position, error) {
	if len(b.Values) == 0 {
		return nil, nil
	}
	at, err := pipeline.Places(v.where, b)
	if err != nil {
		return nil, err
	}
	places := make([]pipeline.Position, len(b.Values))
	for i := range places {
		if places[i] = at(i); places[i] == "" {
			return nil, fmt.Errorf("record %d of a batch does not say where it is", i)
		}
	}
	return places, nil
}

// inForce returns where revision i is the newest.
func (v *verifier) inForce(p *part, i int) run {
	r := run{v.revs[i].from[p.id].At.At, pipeline.End}
	for _, next := range v.revs[i+1:] {
		r.to = min(r.to, next.from[p.id].At.At)
	}
	return r
}

// portion returns the records of b that lie in force and in no accepted gap, as a
// batch that stages may change without changing b.
func portion(b *pipeline.Batch, places []pipeline.Position, force run, gaps []run) *pipeline.Batch {
	c := *b
	c.Release = func() {}
	c.Parts, c.Rejects, c.Dropped = nil, nil, nil
	c.Values, c.Src = make([][]byte, 0, len(b.Values)), make([]int32, 0, len(b.Values))
	for i, val := range b.Values {
		if force.has(places[i]) && !within(gaps, places[i]) {
			c.Values, c.Src = append(c.Values, val), append(c.Src, int32(i))
		}
	}
	if len(c.Values) == len(b.Values) {
		c.Src = nil
	}
	return &c
}

func (v *verifier) judgeBy(ctx context.Context, p *part, rev *revision, b *pipeline.Batch, places []pipeline.Position, visit visitor) error {
	if rev.steps == nil {
		return fmt.Errorf("revision %d: %w", rev.Number, rev.why)
	}
	for i := range rev.steps {
		if err := v.judgeFor(ctx, p, rev, &rev.steps[i], b.Fork(), places, visit); err != nil {
			return err
		}
	}
	return nil
}

// judgeFor takes a batch through the steps of one sink.
func (v *verifier) judgeFor(ctx context.Context, p *part, rev *revision, steps *pipeline.Steps, b *pipeline.Batch, places []pipeline.Position, visit visitor) error {
	for _, st := range steps.Stages {
		if err := st.Process(ctx, b); err != nil {
			return fmt.Errorf("process: %w", err)
		}
	}
	show := func(t *table, rec, sub int32, value sum) {
		at := places[rec]
		if visit.first {
			v.report.Units++
			if v.o.Progress != nil && v.report.Units%100_000 == 0 {
				v.o.Progress(v.report.Units)
			}
		}
		if !t.left(p, at) {
			visit.unit(item{unit{p.index, sub, at}, value}, t)
		}
	}
	for _, share := range b.Parts {
		if err := v.decode(ctx, rev.Number, steps, b, share, places, show); err != nil {
			return fmt.Errorf("table %q: %w", share.Table, err)
		}
	}
	if v.log.Forfeited(steps.DeadLetters) {
		b.Drop("forfeited", len(b.Rejects))
	} else if len(b.Rejects) > 0 {
		if err := v.lay(steps, b, places, show); err != nil {
			return fmt.Errorf("table %q: %w", steps.DeadLetters, err)
		}
	}
	if visit.first {
		for rule, n := range b.Dropped {
			v.report.Dropped[rule] += int64(n)
		}
	}
	return nil
}

// lay shows the dead letters of a batch.
func (v *verifier) lay(steps *pipeline.Steps, b *pipeline.Batch, places []pipeline.Position, show func(t *table, rec, sub int32, value sum)) error {
	dead := v.table(steps.DeadLetters)
	if v.hash == nil && dead.accounts == nil {
		for _, r := range b.Rejects {
			show(dead, r.Rec, r.Sub, sum{})
		}
		return nil
	}
	slices.SortStableFunc(b.Rejects, func(x, y pipeline.Reject) int { return cmp.Or(cmp.Compare(x.Rec, y.Rec), cmp.Compare(x.Sub, y.Sub)) })
	rows, err := steps.LayRejects(b, dead.schema())
	if err != nil {
		return fmt.Errorf("lay out dead letters: %w", err)
	}
	return v.show(dead, rows, places, show)
}

// show hands out laid-out rows, with their values if those are compared, or what they add
// to an account.
func (v *verifier) show(t *table, rows pipeline.Rows, places []pipeline.Position, show func(t *table, rec, sub int32, value sum)) error {
	if rows.Data != nil {
		defer rows.Data.Release()
	}
	values := make([]sum, len(rows.Rec))
	switch {
	case rows.Data == nil || len(values) == 0:
	case t.accounts != nil:
		of, err := t.pin.Sum(rows.Data)
		if err != nil {
			return err
		}
		for i, rec := range rows.Rec {
			values[i].lo = of(i, places[rec], rows.Sub[i])
		}
	case v.hash != nil:
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
func (v *verifier) decode(ctx context.Context, rev int64, steps *pipeline.Steps, b *pipeline.Batch, share pipeline.Part, places []pipeline.Position, show func(t *table, rec, sub int32, value sum)) error {
	if len(share.Units) == 0 {
		return nil
	}
	t := v.table(share.Table)
	var err error
	if share.Pinned, err = v.pinned(share.Table, rev); err != nil {
		return err
	}
	rows, err := steps.Decoder.Decode(ctx, b, share, t.schema())
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	b.Rejects = append(b.Rejects, rows.Rejects...)
	for rule, n := range rows.Dropped {
		b.Drop(rule, n)
	}
	if v.log.Forfeited(share.Table) {
		b.Drop("forfeited", len(rows.Rec))
		rows.Data.Release()
		return nil
	}
	return v.show(t, rows, places, show)
}
