package s3sink

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/internal/retry"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Sink writes the tables of one pipeline as objects under a prefix of a bucket. Safe for
// concurrent use.
type Sink struct {
	cfg      Config
	ctl      *pipeline.Control
	pipeline string
	log      *slog.Logger
	obs      Observer
	base     func(table string) *schema.Schema
	where    pipeline.Coordinates    // nil: records are where their cursors say
	dead     func(table string) bool // tells tables of dead letters
	framer   *Framer                 // nil: columnar
	pool     *parquetfile.Pool       // nil: not columnar

	pause      func(ctx context.Context, attempt int) error
	now        func() time.Time
	settling   time.Duration
	chunk      int // bytes of a value of a manifest
	completers int
	width      int // open objects of a prefix
	objectSize int64

	opening turn
	bucket  objstore.Stager // set under opening, before any table is handed out

	mu struct {
		sync.Mutex
		tables map[string]*table
	}
}

var _ pipeline.Sink = (*Sink)(nil)

// Option changes what a sink works with.
type Option func(*Sink)

// WithLogger sets where the sink logs to. Default: nowhere.
func WithLogger(l *slog.Logger) Option { return func(s *Sink) { s.log = l } }

// WithColumns sets the columns that every table of format parquet has from the start:
// those that firehosed fills itself. Default: none.
func WithColumns(f func(table string) *schema.Schema) Option { return func(s *Sink) { s.base = f } }

// WithCoordinates says how batches tell where their records were, the same on every
// reading. Default: by their cursors, which some sources cut according to where reading began.
func WithCoordinates(where pipeline.Coordinates) Option { return func(s *Sink) { s.where = where } }

// places returns what says of a record of b, by its index, where it was.
func (s *Sink) places(b *pipeline.Batch) (func(rec int) pipeline.Position, error) {
	if s.where == nil {
		return func(rec int) pipeline.Position { return b.Cursor(rec).At }, nil
	}
	return pipeline.Places(s.where, b)
}

// number returns a place as people know the record.
func (s *Sink) number(place pipeline.Position) string {
	if s.where == nil {
		return string(place)
	}
	return s.where.Number(place)
}

// New checks cfg and returns a sink of the pipeline that ctl belongs to. The first call
// to the store is made by Table.
func New(cfg Config, ctl *pipeline.Control, opts ...Option) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("s3 sink: %w", err)
	}
	s := &Sink{
		cfg: cfg, ctl: ctl, pipeline: ctl.Known().Stamp().Pipeline,
		log: slog.New(slog.DiscardHandler), base: func(string) *schema.Schema { return &schema.Schema{ID: -1} }, dead: func(string) bool { return false },
		pause: retry.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}.Wait, now: time.Now, settling: settling, chunk: chunkBytes, completers: completers, width: runtime.GOMAXPROCS(0), objectSize: cfg.bufferSize(), opening: newTurn(),
	}
	s.mu.tables = map[string]*table{}
	for _, o := range opts {
		o(s)
	}
	if err := s.encoders(); err != nil {
		return nil, fmt.Errorf("s3 sink: %w", err)
	}
	return s, nil
}

// encoders makes what turns rows into bytes.
func (s *Sink) encoders() (err error) {
	if s.cfg.columnar() {
		s.pool, err = parquetfile.NewPool(parquetfile.Options{
			Codec: s.cfg.Codec, Delta: s.cfg.Delta, PageIndex: s.cfg.PageIndex, Bloom: s.cfg.Bloom, RowGroupBytes: min(parquetfile.DefaultRowGroupBytes, s.cfg.bufferSize()),
		})
		return err
	}
	s.framer, err = NewFramer(s.cfg.Framing)
	return err
}

// Table implements [pipeline.Sink].
func (s *Sink) Table(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Table, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := t.turn.take(ctx); err != nil {
		return nil, err
	}
	defer t.turn.give()
	if err := t.open(ctx, st); err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.mu.rev = st.Rev
	t.mu.Unlock()
	return t, t.openSchema(ctx)
}

// Fence implements [pipeline.Sink].
func (s *Sink) Fence(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Ledger, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return pipeline.Ledger{}, err
	}
	if err := t.turn.take(ctx); err != nil {
		return pipeline.Ledger{}, err
	}
	defer t.turn.give()
	if err := t.open(ctx, st); err != nil { // a binding that is half done is finished
		return pipeline.Ledger{}, err
	}
	return t.fence(ctx, st)
}

// Close implements [pipeline.Sink]. It may be called twice.
func (s *Sink) Close(context.Context) error { return nil }

// tableName is what a table may be called: it is part of names of objects, of keys and
// of what objects are stored with.
var tableName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

// BadTable says why a table cannot have a name, or "".
func BadTable(name string) string {
	if tableName.MatchString(name) {
		return ""
	}
	return fmt.Sprintf("%q is no name for a table in S3: use 1 to 64 letters, digits, _, - and dots, the first a letter or digit", name)
}

// handle returns the table of that name, the same one every time.
func (s *Sink) handle(ctx context.Context, name string) (*table, error) {
	_, local := pipeline.SplitTable(name)
	if why := BadTable(local); why != "" {
		return nil, &pipeline.Halt{
			Class: pipeline.HaltRefused, Detail: "table " + name + ": " + why,
			Remedy: "give it another name by a route, or firehosed table forfeit " + name,
		}
	}
	if err := s.openBucket(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mu.tables[name]
	if t == nil {
		names, err := s.cfg.Pure().Names(local)
		if err != nil {
			return nil, err
		}
		t = &table{sink: s, name: name, names: names, called: calledAs(local), turn: newTurn(), evolving: newTurn()}
		t.rows, t.letters = t.plainSchema(), deadSchema()
		t.mu.known, t.mu.lost = map[string]*manifest{}, map[string]bool{}
		s.mu.tables[name] = t
	}
	return t, nil
}

// manyObjects tells whether a table may have many objects open.
func (s *Sink) manyObjects() bool {
	names, err := NewNames(s.cfg.Naming, "stream", "")
	return err == nil && len(names.Keys()) > 0
}

func (s *Sink) openBucket(ctx context.Context) error {
	if err := s.opening.take(ctx); err != nil {
		return err
	}
	defer s.opening.give()
	if s.bucket != nil {
		return nil
	}
	b, err := objstore.OpenStager(ctx, strings.TrimSuffix(s.cfg.Bucket, "/"), s.cfg.S3)
	if err != nil {
		return fmt.Errorf("s3 sink: %w", err)
	}
	s.bucket = b
	if _, local := b.(*objstore.Local); !local && s.cfg.SpillFolder == "" && s.manyObjects() {
		s.log.LogAttrs(ctx, slog.LevelWarn, "every open object holds up to a part in memory: with many values of the partition keys memory ends objects while they are small; "+
			"name a spill_folder on a disk", slog.Int64("part_size", s.cfg.S3.Part()))
	}
	return nil
}
