package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Source is what is verified against: a log, and how far the pipeline says it is.
type Source interface {
	pipeline.Log
	Hint(ctx context.Context, p pipeline.Partition) (pipeline.Hint, error)
	// Oldest returns the place of the oldest record that can be read, false if there is
	// none. It is from if that is known to lie before all that ever came since.
	Oldest(ctx context.Context, p pipeline.Partition, from pipeline.Position) (at pipeline.Position, ok bool, err error)
	// Coordinates reads the columns that say where the record of a row was.
	Coordinates() pipeline.Coordinates
	// Distance returns how many numbers lie between two positions, holes included;
	// false if the source's numbers do not tell.
	Distance(from, to pipeline.Position) (int64, bool)
}

// Tables reads the tables of a pipeline without changing them.
type Tables interface {
	// Pin returns a bound table as it is now; with values, what its rows hold will be
	// compared, too. A *pipeline.Halt says that it is not in order; then nothing can be
	// said about its rows.
	Pin(ctx context.Context, name string, values bool) (*Pinned, error)
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

	// Accounts say what commits have, of a table whose rows do not say where they came
	// from: it has these in place of Rows and Records. It is one of them if Sum is set.
	Accounts []Account
	// Sum returns what each of the rows that are laid out for Schema adds to the sum of its
	// account, by its index, the place of its record and its number within that.
	Sum func(data arrow.RecordBatch) (func(row int, place pipeline.Position, sub int32) uint64, error)
	// Found is what the table says of itself.
	Found []Found
	// Decisions are those of operators about the table.
	Decisions []Decision
	// Notes are for people.
	Notes []string
}

// Found is something that a table with accounts says of itself.
type Found struct {
	Kind   Kind // empty: Count units cannot be judged
	Detail string
	Count  int64
}

// Row is where a row came from, as its metadata columns say.
type Row struct {
	Log   string // of the record, in the words of the columns
	Place pipeline.Position
	Sub   int32

	value sum
}

// Deps is what a verification reads. Everything is used by one goroutine.
type Deps struct {
	Pipeline string
	Source   Source
	Control  *pipeline.Control
	Plan     pipeline.Plan
	Tables   Tables
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
	d     Deps
	o     Options
	log   *pipeline.Decisions
	revs  []revision
	where pipeline.Coordinates // how rows say where their records were
	parts []*part
	logs  map[string]*part // by what rows say; nil: it is none of parts
	// streams are those that were ever read; live ones are there.
	streams []pipeline.Partition
	live    map[pipeline.Partition]bool
	tables  []*table
	byName  map[string]*table
	hash    *hasher // nil: values are not compared
	report  *Report
}

// table is a table that rows are expected in.
type table struct {
	name  string
	index int32
	pin   *Pinned // nil: not in order, or not there
	halt  error   // why nothing can be said about it; nil with pin nil: it is not there

	accounts map[pipeline.Partition]*accounts // nil: its rows say where they came from
}

func (t *table) schema() *schema.Schema {
	if t.pin == nil {
		return nil
	}
	return t.pin.Schema
}

// part is one partition and what of it is compared.
type part struct {
	index  int32
	raw    pipeline.Partition  // as the source calls it
	id     pipeline.Partition  // as the log and the tables call it
	run                        // what is read and compared
	origin pipeline.Position   // where the pipeline began
	low    pipeline.Position   // below it every table must have its rows: G, or "" if that is void
	gaps   []run               // accepted losses
	marks  []pipeline.Position // by table: what it must have, the later of its watermark and low
	opaque bool                // its rows cannot be told from those of an earlier log
}

// run is the positions from one to another of a partition.
type run struct{ from, to pipeline.Position }

func (r run) has(at pipeline.Position) bool { return at >= r.from && at < r.to }

func (r run) empty() bool { return r.from >= r.to }

// and returns what two runs have in common.
func (r run) and(o run) run { return run{max(r.from, o.from), min(r.to, o.to)} }

func within(rs []run, at pipeline.Position) bool {
	for _, r := range rs {
		if r.has(at) {
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
	v.settleAccounts()
	for {
		bad := clip(w.differing(v.parts))
		if len(bad) == 0 {
			return nil
		}
		if units(bad) <= w.limit || w.width == 1 {
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

// span is a run of one partition, and how many units were seen in it.
type span struct {
	part *part
	run
	units int64
}

func units(ss []span) (n int64) {
	for _, s := range ss {
		n += s.units
	}
	return n
}

func (v *verifier) whole() []span {
	var out []span
	for _, p := range v.parts {
		out = append(out, span{part: p, run: p.run})
	}
	return clip(out)
}

// clip cuts spans down to what is compared.
func clip(ss []span) []span {
	var out []span
	for _, s := range ss {
		if s.run = s.and(s.part.run); !s.empty() {
			out = append(out, s)
		}
	}
	return out
}

// pass adds what the source says and takes away what the tables hold, within the
// spans. The first pass also books what cannot be judged.
func (v *verifier) pass(ctx context.Context, w *windows, spans []span, first bool) error {
	for _, s := range spans {
		w.begin(s)
		err := v.read(ctx, s, visitor{
			first:   first,
			records: func(p *part, places []pipeline.Position) { w.records(p.index, places) },
			unit: func(u item, t *table) {
				switch {
				case t.halt != nil && first:
					v.report.Unverifiable++
				case t.halt != nil || u.at >= s.part.must(t):
				case t.accounts == nil:
					w.add(t.index, u, +1)
				case first:
					v.book(t, s.part, u)
				}
			},
		})
		if err != nil {
			return err
		}
	}
	return v.rows(ctx, spans, first, func(t *table, u item) { w.add(t.index, u, -1) })
}

// must returns the position below which a table has to have its rows.
func (p *part) must(t *table) pipeline.Position {
	if int(t.index) < len(p.marks) {
		return p.marks[t.index]
	}
	return p.low
}

// rows visits what the tables hold within the spans. On the first pass, rows that
// no span covers are booked.
func (v *verifier) rows(ctx context.Context, spans []span, first bool, visit func(*table, item)) error {
	in := make([][]run, len(v.parts))
	for _, s := range clip(spans) { // the source may have turned out shorter
		in[s.part.index] = append(in[s.part.index], s.run)
	}
	for _, t := range v.tables {
		if t.pin == nil || t.accounts != nil {
			continue
		}
		err := v.scan(ctx, t, func(r Row) error {
			if first {
				v.report.Rows[t.name]++
			}
			p := v.partOf(r.Log)
			if p == nil {
				if first {
					v.stranger(t, r)
				}
				return nil
			}
			u := item{unit{p.index, r.Sub, r.Place}, r.value}
			switch {
			case within(p.gaps, u.at), t.left(p, u.at):
			case within(in[p.index], u.at):
				visit(t, u)
			case first && p.opaque:
				v.report.Unverifiable++
			case first && u.at < p.from:
				v.report.Unverifiable++
				v.report.note("%s holds rows of %v that the source no longer has", t.name, p.id)
			case first && p.broken(u.at):
				v.report.Unverifiable++
			case first:
				v.find(Unexpected, t, p.id.Key(), u.unit)
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

// broken reports whether a place is where the source could not be read.
func (p *part) broken(at pipeline.Position) bool { return at >= p.to && at < max(p.low, p.highest()) }

func (p *part) highest() (m pipeline.Position) {
	for _, at := range p.marks {
		m = max(m, at)
	}
	return m
}

// partOf returns the partition that rows say, nil if the source does not have it, or
// several could be meant.
func (v *verifier) partOf(log string) *part {
	p, known := v.logs[log]
	if known {
		return p
	}
	n := 0
	for _, q := range v.parts {
		if named, ok := v.where.Partition(q.raw, log); ok && named == q.raw {
			p = q
			n++
		}
	}
	if n > 1 {
		p = nil
	}
	v.logs[log] = p
	return p
}

// stranger books a row of a partition that the source does not have.
func (v *verifier) stranger(t *table, r Row) {
	for _, s := range v.streams {
		p, ok := v.where.Partition(s, r.Log)
		there := slices.ContainsFunc(v.parts, func(q *part) bool { return q.raw == p })
		if _, read := t.pin.Ledger.Marks[p]; ok && !there && (read || !v.live[s]) {
			v.report.Unverifiable++
			v.report.note("%s holds rows of %v, which the source no longer has", t.name, p)
			return
		}
	}
	v.find(Unexpected, t, r.Log, unit{0, r.Sub, r.Place})
}

// find books a violation.
func (v *verifier) find(k Kind, t *table, log string, u unit) {
	v.report.find(v.o.Findings, Finding{Kind: k, Table: t.name, Partition: log, Record: v.where.Number(u.at), Sub: u.sub}, 1)
}

// left reports whether an operator chose to leave a table's rows out there.
func (t *table) left(p *part, at pipeline.Position) bool {
	if t.pin == nil {
		return false
	}
	for _, s := range t.pin.Left {
		if s.Partition == p.id && (run{s.From.At, s.To.At}).has(at) {
			return true
		}
	}
	return false
}

// count returns how many numbers a run has, 1 if they cannot be counted: enough to
// say that it is not empty.
func (v *verifier) count(r run) int64 {
	if r.empty() {
		return 0
	}
	if n, ok := v.d.Source.Distance(r.from, r.to); ok {
		return n
	}
	return 1
}

var errMoved = errors.New("the pipeline's decisions keep changing: try again when it has settled")
