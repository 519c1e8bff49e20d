package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
)

// unit is one pipeline with everything it works with. Nothing was called yet.
type unit struct {
	name   string
	to     string   // the kind of its first sink
	tables []string // that are known by name
	cfg    pipeline.Config
	src    *source
	where  pipeline.Coordinates // how rows say where their records were
	snk    *sink
	store  *control.Store
	ctl    *pipeline.Control
	line   commandLine
	plan   pipeline.Plan
	share  *pipeline.Share
	run    *pipeline.Pipeline // nil: operators look at it, and no worker is here
}

// build makes the unit of a pipeline. watched may be nil.
func build(ctx context.Context, f *File, name string, mem memory, log *slog.Logger, watched *telemetry.Watched) (*unit, error) {
	p := f.Pipelines[name]
	u := &unit{name: name, to: p.Sink.kind, share: mem.budget.Share()}
	u.line = f.commandLine(name)
	log = u.line.logger(log)
	own := log // the pipeline adds its name itself
	log = log.With(slog.String("pipeline", name))
	sk, err := chosenSink(p.Sink.component)
	if err != nil {
		return nil, err
	}
	location, reach := sk.control(p.Sink.cfg, name)
	bucket, err := objstore.Open(ctx, location, reach)
	if err != nil {
		return nil, fmt.Errorf("pipeline %q: control prefix: %w", name, err)
	}
	u.store = control.New(bucket)
	u.ctl = pipeline.NewControl(u.store, name, worker())
	d := deps{name: name, log: log, share: u.share, ctl: u.ctl, store: u.store, starts: u.starts, budget: flowing(mem.size), watched: watched}
	so, err := chosenSource(p.Source.component)
	if err != nil {
		return nil, err
	}
	if u.src, err = so.build(p.Source.cfg, d); err != nil {
		return nil, fmt.Errorf("pipeline %q: source %s: %w", name, so.name, err)
	}
	d.columns, d.where = so.columns(p.Source.cfg), so.where
	letters := &letterTables{}
	d.dead = letters.has
	u.where, u.plan = so.where, planOf(name, mem.decoders, u.src.unpack, watched, letters)
	for _, o := range p.outlets(name) {
		letters.add(o.table(o.dead)) // before there is a revision
	}
	intervals, err := u.buildSinks(&p, d)
	if err != nil {
		u.close(ctx)
		return nil, err
	}
	text, err := pureOf(name, &p, so)
	if err != nil {
		u.close(ctx)
		return nil, err
	}
	u.cfg = pipeline.Config{
		Name: name, Start: u.src.start, Pure: text, Rules: rulesVersion,
		CommitInterval: u.snk.interval, Intervals: intervals, LetGoAfter: p.LetGoAfter, MaxRows: p.MaxRows,
		DrainWait: f.ShutdownTimeout * 4 / 5, // the rest is for closing what is open
		Logger:    own,
	}
	return u, nil
}

// buildSinks makes the sinks, as one, and says which tables are known by name. It returns
// the commit intervals of all but the first.
func (u *unit) buildSinks(p *Pipeline, d deps) (map[string]time.Duration, error) {
	all, outlets := outletSinks{}, p.outlets(u.name)
	d.budget /= int64(len(outlets))
	for i := range outlets {
		o := &outlets[i]
		sk, err := chosenSink(o.sink)
		if err != nil {
			return nil, err
		}
		to, err := p.targets(u.name, o)
		if err != nil {
			return nil, err
		}
		for _, table := range to.named() {
			u.tables = append(u.tables, o.table(table))
		}
		built, err := sk.build(o.sink.cfg, d)
		if err != nil {
			return nil, fmt.Errorf("pipeline %q: %s.%s: %w", u.name, o.key, sk.name, err)
		}
		all[o.name] = built
		u.snk = all.joined() // if the next cannot be built, these are to be closed
	}
	return all.intervals(), nil
}

// starts returns where reading of partitions would begin now.
func (u *unit) starts(ctx context.Context, ps []pipeline.Partition) (map[pipeline.Partition]pipeline.Position, error) {
	if u.run == nil {
		return nil, errors.New("BUG: partitions are asked for where none is read")
	}
	return u.run.Starts(ctx, ps)
}

// close gives back what the unit holds.
func (u *unit) close(ctx context.Context) {
	if u.snk != nil {
		_ = u.snk.Close(ctx) // nothing is left to lose
	}
	if u.src != nil {
		u.src.close()
	}
}

func chosenSource(c component) (sourceKind, error) {
	for _, k := range sources() {
		if k.name == c.kind {
			return k, nil
		}
	}
	return sourceKind{}, fmt.Errorf("BUG: no source %q", c.kind)
}

func chosenSink(c component) (sinkKind, error) {
	for _, k := range sinks() {
		if k.name == c.kind {
			return k, nil
		}
	}
	return sinkKind{}, fmt.Errorf("BUG: no sink %q", c.kind)
}

// worker names this process in the control log.
func worker() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// one loads the file and builds the pipeline that an operator's command is about.
func (c *call) one(ctx context.Context) (*unit, *File, error) {
	f, name, err := c.named()
	if err != nil {
		return nil, nil, err
	}
	log, err := c.logger(f.Log)
	if err != nil {
		return nil, nil, err
	}
	u, err := build(ctx, f, name, newMemory(f.MemoryBudget), log, nil)
	return u, f, err
}

// named loads the file and chooses a pipeline.
func (c *call) named() (*File, string, error) {
	f, _, err := load(c.file, c.LookupEnv)
	if err != nil {
		return nil, "", err
	}
	names := slices.Sorted(maps.Keys(f.Pipelines))
	switch {
	case c.pipeline == "" && len(names) == 1:
		return f, names[0], nil
	case c.pipeline == "":
		return nil, "", usagef("%s has %d pipelines: choose one with -p: %s", c.file, len(names), strings.Join(names, ", "))
	case slices.Contains(names, c.pipeline):
		return f, c.pipeline, nil
	}
	if s := config.Suggest(c.pipeline, names); s != "" {
		return nil, "", usagef("%s has no pipeline %q; did you mean %q?", c.file, c.pipeline, s)
	}
	return nil, "", usagef("%s has no pipeline %q: it has %s", c.file, c.pipeline, strings.Join(names, ", "))
}

// check asks everything that the unit depends on. The error is one line for the
// source and one for the sink.
func (u *unit) check(ctx context.Context) error {
	var fromSource, toSink error
	var wg sync.WaitGroup
	wg.Go(func() { fromSource = u.src.check(ctx) })
	wg.Go(func() {
		if toSink = u.snk.check(ctx); toSink == nil {
			toSink = u.checkControl(ctx)
		}
	})
	wg.Wait()
	return errors.Join(fromSource, toSink)
}

func (u *unit) checkControl(ctx context.Context) error {
	if err := u.store.Probe(ctx); err != nil {
		return fmt.Errorf("sink.%s.control: %w", u.to, explain(err, u.store.Location("")))
	}
	return nil
}
