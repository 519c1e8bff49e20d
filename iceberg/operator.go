package iceberg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Inspection is what a table and the control log say about each other.
type Inspection struct {
	Table      string
	Identifier []string
	UUID       string
	Location   string
	Metadata   string // location of the metadata.json in force
	Format     int
	Head       int64 // snapshot id; 0: no snapshot
	Sequence   int64 // last sequence number
	Snapshots  int
	Records    int64 // total of the head's summary; -1: unknown

	State  State
	Reason string          // of a state that halts
	Stamp  pipeline.Stamp  // of our last commit; zero: none is known
	Seq    int64           // number of our last commit; 0: bound
	Marks  pipeline.Vector // nil: not known
	Ours   int64           // newest retained commit of ours; 0: none
	Schema *schema.Schema
	Bound  *pipeline.Entry // nil: the control log does not know the table
}

// Inspect reads a table and judges it. It changes nothing.
func (s *Sink) Inspect(ctx context.Context, name string) (Inspection, error) {
	t, err := s.handle(name)
	if err != nil {
		return Inspection{}, err
	}
	if _, err := s.ctl.Read(ctx); err != nil {
		return Inspection{}, err
	}
	b, err := t.load(ctx)
	if err != nil {
		return Inspection{}, err
	}
	in := Inspection{
		Table: name, Identifier: slices.Clone(t.ident), UUID: b.md.TableUUID().String(), Location: b.md.Location(),
		Metadata: b.tbl.MetadataLocation(), Format: b.md.Version(), Sequence: b.md.LastSequenceNumber(),
		Snapshots: len(b.md.Snapshots()), Records: -1, State: b.reg.state, Reason: b.reg.reason, Marks: b.reg.vec,
		Bound: b.log.Bound(name),
	}
	if in.Schema, err = fromIceberg(b.md.CurrentSchema()); err != nil {
		return Inspection{}, fmt.Errorf("inspect table %s: %w", name, err)
	}
	if b.reg.hdr != nil {
		in.Stamp, in.Seq = b.reg.hdr.stamp(s.pipeline), b.reg.hdr.Seq
	}
	if b.reg.ours != nil {
		in.Ours = b.reg.ours.SnapshotID
	}
	if b.reg.head != nil {
		in.Head = b.reg.head.SnapshotID
		in.Records = total(b.reg.head)
	}
	return in, nil
}

func total(s *icetable.Snapshot) int64 {
	if s.Summary == nil {
		return -1
	}
	n, err := strconv.ParseInt(s.Summary.Properties["total-records"], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Rebind takes a table that was dropped and made anew as the one to write to from
// now on, under the newest stamp. Its marks begin ABSENT: rows that only the old table
// held do not come again by themselves. Where the table, or the one that was bound all
// along, requires something else of records than is pinned, Rebind begins a revision,
// from which on it is pinned, and returns its number; else 0.
func (s *Sink) Rebind(ctx context.Context, name string) (rev int64, err error) {
	t, err := s.handle(name)
	if err != nil {
		return 0, err
	}
	if err := t.turn.take(ctx); err != nil {
		return 0, err
	}
	defer t.turn.give()
	log, err := s.ctl.Read(ctx)
	if err != nil {
		return 0, err
	}
	b, err := t.load(ctx)
	if err != nil {
		return 0, fmt.Errorf("rebind table %s: %w", name, err)
	}
	md := b.md
	switch b.reg.state {
	case Replaced:
		if md, err = t.rebind(ctx, b, log.Stamp()); err != nil {
			return 0, err
		}
	case OK, Stricter:
	default:
		return 0, fmt.Errorf("rebind table %s: it is %s, not %s: there is no other table under its name", name, b.reg.state, Replaced)
	}
	if log, err = s.ctl.Read(ctx); err != nil {
		return 0, err
	}
	switch other, err := t.outdated(md, log); {
	case err != nil:
		return 0, err
	case !other && b.reg.state == OK:
		return 0, fmt.Errorf("rebind table %s: it is %s, not %s, and requires of records what is pinned: there is nothing to bind anew", name, OK, Replaced)
	case !other:
		return 0, nil
	}
	if log, err = s.ctl.AppendAgain(ctx, log.Stamp().Rev); err != nil {
		return 0, fmt.Errorf("rebind table %s: %w", name, err)
	}
	return log.Stamp().Rev, nil
}

// rebind binds the table that took the place of another.
func (t *table) rebind(ctx context.Context, b *base, st pipeline.Stamp) (icetable.Metadata, error) {
	if err := t.acceptable(ctx, b); err != nil {
		return nil, fmt.Errorf("rebind table %s: %w", t.name, err)
	}
	pipe, md := t.sink.pipeline, b.md
	err := t.run(ctx, newChange(kindBind, newID()), func(_ context.Context, b *base) (*edit, error) {
		md = b.md
		switch r := effective(b.md, pipe, nil); {
		case r.state == Half && r.hdr.stamp(pipe) == st:
			return nil, nil
		case r.state == Fresh || r.state == Half:
			return binding(r.hdr, st), nil
		default:
			return nil, fmt.Errorf("rebind table %s: the new table holds commits of this pipeline (%s): it is a copy of one that was written before", t.name, r.state)
		}
	})
	if err != nil {
		return nil, err
	}
	return md, t.enter(ctx, md, st, true)
}

// RebuildControl writes a control log for tables whose control prefix was lost: a
// `bound` entry for each, the stamp of the highest header, and the tables' floors as
// origins. The operator vouches that rev describes the configuration that was in force;
// its Number and Epoch are taken from the headers. The prefix must be empty.
func (s *Sink) RebuildControl(ctx context.Context, names []string, rev pipeline.Revision) error {
	log, err := s.ctl.Read(ctx)
	if err != nil {
		return err
	}
	if len(log.Entries) > 0 {
		return fmt.Errorf("rebuild control prefix: its log has %d entries: it is not lost", len(log.Entries))
	}
	if len(names) == 0 {
		return errors.New("rebuild control prefix: name the pipeline's tables")
	}
	var highest pipeline.Stamp
	found := map[string]*base{}
	for _, name := range names {
		t, err := s.handle(name)
		if err != nil {
			return err
		}
		b, err := t.look(ctx, log)
		if err != nil {
			return fmt.Errorf("rebuild control prefix: %w", err)
		}
		if b.reg.hdr == nil {
			return fmt.Errorf("rebuild control prefix: table %s has no readable property %s", name, headerKey(s.pipeline))
		}
		if st := b.reg.hdr.stamp(s.pipeline); highest.Pipeline == "" || st.Newer(highest) {
			highest = st
		}
		found[name] = b
	}
	if err := s.rebuildOrigins(ctx, highest, found); err != nil {
		return fmt.Errorf("rebuild control prefix: %w", err)
	}
	entries := []pipeline.Entry{{Kind: pipeline.KindRev, Rev: highest.Rev, SHA256: rev.SHA256, Config: rev.Config, Rules: rev.Rules}}
	if highest.Epoch > 0 {
		entries[0].Kind, entries[0].Epoch = pipeline.KindEpoch, highest.Epoch
	}
	if highest.Replay > 0 {
		entries = append(entries, pipeline.Entry{Kind: pipeline.KindReplay, Replay: highest.Replay})
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		t, err := s.handle(name)
		if err != nil {
			return err
		}
		pin, err := t.pin(found[name].md)
		if err != nil {
			return err
		}
		entries = append(entries, pipeline.Entry{
			Kind: pipeline.KindBound, Table: name, Rev: highest.Rev, Identifier: slices.Clone(t.ident),
			UUID: found[name].md.TableUUID().String(), Pinned: pin,
		})
	}
	for i := range entries {
		if _, err := s.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
			if len(log.Entries) != i {
				return nil, errors.New("somebody else writes to the control log: stop all workers first")
			}
			return &entries[i], nil
		}); err != nil {
			return fmt.Errorf("rebuild control prefix: %w", err)
		}
	}
	return nil
}

// rebuildOrigins makes the lowest floor of every partition its origin, and `first`
// empty, so that streams that come later are read from their oldest record.
func (s *Sink) rebuildOrigins(ctx context.Context, st pipeline.Stamp, found map[string]*base) error {
	lowest := pipeline.Vector{}
	for _, b := range found {
		for p, m := range b.reg.vec {
			floor := m.Floor
			if !b.reg.hdr.stamp(s.pipeline).SameRun(st) {
				floor = noFloor
			}
			if have, ok := lowest[p]; !ok || floor < have.At.At {
				lowest[p] = pipeline.Mark{At: pipeline.Cursor{At: floor}}
			}
		}
	}
	objects := map[string]any{fmt.Sprintf("origin/%d/first", st.Epoch): []string{}}
	for _, stream := range lowest.Streams(nil) {
		v := pipeline.Vector{}
		for p, m := range lowest {
			if p.StreamKey() == stream {
				v[p] = m
			}
		}
		objects[fmt.Sprintf("origin/%d/%s", st.Epoch, strings.ReplaceAll(stream, ":", "/"))] = v.Packed()
	}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		val, err := json.Marshal(objects[key])
		if err != nil {
			return err
		}
		if err := s.ctl.Store().Swap(ctx, key, nil, val); err != nil && !errors.Is(err, pipeline.ErrStale) {
			return fmt.Errorf("write %s: %w", key, err)
		}
	}
	return nil
}
