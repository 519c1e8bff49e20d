package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/firehosed/firehosed/iceberg"
	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/schema"
)

// sinks lists the sinks to choose from.
func sinks() []sinkKind {
	return []sinkKind{{
		kind: kindOf("iceberg", iceberg.DefaultConfig, newIceberg),
		control: func(cfg any, name string) (string, objstore.Config) {
			return icebergControl(cfg.(*iceberg.Config), name)
		},
		judges: func(cfg any, part *pure) { part.Columns = icebergColumns(cfg.(*iceberg.Config)) },
		check:  func(cfg any, t targets) error { return checkIcebergTables(cfg.(*iceberg.Config), t) },
		places: func(cfg any) []string { return []string{cfg.(*iceberg.Config).CatalogIdentity() + "\n"} },
		apart:  "a catalog",
	}, s3Sink()}
}

func icebergControl(cfg *iceberg.Config, name string) (string, objstore.Config) {
	return cfg.ControlLocation(name), cfg.S3
}

// icebergColumns returns the types that tables declare.
func icebergColumns(cfg *iceberg.Config) map[string]map[string]string {
	declared := map[string]map[string]string{}
	for name, t := range cfg.Tables {
		if len(t.Columns) > 0 {
			declared[name] = t.Columns
		}
	}
	return declared
}

// ownColumns returns the columns that firehosed fills itself, of every table: what
// the source knows of each record, and what the dead-letter table has instead.
func ownColumns(meta *schema.Schema, dead func(table string) bool) func(table string) *schema.Schema {
	return func(table string) *schema.Schema {
		if dead(table) {
			return decode.DeadLetterSchema(meta)
		}
		s := &schema.Schema{ID: -1}
		s.Fields = append(s.Fields, meta.Fields...)
		s.Fields = append(s.Fields, schema.Field{Name: schema.Rescued, Type: &schema.Type{Kind: schema.String}})
		return s
	}
}

// checkIcebergTables returns what is wrong with the tables of a configuration.
func checkIcebergTables(cfg *iceberg.Config, t targets) error {
	errs := []error{cfg.CheckTables(ownColumns(t.meta, func(table string) bool { return table == t.dead }), config.Suggest)}
	for _, name := range slices.Sorted(maps.Keys(cfg.Tables)) {
		if problem := t.unreachable(name); problem != "" {
			errs = append(errs, fmt.Errorf("tables.%s: %s", name, problem))
		}
	}
	return errors.Join(errs...)
}

func newIceberg(cfg iceberg.Config, d deps) (*sink, error) {
	opts := []iceberg.Option{iceberg.WithLogger(d.log), iceberg.WithColumns(ownColumns(d.columns, d.dead)), iceberg.WithMemory(d.budget), iceberg.WithCoordinates(d.where)}
	if d.watched != nil {
		opts = append(opts, iceberg.WithObserver(iceberg.Observer{Sent: d.watched.Sent, File: d.watched.File}))
	}
	sk, err := iceberg.New(cfg, d.ctl, opts...)
	if err != nil {
		return nil, err
	}
	return &sink{
		Sink: sk, keeper: icebergKeeper{sk}, interval: cfg.CommitInterval,
		check:   func(ctx context.Context) error { return checkIceberg(ctx, cfg, sk) },
		inspect: func(ctx context.Context, table string) (tableState, error) { return inspectIceberg(ctx, sk, table) },
		refusal: sk.Refusal,
		tables:  icebergTables{sk, d.where},
		maintain: func(ctx context.Context, table string) error {
			_, err := sk.Maintain(ctx, table)
			return err
		},
	}, nil
}

// checkIceberg says in one line what stands in the way of writing: the first thing,
// since much else follows from it.
func checkIceberg(ctx context.Context, cfg iceberg.Config, sk *iceberg.Sink) error {
	if err := sk.CheckWarehouse(ctx); err != nil {
		return fmt.Errorf("sink.iceberg.warehouse: %w", explain(err, cfg.Warehouse))
	}
	if err := sk.CheckCatalog(ctx); err != nil {
		return fmt.Errorf("sink.iceberg.catalog: %w", explain(err, cfg.CatalogAddress()))
	}
	return nil
}

// icebergKeeper is an iceberg sink as operators' commands use it.
type icebergKeeper struct{ *iceberg.Sink }

// Resume implements keeper.
func (k icebergKeeper) Resume(ctx context.Context, table string, replay bool, starts func(context.Context, []pipeline.Partition) (pipeline.Vector, error)) error {
	mode := iceberg.Skip
	if replay {
		mode = iceberg.Replay
	}
	return k.Sink.Resume(ctx, table, mode, starts)
}

func inspectIceberg(ctx context.Context, sk *iceberg.Sink, table string) (tableState, error) {
	in, err := sk.Inspect(ctx, table)
	if err != nil {
		return tableState{}, fmt.Errorf("inspect: %w", err)
	}
	return tableState{
		Name: table, State: string(in.State), Reason: in.Reason, Remedy: remedy(in), Metadata: in.Metadata, Records: in.Records,
		Stamp: in.Stamp, Commits: in.Seq,
	}, nil
}

// remedy names the commands that decide what becomes of a table that is not in order.
func remedy(in iceberg.Inspection) string {
	switch in.State {
	case iceberg.Rewound:
		return fmt.Sprintf("firehosed table resume %s --replay (its rows come again) or --skip (they stay away)", in.Table)
	case iceberg.Lost, iceberg.Corrupt:
		return fmt.Sprintf("firehosed table resume %s --replay; if the control prefix was lost, restore it or run firehosed control rebuild", in.Table)
	case iceberg.Replaced:
		return fmt.Sprintf("firehosed table rebind %s (write to the new one) or firehosed table forfeit %s", in.Table, in.Table)
	case iceberg.Stricter:
		return fmt.Sprintf("make it optional again, or firehosed table rebind %s (records from then on that have no value for it are dead letters)", in.Table)
	default:
		return ""
	}
}
