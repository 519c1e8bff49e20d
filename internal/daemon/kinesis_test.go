package daemon

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
	"github.com/firehosed/firehosed/internal/inspect"
)

// streams is a Kinesis service that commands of the program can reach.
func streams(t *testing.T) (*kinesistest.Server, string) {
	t.Helper()
	s := kinesistest.New()
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		srv.Close()
	})
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	return s, srv.URL
}

func shards(endpoint, lake, more string) string {
	return fmt.Sprintf(`
admin: {listen: 127.0.0.1:0}
pipelines:
  web:
    source: {kinesis: {streams: [clicks], region: eu-north-1, endpoint: %q, poll_interval: 200ms, shard_refresh: 1s, lease_duration: 3s%s}}
    sink: {iceberg: {warehouse: %q, commit_interval: 1s, commits_per_second: 0, catalog_commits_per_second: 0}}
`, endpoint, more, lake)
}

// TestKinesisLife: from the records of shards to rows, over aggregates, a split, a
// merge and a restart, to a proof; all by the program's own commands.
func TestKinesisLife(t *testing.T) {
	t.Run("polling", func(t *testing.T) { kinesisLife(t, "") })
	t.Run("fan-out", func(t *testing.T) {
		kinesisLife(t, ", fan_out_consumer: firehosed, metadata: [timestamp, partition_key]")
	})
}

// TestKinesisExample: the example brings records into their table, and verify proves it.
func TestKinesisExample(t *testing.T) {
	s, endpoint := streams(t)
	s.Create("clicks", 1)
	s.Put("clicks", "k", []byte(`{"a":1}`))
	text, err := os.ReadFile("../../examples/kinesis/firehosed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("warehouse: ./lake", "warehouse: "+t.TempDir(), "region: eu-central-1", "region: eu-central-1\n        endpoint: "+endpoint)
	file := write(t, "admin: {listen: 127.0.0.1:0}\n"+config.Replace(string(text)))
	l := start(t, file)
	l.committed("web.clicks", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	if code, out, errs := firehosed(t, nil, "verify", "-c", file); code != ExitOK || !strings.Contains(out, "1 units judged") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// TestCloudWatchExample: messages in envelopes become lines of objects, and verify proves it.
func TestCloudWatchExample(t *testing.T) {
	s, endpoint := streams(t)
	s.Create("log-subscription", 1)
	var envelope bytes.Buffer
	zip := gzip.NewWriter(&envelope)
	_, _ = zip.Write([]byte(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],` +
		`"logEvents":[{"id":"1","timestamp":1,"message":"one"},{"id":"2","timestamp":2,"message":"two {"}]}`))
	_ = zip.Close()
	s.Put("log-subscription", "k", envelope.Bytes())
	s.Put("log-subscription", "k", []byte("no envelope"))
	text, err := os.ReadFile("../../examples/cloudwatch-logs/firehosed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lake := t.TempDir()
	config := strings.NewReplacer("bucket: ./lake", "bucket: "+lake, "compression_format: ZSTD", "", "region: eu-central-1", "region: eu-central-1, endpoint: "+endpoint)
	file := write(t, "admin: {listen: 127.0.0.1:0}\n"+config.Replace(string(text)))
	l := start(t, file)
	l.committed("logs.log-subscription", 2)
	l.committed("logs_dlq", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	if got := linesIn(visible(t, lake), "logs/"); !slices.Equal(got, []string{"one", "two {"}) {
		t.Errorf("logs/ has %q", got)
	}
	if got := linesIn(visible(t, lake), "failed/decompression-failed/"); !slices.Equal(got, []string{"no envelope"}) {
		t.Errorf("failed/ has %q", got)
	}
	if code, out, errs := firehosed(t, nil, "verify", "-c", file); code != ExitOK || !strings.Contains(out, "3 units judged") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// TestKinesisFromEmpty: a pipeline that begins on an empty stream begins at a time. Nothing
// of what came since is taken for lost.
func TestKinesisFromEmpty(t *testing.T) {
	s, endpoint := streams(t)
	s.Create("clicks", 2)
	file := write(t, shards(endpoint, t.TempDir(), ""))
	l := start(t, file)
	l.wait("partitions", func() bool {
		st := l.status()
		return len(st.Pipelines) > 0 && len(st.Pipelines[0].Lanes) == 2
	})
	for i := range 20 {
		s.Put("clicks", fmt.Sprint(i), []byte(`{"a":1}`))
	}
	l.committed("web.clicks", 20)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	if code, out, errs := firehosed(t, nil, "verify", "-c", file); code != ExitOK || !strings.Contains(out, "20 units judged") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// TestKinesisRetention: what retention has removed since it was read cannot be
// verified, and verify says so.
func TestKinesisRetention(t *testing.T) {
	s, endpoint := streams(t)
	s.Create("clicks", 1)
	shard := s.Open("clicks")[0]
	file := write(t, shards(endpoint, t.TempDir(), ""))
	s.Put("clicks", "k", []byte(`{"a":1}`))
	_, seq := s.Put("clicks", "k", []byte(`{"a":2}`))
	l := start(t, file)
	l.committed("web.clicks", 2)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	s.Trim("clicks", shard, seq)
	if code, out, errs := firehosed(t, nil, "verify", "-c", file); code != inspect.ExitIncomplete || !strings.Contains(out, "lost 0, duplicated 0, unexpected 0") ||
		!strings.Contains(out, "no longer retained") || !strings.Contains(out, "unverifiable 2") { // the run, and its row
		t.Errorf("verify after retention: %d %s%s", code, out, errs)
	}
}

func kinesisLife(t *testing.T, more string) {
	s, endpoint := streams(t)
	s.Create("clicks", 2)
	file := write(t, shards(endpoint, t.TempDir(), more))
	n := 0
	put := func(count int) {
		for range count {
			n++
			s.Put("clicks", fmt.Sprint("k", n%7), fmt.Appendf(nil, `{"n":%d}`, n))
		}
	}
	put(40)
	s.Put("clicks", "k", kinesistest.Aggregate("k", `{"n":-1}`, `{"n":-2}{"n":-3}`, `{broken`, `{"n":-4}`))

	l := start(t, file)
	l.committed("web.clicks", 44)
	l.committed("web_dlq", 1)
	s.Split("clicks", s.Open("clicks")[0])
	put(40)
	l.committed("web.clicks", 84)
	open := s.Open("clicks")
	s.Merge("clicks", open[1], open[2])
	put(40)
	l.committed("web.clicks", 124)
	_, metrics := l.get("/metrics")
	if want := `firehosed_behind_seconds{partition="shardId-`; !strings.Contains(metrics, want) {
		t.Errorf("no metric %s", want)
	}
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}

	put(10)
	l = start(t, file)
	l.committed("web.clicks", 10)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	code, out, errs := firehosed(t, nil, "verify", "-c", file)
	if code != ExitOK || !strings.Contains(out, "135 units judged") || !strings.Contains(out, "table web.clicks: 134 rows") {
		t.Errorf("verify: %d %s %s", code, out, errs)
	}
	code, out, errs = firehosed(t, nil, "status", "-c", file)
	if code != ExitOK || !strings.Contains(out, "clicks/shardId-000000000000") {
		t.Errorf("status: %d %s %s", code, out, errs)
	}
}
