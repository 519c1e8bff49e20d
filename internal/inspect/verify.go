package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Source is what is verified against: a log, and how far the pipeline says it is.
type Source interface {
	pipeline.Log
	Hint(ctx context.Context, p pipeline.Partition) (pipeline.Hint, error)
}

// Tables reads the tables of a pipeline without changing them.
type Tables interface {
	// Pin returns a bound table as it is now. A *pipeline.Halt says that it is not in
	// order; then nothing can be said about its rows.
	Pin(ctx context.Context, name string) (*Pinned, error)
}

// Pinned is one snapshot of a table.
type Pinned struct {
	Ledger pipeline.Ledger
	Schema *schema.Schema // may be nil
	// Left are spans whose rows an operator chose to leave out (table resume --skip).
	Left []pipeline.Span
	// Deleted says that a commit that is not ours removed rows.
	Deleted bool
	// Rows calls visit for every row that carries coordinates, in any order.
	Rows func(ctx context.Context, visit func(Row) error) error
	// Records calls visit for all rows with all their columns, a batch at a time. The
	// batch is valid until visit returns. Used with Options.Values only.
	Records func(ctx context.Context, visit func(arrow.RecordBatch) error) error
}

// Row is where a row came from, as its metadata columns say.
type Row struct {
	TopicID   string // the incarnation of its partition
	Partition int32
	Offset    int64
	Sub       int32

	value sum
}

// Deps is what a verification reads. Everything is used by one goroutine.
type Deps struct {
	Pipeline    string
	Source      Source
	Control     *pipeline.Control
	Plan        pipeline.Plan
	Tables      Tables
	DeadLetters string // name of the dead-letter table
}

// Options bounds a verification.
type Options struct {
	// Values compares what rows hold, too, not only where they came from.
	Values bool
	// Memory bounds what is kept to compare, in bytes. Default 64 MiB.
	Memory int64
	// Stall is how long the source may bring nothing below a position that the
	// pipeline has reached, before the rest counts as unreadable. Default 30s.
	Stall time.Duration
	// Findings bounds the coordinates reported of each kind. Default 10.
	Findings int
	// Progress, if set, is called now and then with the units judged so far.
	Progress func(units int64)
}

func (o Options) withDefaults() Options {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Findings <= 0 {
		o.Findings = 10
	}
	return o
}

// Verify compares the tables of a pipeline with its source. An error says that it
// could not even begin; what it could not judge is in the report.
func Verify(ctx context.Context, d Deps, o Options) (*Report, error) {
	began := time.Now()
	o = o.withDefaults()
	v, err := capture(ctx, d, o)
	if err != nil {
		return nil, fmt.Errorf("verify pipeline %q: %w", d.Pipeline, err)
	}
	if o.Values {
		v.hash = newHasher()
	}
	if err := v.compare(ctx); err != nil {
		return nil, fmt.Errorf("verify pipeline %q: %w", d.Pipeline, err)
	}
	v.report.Seconds = time.Since(began).Seconds()
	return v.report, nil
}

// verifier is one verification: what was pinned, and what was found.
type verifier struct {
	d      Deps
	o      Options
	log    *pipeline.Decisions
	revs   []revision
	parts  []*part
	byID   map[partID]*part // as rows say it
	old    map[string]bool  // topic ids of streams that were read and are gone
	tables []*table
	byName map[string]*table
	hash   *hasher // nil: values are not compared
	report *Report
}

type partID struct {
	topicID string
	number  int32
}

// table is a table that rows are expected in.
type table struct {
	name  string
	index int32
	pin   *Pinned // nil: not in order, or not there
	halt  error   // why nothing can be said about it; nil with pin nil: it is not there
}

func (t *table) schema() *schema.Schema {
	if t.pin == nil {
		return nil
	}
	return t.pin.Schema
}

// part is one partition and the offsets that are compared.
type part struct {
	index    int32
	raw      pipeline.Partition // as the source calls it
	id       pipeline.Partition // as the log and the tables call it
	from, to int64              // offsets that are read and compared
	low      int64              // below it every table must have its rows: G, or -1
	end      int64              // of the log
	gaps     []interval         // accepted losses
	marks    []int64            // by table: what it must have, max of its watermark and low
	opaque   bool               // its rows cannot be told from those of an earlier log
}

type interval struct{ from, to int64 }

func (i interval) has(off int64) bool { return off >= i.from && off < i.to }

func within(is []interval, off int64) bool {
	for _, i := range is {
		if i.has(off) {
			return true
		}
	}
	return false
}

// compare makes the passes: sums over windows first, coordinates only where the
// sums differ.
func (v *verifier) compare(ctx context.Context) error {
	w := newWindows(v.o.Memory)
	if err := v.pass(ctx, w, v.whole(), true); err != nil {
		return err
	}
	for {
		bad := clip(w.differing(v.parts))
		if len(bad) == 0 {
			return nil
		}
		if positions(bad) <= w.limit || w.width == 1 {
			return v.details(ctx, bad, w.limit)
		}
		finer := newWindows(v.o.Memory)
		finer.width = max(1, w.width/64)
		if err := v.pass(ctx, finer, bad, false); err != nil {
			return err
		}
		if finer.width >= w.width { // as fine as memory allows
			return v.details(ctx, bad, w.limit)
		}
		w = finer
	}
}

// span is offsets of one partition.
type span struct {
	part *part
	interval
}

func positions(ss []span) (n int64) {
	for _, s := range ss {
		n += s.to - s.from
	}
	return n
}

func (v *verifier) whole() []span {
	var out []span
	for _, p := range v.parts {
		out = append(out, span{p, interval{p.from, p.to}})
	}
	return clip(out)
}

// clip cuts spans down to what is compared.
func clip(ss []span) []span {
	var out []span
	for _, s := range ss {
		if s.from, s.to = max(s.from, s.part.from), min(s.to, s.part.to); s.from < s.to {
			out = append(out, s)
		}
	}
	return out
}

// pass adds what the source says and takes away what the tables hold, within the
// spans. The first pass also books what cannot be judged.
func (v *verifier) pass(ctx context.Context, w *windows, spans []span, first bool) error {
	for _, s := range spans {
		err := v.read(ctx, s, first, func(u item, t *table) {
			if t.halt != nil {
				if first {
					v.report.Unverifiable++
				}
				return
			}
			if u.off < s.part.must(t) {
				w.add(t.index, u, +1)
			}
		})
		if err != nil {
			return err
		}
	}
	return v.rows(ctx, spans, first, func(t *table, u item) { w.add(t.index, u, -1) })
}

// must returns the offset below which a table has to have its rows.
func (p *part) must(t *table) int64 {
	if int(t.index) < len(p.marks) {
		return p.marks[t.index]
	}
	return p.low
}

// rows visits what the tables hold within the spans. On the first pass, rows that
// no span covers are booked.
func (v *verifier) rows(ctx context.Context, spans []span, first bool, visit func(*table, item)) error {
	in := make([][]interval, len(v.parts))
	for _, s := range clip(spans) { // the source may have turned out shorter
		in[s.part.index] = append(in[s.part.index], s.interval)
	}
	for _, t := range v.tables {
		if t.pin == nil {
			continue
		}
		err := v.scan(ctx, t, func(r Row) error {
			if first {
				v.report.Rows[t.name]++
			}
			p := v.byID[partID{r.TopicID, r.Partition}]
			if p == nil {
				if first {
					v.stranger(t, r)
				}
				return nil
			}
			u := item{unit{p.index, r.Sub, r.Offset}, r.value}
			switch {
			case within(p.gaps, u.off), t.left(p, u.off):
			case within(in[p.index], u.off):
				visit(t, u)
			case first && p.opaque:
				v.report.Unverifiable++
			case first && u.off < p.from:
				v.report.Unverifiable++
				v.report.note("%s holds rows of %v that the source no longer has", t.name, p.id)
			case first && p.broken(u.off):
				v.report.Unverifiable++
			case first:
				v.report.find(v.o.Findings, Unexpected, t.name, p.id, u.unit)
			}
			return nil
		})
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			t.pin, t.halt = nil, err
			v.report.Unverifiable++
			v.report.note("table %s cannot be read: %v", t.name, err)
		}
	}
	return nil
}

// broken reports whether an offset lies where the source could not be read.
func (p *part) broken(off int64) bool { return off >= p.to && off < max(p.low, p.to, p.highest()) }

func (p *part) highest() (m int64) {
	for _, at := range p.marks {
		m = max(m, at)
	}
	return m
}

// stranger books a row of a partition that the source does not have.
func (v *verifier) stranger(t *table, r Row) {
	if v.old[r.TopicID] {
		v.report.Unverifiable++
		v.report.note("%s holds rows of topic id %s, which the source no longer has", t.name, r.TopicID)
		return
	}
	p := pipeline.Partition{Kind: "kafka", Incarnation: r.TopicID, ID: strconv.Itoa(int(r.Partition))}
	v.report.find(v.o.Findings, Unexpected, t.name, p, unit{0, r.Sub, r.Offset})
}

// left reports whether an operator chose to leave a table's rows out there.
func (t *table) left(p *part, off int64) bool {
	if t.pin == nil {
		return false
	}
	for _, s := range t.pin.Left {
		from, err := offset(s.From.At)
		to, errTo := offset(s.To.At)
		if s.Partition == p.id && err == nil && errTo == nil && off >= from && off < to {
			return true
		}
	}
	return false
}

var errMoved = errors.New("the pipeline's decisions keep changing: try again when it has settled")
