package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firehosed/firehosed/internal/inspect"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/pipeline/transform"
	"github.com/firehosed/firehosed/s3sink"
	"github.com/firehosed/firehosed/schema"
)

func s3Sink() sinkKind {
	return sinkKind{
		kind: kindOf("s3", s3sink.DefaultConfig, newS3),
		control: func(cfg any, name string) (string, objstore.Config) {
			c := cfg.(*s3sink.Config)
			return c.ControlLocation(name), c.S3
		},
		judges: func(cfg any, part *pure) {
			c := cfg.(*s3sink.Config)
			part.Objects, part.Columns = c.Pure(), c.Columns
		},
		check:  func(cfg any, t targets) error { return checkS3Tables(cfg.(*s3sink.Config), t) },
		lookUp: func(ctx context.Context, cfg any) error { return lookUpColumns(ctx, cfg.(*s3sink.Config)) },
		places: func(cfg any) (all []string) {
			c := cfg.(*s3sink.Config)
			names, err := c.Pure().Names("table")
			if err != nil {
				return nil // it is reported
			}
			for _, folder := range names.Folders() {
				all = append(all, strings.TrimSuffix(c.Bucket, "/")+"/"+folder)
			}
			return all
		},
		apart: "a prefix and an error_output_prefix",
	}
}

// lookUpColumns takes types from Glue.
func lookUpColumns(ctx context.Context, cfg *s3sink.Config) error {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	if err := cfg.LookUpColumns(ctx); err != nil {
		return fmt.Errorf("glue: %w", explain(err, cmp.Or(cfg.Glue.Endpoint, "Glue in "+cmp.Or(cfg.Glue.Region, "the region of the environment"))))
	}
	return nil
}

// checkS3Tables returns what is wrong with a configuration for what comes and where it
// goes, by key.
func checkS3Tables(cfg *s3sink.Config, t targets) error {
	part := cfg.Pure()
	var errs []error
	names, badPrefix := part.Names("table")
	if badPrefix == nil { // else it was reported
		errs = append(errs, checkKeys(part, names))
	}
	if part.Columnar() && !part.Naming.PerTable() && (len(t.reach.Tables) > 1 || len(t.reach.Templates) > 0) {
		errs = append(errs, errors.New("prefix: files of several tables would lie in one folder, which readers take for one table: "+
			"begin it with !{firehosed:table}/"))
	}
	if part.Format == s3sink.FormatRaw && t.byField {
		errs = append(errs, errors.New("format: raw keeps records as they came, and a route looks into them for a field: write json_lines or parquet"))
	}
	for _, table := range slices.Sorted(maps.Keys(cfg.Columns)) {
		if problem := t.unreachable(table); problem != "" {
			errs = append(errs, fmt.Errorf("columns.%s: %s", table, problem))
		}
		for _, column := range slices.Sorted(maps.Keys(cfg.Columns[table])) {
			if _, err := schema.ParseType(cfg.Columns[table][column]); err != nil {
				errs = append(errs, fmt.Errorf("columns.%s.%s: %w", table, column, err))
			}
		}
	}
	for _, table := range slices.Sorted(maps.Keys(cfg.Glue.Tables)) {
		if problem := t.unreachable(table); problem != "" {
			errs = append(errs, fmt.Errorf("glue.tables.%s: %s", table, problem))
		}
	}
	for _, table := range t.named() {
		if why := s3sink.BadTable(table); why != "" {
			errs = append(errs, fmt.Errorf("bucket: %s; a route or dead_letters gives a table another name", why))
		} else if _, err := part.Names(table); err != nil && badPrefix == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkKeys compares the partition keys of the prefix with where they come from.
func checkKeys(part s3sink.Pure, names *s3sink.Names) error {
	from := s3sink.KeySources{Columns: part.Columnar() && len(names.Keys()) > 0}
	if part.MetadataExtractionQuery != "" {
		if part.Columnar() {
			return errors.New("metadata_extraction_query: with parquet the partition keys are columns, by name: remove it")
		}
		keys, err := transform.NewPartitionKeys(part.MetadataExtractionQuery)
		if err != nil {
			return fmt.Errorf("metadata_extraction_%w", err) // the error begins with query:
		}
		from.Query = keys.Names()
	}
	return names.CheckSources(from)
}

// objectDecoder returns the decoder of a format that keeps units as they came.
func objectDecoder(part s3sink.Pure) (func() pipeline.Decoder, error) {
	framer, err := s3sink.NewFramer(s3sink.Framing{Format: part.Format})
	if err != nil {
		return nil, err
	}
	names, err := part.Names("table")
	if err == nil {
		err = checkKeys(part, names)
	}
	if err != nil {
		return nil, err
	}
	return func() pipeline.Decoder {
		return &asObjects{part: part, check: framer.Check, tables: map[string]*decode.Bytes{}}
	}, nil
}

// asObjects decodes the units of every table by what its objects can be named after.
type asObjects struct {
	part   s3sink.Pure
	check  func(unit []byte) error
	keys   *transform.PartitionKeys // made with the first table
	tables map[string]*decode.Bytes
}

// Decode implements [pipeline.Decoder].
func (a *asObjects) Decode(ctx context.Context, b *pipeline.Batch, part pipeline.Part, s *schema.Schema) (pipeline.Rows, error) {
	d := a.tables[part.Table]
	if d == nil {
		var err error
		_, local := pipeline.SplitTable(part.Table)
		if d, err = a.decoder(local); err != nil {
			return pipeline.Rows{}, err
		}
		a.tables[part.Table] = d
	}
	return d.Decode(ctx, b, part, s)
}

func (a *asObjects) decoder(table string) (*decode.Bytes, error) {
	cfg := decode.BytesConfig{Check: a.check}
	if a.part.MetadataExtractionQuery == "" {
		return decode.NewBytes(cfg), nil
	}
	names, err := a.part.Names(table)
	if err != nil {
		return nil, err
	}
	if a.keys == nil {
		if a.keys, err = transform.NewPartitionKeys(a.part.MetadataExtractionQuery); err != nil {
			return nil, err
		}
	}
	cfg.Keys = a.keys
	order := make([]int, 0, len(names.Keys())) // of the keys of the prefix, in those of the query
	for _, k := range names.Keys() {
		order = append(order, slices.Index(a.keys.Names(), k.Name))
	}
	values := make([]string, len(order))
	cfg.CheckKeys = func(of []string) error {
		for i, at := range order {
			values[i] = of[at]
		}
		return names.CheckKeys(values)
	}
	return decode.NewBytes(cfg), nil
}

func newS3(cfg s3sink.Config, d deps) (*sink, error) {
	opts := []s3sink.Option{
		s3sink.WithLogger(d.log), s3sink.WithColumns(ownColumns(d.columns, func(string) bool { return false })), s3sink.WithDeadLetters(d.dead), s3sink.WithCoordinates(d.where),
	}
	if d.watched != nil {
		opts = append(opts, s3sink.WithObserver(s3sink.Observer{Sent: d.watched.Sent, Object: d.watched.File}))
	}
	sk, err := s3sink.New(cfg, d.ctl, opts...)
	if err != nil {
		return nil, err
	}
	return &sink{
		Sink: sk, keeper: s3Keeper{sk}, interval: cfg.CommitInterval(),
		check: func(ctx context.Context) error {
			if err := sk.Probe(ctx); err != nil {
				return fmt.Errorf("sink.s3.bucket: %w", explain(err, cfg.Bucket))
			}
			return nil
		},
		inspect: func(ctx context.Context, table string) (tableState, error) { return inspectS3(ctx, sk, table) },
		refusal: func(ctx context.Context, table string, _ []string) (bool, error) { return sk.Refusal(ctx, table) },
		tables:  s3Tables{sk},
		maintain: func(ctx context.Context, table string) error {
			_, err := sk.Clean(ctx, table)
			return err
		},
	}, nil
}

func inspectS3(ctx context.Context, sk *s3sink.Sink, table string) (tableState, error) {
	in, err := sk.Inspect(ctx, table)
	if err != nil {
		return tableState{}, fmt.Errorf("inspect: %w", err)
	}
	st := tableState{Name: table, State: stateOK, Location: in.Location, Objects: in.Objects, Records: in.Rows, Stamp: in.Stamp, Commits: in.Commits, Pending: in.Pending}
	if in.Halt != nil {
		st.Records = -1
		st.State, st.Reason, st.Remedy = in.Halt.Class, in.Halt.Detail, in.Halt.Remedy
	}
	return st, nil
}

// s3Keeper is an S3 sink as operators' commands use it.
type s3Keeper struct{ *s3sink.Sink }

// Resume implements keeper. No commit that is taken back was ever below the pipeline's low
// watermark, so its rows come again without a replay of the log.
func (k s3Keeper) Resume(ctx context.Context, table string, replay bool, _ func(context.Context, []pipeline.Partition) (pipeline.Vector, error)) error {
	switch n, err := k.Sink.Resume(ctx, table, replay); {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("table %s: there is nothing to decide: no commit of it has lost parts", table)
	}
	return nil
}

// Rebind implements keeper.
func (s3Keeper) Rebind(_ context.Context, table string) (int64, error) {
	return 0, fmt.Errorf("table %s: a folder of objects is not dropped and made anew like a table of a catalog: to begin again, give the pipeline another prefix", table)
}

// RebuildControl implements keeper.
func (s3Keeper) RebuildControl(context.Context, []string, pipeline.Revision) error {
	return errors.New("objects in S3 do not say which of them count, only the control prefix does: restore it from a copy, " +
		"or give the pipeline another prefix in the bucket and an empty control prefix; then its rows come again there")
}

// s3Tables reads tables for verify.
type s3Tables struct{ sink *s3sink.Sink }

var _ inspect.Tables = s3Tables{}

// Pin implements inspect.Tables. Rows in objects do not say where they came from: what
// commits claim is compared with the source, and objects with what was staged.
func (t s3Tables) Pin(ctx context.Context, name string, values bool) (*inspect.Pinned, error) {
	in, err := t.sink.Inspect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("pin table %s: %w", name, err)
	}
	if in.Halt != nil {
		return nil, in.Halt
	}
	a, err := t.sink.Audit(ctx, name, values)
	if err != nil {
		return nil, fmt.Errorf("pin table %s: %w", name, err)
	}
	s, err := t.sink.Schema(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("pin table %s: %w", name, err)
	}
	p := &inspect.Pinned{Ledger: a.Ledger, Schema: s, Sum: t.sink.Sums(name)}
	for _, acc := range a.Accounts {
		p.Accounts = append(p.Accounts, inspect.Account{What: acc.Commit, Partition: acc.Partition, From: acc.From, To: acc.To, Rows: acc.Rows, Sum: acc.Sum})
	}
	for _, o := range a.Removed {
		p.Found = append(p.Found, inspect.Found{Detail: o.Key + " is not there any more: consumers took it, or somebody removed it", Count: o.Rows})
	}
	for _, fault := range a.Faults {
		p.Found = append(p.Found, inspect.Found{Kind: inspect.Differs, Detail: fault, Count: 1})
	}
	for _, key := range a.Strange {
		p.Found = append(p.Found, inspect.Found{Kind: inspect.Unexpected, Detail: key + " is called like an object of the table and is in no commit", Count: 1})
	}
	for _, key := range a.LeftOut {
		p.Decisions = append(p.Decisions, inspect.Decision{Kind: "left out by resume --skip", What: name + " " + key})
	}
	for _, c := range a.Pending {
		p.Notes = append(p.Notes, "commit "+c+" is decided, and its objects may not all be visible: a worker that runs makes them so")
	}
	return p, nil
}
