package iceberg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
)

// ResumeMode is what an operator decides about a rewound table. There is no
// default: both are right for someone.
type ResumeMode string

const (
	// Replay is for rows that the rollback took and that shall come again. Reading goes back.
	Replay ResumeMode = "replay"
	// Skip is for such rows that shall stay away.
	Skip ResumeMode = "skip"
)

// Starts tells where reading of partitions would begin if a worker was assigned
// them now, as docs/design/exactly-once.md 2.4 has it: by the group position if its
// stamp holds. A partition left out is read from its origin.
type Starts func(ctx context.Context, ps []pipeline.Partition) (pipeline.Vector, error)

// Resume puts a table that was rewound, lost or corrupted back to work. With Replay
// it goes back to the newest retained commit of ours and appends a `replay` entry to
// the control log, which makes every worker's stamp stale; starts bounds what has to
// be read again, nil reads from the origins. With Skip it keeps the marks. A resume
// that was interrupted is finished by the next.
func (s *Sink) Resume(ctx context.Context, name string, mode ResumeMode, starts Starts) error {
	t, err := s.handle(name)
	if err != nil {
		return err
	}
	if mode != Replay && mode != Skip {
		return fmt.Errorf("resume table %s: mode %q is neither replay nor skip", name, mode)
	}
	if err := t.turn.take(ctx); err != nil {
		return err
	}
	defer t.turn.give()
	ch := newChange(kindResume, newID())
	return t.run(ctx, ch, func(ctx context.Context, b *base) (*edit, error) {
		log, err := s.ctl.Read(ctx) // after the head was loaded: a fence in between costs us the head
		if err != nil {
			return nil, fmt.Errorf("resume table %s: %w", name, err)
		}
		switch st := b.reg.state; {
		case st == OK:
			return nil, nil
		case log.Bound(name) == nil:
			return nil, fmt.Errorf("resume table %s: the control log does not know it: restore the control prefix or run firehosed control rebuild", name)
		case st == Fresh || st == Half || st == Replaced || st == Stricter:
			return nil, fmt.Errorf("resume table %s: it is %s: %s", name, st, b.reg.reason)
		case mode == Replay:
			return t.replay(ctx, b, starts)
		case st != Rewound:
			return nil, fmt.Errorf("resume table %s: it is %s (%s): its marks are not known, so only --replay can restore them", name, st, b.reg.reason)
		}
		return t.resumed(log.Stamp(), b.reg.hdr, b.reg.vec), nil
	})
}

// resumed is the edit that binds marks to the lineage as it now is.
func (t *table) resumed(st pipeline.Stamp, was *header, vec pipeline.Vector) *edit {
	old := was.stamp(t.sink.pipeline)
	vec = advance(vec, nil, old, st)
	if st.Epoch > old.Epoch {
		vec = pipeline.Vector{}
	}
	return continued(was, vec, st)
}

// replay goes back to the newest retained commit of ours on b.
func (t *table) replay(ctx context.Context, b *base, starts Starts) (*edit, error) {
	ancestor, vec, err := t.restorable(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("resume table %s: %w", t.name, err)
	}
	id := ""
	if ancestor != nil {
		id = strconv.FormatInt(ancestor.SnapshotID, 10)
	}
	began, err := t.startsAgain(ctx, vec, starts)
	if err != nil {
		return nil, fmt.Errorf("resume table %s: %w", t.name, err)
	}
	var mine *pipeline.Entry
	log, err := t.sink.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
		mine = unfinished(log, b.reg.hdr, t.name, id, vec)
		if mine != nil {
			return nil, nil
		}
		return &pipeline.Entry{
			Kind: pipeline.KindReplay, Table: t.name, Replay: log.Stamp().Replay + 1,
			Ancestor: id, Vector: vec.Packed(), Start: began.Packed(),
		}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("resume table %s: %w", t.name, err)
	}
	if mine == nil {
		mine = unfinished(log, b.reg.hdr, t.name, id, vec)
	}
	if mine == nil {
		return nil, errAgain
	}
	if began, err = mine.Start.Vector(); err != nil {
		return nil, fmt.Errorf("resume table %s: %w", t.name, err)
	}
	next := pipeline.Vector{}
	for p, m := range vec { // floors are R: what the entry says, and nothing older
		next[p] = pipeline.Mark{At: m.At, Floor: began[p].At.At}
	}
	st := log.Stamp()
	if len(log.Revisions()) > 0 && st.Epoch > epochAt(log, mine.N) {
		next = pipeline.Vector{}
	}
	return continued(t.restored(b, ancestor), next, st), nil
}

// unfinished returns the newest replay entry of the table if its commit is still to
// be made and it goes back to the same place.
func unfinished(log *pipeline.Decisions, hdr *header, name, ancestor string, vec pipeline.Vector) *pipeline.Entry {
	for i := len(log.Entries) - 1; i >= 0; i-- {
		e := &log.Entries[i]
		if e.Kind != pipeline.KindReplay || e.Table != name {
			continue
		}
		if v, err := e.Vector.Vector(); err != nil || e.Ancestor != ancestor || !maps.Equal(v, vec) {
			return nil
		}
		if hdr != nil && hdr.Replay >= e.Replay {
			return nil
		}
		return e
	}
	return nil
}

// epochAt returns the epoch in force at an entry.
func epochAt(log *pipeline.Decisions, n int64) (epoch int64) {
	for i := range log.Entries {
		if e := &log.Entries[i]; e.N < n && e.Kind == pipeline.KindEpoch {
			epoch = e.Epoch
		}
	}
	return epoch
}

// startsAgain returns R: for every partition of the vector the lower of its floor
// and where reading would begin now. A partition without a floor, or without a
// start, is left out and read from its origin.
func (t *table) startsAgain(ctx context.Context, vec pipeline.Vector, starts Starts) (pipeline.Vector, error) {
	r := pipeline.Vector{}
	if starts == nil {
		return r, nil
	}
	now, err := starts(ctx, slices.Collect(maps.Keys(vec)))
	if err != nil {
		return nil, fmt.Errorf("ask where reading begins: %w", err)
	}
	for p, m := range vec {
		s, ok := now[p]
		if !ok || m.Floor == noFloor || s.At.At == noFloor {
			continue
		}
		r[p] = pipeline.Mark{At: pipeline.Cursor{At: min(m.Floor, s.At.At)}}
	}
	return r, nil
}

// restorable returns the newest retained commit of ours on the head's lineage and
// the marks it left. Where expiry took it, there is no commit, and the marks are
// those that the rows of the head show.
func (t *table) restorable(ctx context.Context, b *base) (*icetable.Snapshot, pipeline.Vector, error) {
	s := b.reg.ours
	if s == nil {
		vec, err := t.marksOfRows(ctx, b)
		if err != nil {
			return nil, nil, fmt.Errorf("no commit of pipeline %q is left among the ancestors of the head, and its rows do not tell the marks either: %w", t.sink.pipeline, err)
		}
		return nil, vec, nil
	}
	vec, err := t.marksAt(ctx, b.md, s)
	if err != nil {
		return nil, nil, err
	}
	return s, vec, nil
}

// marksOfRows returns, for every partition that rows of the head say, the position
// after the highest of them. Rows that were deleted above that would come again. A row
// of a stream that the pipeline does not know makes it fail.
func (t *table) marksOfRows(ctx context.Context, b *base) (pipeline.Vector, error) {
	where := t.sink.where
	if where == nil {
		return nil, errors.New("their coordinates are of an unknown source")
	}
	streams, err := t.streams(ctx, b)
	if err != nil {
		return nil, err
	}
	if b.reg.head == nil {
		return pipeline.Vector{}, nil
	}
	highest, rows := map[string]pipeline.Position{}, 0
	for r, err := range t.sink.ScanCoordinates(ctx, t.name, b.reg.head.SnapshotID, where.Columns()...) {
		if err != nil {
			return nil, err
		}
		at := where.Places(r.Named(where.Columns()))
		rows += r.N
		for i := range r.N {
			if log, place := at(i); log != "" {
				highest[log] = max(highest[log], place)
			}
		}
	}
	vec := pipeline.Vector{}
	for log, place := range highest {
		p, err := partitionOf(where, streams, log)
		if err != nil {
			return nil, err
		}
		vec[p] = pipeline.Mark{At: pipeline.Cursor{At: max(vec[p].At.At, where.After(place))}}
	}
	if len(vec) == 0 && rows > 0 {
		return nil, fmt.Errorf("none has a value in all of %s", strings.Join(where.Columns(), ", "))
	}
	t.sink.log.WarnContext(ctx, "marks are those of the rows: rows deleted above them come again", slog.String("table", t.name), slog.Int("partitions", len(vec)))
	return vec, nil
}

// streams lists the streams that may have fed the table, without partition ids: those
// of its header, else all that the pipeline ever read.
func (t *table) streams(ctx context.Context, b *base) (out []pipeline.Partition, err error) {
	var names []string
	if b.reg.hdr != nil {
		names = b.reg.hdr.Src
	} else {
		origins, err := t.sink.ctl.AllOrigins(ctx, b.log.Stamp().Epoch)
		if err != nil {
			return nil, err
		}
		for _, o := range origins {
			names = append(names, o.Stream)
		}
	}
	for _, name := range names {
		p, err := pipeline.ParsePartition(name + ":")
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// partitionOf returns the one partition that rows say log of.
func partitionOf(where pipeline.Coordinates, streams []pipeline.Partition, log string) (found pipeline.Partition, err error) {
	n := 0
	for _, s := range streams {
		if p, ok := where.Partition(s, log); ok {
			found = p
			n++
		}
	}
	if n != 1 {
		return found, fmt.Errorf("rows of %q: %d of the streams %v are meant", log, n, streams)
	}
	return found, nil
}

// restored returns a header to continue from, made up where there is none. Its ring
// names our commits on the lineage, so that a rollback of these is noticed too.
func (t *table) restored(b *base, ancestor *icetable.Snapshot) *header {
	h := &header{}
	if b.reg.hdr != nil {
		*h = *b.reg.hdr
	}
	h.Ring = nil
	if ancestor == nil {
		return h
	}
	seq, _ := strconv.ParseInt(ancestor.Summary.Properties["firehosed.seq"], 10, 64)
	h.Seq = max(h.Seq, seq)
	for s := ancestor; s != nil && len(h.Ring) < ringSize; {
		if isOurs(s, t.sink.pipeline) {
			h.Ring = append(h.Ring, [2]string{strconv.FormatInt(s.SnapshotID, 10), strconv.FormatInt(s.SequenceNumber, 10)})
		}
		if s.ParentSnapshotID == nil {
			break
		}
		s = b.md.SnapshotByID(*s.ParentSnapshotID)
	}
	return h
}
