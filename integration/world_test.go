package integration

import (
	"bytes"
	"context"
	"flag"
	"fmt"
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
	records = flag.Int("records", 200_000, "records of the kill loop; the other tests take a fraction")
	kills   = flag.Int("kills", 5, "times that the kill loop kills a worker")
	seed    = flag.Uint64("seed", 1, "of records, moments of kills and choices")
	engines = flag.String("engines", "duckdb,pyiceberg", "that judge the tables: duckdb, pyiceberg, clickhouse")
	binary  = flag.String("binary", "", "firehosed to test; default: built from this tree")
	outage  = flag.Duration("outage", 30*time.Second, "how long the catalog is down in the test of the backlog")
	keep    = flag.String("keep", "", "folder for what the tests write; default: a temporary one")
)

const partitions = 6

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
}

// places returns the combinations of warehouse and catalog by name. dir is the test's own.
func places(dir string) map[string]place {
	unique := filepath.Base(dir)
	pg, rest, restS3 := os.Getenv("FIREHOSED_POSTGRES"), os.Getenv("FIREHOSED_REST"), os.Getenv("FIREHOSED_REST_S3")
	bucket := os.Getenv("FIREHOSED_S3_BUCKET")
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
		},
		"postgres-s3": {
			needs:   []string{"postgres", "s3"},
			sink:    fmt.Sprintf("warehouse: s3://%s/%s\ncatalog: {postgres: {dsn: {env: CATALOG_DSN}}}\n%s", bucket, unique, s3),
			env:     append([]string{"CATALOG_DSN=" + pg}, keys...),
			address: at("postgres:" + pg),
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
		},
	}
}

// world is one topic, the pipeline that reads it, and the tables it fills.
type world struct {
	t         *testing.T
	dir, name string // the name of the topic, the pipeline and its namespace
	place     place
	config    string // path of the configuration
	static    string // the worker's instance_id, where there is only one worker
	top       string // YAML at the top of the configuration
	stream    *gen.Stream
	total     int
	client    *kgo.Client
	admin     *kadm.Client

	allowed chan int   // how many records may be in the topic by now
	done    chan error // of the producer
}

// newWorld makes a topic and a producer that appends total records to it, as many as allow lets it.
func newWorld(t *testing.T, where string, total int) *world {
	t.Helper()
	need(t, "kafka", "readers")
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
	w := &world{t: t, dir: named, name: name, static: "only", total: total, allowed: make(chan int, 100), done: make(chan error, 1)}
	w.place = places(named)[where]
	need(t, w.place.needs...)
	samples, err := os.ReadFile("testdata/github-events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	if w.stream, err = gen.New(gen.Config{Samples: samples, Seed: *seed, Records: total, Bad: 3}); err != nil {
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
	w.configure("")
	return w
}

// configure writes the pipeline's configuration. more is YAML of the pipeline beside source and sink.
func (w *world) configure(more string) {
	w.t.Helper()
	var member string
	if w.static != "" { // it gets its partitions back at once
		member = ", instance_id: " + w.static
	}
	text := fmt.Sprintf(`admin: {listen: "127.0.0.1:0"}
%s
pipelines:
  %s:
    source:
      kafka: {brokers: [%q], topics: [%s], start: earliest, session_timeout: 6s%s}
    sink:
      iceberg:
        namespace: %s
        commit_interval: 1s
%s
%s`, w.top, w.name, os.Getenv("FIREHOSED_KAFKA"), w.name, member, w.name, indent(w.place.sink, 8), indent(more, 4))
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
			value, tomb := w.stream.Append([]byte{}, i)
			if tomb {
				value = nil
			}
			r := &kgo.Record{Partition: int32(i % partitions), Value: value}
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

// lag returns how many records lie above the pipeline's group offsets.
func (w *world) lag() (int64, error) {
	ends, err := w.admin.ListEndOffsets(w.t.Context(), w.name)
	if err != nil {
		return 0, err
	}
	got, err := w.admin.FetchOffsets(w.t.Context(), w.name)
	if err != nil {
		return 0, err
	}
	var lag int64
	ends.Each(func(e kadm.ListedOffset) {
		at, _ := got.Lookup(e.Topic, e.Partition)
		lag += e.Offset - max(at.At, 0)
	})
	return lag, nil
}

// run runs a command of the binary and returns what it printed.
func (w *world) run(args ...string) (string, error) {
	w.t.Helper()
	path, err := build()
	if err != nil {
		w.t.Fatalf("build firehosed: %v", err)
	}
	cmd := exec.CommandContext(w.t.Context(), path, args...)
	cmd.Env = append(os.Environ(), w.place.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// judge asks the program itself, and then the checker. by says how a record finds its table: "" where there is one,
// "any", or a JSON pointer to the table's name.
func (w *world) judge(by string, tables ...string) {
	w.t.Helper()
	if err := <-w.done; err != nil {
		w.t.Fatalf("produce: %v", err)
	}
	began := time.Now()
	out, err := w.run("verify", "-c", w.config)
	w.t.Logf("firehosed verify (%v):\n%s", time.Since(began).Round(time.Second), out)
	if err != nil {
		w.t.Errorf("firehosed verify: %v", err)
	}
	began = time.Now()
	args := []string{
		"checker/check.py", "--brokers", os.Getenv("FIREHOSED_KAFKA"), "--topic", w.name, "--engines", *engines,
		"--dead-letters", w.place.address(w.name + "." + w.name + "_dlq"),
	}
	switch by {
	case "":
	case "any":
		args = append(args, "--any")
	default:
		args = append(args, "--by", by)
	}
	for _, t := range tables {
		address := w.place.address(w.name + "." + t)
		if strings.HasPrefix(by, "/") {
			address = t + "=" + address
		}
		args = append(args, "--table", address)
	}
	check, err := exec.CommandContext(w.t.Context(), os.Getenv("FIREHOSED_PYTHON"), args...).CombinedOutput()
	w.t.Logf("checker (%v):\n%s", time.Since(began).Round(time.Second), check)
	if err != nil {
		w.t.Errorf("checker: %v", err)
	}
}
