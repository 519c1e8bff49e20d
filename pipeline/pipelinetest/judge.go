package pipelinetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/firehosed/firehosed/pipeline"
)

// direct is the control store without its faults. World.mu is held.
type direct struct{ w *World }

func (s direct) Get(_ context.Context, key string) ([]byte, error) { return s.w.store[key], nil }

func (s direct) Swap(_ context.Context, key string, _, val []byte) error {
	s.w.store[key] = val
	return nil
}

func (s direct) Keys(_ context.Context, prefix string) ([]string, error) {
	return s.w.keys(prefix), nil
}

func (s direct) Delete(context.Context, string) error { return nil }

// law is what the control log says, by which records are judged.
type law struct {
	log      *pipeline.Decisions
	revs     []pipeline.Revision
	rules    []int             // of revs
	barriers []pipeline.Vector // of revs
	origins  map[pipeline.Partition]pipeline.Position
}

// law reads the control prefix. World.mu is held.
func (w *World) law() *law {
	ctx, ctl := context.Background(), pipeline.NewControl(direct{w}, pipelineName, "judge")
	l := &law{origins: map[pipeline.Partition]pipeline.Position{}}
	var err error
	if l.log, err = ctl.Read(ctx); err != nil {
		w.fault("control log: %v", err)
		return l
	}
	l.revs = l.log.Revisions()
	for _, r := range l.revs {
		text, _ := ctl.Pure(ctx, r.SHA256)
		pure, err := pipeline.DecodePure(text)
		if err != nil {
			w.fault("revision %d: %v", r.Number, err)
		}
		n, _ := rulesOf(pure.Config)
		l.rules = append(l.rules, n)
		b, done, _ := ctl.Barrier(ctx, r.Number)
		if !done && len(l.barriers) > 0 {
			l.revs = l.revs[:len(l.barriers)] // this one is not in force anywhere yet
			break
		}
		l.barriers = append(l.barriers, b)
	}
	w.checkBudgets(l.log)
	origins, err := ctl.AllOrigins(ctx, l.log.Stamp().Epoch)
	if err != nil {
		w.fault("origins: %v", err)
	}
	for _, o := range origins {
		for p, m := range o.At {
			l.origins[p] = m.At.At
		}
	}
	return l
}

// checkBudgets finds a name that was admitted although what counts for its revision was
// full already. Names of a revision before, which a reader behind its end may still
// admit, count for later revisions only, and may then be more than these have room for.
func (w *World) checkBudgets(log *pipeline.Decisions) {
	began := map[int64]int{} // index of the entry, by revision
	for i := range log.Entries {
		e := &log.Entries[i]
		if e.Kind == pipeline.KindRev {
			began[e.Rev] = i
		}
		if e.Kind != pipeline.KindAdmit {
			continue
		}
		sink, _ := pipeline.SplitTable(e.Table)
		names := map[string]bool{}
		for k := range log.Entries[:i] {
			o := &log.Entries[k]
			of, _ := pipeline.SplitTable(o.Table)
			if o.Kind == pipeline.KindAdmit && of == sink && (k < began[e.Rev] || o.Rev == e.Rev) {
				names[o.Table] = true
			}
		}
		if len(names) >= maxTables {
			w.fault("revision %d admitted %s beside %d others, more than its budget", e.Rev, e.Table, len(names))
		}
	}
}

// homes returns the tables where a record belongs, at most one in each sink.
func (l *law) homes(p pipeline.Partition, at pipeline.Position, val string) (tables []string) {
	for _, sink := range sinks {
		if table := l.home(sink, p, at, val); table != "" {
			tables = append(tables, table)
		}
	}
	return tables
}

// home returns the table of a sink where a record belongs; "": none.
func (l *law) home(sink string, p pipeline.Partition, at pipeline.Position, val string) string {
	for i, r := range slices.Backward(l.revs) {
		if l.barriers[i][p].At.At > at {
			continue
		}
		table := verdict(sink, val, l.rules[i])
		if table != "" && (refused(val) || dynamic(table) && !l.log.Admitted(named(sink, table), r.Number)) {
			table = deadLetters
		}
		return named(sink, table)
	}
	return ""
}

// copies counts a record in the table where it belongs.
func (w *World) copies(table string, p pipeline.Partition, r record) int {
	t, n := w.tables[table], 0
	if t == nil {
		return 0
	}
	for _, v := range t.rows[RowID{p, Pos(r.at)}] {
		if v != r.val {
			w.fault("%s: row %v %s reads %q, not %q", table, p.ID, Pos(r.at), v, r.val)
		}
		n++
	}
	return n
}

// checkLow judges an acknowledged low watermark: nothing below it may be missing.
// A stamp that the log has left behind makes it void or caps it.
func (w *World) checkLow(p pipeline.Partition, low pipeline.Position, st pipeline.Stamp) {
	l := w.law()
	if l.log == nil || st != l.log.Stamp() {
		return
	}
	if missing := w.firstMissing(l, p); missing < low {
		w.fault("low watermark %q of %s is past a missing record at %s: %s", low, p.ID, missing, w.describe(l, p, missing))
	}
}

// firstMissing returns the position of the first record that is not in its table.
func (w *World) firstMissing(l *law, p pipeline.Partition) pipeline.Position {
	for _, r := range w.logs[p].recs {
		at := Pos(r.at)
		for _, table := range l.homes(p, at, r.val) {
			if at >= l.origins[p] && w.copies(table, p, r) == 0 {
				return at
			}
		}
	}
	return w.logs[p].last()
}

// Judge returns how many records are missing, and all that is wrong.
func (w *World) Judge() (missing int, faults []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.law()
	rows := 0
	for p, log := range w.logs {
		for _, r := range log.recs {
			if Pos(r.at) < l.origins[p] {
				continue
			}
			for _, table := range l.homes(p, Pos(r.at), r.val) {
				rows++
				switch n := w.copies(table, p, r); {
				case n == 0:
					missing++
				case n > 1:
					w.fault("%d copies of %q at %s/%s in %s", n, r.val, p.ID, Pos(r.at), table)
				}
			}
		}
	}
	have := 0
	for _, t := range w.tables {
		have += len(t.rows)
	}
	if missing == 0 && have != rows {
		w.fault("tables hold %d positions, the logs %d", have, rows)
	}
	return missing, w.faults
}

// Drained reports whether the group's low watermarks have reached the end.
func (w *World) Drained() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, l := range w.logs {
		if h := w.group[p]; h.At.At != l.last() || h.Stamp.Pipeline == "" {
			return false
		}
	}
	return true
}

// Closed reports whether everything of a closed log is durable, so that the
// shards it was split into may be read.
func (w *World) Closed(p pipeline.Partition) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.group[p].At.At == pipeline.End
}

// describe says what a record is and where it belongs.
func (w *World) describe(l *law, p pipeline.Partition, at pipeline.Position) string {
	for _, r := range w.logs[p].recs {
		if Pos(r.at) == at {
			return fmt.Sprintf("%q belongs in %v at stamp %v, admitted %v", r.val, l.homes(p, at, r.val), l.log.Stamp(), l.log.AdmittedNames(l.log.Stamp().Rev))
		}
	}
	return "the end"
}

// Rows returns the values in a table, by where they came from; more than one is a
// duplicate. It is for tests with a source of their own.
func (w *World) Rows(table string) map[RowID][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := map[RowID][]string{}
	if r := w.tables[table]; r != nil {
		for id, vals := range r.rows {
			rows[id] = slices.Clone(vals)
		}
	}
	return rows
}
