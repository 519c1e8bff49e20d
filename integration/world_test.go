package integration

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/integration/gen"
)

var (
	records = flag.Int("records", 0, "records of each test; 0: as many as its short form takes, 20,000 to 220,000")
	kills   = flag.Int("kills", 0, "kills of each test; 0: as many as its short form has, 2 to 5")
	seed    = flag.Uint64("seed", 1, "of records, moments of kills and choices")
	engines = flag.String("engines", "duckdb,pyiceberg", "that judge the tables: duckdb, pyiceberg, clickhouse")
	binary  = flag.String("binary", "", "firehosed to test; default: built from this tree")
	outage  = flag.Duration("outage", 30*time.Second, "how long the catalog is down in the test of the backlog")
	lasting = flag.Duration("lasting", 20*time.Second, "how long the test of many shards goes on")
	keep    = flag.String("keep", "", "folder for what the tests write; default: a temporary one")
)

const partitions = 6

// drift is how many records the shape of a stream drifts over, at most: those of the longest short form. ClickHouse
// takes apart and puts together every row of a file that has an older schema, which takes it milliseconds a row of
// the 566 columns here, and hours for a million.
const drift = 220_000

// sized returns a flag's value, or the short form's where it is not given.
func sized(flag, short int) int {
	if flag > 0 {
		return flag
	}
	return short
}

// need skips the test unless FIREHOSED_IT names the components.
func need(t *testing.T, components ...string) {
	t.Helper()
	have := strings.Split(os.Getenv("FIREHOSED_IT"), ",")
	for _, c := range components {
		if !slices.Contains(have, c) {
			t.Skipf("FIREHOSED_IT does not name %s: start it with integration/components/up.sh %s", c, strings.Join(components, " "))
		}
	}
}

// build returns the path of the binary under test, built once.
var build = sync.OnceValues(func() (string, error) {
	if *binary != "" {
		return filepath.Abs(*binary)
	}
	dir, err := os.MkdirTemp("", "firehosed-it-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "firehosed"), "../cmd/firehosed")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(dir, "firehosed"), nil
})

// TestMain removes the binary that build made.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *binary == "" && os.Getenv("FIREHOSED_IT") != "" {
		if path, err := build(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// place is where tables go: a warehouse and a catalog.
type place struct {
	needs   []string
	sink    string              // YAML below sink.iceberg
	env     []string            // for the worker
	address func(string) string // a table's, for the checker
	prefix  string              // of its objects in the bucket, if it is there
}

// places returns the combinations of warehouse and catalog by name. dir is the test's own.
func places(dir string) map[string]place {
	unique := filepath.Base(dir)
	pg, rest, restS3 := os.Getenv("FIREHOSED_POSTGRES"), os.Getenv("FIREHOSED_REST"), os.Getenv("FIREHOSED_REST_S3")
	bucket := os.Getenv("FIREHOSED_S3_BUCKET")
	restPrefix := strings.TrimPrefix(os.Getenv("FIREHOSED_REST_S3_WAREHOUSE"), "s3://"+bucket+"/")
	s3 := fmt.Sprintf("s3: {endpoint: %q, region: us-east-1, path_style: true}", os.Getenv("FIREHOSED_S3_ENDPOINT"))
	keys := []string{
		"AWS_ACCESS_KEY_ID=" + os.Getenv("FIREHOSED_S3_KEY"), "AWS_SECRET_ACCESS_KEY=" + os.Getenv("FIREHOSED_S3_SECRET"),
	}
	at := func(catalog string) func(string) string {
		return func(table string) string { return catalog + "#" + table }
	}
	return map[string]place{
		"sqlite": {
			sink:    fmt.Sprintf("warehouse: %q", dir+"/warehouse"),
			address: at("sqlite:" + dir + "/warehouse/catalog.db"),
		},
		"sqlite-s3": {
			needs:   []string{"s3"},
			sink:    fmt.Sprintf("warehouse: s3://%s/%s\ncatalog: {sqlite: {path: %q}}\n%s", bucket, unique, dir+"/catalog.db", s3),
			env:     keys,
			address: at("sqlite:" + dir + "/catalog.db"),
			prefix:  unique + "/",
		},
		"postgres-s3": {
			needs:   []string{"postgres", "s3"},
			sink:    fmt.Sprintf("warehouse: s3://%s/%s\ncatalog: {postgres: {dsn: {env: CATALOG_DSN}}}\n%s", bucket, unique, s3),
			env:     append([]string{"CATALOG_DSN=" + pg}, keys...),
			address: at("postgres:" + pg),
			prefix:  unique + "/",
		},
		"rest": {
			needs:   []string{"rest"},
			sink:    fmt.Sprintf("warehouse: %s/%s\ncatalog: {rest: {uri: %q}}", os.Getenv("FIREHOSED_REST_WAREHOUSE"), unique, rest),
			address: at("rest:" + rest),
		},
		"rest-s3": {
			needs:   []string{"rest-s3", "s3"},
			sink:    fmt.Sprintf("warehouse: %s/%s\ncatalog: {rest: {uri: %q}}\n%s", os.Getenv("FIREHOSED_REST_S3_WAREHOUSE"), unique, restS3, s3),
			env:     keys,
			address: at("rest:" + restS3),
			prefix:  restPrefix + "/" + unique + "/",
		},
	}
}

// world is one topic, the pipeline that reads it, and the tables it fills.
type world struct {
	t         *testing.T
	dir, name string // the name of the topic, the pipeline and its namespace
	place     place
	sink      string // YAML below sink; "": iceberg, in its place
	config    string // path of the configuration
	top       string // YAML at the top of the configuration
	stream    *gen.Stream
	total     int
	client    *kgo.Client
	admin     *kadm.Client

	edit    func(value []byte, i int) []byte // changes a record before it is appended; nil: nothing does
	allowed chan int                         // how many records may be in the topic by now
	done    chan error                       // of the producer

	rng   *rand.Rand // chooses moments and victims
	began time.Time  // of the phase that lap ends
	sum   figures
}

// newWorld makes a topic and a producer that appends total records to it, as many as allow lets it.
func newWorld(t *testing.T, where string, total int) *world {
	t.Helper()
	need(t, "kafka", "readers")
	if strings.Contains(*engines, "clickhouse") {
		need(t, "clickhouse")
	}
	dir := t.TempDir()
	if *keep != "" {
		dir = filepath.Join(*keep, strings.ReplaceAll(t.Name(), "/", "-"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("it_%d", time.Now().UnixNano())
	named := filepath.Join(dir, name)
	if err := os.Mkdir(named, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: named, name: name, total: total,
		allowed: make(chan int, 100), done: make(chan error, 1),
		rng: rand.New(rand.NewPCG(*seed, 1)), began: time.Now(),
		sum: figures{Test: t.Name(), Seed: *seed},
	}
	w.place = places(named)[where]
	need(t, w.place.needs...)
	if w.place.prefix != "" {
		emptyLater(t, w.place.prefix)
	}
	samples, err := os.ReadFile("testdata/github-events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	if w.stream, err = gen.New(gen.Config{Samples: samples, Seed: *seed, Records: min(total, drift), Bad: 3}); err != nil {
		t.Fatal(err)
	}
	w.client, err = kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("FIREHOSED_KAFKA"), ",")...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(20_000), kgo.DefaultProduceTopic(name),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	if _, err := w.admin.CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	t.Cleanup(func() {
		if !t.Failed() && *keep == "" {
			_, _ = w.admin.DeleteTopics(context.Background(), name)
		}
	})
	go func() { w.done <- w.produce(t.Context()) }()
	w.configure("only", "")
	return w
}

// configure writes the pipeline's configuration. A worker with an instance gets its partitions back at once when it starts
// again, and there is one of it at a time; "" where workers share a file. more is YAML beside source and sink.
func (w *world) configure(instance, more string) {
	w.t.Helper()
	var member string
	if instance != "" {
		member = ", instance_id: " + instance
	}
	sink := w.sink
	if sink == "" {
		sink = fmt.Sprintf("iceberg:\n  namespace: %s\n  commit_interval: 1s\n%s", w.name, indent(w.place.sink, 2))
	}
	text := fmt.Sprintf(`admin: {listen: "127.0.0.1:0"}
%s
pipelines:
  %s:
    source:
      kafka: {brokers: [%q], topics: [%s], start: earliest, session_timeout: 6s%s}
    sink:
%s
%s`, w.top, w.name, os.Getenv("FIREHOSED_KAFKA"), w.name, member, indent(sink, 6), indent(more, 4))
	w.config = filepath.Join(w.dir, "firehosed.yaml")
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func indent(s string, n int) string {
	if s == "" {
		return ""
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+pad) + "\n"
}

// allow lets the producer go on until n records are in the topic.
func (w *world) allow(n int) { w.allowed <- n }

// produce appends the records, round robin over the partitions.
func (w *world) produce(ctx context.Context) error {
	var failed error
	var once sync.Once
	for i := 0; i < w.total; {
		var to int
		select {
		case to = <-w.allowed:
		case <-ctx.Done():
			return ctx.Err()
		}
		for ; i < min(to, w.total); i++ {
			r := &kgo.Record{Partition: int32(i % partitions), Value: w.value(i)}
			w.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					once.Do(func() { failed = err })
				}
			})
		}
		if err := w.client.Flush(ctx); err != nil {
			return err
		}
	}
	return failed
}

// value returns the value of a record, nil: a tombstone.
func (w *world) value(i int) []byte {
	value, tomb := w.stream.Append([]byte{}, i)
	if tomb {
		return nil
	}
	if w.edit != nil {
		value = w.edit(value, i)
	}
	return value
}

// produced waits until the producer has appended every record.
func (w *world) produced() {
	w.t.Helper()
	if err := <-w.done; err != nil {
		w.t.Fatalf("produce: %v", err)
	}
	w.done <- nil
}

// lag returns how many records lie above the pipeline's group offsets.
func (w *world) lag() (int, error) {
	ends, err := w.admin.ListEndOffsets(w.t.Context(), w.name)
	if err != nil {
		return 0, err
	}
	got, err := w.admin.FetchOffsets(w.t.Context(), w.name)
	if err != nil {
		return 0, err
	}
	lag := 0
	ends.Each(func(e kadm.ListedOffset) {
		at, _ := got.Lookup(e.Topic, e.Partition)
		lag += int(e.Offset - max(at.At, 0))
	})
	return lag, nil
}

// passed reports whether the pipeline's group offsets have passed n records.
func (w *world) passed(n int) bool {
	got, err := w.admin.FetchOffsets(w.t.Context(), w.name)
	if err != nil {
		return false
	}
	at := 0
	got.Each(func(o kadm.OffsetResponse) { at += int(max(o.At, 0)) })
	return at >= n
}
