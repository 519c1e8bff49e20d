package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
)

// TestKinesis moves records of a stream into a table and into objects, by one pipeline, while shards are split and merged
// and three workers are killed, and wants every record in both exactly once: by verify, by DuckDB and by ClickHouse. The
// service is an independent one, which is slow, and then the project's own, which refuses and loses what it can and has
// enhanced fan-out and records of 10 MiB.
func TestKinesis(t *testing.T) {
	t.Run("independent", func(t *testing.T) {
		need(t, "kinesis", "readers", "clickhouse")
		flow(t, newStream(t, os.Getenv("FIREHOSED_KINESIS"), sized(*records, 2000)), "poll_interval: 200ms")
	})
	t.Run("own", func(t *testing.T) {
		need(t, "readers", "clickhouse")
		srv := kinesistest.New()
		t.Cleanup(srv.Close)
		srv.SetLimits(kinesistest.Limits{Response: 10 << 20, Iterator: 5 * time.Minute, Subscription: 20 * time.Second, Resubscribe: time.Second})
		hindered(srv, *seed)
		web := httptest.NewServer(srv)
		t.Cleanup(web.Close)
		s := newStream(t, web.URL, sized(*records, 20_000), func(o *kinesis.Options) { o.HTTPClient = srv }) // what is put twice would be there twice
		if _, err := s.cl.UpdateMaxRecordSize(t.Context(), &kinesis.UpdateMaxRecordSizeInput{
			StreamARN: aws.String(kinesistest.ARN(s.name)), MaxRecordSizeInKiB: aws.Int32(10240),
		}); err != nil {
			t.Fatalf("allow records of 10 MiB: %v", err)
		}
		s.big = sized(*kills, 3)
		flow(t, s, "fan_out_consumer: firehosed, poll_interval: 200ms")
		t.Logf("%d subscriptions, %d reads, %d iterators", srv.Calls("SubscribeToShard", ""), srv.Calls("GetRecords", ""), srv.Calls("GetShardIterator", ""))
	})
}

// hindered makes a service refuse reads for want of throughput, and lose answers and iterators, of every operation.
func hindered(srv *kinesistest.Server, seed uint64) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 3))
	srv.Hook(func(c kinesistest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		switch reads := c.Op == "GetRecords" || c.Op == "SubscribeToShard"; rng.IntN(100) {
		case 0, 1, 2, 3:
			if reads {
				return &kinesistest.Error{Code: "ProvisionedThroughputExceededException", Message: "Rate exceeded for shard"}
			}
		case 4:
			if c.Op == "GetRecords" {
				return &kinesistest.Error{Code: "ExpiredIteratorException", Message: "Iterator expired"}
			}
		case 5:
			if reads || c.Op == "ListShards" || c.Op == "GetShardIterator" {
				return errors.New("the connection breaks")
			}
		case 6:
			if reads {
				return kinesistest.ErrLostReply
			}
		}
		return nil
	})
}

// flow is the test with one service.
func flow(t *testing.T, s *dataStream, how string) {
	w := streamWorld(t, s.name, s.endpoint, "shard_refresh: 1s, lease_duration: 3s, metadata: [partition_key], "+how, `iceberg: {warehouse: {lake}, commit_interval: 1s}
    also:
      files:
        sink: {s3: {bucket: {lake}, format: json_lines, compression_format: GZIP, prefix: data/, error_output_prefix: failed/, buffer_interval: 2s}}`)
	crew := []*worker{w.start(), w.start(), w.start()}
	kills := sized(*kills, 3)
	for life := range kills {
		s.put(s.total * (life + 1) / (kills + 1))
		if life%max(1, kills/8) == 0 {
			s.reshard(w.rng)
		}
		w.until("a worker commits", func() bool { return committed(crew) > 0 }, crew...)
		i := w.rng.IntN(len(crew))
		if life%2 == 0 {
			crew[i].arm([]string{sent, staged, decided}[life/2%3])
			crew[i].await(5 * time.Second) // it may have nothing to commit
		}
		w.kill(crew[i])
		crew[i] = w.start() // it steals its share of the leases
	}
	s.put(s.total)
	w.until("all rows are committed", func() bool { return w.rows("web.clicks") == s.total && w.rows("files:web.clicks") == s.total }, crew...)
	var peak int64
	for _, p := range crew {
		p.stop(t)
		peak = max(peak, p.most)
	}
	t.Logf("%d records, %d of them of 10 MiB, %d kills, %d with a commit sent, %d splits and merges in %.0f s, peak memory %d MiB",
		s.total, s.bigs, kills, w.sum.KillsMidCommit, s.changes, w.lap(), peak)
	out, err := w.run("verify", "-c", w.config, "--values")
	t.Logf("firehosed verify:\n%s", out)
	if err != nil || !strings.Contains(out, fmt.Sprintf("%d units judged", 2*s.total)) { // once for each sink
		t.Errorf("firehosed verify: %v", err)
	}
	w.wantOnce(s)
}

// streamWorld is a world whose records come from a stream.
func streamWorld(t *testing.T, stream, endpoint, how, sink string) *world {
	t.Helper()
	w := &world{
		t: t, dir: t.TempDir(), name: "web", rng: rand.New(rand.NewPCG(*seed, 2)), began: time.Now(),
		place: place{env: []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}}, sum: figures{Test: t.Name(), Seed: *seed},
	}
	w.config = filepath.Join(w.dir, "firehosed.yaml")
	config := fmt.Sprintf(`admin: {listen: "127.0.0.1:0"}
pipelines:
  web:
    source:
      kinesis: {streams: [%s], region: us-east-1, endpoint: %q, %s}
    routes: [{table: web.clicks}]
    sink:
      %s
`, stream, endpoint, how, strings.ReplaceAll(sink, "{lake}", strconv.Quote(w.dir+"/lake")))
	if err := os.WriteFile(w.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestManyShards has one worker read 1,000 shards that are idle and 50 that are busy, into objects of 200 partitions, for
// as long as -lasting says, and wants its memory to stay within the budget and what is promised beside it.
func TestManyShards(t *testing.T) {
	need(t, "readers")
	const idle, busy, slots, budget = 1000, 50, 200, 256 // MiB, the default
	srv := kinesistest.New()
	t.Cleanup(srv.Close)
	srv.Create("many", idle+busy)
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	w := streamWorld(t, "many", web.URL, "start: trim_horizon", `s3: {bucket: {lake}, format: json_lines, compression_format: GZIP, prefix: "data/p=!{partitionKeyFromQuery:p}/", `+
		`error_output_prefix: failed/, metadata_extraction_query: "{p: .p}", buffer_size: 64MiB, buffer_interval: 60s}`)
	p := w.start()
	w.until("the worker reads", p.reading, p)
	shards := srv.Shards("many")[:busy]
	text := strings.Repeat("0123456789abcdef", 20)
	n := 0
	for began := time.Now(); time.Since(began) < *lasting; time.Sleep(50 * time.Millisecond) {
		for range 200 { // 4,000 records a second
			srv.PutTo("many", shards[n%busy], strconv.Itoa(n), fmt.Appendf(nil, `{"n":%d,"p":%d,"text":"%s"}`, n, n*7919%slots, text))
			n++
		}
		if err := p.alive(); err != nil {
			t.Fatal(err)
		}
	}
	peak := p.peak(t)
	p.stop(t)
	t.Logf("%d records of %d busy shards in %v, %d shards idle, %d reads; peak memory %d MiB", n, busy, *lasting, idle, srv.Calls("GetRecords", ""), peak)
	if limit := budget + *overhead; peak > limit {
		t.Errorf("peak memory %d MiB, want at most %d", peak, limit)
	}
	got := -1
	w.until("status tells the rows", func() bool { got = w.rows("web.clicks"); return got >= 0 })
	if got < n/2 || got > n {
		t.Errorf("%d rows of %d records", got, n)
	}
}

// rows returns how many rows a table has, by the program's own status.
func (w *world) rows(table string) int {
	out, err := w.run("status", "-c", w.config, "--json")
	if err != nil {
		w.t.Logf("status: %v\n%s", err, out)
		return -1
	}
	var st struct {
		Pipelines []struct {
			Tables []struct {
				Name    string
				Records int
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		w.t.Logf("status: %v\n%s", err, out)
		return -1
	}
	for _, p := range st.Pipelines {
		for _, t := range p.Tables {
			if t.Name == table {
				return t.Records
			}
		}
	}
	w.t.Logf("status has no table %s:\n%.2000s", table, out)
	return -1
}

// wantOnce has two engines read the rows of both sinks: each number from 0 once, with what belongs to it, and in the table
// those of a partition key in the order of their sequence numbers.
func (w *world) wantOnce(s *dataStream) {
	w.t.Helper()
	const script = `
import glob, sys
sys.path.insert(0, "checker")
import engines
lake = sys.argv[1] + "/lake"
newest = sorted(glob.glob(lake + "/web/clicks/metadata/*.metadata.json"))[-1]
files = lake + "/data/*/*/*/*/*.gz"
duck, house = engines.DuckDB(engines.S3({})).c, engines.ClickHouse(engines.S3({}))
def ask_duck(read, order):
    back = "(SELECT n < lag(n) OVER (PARTITION BY k ORDER BY s) AS b FROM r) WHERE b"
    duck.execute(f"CREATE OR REPLACE TABLE r AS SELECT *, {order} FROM {read}")
    return [*duck.execute("SELECT count(*), count(DISTINCT n), min(n), max(n), sum(length(big)), sum((text != (n * 7919)::VARCHAR)::INT) FROM r").fetchone(),
            duck.execute(f"SELECT count(*) FROM {back}").fetchone()[0]]
def ask_house(read, order):
    sql = f"""SELECT count(), uniqExact(n), min(n), max(n), sum(length(big)), countIf(text != toString(n * 7919)), countIf(n < back) FROM (
        SELECT n, text, big, lagInFrame(n) OVER (PARTITION BY k ORDER BY s ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS back
        FROM (SELECT n, text, big, {order} FROM {read})) SETTINGS max_memory_usage=3000000000"""
    return house.connection.query(sql, "TSV").data().split()
print("duckdb table", *ask_duck(f"iceberg_scan('{newest}')", "_fh_partition_key AS k, lpad(_fh_sequence, 60, '0') AS s"))
print("duckdb objects", *ask_duck(f"read_ndjson('{files}', columns={{n: 'BIGINT', text: 'VARCHAR', big: 'VARCHAR'}}, maximum_object_size=20000000)", "n AS k, n AS s"))
print("clickhouse table", *ask_house(house.source(newest), "_fh_partition_key AS k, leftPad(assumeNotNull(_fh_sequence), 60, '0') AS s"))
print("clickhouse objects", *ask_house(f"file('{files}', 'JSONEachRow', 'n Int64, text String, big String')", "n AS k, n AS s"))`
	out, err := exec.CommandContext(w.t.Context(), os.Getenv("FIREHOSED_PYTHON"), "-c", script, w.dir).CombinedOutput()
	w.t.Logf("rows, different, lowest, highest, bytes of the large, wrong, out of order:\n%s", out)
	var want strings.Builder
	for _, by := range []string{"duckdb table", "duckdb objects", "clickhouse table", "clickhouse objects"} {
		fmt.Fprintf(&want, "%s %d %d 0 %d %d 0 0\n", by, s.total, s.total, s.total-1, s.bigs*bigText)
	}
	if err != nil || string(out) != want.String() {
		w.t.Errorf("the engines differ from\n%s(%v)", &want, err)
	}
}

// dataStream is a stream and what was put into it.
type dataStream struct {
	t     *testing.T
	cl    *kinesis.Client
	name  string
	total int
	n     int // records put

	endpoint string
	big      int // how many records are to be of 10 MiB
	bigs     int // how many were put
	changes  int // splits and merges
}

// bigText is the length of the long text of a large record, which has 10 MiB with all the rest.
const bigText = 10<<20 - 200

func newStream(t *testing.T, endpoint string, total int, how ...func(*kinesis.Options)) *dataStream {
	t.Helper()
	s := &dataStream{t: t, name: fmt.Sprintf("it-%d", time.Now().UnixNano()), total: total, endpoint: endpoint}
	s.cl = kinesis.New(kinesis.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
		}),
	}, how...)
	if _, err := s.cl.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2)}); err != nil {
		t.Fatalf("create stream: %v", err)
	}
	t.Cleanup(func() {
		_, _ = s.cl.DeleteStream(context.Background(), &kinesis.DeleteStreamInput{StreamName: &s.name})
	})
	s.active()
	return s
}

// active waits until the stream can be used.
func (s *dataStream) active() {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(poll) {
		out, err := s.cl.DescribeStreamSummary(s.t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &s.name})
		if err == nil && out.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("stream %s is not active: %v", s.name, err)
		}
	}
}

// put appends records until there are to.
func (s *dataStream) put(to int) {
	s.t.Helper()
	for s.n < to {
		var entries []types.PutRecordsRequestEntry
		for full := false; s.n < to && len(entries) < 100 && !full; s.n++ {
			big := ""
			if full = s.bigs < s.big && s.n >= (s.bigs+1)*s.total/(s.big+1); full {
				big = strings.Repeat("x", bigText)
				s.bigs++
			}
			entries = append(entries, types.PutRecordsRequestEntry{
				PartitionKey: aws.String(fmt.Sprint("key-", s.n%97)), Data: fmt.Appendf(nil, `{"n":%d,"text":"%d","big":%q}`, s.n, s.n*7919, big),
			})
		}
		out, err := s.cl.PutRecords(s.t.Context(), &kinesis.PutRecordsInput{StreamName: &s.name, Records: entries})
		if err != nil || aws.ToInt32(out.FailedRecordCount) > 0 {
			s.t.Fatalf("put records: %v, %d failed", err, aws.ToInt32(out.FailedRecordCount))
		}
	}
}

// reshard splits an open shard, and merges two neighbours.
func (s *dataStream) reshard(rng *rand.Rand) {
	s.t.Helper()
	hash := func(text *string) *big.Int {
		n, ok := new(big.Int).SetString(aws.ToString(text), 10)
		if !ok {
			s.t.Fatalf("hash key %q", aws.ToString(text))
		}
		return n
	}
	open := s.open()
	p := open[rng.IntN(len(open))]
	middle := new(big.Int).Add(hash(p.HashKeyRange.StartingHashKey), hash(p.HashKeyRange.EndingHashKey))
	if _, err := s.cl.SplitShard(s.t.Context(), &kinesis.SplitShardInput{
		StreamName: &s.name, ShardToSplit: p.ShardId, NewStartingHashKey: aws.String(middle.Rsh(middle, 1).String()),
	}); err != nil {
		s.t.Fatalf("split: %v", err)
	}
	s.changes++
	s.active()
	open = s.open()
	a := open[rng.IntN(len(open))]
	next := new(big.Int).Add(hash(a.HashKeyRange.EndingHashKey), big.NewInt(1)).String()
	for _, b := range open {
		if aws.ToString(b.HashKeyRange.StartingHashKey) != next {
			continue
		}
		if _, err := s.cl.MergeShards(s.t.Context(), &kinesis.MergeShardsInput{StreamName: &s.name, ShardToMerge: a.ShardId, AdjacentShardToMerge: b.ShardId}); err != nil {
			s.t.Fatalf("merge: %v", err)
		}
		s.changes++
	}
	s.active()
}

// open lists the shards that take records.
func (s *dataStream) open() (open []types.Shard) {
	s.t.Helper()
	out, err := s.cl.ListShards(s.t.Context(), &kinesis.ListShardsInput{StreamName: &s.name})
	for range 10 {
		if err == nil {
			break
		}
		out, err = s.cl.ListShards(s.t.Context(), &kinesis.ListShardsInput{StreamName: &s.name}) // the service may be one that breaks off
	}
	if err != nil {
		s.t.Fatalf("list shards: %v", err)
	}
	for _, sh := range out.Shards {
		if sh.SequenceNumberRange.EndingSequenceNumber == nil {
			open = append(open, sh)
		}
	}
	return open
}
