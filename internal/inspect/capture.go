package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// revision is one version of what a record becomes, and where it begins.
type revision struct {
	pipeline.Revision
	from  pipeline.Vector
	steps []pipeline.Steps // nil: this binary cannot judge by it, see why
	why   error
}

// attempts bounds how often a verification begins again because a decision was
// taken while it looked.
const attempts = 20

// capture reads the log, then every hint, then pins every table, then reads the log
// again: so no table is judged by decisions older than itself.
func capture(ctx context.Context, d Deps, o Options) (*verifier, error) {
	for range attempts {
		log, err := d.Control.Read(ctx)
		if err != nil {
			return nil, err
		}
		if len(log.Revisions()) == 0 {
			return nil, errors.New("the pipeline never ran: there is nothing to verify")
		}
		if e := log.Stamp().Epoch; e > 0 {
			return nil, fmt.Errorf("the pipeline is in epoch %d: rows of earlier epochs cannot be told from those that came again", e)
		}
		v := &verifier{d: d, o: o, log: log, where: d.Source.Coordinates(), logs: map[string]*part{}, live: map[pipeline.Partition]bool{}, byName: map[string]*table{}}
		v.report = &Report{Pipeline: d.Pipeline, Rows: map[string]int64{}, Dropped: map[string]int64{}}
		raw, err := d.Source.Partitions(ctx)
		if err != nil {
			return nil, fmt.Errorf("list partitions: %w", err)
		}
		hints := map[pipeline.Partition]pipeline.Hint{}
		for _, p := range raw {
			if hints[p], err = d.Source.Hint(ctx, p); err != nil {
				return nil, fmt.Errorf("read the group position of %v: %w", p, err)
			}
		}
		if err := v.pin(ctx); err != nil {
			return nil, err
		}
		again, err := d.Control.Read(ctx)
		if err != nil {
			return nil, err
		}
		if moved(again.Entries[len(log.Entries):]) {
			continue
		}
		v.log = again
		if err := v.loadRevisions(ctx); err != nil {
			return nil, err
		}
		if err := v.addParts(ctx, raw, hints); err != nil {
			return nil, err
		}
		v.list()
		return v, nil
	}
	return nil, errMoved
}

// moved reports whether an entry changes what was pinned.
func moved(entries []pipeline.Entry) bool {
	return slices.ContainsFunc(entries, func(e pipeline.Entry) bool {
		switch e.Kind {
		case pipeline.KindAdmit, pipeline.KindGap, pipeline.KindForfeit:
			return false
		}
		return true
	})
}

func (v *verifier) pin(ctx context.Context) error {
	for _, name := range v.log.BoundTables() {
		t := v.table(name)
		var err error
		if t.pin, err = v.d.Tables.Pin(ctx, name, v.o.Values); err == nil {
			if t.pin.Sum != nil {
				t.accounts = accountsOf(t.pin.Accounts)
			}
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		t.pin, t.halt = nil, err
		v.report.note("table %s: %v", name, err)
	}
	return nil
}

// table returns the table of that name; one that was never bound is empty.
func (v *verifier) table(name string) *table {
	t := v.byName[name]
	if t == nil {
		t = &table{name: name, index: int32(len(v.tables))}
		v.byName[name], v.tables = t, append(v.tables, t)
	}
	return t
}

func (v *verifier) loadRevisions(ctx context.Context) error {
	for i, r := range v.log.Revisions() {
		rev := revision{Revision: r}
		from, there, err := v.d.Control.Barrier(ctx, r.Number)
		if err != nil {
			return err
		}
		if !there && (i > 0 || r.Epoch > 0) {
			return fmt.Errorf("revision %d has no barrier yet: start a worker with that configuration, or wait for it", r.Number)
		}
		rev.from = from
		fresh, err := v.d.Control.Steps(ctx, r, v.d.Plan, v.admitted(r.Number))
		if err != nil {
			rev.why = err
			v.report.note("revision %d: %v", r.Number, err)
		} else {
			rev.steps = fresh()
		}
		v.revs = append(v.revs, rev)
	}
	return nil
}

// admitted looks names from data up. Every name that counts stands in the log
// before the first of its rows; so a name that is not there was refused.
func (v *verifier) admitted(rev int64) pipeline.Admit {
	return func(_ context.Context, name string, _ int) (bool, error) { return v.log.Admitted(name, rev), nil }
}

// pinned returns what a table made by others requires, as a revision sees it.
func (v *verifier) pinned(name string, rev int64) (*schema.Schema, error) {
	e := v.log.BoundFor(name, rev)
	if e == nil || len(e.Pinned) == 0 {
		return nil, nil
	}
	s := &schema.Schema{}
	if err := json.Unmarshal(e.Pinned, s); err != nil {
		return nil, fmt.Errorf("control log entry %d: pinned requirements: %w", e.N, err)
	}
	return s, nil
}

// never is a time to come: the end of a log.
func never() time.Time { return time.Now().Add(100 * 365 * 24 * time.Hour) }

func (v *verifier) addParts(ctx context.Context, raw []pipeline.Partition, hints map[pipeline.Partition]pipeline.Hint) error {
	origins, err := v.d.Control.AllOrigins(ctx, v.log.Stamp().Epoch)
	if err != nil {
		return err
	}
	started := map[string]pipeline.Vector{}
	for _, o := range origins {
		started[o.Stream] = o.At
		s, err := pipeline.ParsePartition(o.Stream + ":")
		if err != nil {
			return err
		}
		v.streams = append(v.streams, s)
	}
	for _, r := range raw {
		p := &part{index: int32(len(v.parts)), raw: r, id: v.log.Identity(r)}
		if err := v.bounds(ctx, p, started, hints[r]); err != nil {
			return fmt.Errorf("partition %v: %w", r, err)
		}
		if p.id != p.raw { // rows say the topic's id only: those of before the truncation look the same
			v.report.Unverifiable += v.count(p.run)
			v.report.note("%v: rows from before and after the accepted truncation cannot be told apart", p.raw)
			p.opaque, p.from = true, p.to
		}
		v.parts = append(v.parts, p)
		v.live[pipeline.Partition{Kind: r.Kind, Stream: r.Stream, Incarnation: r.Incarnation}] = true
	}
	return nil
}

// bounds sets what of a partition is compared.
func (v *verifier) bounds(ctx context.Context, p *part, started map[string]pipeline.Vector, h pipeline.Hint) error {
	origin, begun := v.origin(p, started)
	oldest, readable, err := v.d.Source.Oldest(ctx, p.raw, origin)
	if err != nil {
		return err
	}
	end, err := v.d.Source.Locate(ctx, p.raw, never())
	if err != nil {
		return err
	}
	origin = cmp.Or(origin, oldest)
	p.origin, p.low = origin, v.low(p, h, origin)
	p.to = p.low
	for _, t := range v.tables {
		var at pipeline.Position
		if t.pin != nil {
			at = t.pin.Ledger.Marks[p.id].At.At
		}
		p.marks = append(p.marks, max(at, p.low))
		p.to = max(p.to, at)
	}
	waiting := run{oldest, end.At}
	if begun {
		waiting.from = max(p.low, origin)
	}
	if n, ok := v.d.Source.Distance(waiting.from, waiting.to); ok && !waiting.empty() {
		v.report.Pending += n
	}
	p.from = origin
	v.acceptedGaps(p)
	for moved := true; moved; {
		moved = false
		for _, g := range p.gaps {
			if g.has(p.from) {
				p.from, moved = g.to, true
			}
		}
	}
	if !readable {
		oldest = p.to
	}
	if lost := (run{p.from, min(oldest, p.to)}); !lost.empty() {
		v.report.Unverifiable += v.count(lost)
		v.report.note("%v: records from %s to before %s are no longer retained", p.id, v.number(lost.from), v.number(lost.to))
	}
	p.from = max(p.from, oldest)
	p.to = max(p.from, p.to)
	return nil
}

// number returns a position as people know the record behind it.
func (v *verifier) number(at pipeline.Position) string {
	if at == "" {
		return "the first"
	}
	return v.where.Number(at)
}

// origin returns where the pipeline began; "": at the beginning of the log. begun is
// false if it has not begun.
func (v *verifier) origin(p *part, started map[string]pipeline.Vector) (at pipeline.Position, begun bool) {
	if p.id != p.raw {
		return v.log.Accepted(p.raw.Key()).From, true
	}
	if e := v.log.Accepted(p.raw.StreamKey()); e != nil {
		return e.From, true
	}
	vec, begun := started[p.raw.StreamKey()]
	return vec[p.raw].At.At, begun
}

// low is G as start(p) of the design takes it: "" if it is void, at most where the
// revision after the hint's begins.
func (v *verifier) low(p *part, h pipeline.Hint, origin pipeline.Position) pipeline.Position {
	if !h.Stamp.SameRun(v.log.Stamp()) {
		return ""
	}
	at := h.At.At
	for _, r := range v.revs {
		if r.Number > h.Stamp.Rev {
			at = min(at, r.from[p.id].At.At)
			break
		}
	}
	return max(origin, at)
}

func (v *verifier) acceptedGaps(p *part) {
	for i := range v.log.Entries {
		if e := &v.log.Entries[i]; e.Kind == pipeline.KindGap && e.Partition == p.id.Key() {
			p.gaps = append(p.gaps, run{e.From, e.To})
		}
	}
}

// list books what operators decided: it is shown, not counted.
func (v *verifier) list() {
	for i := range v.log.Entries {
		switch e := &v.log.Entries[i]; e.Kind {
		case pipeline.KindGap:
			v.report.Decisions = append(v.report.Decisions, Decision{"gap", e.Partition, string(e.From), string(e.To), e.Who})
		case pipeline.KindForfeit:
			v.report.Decisions = append(v.report.Decisions, Decision{"forfeit", e.Table, "", "", e.Who})
		case pipeline.KindReplay:
			v.report.Decisions = append(v.report.Decisions, Decision{"replay", e.Table, "", "", e.Who})
		case pipeline.KindEpoch:
			v.report.Decisions = append(v.report.Decisions, Decision{"epoch", strconv.FormatInt(e.Epoch, 10), "", "", e.Who})
		}
	}
	for _, t := range v.tables {
		if t.pin == nil {
			continue
		}
		v.report.Decisions = append(v.report.Decisions, t.pin.Decisions...)
		for _, n := range t.pin.Notes {
			v.report.note("table %s: %s", t.name, n)
		}
		for _, s := range t.pin.Left {
			v.report.Decisions = append(v.report.Decisions,
				Decision{"left out by resume --skip", t.name + " " + s.Partition.Key(), string(s.From.At), string(s.To.At), ""})
		}
		if t.pin.Deleted {
			v.report.note("others have removed rows of %s: what is missing there counts as unverifiable", t.name)
		}
	}
}
