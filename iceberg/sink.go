package iceberg

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/internal/retry"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Sink writes the tables of one pipeline. Safe for concurrent use.
type Sink struct {
	cfg       Config
	ctl       *pipeline.Control
	pipeline  string
	who       string // holder of leases
	log       *slog.Logger
	obs       Observer
	memory    int64 // bytes; 0: no bound
	base      func(table string) *schema.Schema
	where     pipeline.Coordinates // nil: not known
	pause     func(ctx context.Context, attempt int) error
	pace      *pacer
	storage   *storage
	pool      *parquetfile.Pool
	mergeFrom int // small manifests that are worth a merge
	known     known

	opening  turn
	cat      Catalog // guarded by opening
	closeCat func() error

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

// WithCatalog sets a catalog that is open already. The sink does not close it.
func WithCatalog(c Catalog) Option {
	return func(s *Sink) { s.cat, s.closeCat = c, func() error { return nil } }
}

// WithMemory tells how many bytes the process means to hold. Row groups, which are
// built in memory, take at most a sixteenth of it, and at least 4 MiB. Default: no
// such bound, row groups take up to 64 MiB.
func WithMemory(bytes int64) Option { return func(s *Sink) { s.memory = bytes } }

// WithColumns sets the columns that every table shall have from the start: those
// that firehosed fills itself. Default [BaseColumns] for each. Columns that the
// configuration declares are added to them.
func WithColumns(f func(table string) *schema.Schema) Option { return func(s *Sink) { s.base = f } }

// WithCoordinates tells how rows say where their records were, for a resume that finds
// no commit to go back to. Default: it fails.
func WithCoordinates(c pipeline.Coordinates) Option { return func(s *Sink) { s.where = c } }

// New checks cfg and returns a sink of the pipeline that ctl belongs to. The first
// call to a catalog or store is made by Table.
func New(cfg Config, ctl *pipeline.Control, opts ...Option) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("iceberg sink: %w", err)
	}
	if local, _ := isLocal(cfg.Warehouse); local && cfg.Warehouse != "" && !strings.HasPrefix(cfg.Warehouse, "file:") {
		abs, err := filepath.Abs(cfg.Warehouse)
		if err != nil {
			return nil, fmt.Errorf("iceberg sink: warehouse: %w", err)
		}
		if err := nameable(abs); err != nil {
			return nil, fmt.Errorf("iceberg sink: warehouse: %w", err)
		}
		cfg.Warehouse = "file://" + filepath.ToSlash(abs)
	}
	cfg.Warehouse = strings.TrimSuffix(cfg.Warehouse, "/")
	s := &Sink{
		cfg: cfg, ctl: ctl, who: newWho(), pipeline: ctl.Known().Stamp().Pipeline,
		log: slog.New(slog.DiscardHandler), base: func(string) *schema.Schema { return BaseColumns() },
		pause: retry.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}.Wait, pace: newPacer(cfg.CommitsPerSecond, cfg.CatalogPerSecond), opening: newTurn(), mergeFrom: mergeFrom,
	}
	s.storage = newStorage(cfg.S3)
	s.mu.tables = map[string]*table{}
	for _, o := range opts {
		o(s)
	}
	pool, err := parquetfile.NewPool(parquetfile.Options{
		Codec: cfg.Codec, Level: cfg.Level, Delta: cfg.Delta, PageIndex: cfg.PageIndex, Bloom: cfg.Bloom, RowGroupBytes: s.rowGroupBytes(), IdleBytes: s.idleBytes(),
	})
	if err != nil {
		return nil, fmt.Errorf("iceberg sink: %w", err)
	}
	s.pool = pool
	return s, nil
}

// Table implements [pipeline.Sink].
func (s *Sink) Table(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Table, error) {
	t, err := s.handle(name)
	if err != nil {
		return nil, err
	}
	if err := t.turn.take(ctx); err != nil {
		return nil, err
	}
	defer t.turn.give()
	if _, err := s.ctl.Read(ctx); err != nil { // a table that is gone must not be taken for one that never was
		return nil, fmt.Errorf("open table %s: %w", name, err)
	}
	if err := t.open(ctx, st); err != nil {
		return nil, err
	}
	return t, nil
}

// Fence implements [pipeline.Sink].
func (s *Sink) Fence(ctx context.Context, name string, st pipeline.Stamp) (pipeline.Ledger, error) {
	t, err := s.handle(name)
	if err != nil {
		return pipeline.Ledger{}, err
	}
	return t.fenceOff(ctx, st)
}

// Close implements [pipeline.Sink]. It may be called twice.
func (s *Sink) Close(ctx context.Context) error {
	if err := s.opening.take(ctx); err != nil {
		return err
	}
	defer s.opening.give()
	if s.cat == nil {
		return nil
	}
	err := s.closeCat()
	s.cat = nil
	return err
}

// handle returns the table of that name, the same one every time.
func (s *Sink) handle(name string) (*table, error) {
	_, local := pipeline.SplitTable(name)
	if !tableName.MatchString(local) {
		return nil, fmt.Errorf("table %q: is no name for a table: use letters, digits, _ and -, and a dot after a namespace", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mu.tables[name]
	if t == nil {
		t = &table{sink: s, name: name, ident: s.identifier(local), cfg: s.cfg.Tables[local], turn: newTurn(), evolving: newTurn()}
		s.mu.tables[name] = t
	}
	return t, nil
}

// identifier returns a table's place in the catalog.
func (s *Sink) identifier(name string) []string {
	parts := strings.Split(name, ".")
	if len(parts) == 1 {
		parts = append(strings.Split(s.cfg.Namespace, "."), name)
	}
	return parts
}

// location returns where a new table goes, "" to let the catalog choose.
func (t *table) location() string {
	if t.cfg.Location != "" {
		return t.cfg.Location
	}
	if t.sink.cfg.Warehouse == "" {
		return ""
	}
	return t.sink.cfg.Warehouse + "/" + strings.Join(t.ident, "/")
}

// rowGroupBytes is how many bytes of values a row group takes.
func (s *Sink) rowGroupBytes() int64 {
	n := min(parquetfile.DefaultRowGroupBytes, s.cfg.TargetFileSize)
	if s.memory > 0 { // a lane holds one, and its pages while they are encoded
		n = min(n, max(minRowGroupBytes, s.memory/rowGroupShare))
	}
	return n
}

// idleBytes is the memory of finished files that is kept for the next ones.
func (s *Sink) idleBytes() int64 {
	if s.memory > 0 {
		return min(parquetfile.DefaultIdleBytes, s.memory/idleShare)
	}
	return parquetfile.DefaultIdleBytes
}

const (
	minRowGroupBytes = 4 << 20
	rowGroupShare    = 16 // of the memory
	idleShare        = 8  // of the memory
)

// chunkBytes bounds a chunk of the vector property.
func (s *Sink) chunkBytes() int {
	if s.cfg.Catalog.Glue != nil {
		return chunkNarrow
	}
	return chunkBytes
}

// columns returns the columns that a table has from the start.
func (t *table) columns() *schema.Schema {
	return withDeclared(t.sink.base(t.name), t.cfg.Columns)
}

// BaseColumns returns the columns that firehosed fills itself for a Kafka source:
// the coordinates of each record, its time, and the rescued values.
func BaseColumns() *schema.Schema {
	col := func(name string, k schema.Kind) schema.Field {
		return schema.Field{Name: name, Type: &schema.Type{Kind: k}}
	}
	return &schema.Schema{ID: -1, Fields: []schema.Field{
		col(schema.ColTopic, schema.String), col(schema.ColPartition, schema.Int), col(schema.ColOffset, schema.Long),
		col(schema.ColSub, schema.Int), col(schema.ColTimestamp, schema.TimestampTZ), col(schema.Rescued, schema.String),
	}}
}
