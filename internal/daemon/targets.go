package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/schema"
)

// targets is what a pipeline's configuration says of the tables that it feeds.
type targets struct {
	meta  *schema.Schema // what the source knows of each record
	dead  string         // the dead-letter table
	reach decode.Reach   // where records can go

	byField bool // some by a field of theirs
}

// targets returns the tables that an outlet of a pipeline has, whose source and routes
// are in order, as the outlet calls them.
func (p *Pipeline) targets(name string, o *outlet) (targets, error) {
	so, err := chosenSource(p.Source.component)
	if err != nil {
		return targets{}, err
	}
	rules := (&pure{Routes: o.routes}).rules(name, "")
	return targets{
		meta: so.columns(p.Source.cfg), dead: o.dead, reach: decode.ReachOf(rules, so.streams(p.Source.cfg)),
		byField: slices.ContainsFunc(o.routes, func(r Route) bool { return r.Field != "" }),
	}, nil
}

// named lists the tables that are known by name: the dead-letter table, and those
// that routes without a field lead to.
func (t targets) named() []string {
	names := append([]string{t.dead}, t.reach.Tables...)
	slices.Sort(names)
	return slices.Compact(names)
}

// unreachable says what is wrong with a table that is configured, or "".
func (t targets) unreachable(table string) string {
	lead := slices.Concat(t.reach.Tables, t.reach.Templates)
	if table == t.dead || t.reach.Has(table) || len(lead) == 0 { // the latter: what is read is not in order
		return ""
	}
	if s := config.Suggest(table, t.named()); s != "" {
		return fmt.Sprintf("no route leads to this table; did you mean %q?", s)
	}
	return "no route leads to this table: they lead to " + shorten(lead)
}

// validateTables checks what the sinks are told of tables against what the source
// brings and where the routes lead.
func (p *Pipeline) validateTables(name string) error {
	all := p.outlets(name)
	if p.Source.cfg == nil || slices.ContainsFunc(all, func(o outlet) bool { return o.sink.cfg == nil }) {
		return nil // what is not in order was reported
	}
	var errs []error
	for i := range all {
		o := &all[i]
		t, err := p.targets(name, o)
		if err != nil {
			return err
		}
		sk, err := chosenSink(o.sink)
		if err != nil {
			return err
		}
		errs = append(errs, below(o.key+"."+sk.name, sk.check(o.sink.cfg, t)))
	}
	return errors.Join(errors.Join(errs...), apart(all))
}
