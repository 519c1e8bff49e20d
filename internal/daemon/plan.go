package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/pipeline/transform"
	"github.com/firehosed/firehosed/s3sink"
	"github.com/firehosed/firehosed/schema"
)

// planOf returns how the steps of a revision of the named pipeline are built from
// its pure part, and notes in letters where dead letters go. Lanes decode with what
// decoders lends. unpack returns the stage that comes first; it and watched may be nil.
func planOf(name string, decoders *decode.Pool, unpack func(*pure) pipeline.Stage, watched *telemetry.Watched, letters *letterTables) pipeline.Plan {
	p := planner{name, decoders, unpack, watched, letters}
	return func(rev pipeline.Revision, text []byte, admit pipeline.Admit) (func() []pipeline.Steps, error) {
		part, err := parsePure(rev, text)
		if err != nil {
			return nil, err
		}
		first, err := p.steps("", &part, rev, admit)
		if err != nil {
			return nil, err
		}
		all := []func() pipeline.Steps{first}
		for _, sink := range slices.Sorted(maps.Keys(part.Also)) {
			also := part.Also[sink]
			more, err := p.steps(sink, &also, rev, admit)
			if err != nil {
				return nil, fmt.Errorf("sink %q: %w", sink, err)
			}
			all = append(all, more)
		}
		return func() []pipeline.Steps {
			steps := make([]pipeline.Steps, len(all))
			for i, fresh := range all {
				steps[i] = fresh()
			}
			return steps
		}, nil
	}
}

// planner is what steps are made with.
type planner struct {
	name     string // of the pipeline
	decoders *decode.Pool
	unpack   func(*pure) pipeline.Stage
	watched  *telemetry.Watched
	letters  *letterTables
}

// letterTables are the tables that dead letters went to under a revision that steps were
// made of. Safe for concurrent use.
type letterTables struct{ names sync.Map }

func (l *letterTables) add(table string) { l.names.Store(table, true) }

func (l *letterTables) has(table string) bool {
	_, ok := l.names.Load(table)
	return ok
}

// steps returns what makes the steps for one sink.
func (p *planner) steps(sink string, part *pure, rev pipeline.Revision, admit pipeline.Admit) (func() pipeline.Steps, error) {
	tables, err := declaredTypes(sink, part.Columns)
	if err != nil {
		return nil, err
	}
	opts, dead := part.JSON.options(), wholeName(sink, part.DeadLetters)
	p.letters.add(dead)
	route := decode.RouteConfig{Rules: part.rules(p.name, sink), Reserved: []string{dead}, Options: opts, Whole: part.asTheyCame()}
	if part.Objects.Format != "" {
		route.BadTable = func(name string) string {
			_, local := pipeline.SplitTable(name)
			return s3sink.BadTable(local)
		}
	}
	stages, err := part.stages(route, admit, p.unpack)
	if err != nil {
		return nil, err
	}
	decoder := func() pipeline.Decoder {
		json := decode.NewJSON(decode.Config{Options: opts, Tables: tables, Pool: p.decoders})
		if p.watched == nil {
			return json
		}
		return rescueCounter{json, p.watched}
	}
	if part.asTheyCame() {
		if decoder, err = objectDecoder(part.Objects); err != nil {
			return nil, err
		}
	}
	return func() pipeline.Steps {
		return pipeline.Steps{
			Sink: sink, Stages: stages(), Decoder: decoder(), DeadLetters: dead,
			LayRejects: decode.DeadLetters{Rev: rev.Number, MaxPayload: opts.MaxRecordBytes}.Lay,
		}
	}, nil
}

// stages returns what makes the stages before the decoder, fresh ones each time.
func (p *pure) stages(route decode.RouteConfig, admit pipeline.Admit, unpack func(*pure) pipeline.Stage) (func() []pipeline.Stage, error) {
	build := func() ([]pipeline.Stage, error) {
		var all []pipeline.Stage
		if unpack != nil {
			all = append(all, unpack(p))
		}
		if p.Unpack != (transform.UnpackConfig{}) {
			u, err := transform.NewUnpack(p.Unpack)
			if err != nil {
				return nil, err
			}
			all = append(all, u)
		}
		r, err := decode.NewRoute(route, admit)
		return append(all, r), err
	}
	if _, err := build(); err != nil {
		return nil, err
	}
	return func() []pipeline.Stage {
		all, err := build()
		if err != nil {
			panic(fmt.Sprintf("BUG: stages were built before: %v", err))
		}
		return all
	}, nil
}

// rescueCounter counts the rows that kept a value that fits no column.
type rescueCounter struct {
	pipeline.Decoder
	watched *telemetry.Watched
}

// Decode implements pipeline.Decoder.
func (c rescueCounter) Decode(ctx context.Context, b *pipeline.Batch, part pipeline.Part, s *schema.Schema) (pipeline.Rows, error) {
	rows, err := c.Decoder.Decode(ctx, b, part, s)
	if err != nil || rows.Want != nil { // else they are laid out again, with room
		return rows, err
	}
	for _, i := range rows.Data.Schema().FieldIndices(schema.Rescued) {
		col := rows.Data.Column(i)
		if n := col.Len() - col.NullN(); n > 0 {
			c.watched.Rescued(part.Table, n)
		}
	}
	return rows, nil
}

// rules returns the routes into a sink's tables, with the default one at the end.
func (p *pure) rules(name, sink string) []decode.Rule {
	var rules []decode.Rule
	for _, r := range p.Routes {
		rules = append(rules, decode.Rule{Topic: r.Topic, Field: r.Field, Table: wholeName(sink, r.Table), MaxTables: cmp.Or(r.MaxTables, defaultMaxTables)})
	}
	return append(rules, decode.Rule{Table: wholeName(sink, name+".{topic}")})
}

func (j *JSON) options() schema.Options {
	return schema.Options{
		MaxRecordBytes: int(j.MaxRecordBytes), MaxDepth: j.MaxDepth, MaxName: int(j.MaxNameBytes),
		MaxKeys: j.MaxKeysPerRecord, MaxNumberBytes: int(j.MaxNumberBytes), MaxColumns: j.MaxColumns,
		SkipEmpty: j.Empty == skip, RejectTombstones: j.Tombstones == deadLetter,
	}
}

// declaredTypes parses the types that were declared for columns of a sink's tables.
func declaredTypes(sink string, columns map[string]map[string]string) (map[string]*schema.Schema, error) {
	tables := map[string]*schema.Schema{}
	for _, table := range slices.Sorted(maps.Keys(columns)) {
		s := &schema.Schema{ID: -1}
		for _, column := range slices.Sorted(maps.Keys(columns[table])) {
			t, err := schema.ParseType(columns[table][column])
			if err != nil {
				return nil, fmt.Errorf("type of column %q of table %q: %w", column, table, err)
			}
			s.Fields = append(s.Fields, schema.Field{Name: column, Type: t})
		}
		tables[wholeName(sink, table)] = s
	}
	return tables, nil
}
