package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/internal/admin"
	"github.com/firehosed/firehosed/pipeline"
)

// life is one run of a worker inside a test.
type life struct {
	t    *testing.T
	log  *logBuffer
	out  *logBuffer // standard output
	stop context.CancelFunc
	code chan int
	base string // URL of the admin interface
}

var listening = regexp.MustCompile(`"msg":"admin listening","addr":"([^"]+)"`)

// start runs the file until stopped.
func start(t *testing.T, file string, args ...string) *life {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &life{t: t, log: &logBuffer{}, out: &logBuffer{}, stop: cancel, code: make(chan int, 1)}
	args = append([]string{"run", "-c", file, "--log-level", "debug", "--log-format", "json"}, args...)
	go func() {
		l.code <- Main(ctx, Process{Args: args, Stdout: l.out, Stderr: l.log, LookupEnv: lookupIn(nil)})
	}()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Log(l.log.String())
		}
	})
	l.listening()
	return l
}

// listening waits for the admin interface.
func (l *life) listening() {
	l.t.Helper()
	l.wait("admin listening", func() bool {
		m := listening.FindStringSubmatch(l.log.String())
		if m != nil {
			l.base = "http://" + m[1]
		}
		return m != nil
	})
}

// wait polls until the condition holds. It gives up only when nothing can come of
// it any more.
func (l *life) wait(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		select {
		case code := <-l.code:
			l.t.Fatalf("waiting for %s: ended with %d\n%s", what, code, l.log)
		default:
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("waiting for %s\n%s", what, l.log)
		}
	}
}

func (l *life) get(path string) (int, string) {
	l.t.Helper()
	return l.do(http.MethodGet, path)
}

func (l *life) do(method, path string) (int, string) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.base+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// status asks the worker.
func (l *life) status() (st admin.Status) {
	l.t.Helper()
	if code, body := l.get("/v1/status"); code == 200 {
		if err := json.Unmarshal([]byte(body), &st); err != nil {
			l.t.Fatal(err)
		}
	}
	return st
}

// committed waits until a table has n rows of this life.
func (l *life) committed(table string, n int64) {
	l.t.Helper()
	l.wait(fmt.Sprintf("%d rows in %s", n, table), func() bool {
		for _, p := range l.status().Pipelines {
			l.do(http.MethodPost, "/v1/pipelines/"+p.Pipeline+"/flush")
		}
		for _, p := range l.status().Pipelines {
			for _, t := range p.Tables {
				if t.Name == table && t.Rows >= n {
					return true
				}
			}
		}
		return false
	})
}

// end asks the worker to stop and returns its exit code.
func (l *life) end() int {
	l.stop()
	return <-l.code
}

func quick(addr, lake, more string) string {
	return fmt.Sprintf(`
admin: {listen: 127.0.0.1:0}
pipelines:
  shop:
    source: {kafka: {brokers: [%q], topics: [orders], instance_id: w, session_timeout: 6s}}
    sink: {iceberg: {warehouse: %q, commit_interval: 1s, commits_per_second: 0, catalog_commits_per_second: 0}}
%s`, addr, lake, more)
}

// TestLife: from records to rows, over a restart and a change of the
// configuration, to a proof; all by the program's own commands.
func TestLife(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	file := write(t, quick(addr, lake, ""))
	produce(t, addr, `{"a":1}`, `{"a":2,"b":"x"}`, `{broken`, `{"a":5} {"a":"six"}`)

	l := start(t, file)
	l.committed("shop.orders", 4)
	l.committed("shop_dlq", 1)
	if code, body := l.get("/readyz"); code != 200 || !strings.Contains(body, "ready") {
		t.Errorf("readyz: %d %s", code, body)
	}
	_, metrics := l.get("/metrics")
	for _, want := range []string{
		`firehosed_committed_rows_total{pipeline="shop",table="shop.orders"} 4`,
		`firehosed_units_in_total{pipeline="shop",sink=""} 5`,
		`firehosed_dead_letters_total{code="syntax",pipeline="shop",sink=""} 1`,
		`firehosed_unaccounted_units{pipeline="shop",sink=""} 0`,
		`firehosed_rescued_rows_total{pipeline="shop",table="shop.orders"} `,
		`firehosed_small_files_total{pipeline="shop",reason="request",table="shop.orders"} `,
		`firehosed_unaccounted_rows{pipeline="shop",table="shop.orders"} 0`,
		`firehosed_taken_rows_total{pipeline="shop",table="shop.orders"} 4`,
		`firehosed_pipeline_ended{pipeline="shop"} 0`,
		`firehosed_commit_attempts_total{outcome="done",pipeline="shop",table="shop.orders"} `,
		`firehosed_table_halted{class="",pipeline="shop",table="shop.orders"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
	l.do(http.MethodPost, "/v1/pipelines/shop/pause")
	produce(t, addr, `{"a":3}`)
	if !l.status().Pipelines[0].Paused {
		t.Error("not paused")
	}
	l.do(http.MethodPost, "/v1/pipelines/shop/resume")
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}

	// Another configuration: the dead letters of tombstones are new.
	changed := write(t, quick(addr, lake, "    json: {max_depth: 16}\n"))
	l = start(t, changed)
	produce(t, addr, `{"a":4}`)
	l.wait("6 rows in all", func() bool {
		_, out, _ := firehosed(t, nil, "status", "-c", changed, "--json")
		return strings.Contains(out, `"name":"shop.orders","state":"OK"`) && strings.Contains(out, `"records":6`)
	})
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}

	// The old one again: that looks like a worker that missed a roll-out.
	if code, _, errs := firehosed(t, nil, "run", "-c", file); code != ExitSuperseded || !strings.Contains(errs, "--as-new-revision 3") {
		t.Errorf("exit code %d: %s", code, errs)
	}

	code, out, errs := firehosed(t, nil, "verify", "-c", changed)
	if code != ExitOK || !strings.Contains(out, "proven: nothing lost, duplicated or unexpected") {
		t.Errorf("verify: %d %s %s", code, out, errs)
	}
	code, out, errs = firehosed(t, nil, "status", "-c", changed)
	if code != ExitOK || !strings.Contains(out, "pipeline shop: revision 2") || !strings.Contains(out, "orders/0") {
		t.Errorf("status: %d %s %s", code, out, errs)
	}

	// Back to the old one, on purpose.
	l = start(t, file, "--as-new-revision", "3")
	produce(t, addr, `{"a":7}`)
	l.committed("shop.orders", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	code, out, errs = firehosed(t, nil, "verify", "-c", file, "--json")
	if code != ExitOK || !strings.Contains(out, `"lost":0,"duplicated":0,"unexpected":0`) {
		t.Errorf("verify: %d %s %s", code, out, errs)
	}
}

// TestRunJSON: run --json writes a line for each pipeline and second, and nothing
// else, to standard output.
func TestRunJSON(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	produce(t, addr, `{"a":1}`, `{"a":2}`, `{broken`)
	l := start(t, write(t, quick(addr, lake, "")), "--json")
	l.committed("shop.orders", 2)
	l.committed("shop_dlq", 1)
	type line struct {
		Time       time.Time
		Pipeline   string
		Committed  int64 `json:"committed_rows"` // dead letters among them
		Partitions int
		Tables     int
	}
	var all []line
	l.wait("a line that has it all", func() bool {
		all = nil
		for text := range strings.Lines(l.out.String()) {
			if !strings.HasSuffix(text, "\n") {
				break // it is being written
			}
			var one line
			if err := json.Unmarshal([]byte(text), &one); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			all = append(all, one)
		}
		if len(all) < 2 {
			return false
		}
		last := all[len(all)-1]
		return last.Committed == 3 && last.Partitions == 2 && last.Tables == 2
	})
	for i, one := range all {
		if one.Pipeline != "shop" || i > 0 && !one.Time.After(all[i-1].Time) {
			t.Errorf("line %d: %+v", i, one)
		}
	}
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestTableOfSomebodyElse: a table that another pipeline feeds from the same topic
// halts, in words, and the rest goes on.
func TestTableOfSomebodyElse(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	produce(t, addr, `{"a":1}`)
	l := start(t, write(t, quick(addr, lake, "    routes: [{table: shared.orders}]\n")))
	l.committed("shared.orders", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	copied := strings.ReplaceAll(quick(addr, lake, "    routes: [{table: shared.orders}]\n"), "shop:", "copy:")
	l = start(t, write(t, copied))
	l.wait("degraded", func() bool {
		_, body := l.get("/readyz")
		return strings.Contains(body, "degraded")
	})
	for range 100 { // and stays so, however often the table is looked at again
		time.Sleep(20 * time.Millisecond)
		if _, body := l.get("/readyz"); !strings.Contains(body, "degraded") {
			t.Fatalf("the halt is gone: %s", body)
		}
	}
	code, body := l.get("/readyz")
	if code != 200 || !strings.Contains(body, "CLAIMED") || !strings.Contains(body, `shop`) || !strings.Contains(body, "choose another table") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	if code, out, errs := firehosed(t, nil, "status", "-c", write(t, copied)); code != ExitHalted || !strings.Contains(out, "HALTED: table shared.orders is CLAIMED") {
		t.Errorf("status: %d %s%s", code, out, errs)
	}
	lines := 0
	for line := range strings.Lines(l.log.String()) {
		if strings.Contains(line, "CLAIMED") {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("the log tells it %d times, want once", lines)
	}
}

// TestOffsetsAndTables: operators' decisions, with no worker running.
func TestOperators(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	produce(t, addr, `{"a":1}`, `{"a":2}`)
	file := write(t, quick(addr, lake, ""))
	l := start(t, file)
	l.committed("shop.orders", 2)
	l.end()
	f := func(code int, want string, args ...string) {
		t.Helper()
		c, out, errs := firehosed(t, nil, append(args, "-c", file)...)
		if c != code || !strings.Contains(out+errs, want) {
			t.Errorf("%s: %d %s%s, want %d %s", strings.Join(args, " "), c, out, errs, code, want)
		}
	}
	f(0, "records [100, 200) of kafka:", "offsets", "accept-gap", "orders/1", "100", "200")
	f(0, "are accepted as lost", "offsets", "accept-gap", "orders/1", "100", "200")
	f(0, "dropped as skipped, by revision 2", "offsets", "skip", "orders/0", "5", "7")
	f(2, `has no partition "orders/7": it has orders/0, orders/1`, "offsets", "skip", "orders/7", "5", "7")
	f(2, "is not an offset", "offsets", "skip", "orders/0", "five", "7")
	f(2, "TO is the first one that stays", "offsets", "skip", "orders/0", "7", "7")
	f(2, "the source has no topic or partition \"oders\"", "offsets", "accept-incarnation", "oders")
	f(2, "wants --from OFFSET", "offsets", "accept-incarnation", "orders/1")
	f(0, "is taken as a new log", "offsets", "accept-incarnation", "orders/1", "--from", "3")
	f(0, "was taken as a new log already", "offsets", "accept-incarnation", "orders/1", "--from", "3")
	f(1, "no table of that name", "table", "forfeit", "nope")
	f(0, "dropped as forfeited", "table", "forfeit", "shop.orders")
	f(0, `"done":"nobody waits for table shop.orders`, "table", "forfeit", "shop.orders", "--json")
	f(1, "it is OK, not REPLACED", "table", "rebind", "shop.orders")
	f(0, "is in order again", "table", "resume", "shop.orders", "--skip")
	f(2, "wants --tables", "control", "rebuild")
	f(1, "it is not lost", "control", "rebuild", "--tables", "shop.orders,shop_dlq")
	f(0, "orders/1  lag 0", "status")
	f(0, "table shop_dlq  UNBOUND  it is made when the first row comes for it", "status")
	f(2, `has no pipeline "shpo"; did you mean "shop"?`, "status", "-p", "shpo")
}

// TestManyPipelines: one that cannot go on does not end the others.
func TestManyPipelines(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	produce(t, addr, `{"a":1}`)
	two := func(json string) string {
		return write(t, quick(addr, lake, "")+fmt.Sprintf(`
  other:
    source: {kafka: {brokers: [%q], topics: [orders]}}
    json: %s
    sink: {iceberg: {warehouse: %q, commit_interval: 1s}}
`, addr, json, lake))
	}
	for _, json := range []string{"{}", "{max_depth: 5}"} { // a second revision of the second
		l := start(t, two(json))
		l.wait("both", func() bool {
			ps := l.status().Pipelines
			return len(ps) == 2 && len(ps[0].Lanes) > 0 && len(ps[1].Lanes) > 0
		})
		l.end()
	}
	l := start(t, two("{}"))
	l.wait("one to be superseded", func() bool { return strings.Contains(l.log.String(), "pipeline ended") })
	if code, body := l.get("/readyz"); code != 200 || !strings.Contains(body, "degraded") || !strings.Contains(body, "pipeline other has ended: pipeline \\\"other\\\": this configuration is that of revision 1") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if _, body := l.get("/metrics"); !strings.Contains(body, `firehosed_pipeline_ended{pipeline="other"} 1`) || !strings.Contains(body, `firehosed_pipeline_ended{pipeline="shop"} 0`) {
		t.Error("the metrics do not tell which pipeline has ended")
	}
	produce(t, addr, `{"a":2}`)
	l.wait("the other to deliver", func() bool {
		_, out, _ := firehosed(t, nil, "status", "-p", "shop", "-c", two("{}"), "--json")
		return strings.Contains(out, `"records":2`)
	})
	if code := l.end(); code != ExitSuperseded {
		t.Errorf("exit code %d", code)
	}
}

// TestProgress: what people and programs see once a second.
func TestProgress(t *testing.T) {
	var screen, lines bytes.Buffer
	term := newTerminal(&screen)
	s := snapshot{Pipeline: "shop", RowsPerSecond: 1234.5, BytesPerSecond: 3 << 20, Halts: []string{"x"}}
	s.Committed, s.DeadLetters = 1234567, 8
	lag := int64(42)
	s.Lag = &lag
	term.show(s.String())
	if got, want := screen.String(), clearLine+"shop: 1,234,567 rows committed, 1,234/s, 3MiB/s, lag 42, 8 dead letters, 1 HALTED"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	screen.Reset()
	fmt.Fprintln(term, "a log line")
	if got := screen.String(); got != clearLine+"a log line\n" {
		t.Errorf("%q", got)
	}
	screen.Reset()
	term.show("")
	if screen.Len() > 0 {
		t.Errorf("%q", screen.String())
	}
	if err := json.NewEncoder(&lines).Encode(s); err != nil || !strings.Contains(lines.String(), `"lag_records":42`) {
		t.Errorf("%s %v", lines.String(), err)
	}
}

func TestKafkaPositions(t *testing.T) {
	p, err := kafkaPosition("42")
	if err != nil || p != "0000000000000000042" {
		t.Errorf("%q %v", p, err)
	}
	for _, bad := range []string{"-1", "x", ""} {
		if _, err := kafkaPosition(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	f := func(from, to pipeline.Position, want int64) {
		t.Helper()
		if n, ok := kafkaDistance(from, to); n != want || !ok {
			t.Errorf("distance(%q, %q) = %d, %v", from, to, n, ok)
		}
	}
	f("", "0000000000000000042", 42)
	f("0000000000000000040", "0000000000000000042", 2)
	f("0000000000000000043", "0000000000000000042", 0)
	if _, ok := kafkaDistance("~", ""); ok {
		t.Error("an end has no distance")
	}
}

// TestOvertaken: retention takes records before they were read. Nothing is skipped
// until an operator says so, and status and verify tell it.
func TestOvertaken(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	file := write(t, quick(addr, lake, ""))
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	send := func(values ...string) {
		t.Helper()
		for _, v := range values {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Partition: 1, Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(`{"a":1}`, `{"a":2}`)
	l := start(t, file)
	l.committed("shop.orders", 2)
	l.end()

	send(`{"a":3}`, `{"a":4}`, `{"a":5}`)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "orders", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 1, Offset: 4}}}}
	if _, err := req.RequestWith(t.Context(), cl); err != nil {
		t.Fatal(err)
	}
	code, out, errs := firehosed(t, nil, "status", "-c", file)
	if code != ExitHalted || !strings.Contains(out, "SOURCE_OVERTAKEN") || !strings.Contains(out, "firehosed offsets accept-gap") {
		t.Fatalf("status: %d %s%s", code, out, errs)
	}
	command := regexp.MustCompile(`(?m)^    firehosed (offsets accept-gap -c .*)$`).FindStringSubmatch(out)
	if command == nil {
		t.Fatalf("status names no command that can be pasted:\n%s", out)
	}
	l = start(t, file)
	l.wait("degraded", func() bool { _, body := l.get("/readyz"); return strings.Contains(body, "SOURCE_OVERTAKEN") })
	if _, body := l.get("/readyz"); !strings.Contains(body, command[1]) {
		t.Errorf("readyz does not name the command %s: %s", command[1], body)
	}
	l.wait("the log", func() bool { return strings.Contains(l.log.String(), command[1]) })
	l.end()

	if code, _, errs := firehosed(t, nil, strings.Fields(command[1])...); code != ExitOK {
		t.Fatalf("%s: %d %s", command[1], code, errs)
	}
	l = start(t, file)
	l.committed("shop.orders", 1)
	l.end()
	if code, out, errs := firehosed(t, nil, "status", "-c", file); code != ExitOK {
		t.Errorf("status: %d %s%s", code, out, errs)
	}
	if code, out, _ := firehosed(t, nil, "verify", "-c", file); code == ExitFailed || !strings.Contains(out, "decided: gap") {
		t.Errorf("verify: %d %s", code, out)
	}
}

// TestStoppedWhileStarting: a broker that takes connections and says nothing does
// not keep a worker that is asked to stop.
func TestStoppedWhileStarting(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	l := start(t, write(t, quick(ln.Addr().String(), t.TempDir(), "")))
	if code, body := l.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "starting") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, _ := l.get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	l.wait("a sign of life", func() bool { return strings.Contains(l.log.String(), "still waiting for the brokers") })
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestControlRebuild: the control prefix is lost. Nothing is written until it is
// there again, and nothing is lost or written twice after that.
func TestControlRebuild(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	file := write(t, quick(addr, lake, ""))
	produce(t, addr, `{"a":1}`, `{"a":2}`, `{bad`)
	l := start(t, file)
	l.committed("shop.orders", 2)
	l.committed("shop_dlq", 1)
	l.end()
	if err := os.RemoveAll(filepath.Join(lake, "_firehosed")); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := firehosed(t, nil, "control", "rebuild", "--tables", "shop.orders,shop_dlq", "-c", file); code != ExitOK {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	produce(t, addr, `{"a":3}`)
	l = start(t, file)
	l.committed("shop.orders", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	code, out, errs := firehosed(t, nil, "status", "-c", file, "--json")
	if code != ExitOK || !strings.Contains(out, `"records":3`) {
		t.Errorf("status: %d %s%s", code, out, errs)
	}
	if code, out, errs := firehosed(t, nil, "verify", "-c", file, "--json"); code == ExitFailed || !strings.Contains(out, `"lost":0,"duplicated":0`) {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}
