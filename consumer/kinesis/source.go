package kinesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/firehosed/firehosed/consumer"
	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/pipeline"
)

// Source reads data streams, whose shards it shares with other workers. It is safe
// for concurrent use. Close it when nothing reads any more.
type Source struct {
	cfg      Config
	log      *slog.Logger
	leases   leases
	ledger   *consumer.Ledger
	starts   Starts
	patience time.Duration // with readers that are not read from, when others wait for memory

	turn chan struct{} // connecting
	mu   struct {
		sync.Mutex
		closed  bool
		cl      *kinesis.Client
		subs    kinesis.Options // of clients for subscriptions, which have no time limit
		dir     *directory
		paces   map[pipeline.Partition]*pace
		readers map[*reader]struct{}
		lanes   map[pipeline.Partition]*lane

		consumers map[string]string // ARNs of our consumers, by stream key
	}
}

// Option is a dependency of a source.
type Option func(*Source)

// WithLogger sets where the source logs. Default: nowhere.
func WithLogger(log *slog.Logger) Option { return func(s *Source) { s.log = log } }

// WithBudget sets the memory that the source may use besides its own limit,
// Config.FetchBytes.
func WithBudget(b consumer.Budget) Option { return func(s *Source) { s.ledger.Budget = b } }

// Starts returns where a pipeline would begin to read shards now, which is start(p)
// of the design: the group position if its stamp holds, capped by barriers, or the
// origin. Shards at END may be all that it returns.
type Starts func(ctx context.Context, ps []pipeline.Partition) (map[pipeline.Partition]pipeline.Position, error)

// WithStarts sets what decides whether the children of a shard may begin. Default: the
// group position, whatever its stamp; after a replay, children may then run ahead of
// their parents.
func WithStarts(f Starts) Option { return func(s *Source) { s.starts = f } }

// withClient replaces the client.
func withClient(cl *kinesis.Client) Option {
	return func(s *Source) { s.mu.cl, s.mu.subs = cl, cl.Options() }
}

// New checks cfg and returns a source, which keeps its leases in store. Nothing is
// called before the first method is.
func New(cfg Config, store pipeline.Store, opts ...Option) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, log: slog.New(slog.DiscardHandler), leases: leases{store}, ledger: consumer.NewLedger(cfg.FetchBytes),
		patience: 2 * time.Second, turn: make(chan struct{}, 1)}
	s.mu.paces, s.mu.readers, s.mu.lanes = map[pipeline.Partition]*pace{}, map[*reader]struct{}{}, map[pipeline.Partition]*lane{}
	s.mu.consumers = map[string]string{}
	for _, o := range opts {
		o(s)
	}
	return s, nil
}

var errClosed = errors.New("the source is closed")

// connect makes what every method needs, once.
func (s *Source) connect(ctx context.Context) (*directory, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	cl, subs, dir, closed := s.mu.cl, s.mu.subs, s.mu.dir, s.mu.closed
	s.mu.Unlock()
	if closed {
		return nil, errClosed
	} else if dir != nil {
		return dir, nil
	}
	if cl == nil {
		c := awscfg.Config{Region: s.cfg.Region, Endpoint: s.cfg.Endpoint, AssumeRole: awscfg.Role{ARN: s.cfg.RoleARN, ExternalID: s.cfg.ExternalID}}
		web, err := awscfg.NewHTTPClient("")
		if err != nil {
			return nil, err
		}
		conf, err := awscfg.Load(ctx, c, awscfg.Options{HTTP: web})
		if err != nil {
			return nil, err
		}
		cl = kinesis.NewFromConfig(conf)
		subs = cl.Options()
		if own, ok := subs.HTTPClient.(*awshttp.BuildableClient); ok {
			subs.HTTPClient = own.WithTimeout(0)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.cl, s.mu.subs, s.mu.dir = cl, subs, newDirectory(cl, s.cfg)
	return s.mu.dir, nil
}

// client, subscriptions and dir are for what connect has been called for.
func (s *Source) client() *kinesis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.cl
}

func (s *Source) subscriptions() kinesis.Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.subs
}

func (s *Source) dir() *directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.dir
}

// Close ends all readers. Batches that were not released stay valid.
func (s *Source) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	for _, r := range s.reading() {
		_ = r.Close()
	}
	return nil
}

func (s *Source) reading() []*reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.mu.readers))
}

func (s *Source) forgetReader(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.readers, r)
}

// paceOf returns what the readers of a shard share.
func (s *Source) paceOf(p pipeline.Partition) *pace {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.paces[p] == nil {
		s.mu.paces[p] = newPace()
	}
	return s.mu.paces[p]
}

// acquire waits for memory. When that takes long, readers that nobody reads from,
// those of halted shards for example, give theirs up.
func (s *Source) acquire(ctx context.Context, n int64) error {
	for {
		wait, cancel := context.WithTimeout(ctx, s.patience)
		err := s.ledger.Acquire(wait, n)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		for _, r := range s.reading() {
			r.shed(s.patience)
		}
	}
}

// Partitions implements pipeline.Log: the shards that are listed, and those that have
// a lease, are not read to their end and are listed no more.
func (s *Source) Partitions(ctx context.Context) ([]pipeline.Partition, error) {
	dir, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	leased, err := s.known(ctx, dir, knownFor)
	if err != nil {
		return nil, err
	}
	var ps []pipeline.Partition
	listed := map[pipeline.Partition]bool{}
	for _, st := range dir.all() {
		for _, id := range slices.Sorted(maps.Keys(st.shards)) {
			p := st.partition(id)
			ps, listed[p] = append(ps, p), true
		}
	}
	for _, p := range leased {
		if listed[p] {
			continue
		}
		l, err := s.leases.get(ctx, p)
		if err != nil {
			return nil, err
		}
		if l.At != string(pipeline.End) {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// known brings the directory up to date and lists the shards of its streams that have
// a lease. A shard is listed before it gets one, so the directory is not older than
// the list: what it lacks, retention has removed.
func (s *Source) known(ctx context.Context, dir *directory, age time.Duration) ([]pipeline.Partition, error) {
	leased, err := s.leases.all(ctx)
	if err == nil {
		err = dir.refresh(ctx, age)
	}
	if err == nil && slices.ContainsFunc(leased, func(p pipeline.Partition) bool {
		_, sh, err := dir.find(p)
		return err == nil && sh == nil
	}) {
		err = dir.refresh(ctx, 0)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(leased, func(p pipeline.Partition) bool {
		_, _, err := dir.find(p)
		return err != nil // of another stream, or of one before
	}), nil
}

// Name implements pipeline.Log.
func (s *Source) Name(p pipeline.Partition) string { return nameOf(p) }

// Hint implements pipeline.Source.
func (s *Source) Hint(ctx context.Context, p pipeline.Partition) (pipeline.Hint, error) {
	l, err := s.leases.get(ctx, p)
	if err != nil {
		return pipeline.Hint{}, fmt.Errorf("read lease of %v: %w", p, err)
	}
	return l.hint(), nil
}

// Locate implements pipeline.Log. The answer is concrete: a record that is there now,
// a time at which nothing was there yet, or the end of a closed shard.
func (s *Source) Locate(ctx context.Context, p pipeline.Partition, t time.Time) (pipeline.Cursor, error) {
	at, err := s.locate(ctx, p, t)
	if err != nil {
		return pipeline.Cursor{}, fmt.Errorf("locate a position in %v: %w", p, explain(err, s.cfg))
	}
	return pipeline.Cursor{At: at}, nil
}

// Oldest returns the place of the oldest record of a shard that was read from a position,
// false if it has none. That is the position itself if it is a time, and retention has
// removed nothing that arrived since.
func (s *Source) Oldest(ctx context.Context, p pipeline.Partition, from pipeline.Position) (pipeline.Position, bool, error) {
	c, err := s.Locate(ctx, p, time.Time{})
	if err != nil {
		return "", false, err
	}
	if w, err := parsePosition(from); err != nil {
		return "", false, err
	} else if w.kind == atTime {
		st, _, err := s.dir().find(p)
		if err != nil {
			return "", false, err
		}
		if w.time.After(s.dir().clock().Add(-st.retention)) {
			return from, true, nil
		}
	}
	return c.At, strings.HasSuffix(string(c.At), beforeMark), nil
}

func (s *Source) locate(ctx context.Context, p pipeline.Partition, t time.Time) (pipeline.Position, error) {
	dir, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	sh, err := dir.lookup(ctx, p)
	future := t.After(dir.clock())
	switch {
	case err != nil:
		return "", err
	case sh == nil || future && sh.closed: // all it had is gone, or before the end
		return pipeline.End, nil
	case future:
		return fromTime(dir.clock()), nil
	}
	w := place{kind: atStart}
	if !t.IsZero() {
		w = place{kind: atTime, time: t.Add(time.Millisecond - 1).Truncate(time.Millisecond)}
	}
	f := newPoller(s, p, w)
	for {
		pg, err := f.fetch(ctx)
		if err != nil {
			return "", err
		}
		s.ledger.Charge(-cost(pg.recs))
		switch {
		case len(pg.recs) > 0:
			return before(aws.ToString(pg.recs[0].SequenceNumber))
		case pg.end:
			return pipeline.End, nil
		case pg.tip: // nothing came at t or later; a record on its way may bear a time just past
			if now := dir.clock().Add(-clockSlack); now.After(w.time) {
				return fromTime(now), nil
			}
			return fromTime(w.time), nil
		}
	}
}

// clockSlack is how far clocks are believed to be apart: those of the service's
// machines, and ours where the service does not tell its own.
const clockSlack = time.Minute

// Open implements pipeline.Log. It polls: a shard has one subscription for each
// consumer, and that is the lane's.
func (s *Source) Open(ctx context.Context, p pipeline.Partition, st pipeline.Start) (pipeline.Reader, error) {
	r, err := s.open(ctx, p, st, func(w place) fetcher { return newPoller(s, p, w) })
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (s *Source) open(ctx context.Context, p pipeline.Partition, st pipeline.Start, by func(place) fetcher) (*reader, error) {
	w, err := parsePosition(st.At.At)
	if err != nil {
		return nil, err
	}
	dir, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	sh, err := dir.lookup(ctx, p)
	if err != nil {
		return nil, err
	}
	if sh == nil && w.kind != atEnd {
		return nil, unlisted(p, st.At.At)
	}
	l, err := s.leases.get(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("read lease of %v: %w", p, err)
	}
	r := newReader(s, p, st.At.At, by(w), l.quiet())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		r.stop()
		return nil, errClosed
	}
	s.mu.readers[r] = struct{}{}
	return r, nil
}

// Unpack returns a fresh stage that takes aggregates of the Kinesis Producer Library
// apart, by a value of [Config.WrongShard]. It comes before all other stages.
func (s *Source) Unpack(wrongShard string) *Unpack {
	u := &Unpack{}
	if wrongShard == Drop {
		u.ranges = func(p pipeline.Partition) (hashRange, error) { return s.dir().hashes(p) }
	}
	return u
}
