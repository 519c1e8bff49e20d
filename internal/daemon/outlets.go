package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firehosed/firehosed/internal/inspect"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/transform"
	"github.com/firehosed/firehosed/s3sink"
)

// Outlet is one more sink for the records of a pipeline. It has tables, dead letters
// and positions of its own: neither it nor another waits for the rest.
type Outlet struct {
	// Sink is where rows go, too.
	Sink Sink `yaml:"sink"`

	// Routes say which table of this sink a record goes to. Default: those of the
	// pipeline.
	Routes []Route `yaml:"routes"`

	// DeadLetters is the table of this sink for what cannot become rows. Default
	// <pipeline>_dlq.
	DeadLetters string `yaml:"dead_letters"`

	// SourceBackup keeps records as the source has them, before unpack. It wants the sink
	// s3 with the format raw.
	SourceBackup bool `yaml:"source_backup"`
}

// outlet is one of the sinks of a pipeline, with what applies to it.
type outlet struct {
	name   string // "": it is the first
	key    string // in the configuration
	sink   component
	routes []Route
	dead   string                 // its dead-letter table, as it calls it
	unpack transform.UnpackConfig // nothing for a backup of the source
}

// outlets returns the sinks of a pipeline, the first one first.
func (p *Pipeline) outlets(name string) []outlet {
	all := []outlet{{key: "sink", sink: p.Sink.component, routes: p.Routes, dead: p.deadLetterTable(name), unpack: p.Unpack}}
	for _, also := range slices.Sorted(maps.Keys(p.Also)) {
		a := p.Also[also]
		o := outlet{
			name: also, key: "also." + also + ".sink", sink: a.Sink.component, routes: a.Routes, unpack: p.Unpack,
			dead: cmp.Or(a.DeadLetters, name+"_dlq"),
		}
		if o.routes == nil {
			o.routes = p.Routes
		}
		if a.SourceBackup {
			o.unpack = transform.UnpackConfig{}
		}
		all = append(all, o)
	}
	return all
}

// table returns the whole name of a table of the outlet.
func (o *outlet) table(name string) string { return wholeName(o.name, name) }

func wholeName(sink, table string) string {
	if sink == "" {
		return table
	}
	return sink + ":" + table
}

// validateOutlets checks the additional sinks by themselves.
func (p *Pipeline) validateOutlets() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.Also)) {
		a := p.Also[name]
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("also."+name+"."+format, args...))
		}
		if !pipeline.ValidName(name) {
			errs = append(errs, fmt.Errorf("also.%s: a sink's name has 1 to 64 lower-case letters, digits, _ and -", name))
		}
		if !a.Sink.given {
			bad("sink: is missing: write, for example, sink: {s3: {bucket: archive}}")
		}
		if a.DeadLetters != "" && !tableName.MatchString(a.DeadLetters) {
			bad("dead_letters: %q is no name for a table", a.DeadLetters)
		}
		for i := range a.Routes {
			errs = append(errs, below(fmt.Sprintf("also.%s.routes[%d]", name, i), a.Routes[i].validate()))
		}
		if s3, ok := a.Sink.cfg.(*s3sink.Config); a.SourceBackup && a.Sink.given && (!ok || s3.Format != s3sink.FormatRaw) {
			bad("source_backup: keeps records as they are: it wants sink: {s3: {format: raw}}")
		}
	}
	return errors.Join(errs...)
}

// lookUp completes what the sinks of a pipeline are configured with.
func (p *Pipeline) lookUp(ctx context.Context, name string) error {
	var errs []error
	for _, o := range p.outlets(name) {
		sk, err := chosenSink(o.sink)
		if err == nil && sk.lookUp != nil {
			err = below(o.key+"."+sk.name, sk.lookUp(ctx, o.sink.cfg))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// apart reports sinks that would write to the same place.
func apart(all []outlet) error {
	var errs []error
	kinds := make([]sinkKind, len(all))
	for i, o := range all {
		var err error
		if kinds[i], err = chosenSink(o.sink); err != nil {
			return err
		}
		for k, first := range all[:i] {
			if kinds[k].name == kinds[i].name && overlap(kinds[i].places(o.sink.cfg), kinds[i].places(first.sink.cfg)) {
				errs = append(errs, fmt.Errorf("%s.%s: writes to the same place as %s: give it %s of its own", o.key, kinds[i].name, first.key, kinds[i].apart))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// overlap reports whether a place of one lies in a place of the other.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return strings.HasPrefix(x, y) || strings.HasPrefix(y, x) })
	})
}

// outletSinks are the sinks of a pipeline, by name.
type outletSinks map[string]*sink

// of returns the sink that a table belongs to.
func (s outletSinks) of(table string) (*sink, error) {
	name, _ := pipeline.SplitTable(table)
	if sk := s[name]; sk != nil {
		return sk, nil
	}
	return nil, &pipeline.Halt{
		Class:  pipeline.HaltRefused,
		Detail: fmt.Sprintf("table %s belongs to the sink %q, which the configuration does not have any more", table, name),
		Remedy: "put also." + name + " back, or firehosed table forfeit " + table,
	}
}

// joined returns all as one sink.
func (s outletSinks) joined() *sink {
	return &sink{
		Sink: s, keeper: s, tables: s, interval: s[""].interval,
		inspect: func(ctx context.Context, table string) (tableState, error) {
			sk, err := s.of(table)
			if err != nil {
				return tableState{}, err
			}
			return sk.inspect(ctx, table)
		},
		refusal: func(ctx context.Context, table string, streams []string) (bool, error) {
			sk, err := s.of(table)
			if err != nil {
				return false, err
			}
			return sk.refusal(ctx, table, streams)
		},
		maintain: func(ctx context.Context, table string) error {
			sk, err := s.of(table)
			if err != nil || sk.maintain == nil {
				return err
			}
			return sk.maintain(ctx, table)
		},
		check: func(ctx context.Context) error {
			var errs []error
			for _, name := range slices.Sorted(maps.Keys(s)) {
				err := s[name].check(ctx)
				if name != "" {
					err = below("also."+name, err)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// intervals are the commit intervals of all but the first.
func (s outletSinks) intervals() map[string]time.Duration {
	all := map[string]time.Duration{}
	for name, sk := range s {
		if name != "" {
			all[name] = sk.interval
		}
	}
	return all
}

// Table implements [pipeline.Sink].
func (s outletSinks) Table(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Table, error) {
	sk, err := s.of(name)
	if err != nil {
		return nil, err
	}
	return sk.Table(ctx, name, st)
}

// Fence implements [pipeline.Sink].
func (s outletSinks) Fence(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Ledger, error) {
	sk, err := s.of(name)
	if err != nil {
		return pipeline.Ledger{}, err
	}
	return sk.Fence(ctx, name, st)
}

// Close implements [pipeline.Sink].
func (s outletSinks) Close(ctx context.Context) error {
	var errs []error
	for _, sk := range s {
		errs = append(errs, sk.Close(ctx))
	}
	return errors.Join(errs...)
}

// Resume implements keeper.
func (s outletSinks) Resume(ctx context.Context, table string, replay bool, starts func(context.Context, []pipeline.Partition) (pipeline.Vector, error)) error {
	sk, err := s.of(table)
	if err != nil {
		return err
	}
	return sk.keeper.Resume(ctx, table, replay, starts)
}

// Rebind implements keeper.
func (s outletSinks) Rebind(ctx context.Context, table string) (int64, error) {
	sk, err := s.of(table)
	if err != nil {
		return 0, err
	}
	return sk.keeper.Rebind(ctx, table)
}

// RebuildControl implements keeper. A sink writes the log of all its tables, and of no
// others.
func (s outletSinks) RebuildControl(ctx context.Context, tables []string, rev pipeline.Revision) error {
	if len(tables) == 0 {
		return s[""].keeper.RebuildControl(ctx, tables, rev)
	}
	first, _ := pipeline.SplitTable(tables[0])
	for _, table := range tables {
		if of, _ := pipeline.SplitTable(table); of != first {
			return fmt.Errorf("tables %s belong to several sinks, whose control log cannot be written anew from them: restore the control prefix from a copy", strings.Join(tables, ", "))
		}
	}
	sk, err := s.of(tables[0])
	if err != nil {
		return err
	}
	return sk.keeper.RebuildControl(ctx, tables, rev)
}

// Pin implements inspect.Tables.
func (s outletSinks) Pin(ctx context.Context, name string, values bool) (*inspect.Pinned, error) {
	sk, err := s.of(name)
	if err != nil {
		return nil, err
	}
	return sk.tables.Pin(ctx, name, values)
}
