package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/consumer"
	"github.com/firehosed/firehosed/pipeline"
)

// Source reads topics as a member of a consumer group. It is safe for concurrent
// use. Close it when nothing reads any more.
type Source struct {
	cfg      Config
	log      *slog.Logger
	ledger   *ledger
	pool     *pool
	opts     []kgo.Opt
	skips    Skips
	patience time.Duration

	mu struct {
		sync.Mutex
		closed bool
		cl     *kgo.Client // asks, and fetches for lanes
		dir    *directory
		logs   *logs
		live   *plane      // for lanes
		aux    *kgo.Client // fetches for second readers: a long poll for lanes does not hold them up
		second *plane
		lanes  map[pipeline.Partition]*lane
	}
}

var _ pipeline.Source = (*Source)(nil)

// Option is a dependency of a source.
type Option func(*Source)

// WithLogger sets where the source logs. Default: nowhere.
func WithLogger(log *slog.Logger) Option { return func(s *Source) { s.log = log } }

// WithBudget sets the memory that the source may use besides its own limit,
// Config.FetchBytes.
func WithBudget(b consumer.Budget) Option { return func(s *Source) { s.ledger.Budget = b } }

// Skips reports whether an operator has decided to leave the records of p between
// two positions out.
type Skips func(p pipeline.Partition, from, to pipeline.Position) bool

// WithSkips lets readers pass batches that cannot be read where f allows it. Without
// it they always halt.
func WithSkips(f Skips) Option { return func(s *Source) { s.skips = f } }

// withClientOpts adds to what every client is made with.
func withClientOpts(opts ...kgo.Opt) Option {
	return func(s *Source) { s.opts = append(s.opts, opts...) }
}

// New checks cfg and returns a source. Nothing is called before the first method is.
func New(cfg Config, opts ...Option) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Group == "" {
		return nil, errors.New("group: not set; a pipeline takes its own name")
	}
	s := &Source{cfg: cfg, log: slog.New(slog.DiscardHandler), ledger: newLedger(cfg.FetchBytes), pool: &pool{}, patience: 2 * time.Second}
	s.mu.lanes = map[pipeline.Partition]*lane{}
	for _, o := range opts {
		o(s)
	}
	base, err := cfg.clientOpts(s.log)
	if err != nil {
		return nil, err
	}
	s.opts = append(append(base, kgo.WithPools(s.pool)), s.opts...)
	return s, nil
}

// connect makes what every method needs, once.
func (s *Source) connect() (*directory, *logs, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, nil, errClosed
	}
	if s.mu.cl == nil {
		cl, err := kgo.NewClient(s.opts...)
		if err != nil {
			return nil, nil, fmt.Errorf("set up Kafka client: %w", err)
		}
		s.mu.cl, s.mu.dir = cl, newDirectory(cl, s.cfg)
		s.mu.logs = &logs{cl, s.mu.dir}
		s.mu.live = newPlane(cl, s.mu.dir, s)
	}
	return s.mu.dir, s.mu.logs, nil
}

// others returns the plane of second readers.
func (s *Source) others() (*plane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, errClosed
	}
	if s.mu.second == nil {
		cl, err := kgo.NewClient(s.opts...)
		if err != nil {
			return nil, fmt.Errorf("set up Kafka client: %w", err)
		}
		s.mu.aux = cl
		s.mu.second = newPlane(cl, s.mu.dir, s)
	}
	return s.mu.second, nil
}

// Close ends all readers and connections. Batches that were not released stay valid.
func (s *Source) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	planes, clients := []*plane{s.mu.live, s.mu.second}, []*kgo.Client{s.mu.cl, s.mu.aux}
	s.mu.live, s.mu.second, s.mu.cl, s.mu.aux = nil, nil, nil, nil
	s.mu.Unlock()
	for _, p := range planes {
		if p != nil {
			p.close()
		}
	}
	for _, cl := range clients {
		if cl != nil {
			cl.Close()
		}
	}
	return nil
}

// Partitions implements pipeline.Log. A configured topic that does not exist is an
// error; one that no longer matches a pattern is not listed.
func (s *Source) Partitions(ctx context.Context) ([]pipeline.Partition, error) {
	dir, _, err := s.connect()
	if err != nil {
		return nil, err
	}
	if err := dir.refresh(ctx, minRefresh); err != nil {
		return nil, err
	}
	for _, name := range s.cfg.Topics {
		if dir.topic(name) == nil {
			return nil, fmt.Errorf("topics: topic %q does not exist", name)
		}
	}
	var ps []pipeline.Partition
	for _, t := range dir.all() {
		for _, num := range slices.Sorted(maps.Keys(t.parts)) {
			ps = append(ps, dir.partition(t, num))
		}
	}
	return ps, nil
}

// Name implements pipeline.Log.
func (s *Source) Name(p pipeline.Partition) string {
	dir, _, err := s.connect()
	if err != nil {
		return ""
	}
	return dir.name(p.Incarnation)
}

// Locate implements pipeline.Log.
func (s *Source) Locate(ctx context.Context, p pipeline.Partition, t time.Time) (pipeline.Cursor, error) {
	dir, logs, err := s.connect()
	if err != nil {
		return pipeline.Cursor{}, err
	}
	w, err := dir.find(ctx, p)
	if err != nil {
		return pipeline.Cursor{}, err
	}
	return logs.locate(ctx, w, t)
}

// Oldest returns the place of the oldest record, false if the partition has none,
// wherever reading began.
func (s *Source) Oldest(ctx context.Context, p pipeline.Partition, _ pipeline.Position) (pipeline.Position, bool, error) {
	from, err := s.Locate(ctx, p, time.Time{})
	if err != nil {
		return "", false, err
	}
	to, err := s.Locate(ctx, p, time.Now().AddDate(100, 0, 0)) // the end
	return from.At, from.At < to.At, err
}

// Open implements pipeline.Log.
func (s *Source) Open(ctx context.Context, p pipeline.Partition, st pipeline.Start) (pipeline.Reader, error) {
	if _, _, err := s.connect(); err != nil {
		return nil, err
	}
	pl, err := s.others()
	if err != nil {
		return nil, err
	}
	r, err := s.openOn(ctx, pl, p, st)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// knownFor is how old an answer about topics may be when a reader is opened.
const knownFor = time.Second

// openOn checks the log and begins to fetch.
func (s *Source) openOn(ctx context.Context, pl *plane, p pipeline.Partition, st pipeline.Start) (*reader, error) {
	if pl == nil {
		return nil, errClosed
	}
	if st.At.At == pipeline.End {
		return nil, errors.New("a Kafka partition has no end to open at")
	}
	if err := pl.dir.refresh(ctx, knownFor); err != nil { // is it still the same topic?
		return nil, err
	}
	w, err := pl.dir.find(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := pl.logs.check(ctx, w, p, st); err != nil {
		return nil, err
	}
	offset, err := offsetOf(st.At.At)
	if err != nil {
		return nil, err
	}
	r := newReader(pl, p, w, st.At, offset)
	if err := pl.add(r); err != nil {
		return nil, err
	}
	return r, nil
}
