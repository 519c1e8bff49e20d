package s3sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Inspection is what a table's register, its marker, the control log and the bucket say
// of one another.
type Inspection struct {
	Halt     *pipeline.Halt // why it is not in order; nil: it is
	Location string         // the folder that its objects are in
	Stamp    pipeline.Stamp
	Commits  int64 // on its chain, fences and decisions of operators among them
	Objects  int64 // of all commits that were not taken back
	Rows     int64 // in them
	Pending  int   // of them are not published yet: whoever asks for its marks does that
}

// Inspect looks at a table that was bound, and changes nothing.
func (s *Sink) Inspect(ctx context.Context, name string) (Inspection, error) {
	t, err := s.handle(ctx, name)
	in := Inspection{}
	if err == nil {
		in.Location = s.bucket.Location(t.names.Static())
		err = t.inspect(ctx, &in)
	}
	if errors.As(err, &in.Halt) {
		return in, nil
	}
	return in, err
}

func (t *table) inspect(ctx context.Context, in *Inspection) error {
	r, _, _, err := t.look(ctx)
	if err != nil || r == nil {
		return err
	}
	in.Stamp, in.Commits, in.Pending, in.Objects, in.Rows = r.stamp(t.sink.pipeline), r.Seq, len(r.Pending), r.Objects, r.Rows
	for _, u := range r.Pending {
		if u.Replaying {
			continue
		}
		m, err := t.manifest(ctx, u.Commit)
		if err != nil {
			return err
		}
		gone, err := t.gone(ctx, m)
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			continue
		}
		if now, err := t.load(ctx); err != nil {
			return err
		} else if now.pending(u.Commit) != nil { // else a consumer took them, and it is published
			return t.partsLost(m, gone)
		}
	}
	return nil
}

// gone returns the keys of a commit that are neither there nor can be completed.
func (t *table) gone(ctx context.Context, m *manifest) (gone []string, err error) {
	staged := map[string]bool{}
	for _, folder := range t.names.Folders() {
		for u, err := range t.sink.bucket.Uploads(ctx, folder) {
			if err != nil {
				return nil, fmt.Errorf("list uploads of table %s: %w", t.name, err)
			}
			staged[u.ID] = true
		}
	}
	for i := range m.Objects {
		u := &m.Objects[i].Upload
		if staged[u.ID] {
			continue
		}
		switch _, err := t.sink.bucket.Stat(ctx, u.Key); {
		case errors.Is(err, fs.ErrNotExist):
			gone = append(gone, u.Key)
		case err != nil:
			return nil, fmt.Errorf("look for %s: %w", u.Key, err)
		}
	}
	return gone, nil
}

// Refusal says why a table could not be bound, as a *pipeline.Halt, or else whether there
// is one already. It changes nothing.
func (s *Sink) Refusal(ctx context.Context, name string) (exists bool, err error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return false, err
	}
	r, _, _, err := t.look(ctx)
	return r != nil, err
}

// Resume decides what becomes of all commits of a table that have lost parts: with
// replay their rows come again, see [Sink.Replay], else what is missing stays away, see
// [Sink.Skip]. It returns how many there were.
func (s *Sink) Resume(ctx context.Context, name string, replay bool) (n int, err error) {
	stuck, err := s.Stuck(ctx, name)
	if err != nil {
		return 0, err
	}
	for _, c := range stuck {
		if replay {
			err = s.Replay(ctx, name, c.Commit)
		} else {
			_, err = s.Skip(ctx, name, c.Commit)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Schema returns the newest schema of a table, nil: it has none yet. It changes nothing.
func (s *Sink) Schema(ctx context.Context, name string) (*schema.Schema, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return nil, err
	}
	if t.columnar() {
		if err := t.readSchema(ctx); err != nil {
			return nil, err
		}
	}
	return t.Schema(), nil
}

// Sums returns what says of rows that are laid out for a table what each of them adds to
// the sum of its account, by its index, the place of its record and its number within it.
func (s *Sink) Sums(table string) func(data arrow.RecordBatch) (func(row int, place pipeline.Position, sub int32) uint64, error) {
	return func(data arrow.RecordBatch) (func(row int, place pipeline.Position, sub int32) uint64, error) {
		bytes, err := s.hashed(table, data)
		if err != nil {
			return nil, err
		}
		return func(row int, place pipeline.Position, sub int32) uint64 {
			if bytes == nil {
				return rowHash(place, sub, nil)
			}
			return rowHash(place, sub, bytes.Value(row))
		}, nil
	}
}

// hashed returns the bytes that rows are hashed with, nil: they are hashed by where they
// come from alone.
func (s *Sink) hashed(table string, data arrow.RecordBatch) (*array.Binary, error) {
	switch {
	case s.dead(table):
		l, err := asDeadLetters(data)
		return l.payload, err
	case s.cfg.columnar():
		return nil, nil
	}
	return payloads(data)
}
