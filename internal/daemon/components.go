package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/firehosed/firehosed/consumer/kinesis"
	"github.com/firehosed/firehosed/internal/inspect"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/schema"
)

// kind is one thing to choose from under source or sink.
type kind[T any] struct {
	name   string
	config func() any                        // a pointer to the default configuration
	build  func(cfg any, d deps) (*T, error) // cfg is such a pointer
}

func kindOf[C, T any](name string, def func() C, build func(C, deps) (*T, error)) kind[T] {
	return kind[T]{
		name:   name,
		config: func() any { c := def(); return &c },
		build:  func(cfg any, d deps) (*T, error) { return build(*cfg.(*C), d) },
	}
}

// deps is what components are built with.
type deps struct {
	name    string // of the pipeline
	log     *slog.Logger
	share   *pipeline.Share
	budget  int64                   // of the process, in bytes
	ctl     *pipeline.Control       // of sinks
	store   pipeline.Store          // of sources: what has to be remembered, in the control prefix
	starts  kinesis.Starts          // of sources: where reading would begin now
	columns *schema.Schema          // of sinks: what the source knows of each record
	where   pipeline.Coordinates    // of sinks: how rows say where their records were
	dead    func(table string) bool // of sinks: tells dead-letter tables, of all revisions
	watched *telemetry.Watched      // of sinks: who counts; nil: nobody
}

// sourceKind is a source to choose, with what must be known of it before it is built.
type sourceKind struct {
	kind[source]
	columns func(cfg any) *schema.Schema // what it knows of each record: its metadata columns
	where   pipeline.Coordinates         // how rows say where their records were, in those columns
	streams func(cfg any) decode.Streams // that it reads
	judges  func(cfg any, part *pure)    // sets what of it decides the fate of records; nil: nothing does
}

// source is a source as the daemon uses it.
type source struct {
	pipeline.Source
	start    time.Time                                      // where the very first start begins
	check    func(ctx context.Context) error                // can it be reached, is there something to read
	position func(text string) (pipeline.Position, error)   // as an operator writes it
	distance func(from, to pipeline.Position) (int64, bool) // records between, holes included; false: its numbers do not tell
	behind   func() map[pipeline.Partition]time.Duration    // how far what this worker reads is behind; nil: distance tells
	unpack   func(part *pure) pipeline.Stage                // a fresh stage that comes before all others; nil: there is none
	oldest   func(ctx context.Context, p pipeline.Partition, from pipeline.Position) (at pipeline.Position, ok bool, err error)
	close    func()
}

// sinkKind is a sink to choose, with what must be known of it before it is built.
type sinkKind struct {
	kind[sink]
	control func(cfg any, pipeline string) (location string, reach objstore.Config) // of the control prefix
	judges  func(cfg any, part *pure)                                               // sets what of it decides the fate of records
	check   func(cfg any, t targets) error                                          // of what is configured for tables, by key
	lookUp  func(ctx context.Context, cfg any) error                                // completes cfg by what others keep, before a worker begins; nil: all is in cfg
	places  func(cfg any) []string                                                  // where it writes: those of two sinks of a pipeline begin with none of each other's
	apart   string                                                                  // what makes it another
}

// sink is a sink as the daemon uses it.
type sink struct {
	pipeline.Sink
	keeper   keeper
	interval time.Duration                   // the commit interval
	check    func(ctx context.Context) error // can it be reached and written to
	inspect  func(ctx context.Context, table string) (tableState, error)
	refusal  func(ctx context.Context, table string, streams []string) (exists bool, err error) // why a table that is not bound would not be: a *pipeline.Halt
	tables   inspect.Tables                                                                     // for verify
	maintain func(ctx context.Context, table string) error                                      // nil: there is nothing to do
}
