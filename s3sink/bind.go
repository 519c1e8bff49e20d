package s3sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// marker is the object that tells a table that was bound from one that never was, where
// the control prefix is gone. It is never overwritten.
type marker struct {
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"`
	Register string `json:"register"` // its id
}

// open makes sure that the table is bound under st: its register, then its marker, then
// the `bound` entry of the control log. It finishes what another began.
func (t *table) open(ctx context.Context, st pipeline.Stamp) error {
	return t.try(ctx, ownTries, func(ctx context.Context) error {
		r, mark, bound, err := t.look(ctx)
		if err != nil {
			return err
		}
		if r == nil {
			return again(t.found(ctx, st))
		}
		if mark == nil {
			if err := t.writeMarker(ctx, r); err != nil {
				return again(err)
			}
		}
		if bound != nil {
			return nil
		}
		return t.enter(ctx, r, st)
	})
}

// disorder returns the halt of a table whose register, marker and entry in the control
// log contradict one another.
func (t *table) disorder(r *register, mark *marker, bound *pipeline.Entry) *pipeline.Halt {
	switch {
	case r == nil && bound != nil:
		return t.halt(pipeline.HaltLost, "it was bound, and its register %s is gone", t.registerKey())
	case r == nil && mark != nil:
		return t.halt(pipeline.HaltLost, "the bucket has its marker %s, the control prefix no register: it is lost or another one", t.markerKey())
	case r == nil:
	case bound != nil && bound.UUID != r.ID:
		return t.halt(pipeline.HaltReplaced, "its register is %s, bound was %s", r.ID, bound.UUID)
	case mark != nil && mark.Register != r.ID:
		return t.halt(pipeline.HaltLost, "the marker %s names register %s, the control prefix has %s: it is another one", t.markerKey(), mark.Register, r.ID)
	case bound == nil && r.Seq > 0:
		return t.halt(pipeline.HaltCorrupt, "its register (seq %d) is unknown to the control log: the log is lost", r.Seq)
	}
	return nil
}

// look reads all that tells whether the table is bound. A *pipeline.Halt: it
// contradicts itself. The log and the marker are read
// before the register, which is written before them; where the log has no entry, it is
// read once more after the register, as the entry may be younger.
func (t *table) look(ctx context.Context) (r *register, mark *marker, bound *pipeline.Entry, err error) {
	log, err := t.sink.ctl.Read(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if mark, err = t.readMarker(ctx); err != nil {
		return nil, nil, nil, err
	}
	if r, err = t.read(ctx); err != nil {
		return nil, nil, nil, err
	}
	if r != nil && log.Bound(t.name) == nil {
		if log, err = t.sink.ctl.Read(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	bound = log.Bound(t.name)
	if h := t.disorder(r, mark, bound); h != nil {
		return nil, nil, nil, h
	}
	return r, mark, bound, nil
}

// found writes the first register. An answer that is lost looks like somebody else's.
func (t *table) found(ctx context.Context, st pipeline.Stamp) error {
	n := &register{ID: uuid.NewString(), vec: pipeline.Vector{}}
	n.stampWith(st)
	if err := t.swap(ctx, nil, n); err != nil {
		return err
	}
	return errAgain
}

// enter appends the `bound` entry. A register with an older stamp, that nobody has
// written to since, gets this one first.
func (t *table) enter(ctx context.Context, r *register, st pipeline.Stamp) error {
	was := r.stamp(t.sink.pipeline)
	if was.Newer(st) {
		return fmt.Errorf("bind table %s under %v: %w: it has seen %v", t.name, st, pipeline.ErrStale, was)
	}
	if st.Newer(was) {
		n := r.next()
		n.stampWith(st)
		return errors.Join(errAgain, t.swap(ctx, r, n))
	}
	_, err := t.sink.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
		if b := log.Bound(t.name); b != nil && b.UUID == r.ID {
			return nil, nil
		} else if b != nil {
			return nil, t.halt(pipeline.HaltReplaced, "its register is %s, bound was %s", r.ID, b.UUID)
		}
		if log.Stamp().Newer(st) {
			return nil, fmt.Errorf("bind table %s under %v: %w: the control log is at %v", t.name, st, pipeline.ErrStale, log.Stamp())
		}
		return &pipeline.Entry{
			Kind: pipeline.KindBound, Table: t.name, Rev: st.Rev,
			Identifier: []string{t.sink.bucket.Location(t.names.Static()), t.name}, UUID: r.ID,
		}, nil
	})
	return err
}

// readMarker returns the marker, nil: there is none.
func (t *table) readMarker(ctx context.Context) (*marker, error) {
	data, _, err := t.sink.bucket.Get(ctx, t.markerKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read marker of table %s: %w", t.name, err)
	}
	m := &marker{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, t.halt(pipeline.HaltCorrupt, "the marker %s is damaged: %v", t.markerKey(), err)
	}
	return m, nil
}

// writeMarker writes the marker of a register. The bucket need not have conditions: a
// register has one marker, and two registers of one table are found out by the log.
func (t *table) writeMarker(ctx context.Context, r *register) error {
	data, err := json.Marshal(marker{t.sink.pipeline, t.name, r.ID})
	if err != nil {
		return err
	}
	if _, err := t.sink.bucket.Put(ctx, t.markerKey(), data, objstore.Always); err != nil {
		return fmt.Errorf("write marker of table %s: %w", t.name, err)
	}
	return nil
}
