package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// tableState is what a table and the control log say about each other.
type tableState struct {
	Name     string         `json:"name"`
	State    string         `json:"state"`            // OK, UNBOUND, or the class of the halt
	Reason   string         `json:"reason,omitempty"` // of anything else than OK
	Remedy   string         `json:"remedy,omitempty"` // the command that decides
	Metadata string         `json:"metadata_location,omitempty"`
	Location string         `json:"location,omitempty"` // the folder of its objects, of the sink s3
	Objects  int64          `json:"objects,omitempty"`  // of the sink s3
	Pending  int            `json:"pending_commits"`    // decided, and not published yet
	Records  int64          `json:"records"`            // -1: not known
	Stamp    pipeline.Stamp `json:"stamp"`
	Commits  int64          `json:"commits"` // of this pipeline
}

// States of a table that wait for nobody.
const (
	stateOK      = "OK"
	stateUnbound = "UNBOUND" // no row has come for it yet
)

func (t *tableState) halted() bool { return t.State != stateOK && t.State != stateUnbound }

// partitionState is how far one partition is.
type partitionState struct {
	Partition string            `json:"partition"` // source key
	Topic     string            `json:"topic"`
	ID        string            `json:"id"`
	Low       pipeline.Position `json:"low"` // committed to every table, as the source keeps it; "": not known
	End       pipeline.Position `json:"end"`
	Lag       *int64            `json:"lag_records"` // null: not known
	Halt      *pipeline.Halt    `json:"halt,omitempty"`
	Err       string            `json:"error,omitempty"`
}

// pipelineState is what "status" tells of a pipeline.
type pipelineState struct {
	Pipeline   string           `json:"pipeline"`
	Control    string           `json:"control"`
	Stamp      pipeline.Stamp   `json:"stamp"`
	Decisions  int              `json:"decisions"` // entries of the control log
	Last       time.Time        `json:"last_decision"`
	Tables     []tableState     `json:"tables"`
	Partitions []partitionState `json:"partitions"`
	Problems   []string         `json:"problems,omitempty"` // what could not be read
}

// statusCommand is "status": of one pipeline, or of all.
func statusCommand(ctx context.Context, c *call) error {
	f, _, err := load(c.file, c.LookupEnv)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(f.Pipelines))
	if c.pipeline != "" {
		_, name, err := c.named()
		if err != nil {
			return err
		}
		names = []string{name}
	}
	log, err := c.logger(f.Log)
	if err != nil {
		return err
	}
	var all []pipelineState
	halted, failed := false, false
	for _, name := range names {
		u, err := build(ctx, f, name, newMemory(f.MemoryBudget), log, nil)
		if err != nil {
			return err
		}
		st := u.state(ctx)
		u.close(ctx)
		all = append(all, st)
		failed = failed || len(st.Problems) > 0
		halted = halted || slices.ContainsFunc(st.Tables, func(t tableState) bool { return t.halted() }) ||
			slices.ContainsFunc(st.Partitions, func(p partitionState) bool { return p.Halt != nil })
	}
	if err := c.result(map[string]any{"pipelines": all}, func(w io.Writer) {
		for i := range all {
			all[i].text(w)
		}
	}); err != nil {
		return err
	}
	switch {
	case halted:
		return &exitError{code: ExitHalted}
	case failed:
		return &exitError{code: ExitFailed}
	}
	return nil
}

// state reads everything there is to know about the pipeline, and notes what it
// cannot read.
func (u *unit) state(ctx context.Context) pipelineState {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	st := pipelineState{Pipeline: u.name, Control: u.store.Location(""), Tables: []tableState{}, Partitions: []partitionState{}}
	log, err := u.ctl.Read(ctx)
	if err != nil {
		st.Problems = append(st.Problems, fmt.Sprintf("control prefix: %v", explain(err, st.Control)))
		return st
	}
	st.Stamp, st.Decisions = log.Stamp(), len(log.Entries)
	if n := len(log.Entries); n > 0 {
		st.Last = log.Entries[n-1].At
	}
	u.learn(ctx, log)
	parts, err := u.src.Partitions(ctx)
	u.tableStates(ctx, &st, log, parts)
	for i := range st.Tables {
		st.Tables[i].Reason, st.Tables[i].Remedy = u.line.complete(st.Tables[i].Reason), u.line.complete(st.Tables[i].Remedy)
	}
	if err != nil {
		if better := u.src.check(ctx); better != nil { // as run says it
			err = better
		}
		st.Problems = append(st.Problems, fmt.Sprintf("source: %v", err))
		return st
	}
	st.Partitions = make([]partitionState, len(parts))
	var wg sync.WaitGroup
	turns := make(chan struct{}, 8)
	for i, p := range parts {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			st.Partitions[i] = u.partitionState(ctx, p, st.Stamp)
			st.Partitions[i].Halt = u.line.halt(st.Partitions[i].Halt)
		})
	}
	wg.Wait()
	slices.SortFunc(st.Partitions, func(a, b partitionState) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	return st
}

// tableStates looks at the tables that are bound, and at those that would be when a
// row comes for them: by name in the configuration, or admitted by a value.
func (u *unit) tableStates(ctx context.Context, st *pipelineState, log *pipeline.Decisions, parts []pipeline.Partition) {
	bound := log.BoundTables()
	var streams []string
	for _, p := range parts {
		streams = append(streams, log.Identity(p).StreamKey())
	}
	all := slices.Concat(bound, u.tables, log.AdmittedNames(st.Stamp.Rev))
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		t, err := tableState{Name: name, State: stateUnbound, Reason: "it is made when the first row comes for it", Records: -1}, error(nil)
		if slices.Contains(bound, name) {
			if t, err = u.snk.inspect(ctx, name); err != nil {
				if halt, ok := errors.AsType[*pipeline.Halt](err); ok { // such as a table that is gone
					t, err = tableState{Name: name, State: halt.Class, Reason: halt.Detail, Remedy: halt.Remedy, Records: -1}, nil
				}
			}
		}
		if err == nil && (t.State == stateOK || t.State == stateUnbound) && t.Commits == 0 {
			err = u.refused(ctx, &t, streams)
		}
		switch {
		case log.Forfeited(name):
		case err != nil:
			st.Problems = append(st.Problems, fmt.Sprintf("table %s: %v", name, err))
		default:
			st.Tables = append(st.Tables, t)
		}
	}
}

// refused notes in t what will keep a table from taking its first rows.
func (u *unit) refused(ctx context.Context, t *tableState, streams []string) error {
	exists, err := u.snk.refusal(ctx, t.Name, streams)
	if exists && t.State == stateUnbound {
		t.Reason = "it is there already; this pipeline has written no row to it"
	}
	if halt, ok := errors.AsType[*pipeline.Halt](err); ok {
		t.State, t.Reason, t.Remedy, err = halt.Class, halt.Detail, halt.Remedy, nil
	}
	return err
}

func (p *partitionState) sortKey() string { return fmt.Sprintf("%s/%12s", p.Topic, p.ID) }

func (u *unit) partitionState(ctx context.Context, p pipeline.Partition, stamp pipeline.Stamp) partitionState {
	ps := partitionState{Partition: p.Key(), Topic: u.src.Name(p), ID: p.ID}
	hint, err := u.src.Hint(ctx, p)
	end, err2 := u.src.Locate(ctx, p, endOfTime())
	if err := errors.Join(err, err2); err != nil {
		ps.Err = err.Error()
		return ps
	}
	ps.End = end.At
	if hint.Stamp.SameRun(stamp) {
		ps.Low = hint.At.At
	}
	if ps.Low == "" {
		return ps
	}
	if n, ok := u.src.distance(ps.Low, ps.End); ok {
		ps.Lag = &n
	}
	if u.ctl.Known().Gap(u.ctl.Known().Identity(p), ps.Low) != ps.Low {
		return ps // an operator has accepted that it is overtaken
	}
	if err := u.tryRead(ctx, p, hint.At); err != nil && !errors.As(err, &ps.Halt) {
		ps.Err = err.Error()
	}
	return ps
}

// tryWait is how long a source that finds out by reading may take to find out.
const tryWait = time.Second

// tryRead begins to read as a worker would, and returns what stands in the way.
func (u *unit) tryRead(ctx context.Context, p pipeline.Partition, at pipeline.Cursor) error {
	r, err := u.src.Open(ctx, p, pipeline.Start{At: at})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if u.src.behind == nil { // it would have said so by now
		return nil
	}
	if until, ok := ctx.Deadline(); ok && time.Until(until) < tryWait {
		return fmt.Errorf("whether it can be read was not tried: the %v for all partitions are over", checkWait)
	}
	wait, cancel := context.WithTimeout(ctx, tryWait)
	defer cancel()
	b, err := r.Next(wait)
	switch {
	case err == nil:
		b.Release()
	case errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil: // there is nothing to read
		return nil
	}
	return err
}

func (s *pipelineState) text(w io.Writer) {
	say(w, "pipeline %s: revision %d, epoch %d, replay %d; %d decisions in %s\n",
		s.Pipeline, s.Stamp.Rev, s.Stamp.Epoch, s.Stamp.Replay, s.Decisions, s.Control)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, t := range s.Tables {
		if t.State == stateUnbound {
			say(tw, "  table %s\t%s\t%s\n", t.Name, t.State, t.Reason)
			continue
		}
		pending := ""
		if t.Pending > 0 {
			pending = fmt.Sprintf("\t%d of them to be published", t.Pending)
		}
		say(tw, "  table %s\t%s\t%s rows\t%d commits%s\n", t.Name, t.State, rowsText(t.Records), t.Commits, pending)
	}
	_ = tw.Flush()
	for _, p := range s.Partitions {
		lag := "not known"
		if p.Lag != nil {
			lag = grouped(*p.Lag)
		}
		say(tw, "  %s/%s\tlag %s\t%s\n", p.Topic, p.ID, lag, p.Err)
	}
	_ = tw.Flush()
	for _, t := range s.Tables {
		if t.halted() {
			say(w, "  HALTED: table %s is %s: %s\n    %s\n", t.Name, t.State, t.Reason, t.Remedy)
		}
	}
	for _, p := range s.Partitions {
		if p.Halt != nil {
			say(w, "  HALTED: partition %s/%s: %s: %s\n    %s\n", p.Topic, p.ID, p.Halt.Class, p.Halt.Detail, p.Halt.Remedy)
		}
	}
	for _, p := range s.Problems {
		say(w, "  not readable: %s\n", p)
	}
}

func rowsText(n int64) string {
	if n < 0 {
		return "?"
	}
	return grouped(n)
}
