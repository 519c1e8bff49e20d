package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// TestKinesis moves records of a stream of an independent service into a table, and into objects, while shards are split
// and merged and three workers are killed, and wants every record there exactly once: by verify, and by DuckDB.
func TestKinesis(t *testing.T) {
	for _, c := range []struct{ name, sink, read string }{
		{
			"iceberg", "iceberg: {warehouse: %q, commit_interval: 1s}",
			`SELECT n, _fh_partition_key k, lpad(_fh_sequence, 60, '0') s FROM iceberg_scan('{newest}')`,
		},
		{
			"s3", "s3: {bucket: %q, format: json_lines, compression_format: GZIP, prefix: data/, buffer_interval: 1s}",
			`SELECT n, n AS k, n AS s FROM read_ndjson('{lake}/data/*/*/*/*/*.gz')`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, "kinesis", "readers")
			total := sized(*records, 2000)
			s := newStream(t, total)
			w := &world{
				t: t, dir: t.TempDir(), name: "web", total: total, rng: rand.New(rand.NewPCG(*seed, 2)), began: time.Now(),
				place: place{env: []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}}, sum: figures{Test: t.Name(), Seed: *seed},
			}
			w.config = filepath.Join(w.dir, "firehosed.yaml")
			config := fmt.Sprintf(`admin: {listen: "127.0.0.1:0"}
pipelines:
  web:
    source:
      kinesis: {streams: [%s], region: us-east-1, endpoint: %q, poll_interval: 200ms, shard_refresh: 1s, lease_duration: 3s, metadata: [partition_key]}
    routes: [{table: web.clicks}]
    sink: {%s}
`, s.name, os.Getenv("FIREHOSED_KINESIS"), fmt.Sprintf(c.sink, w.dir+"/lake"))
			if err := os.WriteFile(w.config, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			crew := []*worker{w.start(), w.start(), w.start()}
			kills := sized(*kills, 3)
			for life := range kills {
				s.put(total * (life + 1) / (kills + 1))
				if life%max(1, kills/8) == 0 {
					s.reshard(w.rng)
				}
				w.until("a worker commits", func() bool { return committed(crew) > 0 }, crew...)
				i := w.rng.IntN(len(crew))
				if life%2 == 0 {
					crew[i].arm(sent)
					crew[i].await(3 * time.Second) // it may have nothing to commit
				}
				w.kill(crew[i])
				crew[i] = w.start() // it steals its share of the leases
			}
			s.put(total)
			w.until("all rows are committed", func() bool { return w.rows() == total }, crew...)
			for _, p := range crew {
				p.stop(t)
			}
			t.Logf("%d records, %d kills, %d splits and merges in %.0f s", total, kills, s.changes, w.lap())
			out, err := w.run("verify", "-c", w.config)
			t.Logf("firehosed verify:\n%s", out)
			if err != nil || !strings.Contains(out, fmt.Sprintf("%d units judged", total)) {
				t.Errorf("firehosed verify: %v", err)
			}
			w.wantOnce(c.read, total)
		})
	}
}

// rows returns how many rows the table has, by the program's own status.
func (w *world) rows() int {
	out, err := w.run("status", "-c", w.config, "--json")
	if err != nil {
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
		return -1
	}
	for _, p := range st.Pipelines {
		for _, t := range p.Tables {
			if t.Name == "web.clicks" {
				return t.Records
			}
		}
	}
	return -1
}

// wantOnce has DuckDB read the rows: each number from 0 once, and those of a partition key in the order of their
// sequence numbers.
func (w *world) wantOnce(read string, total int) {
	w.t.Helper()
	const script = `
import glob, sys
sys.path.insert(0, "checker")
import engines
lake = sys.argv[1] + "/lake"
read = sys.argv[2].replace("{lake}", lake)
if "{newest}" in read:
    read = read.replace("{newest}", sorted(glob.glob(lake + "/web/clicks/metadata/*.metadata.json"))[-1])
c = engines.DuckDB(engines.S3({})).c
c.execute(f"CREATE TABLE r AS {read}")
print(*c.execute("SELECT count(*), count(DISTINCT n), min(n), max(n) FROM r").fetchone(),
      c.execute("SELECT count(*) FROM (SELECT n < lag(n) OVER (PARTITION BY k ORDER BY s) AS back FROM r) WHERE back").fetchone()[0])`
	out, err := exec.CommandContext(w.t.Context(), os.Getenv("FIREHOSED_PYTHON"), "-c", script, w.dir, read).CombinedOutput()
	want := fmt.Sprintf("%d %d 0 %d 0", total, total, total-1)
	if got := strings.TrimSpace(string(out)); err != nil || got != want {
		w.t.Errorf("rows, different, lowest, highest, out of order: %s, want %s (%v)", got, want, err)
	}
}

// dataStream is a stream and what was put into it.
type dataStream struct {
	t     *testing.T
	cl    *kinesis.Client
	name  string
	total int
	n     int // records put

	changes int // splits and merges
}

func newStream(t *testing.T, total int) *dataStream {
	t.Helper()
	s := &dataStream{t: t, name: fmt.Sprintf("it-%d", time.Now().UnixNano()), total: total}
	s.cl = kinesis.New(kinesis.Options{
		BaseEndpoint: aws.String(os.Getenv("FIREHOSED_KINESIS")), Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
		}),
	})
	if _, err := s.cl.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2)}); err != nil {
		t.Fatalf("create stream: %v", err)
	}
	t.Cleanup(func() {
		_, _ = s.cl.DeleteStream(context.Background(), &kinesis.DeleteStreamInput{StreamName: &s.name})
	})
	s.active()
	return s
}

func (s *dataStream) active() {
	s.t.Helper()
	if err := kinesis.NewStreamExistsWaiter(s.cl, func(o *kinesis.StreamExistsWaiterOptions) { o.MinDelay, o.MaxDelay = poll, time.Second }).
		Wait(s.t.Context(), &kinesis.DescribeStreamInput{StreamName: &s.name}, time.Minute); err != nil {
		s.t.Fatalf("stream %s is not active: %v", s.name, err)
	}
}

// put appends records until there are to.
func (s *dataStream) put(to int) {
	s.t.Helper()
	for s.n < to {
		var entries []types.PutRecordsRequestEntry
		for ; s.n < to && len(entries) < 100; s.n++ {
			entries = append(entries, types.PutRecordsRequestEntry{
				PartitionKey: aws.String(fmt.Sprint("key-", s.n%97)), Data: fmt.Appendf(nil, `{"n":%d,"text":"%x"}`, s.n, s.n*s.n),
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
