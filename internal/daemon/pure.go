package daemon

import (
	"cmp"
	"fmt"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/transform"
	"github.com/firehosed/firehosed/s3sink"
)

// rulesVersion is the version of what this binary makes of a record under one and
// the same configuration. It is raised when a release judges any record
// differently; older versions that Plan still knows are listed beside it.
const rulesVersion = 1

// pure is the pure part of a pipeline's configuration: what decides the fate of a
// record, and nothing else. Sizes of files, intervals, addresses and credentials
// are not part of it, so they may change without a new revision.
//
// Its canonical form is kept in the control prefix for every revision, and later
// binaries must read it: a field may be added if its zero value means what was
// before, and never change its meaning.
type pure struct {
	Routes      []Route                      `yaml:"routes"`
	JSON        JSON                         `yaml:"json"`
	DeadLetters string                       `yaml:"dead_letters"`
	Columns     map[string]map[string]string `yaml:"columns"`         // declared types: table, column, type
	WrongShard  string                       `yaml:"kpl_wrong_shard"` // of the source kinesis
	Unpack      transform.UnpackConfig       `yaml:"unpack"`
	Objects     s3sink.Pure                  `yaml:"objects"` // of the sink s3
	Also        map[string]pure              `yaml:"also"`    // of the additional sinks
}

// asTheyCame tells whether units are kept as they came, each a row.
func (p *pure) asTheyCame() bool { return p.Objects.Format != "" && !p.Objects.Columnar() }

// defaultMaxTables is how many tables the values of a field may make.
const defaultMaxTables = 100

// deadLetterTable returns the name of the pipeline's dead-letter table.
func (p *Pipeline) deadLetterTable(name string) string { return cmp.Or(p.DeadLetters, name+"_dlq") }

// pureOf returns the pure part of a pipeline, defaults filled in: what a default
// is may change with a release, what a revision means may not.
func pureOf(name string, p *Pipeline, so sourceKind) ([]byte, error) {
	var part pure
	for _, o := range p.outlets(name) {
		of, err := pureOutlet(p, &o, so)
		switch {
		case err != nil:
			return nil, err
		case o.name == "":
			part = of
			continue
		case part.Also == nil:
			part.Also = map[string]pure{}
		}
		part.Also[o.name] = of
	}
	text, err := config.Canonical(part)
	if err != nil {
		return nil, fmt.Errorf("pipeline %q: %w", name, err)
	}
	return text, nil
}

// pureOutlet returns what decides the fate of records for one sink.
func pureOutlet(p *Pipeline, o *outlet, so sourceKind) (pure, error) {
	part := pure{JSON: p.JSON, DeadLetters: o.dead, Unpack: o.unpack}
	for _, r := range o.routes {
		if r.Field != "" {
			r.MaxTables = cmp.Or(r.MaxTables, defaultMaxTables)
		}
		part.Routes = append(part.Routes, r)
	}
	if so.judges != nil {
		so.judges(p.Source.cfg, &part)
	}
	sk, err := chosenSink(o.sink)
	if err == nil {
		sk.judges(o.sink.cfg, &part)
	}
	return part, err
}

// parsePure is the inverse of pureOf.
func parsePure(rev pipeline.Revision, text []byte) (pure, error) {
	var part pure
	if rev.Rules != rulesVersion {
		return part, fmt.Errorf("revision %d has rules version %d, this binary knows version %d: finish it with the release that began it",
			rev.Number, rev.Rules, rulesVersion)
	}
	err := config.FromCanonical(fmt.Sprintf("configuration of revision %d", rev.Number), text, &part)
	return part, err
}
