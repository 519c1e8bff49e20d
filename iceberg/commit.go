package iceberg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	icego "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// errRebuild: the staged files can no longer be published; the rows have to be
// read and written again.
var errRebuild = errors.New("rows must be written again")

// base is a table as one load showed it.
type base struct {
	tbl *icetable.Table
	md  icetable.Metadata
	log *pipeline.Decisions // the control log as it was before the load, or read to its end after
	reg register
}

// load returns the table as it is now. An answer older than one already seen (a
// cache, a replica) is an error: nothing may be judged on it. A state other than OK
// was seen twice, the second time with the control log read to its end before.
func (t *table) load(ctx context.Context) (*base, error) {
	b, err := t.look(ctx, t.sink.ctl.Known())
	if err != nil || b.reg.state == OK {
		return b, err
	}
	log, err := t.sink.ctl.Read(ctx)
	if err != nil {
		return nil, err
	}
	return t.look(ctx, log)
}

func (t *table) look(ctx context.Context, log *pipeline.Decisions) (*base, error) {
	cat, err := t.sink.catalog(ctx)
	if err != nil {
		return nil, err
	}
	bound, before := log.Bound(t.name), t.sight()
	tbl, err := t.sink.loadTable(ctx, cat, t.ident)
	if errors.Is(err, icecat.ErrNoSuchTable) && bound != nil {
		return nil, t.halt(Replaced, "the catalog has no table %v any more", t.ident)
	}
	if err != nil {
		t.sink.relogin(ctx, cat, err)
		return nil, fmt.Errorf("load table %s: %w", t.name, err)
	}
	if err := t.accredit(ctx, tbl); err != nil {
		return nil, err
	}
	md := tbl.Metadata()
	if err := t.accept(md, before); errors.Is(err, errAgain) {
		return t.look(ctx, log)
	} else if err != nil {
		return nil, err
	}
	b := &base{tbl: tbl, md: md, log: log, reg: effective(md, t.sink.pipeline, bound)}
	if bound == nil && b.reg.hdr != nil { // the entry may be younger than what we know of the log
		if b.log, err = t.sink.ctl.Read(ctx); err != nil {
			return nil, err
		}
		b.reg = effective(md, t.sink.pipeline, b.log.Bound(t.name))
	}
	return b, nil
}

// sight is the newest that was seen of a table.
type sight struct {
	uuid uuid.UUID
	seq  int64 // the highest sequence number
}

func (t *table) sight() sight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.sight
}

// accept remembers the highest sequence number seen of the table, and its schema.
// before is what had been seen when the load began that md came from: one that shows
// less than that is refused. errAgain: another load showed more while this one was on
// its way.
func (t *table) accept(md icetable.Metadata, before sight) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	seq, id := md.LastSequenceNumber(), md.TableUUID()
	if t.mu.uuid == id && seq < t.mu.seq {
		if before != t.mu.sight {
			return errAgain
		}
		return fmt.Errorf("load table %s: the catalog shows sequence number %d, it has shown %d before", t.name, seq, t.mu.seq)
	}
	if t.mu.uuid != id {
		t.mu.layouts = nil
	}
	t.mu.sight = sight{id, seq}
	if len(t.mu.layouts) > 0 && t.mu.layouts[0].same(md) {
		return nil
	}
	l, err := newLayout(md, t.cfg)
	if err != nil {
		return &pipeline.Halt{
			Class: pipeline.HaltRefused, Detail: fmt.Sprintf("table %s cannot be written: %v", t.name, err),
			Remedy: "change the column or partition field that stands in the way, or choose another table",
		}
	}
	t.mu.layouts = append([]*layout{l}, t.mu.layouts...)
	t.mu.layouts = t.mu.layouts[:min(len(t.mu.layouts), maxLayouts)]
	return nil
}

func (s State) halts() bool { return s != Fresh && s != Half && s != OK }

// decide says what to write on one base. Nil and no error: nothing, the goal is
// reached. errAgain: look again. Any other error ends the attempts.
type decide func(ctx context.Context, b *base) (*edit, error)

var errAgain = errors.New("look again")

// ownTries bounds the attempts of a commit without rows (a binding, a fence, a
// resume, a change of the schema): its caller is there to try again, and to say why.
const ownTries = 10

// run is the commit loop: load, decide, send once; after any error start over. It
// ends when the table says so or ctx does, with rows never by a count, and deletes
// nothing.
func (t *table) run(ctx context.Context, ch *change, d decide) error {
	var last error
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			if err := t.sink.pause(ctx, attempt); err != nil {
				return fmt.Errorf("commit to table %s: %w", t.name, errors.Join(err, last))
			}
			if ch.kind != kindData && attempt >= ownTries {
				return last
			}
			if attempt >= 4 && attempt&(attempt-1) == 0 {
				t.sink.log.LogAttrs(ctx, slog.LevelWarn, "commit is tried again", slog.String("table", t.name), slog.Int("attempt", attempt), slog.Any("error", last))
			}
		}
		if err := t.sink.pace.wait(ctx, t.name); err != nil {
			return fmt.Errorf("commit to table %s: %w", t.name, err)
		}
		failpoint.Hit("commit.beforeLoad")
		b, err := t.load(ctx)
		if halt := (*pipeline.Halt)(nil); errors.As(err, &halt) {
			return err
		}
		if err != nil {
			last = err
			continue
		}
		failpoint.Hit("commit.afterLoad")
		if attempt > 0 {
			failpoint.Hit("commit.afterResolve")
		}
		e, err := d(ctx, b)
		if errors.Is(err, errAgain) {
			last = err
			continue
		}
		if err != nil || e == nil {
			return err
		}
		failpoint.Hit("commit.afterCheck")
		if last = t.send(ctx, b, ch, e, attempt); last == nil {
			return nil
		}
		failpoint.Hit("commit.beforeResolve")
	}
}

// send makes one attempt. Its error says nothing about the outcome: only the table does.
func (t *table) send(ctx context.Context, b *base, ch *change, e *edit, attempt int) error {
	cat, err := t.sink.catalog(ctx)
	if err != nil {
		return err
	}
	reqs, ups, err := t.request(ctx, b, ch, e, attempt)
	if err != nil {
		return err
	}
	failpoint.Hit("commit.beforeSend")
	log := t.sink.log.With(slog.String("table", t.name), slog.String("commit", ch.id.String()), slog.Int64("snapshot", ch.sid), slog.Int("attempt", attempt))
	log.LogAttrs(ctx, slog.LevelDebug, "commit.send", slog.String("kind", ch.kind))
	var md icetable.Metadata
	if err = failpoint.Err("commit.sent"); err == nil {
		md, err = t.sink.commitTable(ctx, cat, t.ident, ch.kind, reqs, ups)
	}
	err = errors.Join(err, failpoint.Err("commit.afterReply"))
	t.sink.obs.sent(t.name, err)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelDebug, "commit.unknown", slog.Any("error", err))
		return fmt.Errorf("commit to table %s: %w", t.name, err)
	}
	log.LogAttrs(ctx, slog.LevelDebug, "commit.done")
	_ = t.accept(md, t.sight()) // a load beside us may have shown more
	return nil
}

// staged is a delivery's files, ready to be published.
type staged struct {
	files   []icego.DataFile
	schemas []*icego.Schema // that they were written for
	born    time.Time       // of the oldest
}

// commitData publishes files and moves the marks of claims, or returns an answer
// of pipeline.Delivery.Commit.
func (t *table) commitData(ctx context.Context, ch *change, st pipeline.Stamp, s staged) error {
	return t.run(ctx, ch, func(ctx context.Context, b *base) (*edit, error) {
		r := &b.reg
		switch {
		case r.hdr != nil && r.hdr.stamp(t.sink.pipeline).Newer(st):
			return nil, fmt.Errorf("commit to table %s under %v: %w: the table has seen %v", t.name, st, pipeline.ErrStale, r.hdr.stamp(t.sink.pipeline))
		case r.state == Fresh || r.state == Half:
			if err := t.bind(ctx, st); err != nil {
				return nil, err
			}
			return nil, errAgain
		case r.state != OK:
			return nil, t.halt(r.state, "%s", r.reason)
		}
		switch judge(ch.claims, r.vec) {
		case done:
			return nil, nil
		case rewound:
			return nil, t.halt(Rewound, "a mark went back below the position that a batch begins at")
		case stale:
			return nil, fmt.Errorf("commit to table %s: %w: its marks moved", t.name, pipeline.ErrStale)
		case apply:
		}
		if age := time.Since(s.born); len(s.files) > 0 && age > t.sink.cfg.MaxFileAge {
			return nil, fmt.Errorf("commit to table %s: %w: a file is %v old", t.name, errRebuild, age.Round(time.Second))
		}
		for _, sc := range s.schemas {
			if err := fits(sc, b.md.CurrentSchema()); err != nil {
				return nil, fmt.Errorf("commit to table %s: %w: %w", t.name, errRebuild, err)
			}
		}
		vec := advance(r.vec, ch.claims, r.hdr.stamp(t.sink.pipeline), st)
		if err := t.notClaimed(b.md, r.hdr, vec.Streams(nil)); err != nil {
			return nil, err
		}
		return continued(r.hdr, vec, st), nil
	})
}

// continued is the edit that writes the header after was, under st, with vec.
func continued(was *header, vec pipeline.Vector, st pipeline.Stamp) *edit {
	return &edit{vec: vec, header: func(sid, seq int64) *header { return was.next(st, sid, seq, false) }}
}

// notClaimed refuses to feed a table from a stream that another pipeline feeds it
// from: most likely this one under another name, and every row would come twice.
// Streams are given by their keys; those that the header h has were let in before.
func (t *table) notClaimed(md icetable.Metadata, h *header, streams []string) error {
	if t.cfg.SharedTable {
		return nil
	}
	if h != nil {
		streams = slices.DeleteFunc(slices.Clone(streams), func(key string) bool { return slices.Contains(h.Src, key) })
	}
	for stream, other := range feeders(md.Properties(), t.sink.pipeline, streams) {
		return &pipeline.Halt{
			Class:  pipeline.HaltClaimed,
			Detail: fmt.Sprintf("table %s already gets the stream %s from pipeline %q", t.name, stream, other),
			Remedy: "give the pipeline its old name back, choose another table, or set shared_table: true if the rows shall come twice",
		}
	}
	return nil
}

// keepVector puts a vector that is too big for the summary into the control prefix,
// before the commit that it belongs to. An attempt on another base overwrites it with
// another vector: by then the head has moved, and the earlier attempt cannot land.
func (t *table) keepVector(ctx context.Context, md icetable.Metadata, sid int64, vec []byte) error {
	key := vectorObject(md, sid)
	store := t.sink.ctl.Store()
	for {
		old, err := store.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if string(old) == string(vec) {
			return nil
		}
		if err = store.Swap(ctx, key, old, vec); !errors.Is(err, pipeline.ErrStale) {
			if err != nil {
				return fmt.Errorf("write %s: %w", key, err)
			}
			return nil
		}
	}
}

func vectorPrefix(md icetable.Metadata) string { return "wm/" + md.TableUUID().String() + "/" }

func vectorObject(md icetable.Metadata, sid int64) string {
	return vectorPrefix(md) + strconv.FormatInt(sid, 10)
}

// halt is the outcome of a table that waits for an operator.
func (t *table) halt(s State, format string, args ...any) *pipeline.Halt {
	h := &pipeline.Halt{Class: string(s), Detail: "table " + t.name + ": " + fmt.Sprintf(format, args...)}
	switch s {
	case Rewound, Lost, Corrupt:
		h.Remedy = fmt.Sprintf("firehosed table resume %s --replay (rows shall come again) or --skip (they shall stay away)", t.name)
		if s != Rewound {
			h.Remedy = fmt.Sprintf("firehosed table resume %s --replay; if the control prefix was lost, restore it or run firehosed control rebuild", t.name)
		}
	case Replaced:
		h.Remedy = fmt.Sprintf("restore the table, or firehosed table rebind %s to write to the new one, or firehosed table forfeit %s", t.name, t.name)
	case Stricter:
		h.Remedy = fmt.Sprintf("make it optional again, or firehosed table rebind %s: later records that have no value for it are dead letters", t.name)
	default:
		h.Remedy = "see the detail"
	}
	return h
}
