package kinesis

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/firehosed/firehosed/pipeline"
)

// stream is what the service says of a stream.
type stream struct {
	name, arn string
	created   time.Time
	retention time.Duration
	shards    map[string]*shard // that are listed
}

// shard never changes once it is closed.
type shard struct {
	id      string
	parents []string // none, one (of a split) or two (of a merge)
	hashes  hashRange
	closed  bool
}

// directory knows the configured streams and their shards. It is safe for
// concurrent use.
type directory struct {
	cl   *kinesis.Client
	cfg  Config
	turn chan struct{} // one refresh at a time

	mu struct {
		sync.Mutex
		streams map[string]*stream // by ARN; replaced whole
		ranges  map[pipeline.Partition]hashRange
		since   map[pipeline.Partition]time.Time // when a shard was not there yet, by the service's clock
		when    time.Time                        // of the last refresh
		skew    time.Duration                    // of the service's clock against ours, at least
	}
}

func newDirectory(cl *kinesis.Client, cfg Config) *directory {
	d := &directory{cl: cl, cfg: cfg, turn: make(chan struct{}, 1)}
	d.mu.ranges, d.mu.since = map[pipeline.Partition]hashRange{}, map[pipeline.Partition]time.Time{}
	return d
}

// refresh looks at the streams unless that was done within age.
func (d *directory) refresh(ctx context.Context, age time.Duration) error {
	asked := time.Now()
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.turn }()
	d.mu.Lock()
	when := d.mu.when
	d.mu.Unlock()
	if !when.IsZero() && (when.After(asked) || time.Since(when) < age) {
		return nil
	}
	when = time.Now()
	streams := map[string]*stream{}
	for _, name := range d.cfg.Streams {
		st, err := d.look(ctx, name)
		if err != nil {
			return err
		}
		streams[st.arn] = st
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for arn, st := range streams {
		was := d.mu.streams[arn]
		for _, sh := range st.shards {
			p := st.partition(sh.id)
			d.mu.ranges[p] = sh.hashes
			if was != nil && was.created.Equal(st.created) && was.shards[sh.id] == nil && d.mu.since[p].IsZero() {
				d.mu.since[p] = d.mu.when.Add(d.mu.skew)
			}
		}
	}
	d.mu.streams, d.mu.when = streams, when
	return nil
}

// appeared returns a time at which a shard was not there yet; the zero time: it was
// always there, as far as this worker knows.
func (d *directory) appeared(p pipeline.Partition) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.since[p]
}

func isARN(name string) bool { return strings.HasPrefix(name, "arn:") }

// look describes a stream and lists its shards.
func (d *directory) look(ctx context.Context, name string) (*stream, error) {
	in := &kinesis.DescribeStreamSummaryInput{StreamName: &name}
	if isARN(name) {
		in = &kinesis.DescribeStreamSummaryInput{StreamARN: &name}
	}
	out, err := d.cl.DescribeStreamSummary(ctx, in)
	if codeOf(err) == errNotFound {
		return nil, fmt.Errorf("streams: stream %q does not exist; create it or correct the name: %w", name, err)
	} else if err != nil {
		return nil, fmt.Errorf("describe stream %q: %w", name, explain(err, d.cfg))
	}
	d.set(serverTime(out.ResultMetadata))
	sum := out.StreamDescriptionSummary
	st := &stream{
		name: aws.ToString(sum.StreamName), arn: aws.ToString(sum.StreamARN), created: aws.ToTime(sum.StreamCreationTimestamp),
		retention: time.Duration(aws.ToInt32(sum.RetentionPeriodHours)) * time.Hour,
	}
	if st.shards, err = d.list(ctx, st.arn); err != nil {
		return nil, fmt.Errorf("list shards of stream %q: %w", name, explain(err, d.cfg))
	}
	return st, nil
}

// set takes in the service's clock, as an answer that has just come tells it.
func (d *directory) set(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.skew = -clockSlack; !now.IsZero() {
		d.mu.skew = time.Until(now)
	}
}

// clock returns the time of the service's clock, or one a second or so before.
func (d *directory) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Add(d.mu.skew)
}

// maxLists bounds how often a listing whose token went stale begins anew.
const maxLists = 3

func (d *directory) list(ctx context.Context, arn string) (map[string]*shard, error) {
	for n := 1; ; n++ {
		shards := map[string]*shard{}
		in := &kinesis.ListShardsInput{StreamARN: &arn}
		for {
			out, err := d.cl.ListShards(ctx, in)
			if codeOf(err) == errToken && n < maxLists {
				break
			} else if err != nil {
				return nil, err
			}
			for i := range out.Shards {
				sh, err := newShard(&out.Shards[i])
				if err != nil {
					return nil, err
				}
				shards[sh.id] = sh
			}
			if aws.ToString(out.NextToken) == "" {
				return shards, nil
			}
			in = &kinesis.ListShardsInput{NextToken: out.NextToken}
		}
	}
}

func newShard(s *types.Shard) (*shard, error) {
	sh := &shard{id: aws.ToString(s.ShardId)}
	for _, p := range []*string{s.ParentShardId, s.AdjacentParentShardId} {
		if aws.ToString(p) != "" {
			sh.parents = append(sh.parents, *p)
		}
	}
	if s.SequenceNumberRange != nil {
		sh.closed = aws.ToString(s.SequenceNumberRange.EndingSequenceNumber) != ""
	}
	if s.HashKeyRange == nil {
		return nil, fmt.Errorf("shard %q has no hash keys", sh.id)
	}
	from, ok := new(big.Int).SetString(aws.ToString(s.HashKeyRange.StartingHashKey), 10)
	to, ok2 := new(big.Int).SetString(aws.ToString(s.HashKeyRange.EndingHashKey), 10)
	if !ok || !ok2 {
		return nil, fmt.Errorf("shard %q has hash keys %q to %q", sh.id, aws.ToString(s.HashKeyRange.StartingHashKey), aws.ToString(s.HashKeyRange.EndingHashKey))
	}
	sh.hashes = hashRange{from, to}
	return sh, nil
}

func (st *stream) partition(shard string) pipeline.Partition {
	return partition(st.arn, st.created, shard)
}

// all returns the streams as last seen, in order of their ARNs.
func (d *directory) all() []*stream {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.mu.streams), func(a, b *stream) int { return strings.Compare(a.arn, b.arn) })
}

// find returns what is known of a partition now: the stream, and its shard unless
// that is not listed any more. A *pipeline.Halt: another stream has its name.
func (d *directory) find(p pipeline.Partition) (*stream, *shard, error) {
	d.mu.Lock()
	st := d.mu.streams[p.Stream]
	d.mu.Unlock()
	if st == nil || p.Kind != Kind {
		return nil, nil, fmt.Errorf("%v is of no stream that is configured", p)
	}
	if now := st.partition(p.ID); now != p {
		return nil, nil, recreated(p, st.name, now)
	}
	return st, st.shards[p.ID], nil
}

// lookup is find with what the service says now: that a shard is not listed is
// believed only of a listing that was asked for after it.
func (d *directory) lookup(ctx context.Context, p pipeline.Partition) (*shard, error) {
	if err := d.refresh(ctx, knownFor); err != nil {
		return nil, err
	}
	_, sh, err := d.find(p)
	if err != nil || sh != nil {
		return sh, err
	}
	if err := d.refresh(ctx, 0); err != nil {
		return nil, err
	}
	_, sh, err = d.find(p)
	return sh, err
}

// knownFor is how old an answer about streams may be when a reader is opened.
const knownFor = time.Second

// nameOf returns what people call the stream of p.
func nameOf(p pipeline.Partition) string {
	_, name, _ := strings.Cut(p.Stream, ":stream/")
	return name
}

// hashes returns the hash keys of a shard that was listed at some time.
func (d *directory) hashes(p pipeline.Partition) (hashRange, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.mu.ranges[p]
	if !ok {
		return hashRange{}, fmt.Errorf("the hash keys of %v are not known", p)
	}
	return h, nil
}

// serverTime returns the service's clock in an answer, at most a second behind; the
// zero time if the answer has none.
func serverTime(m smithymiddleware.Metadata) time.Time {
	t, _ := middleware.GetServerTime(m)
	return t
}
