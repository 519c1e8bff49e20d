//go:build failpoint

package failpoints

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	iceio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
)

const (
	topic      = "events"
	partitions = 3
	batch      = 30 // records appended at a time
)

// world is a broker, a topic, and the pipeline that reads it into two tables by a
// field, and the dead-letter table.
type world struct {
	t          *testing.T
	dir, addr  string
	sink, more string // YAML of the sink, and of the pipeline
	client     *kgo.Client
	admin      *kadm.Client
	produced   int
	second     *worker
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{t: t, dir: t.TempDir(), addr: c.ListenAddrs()[0]}
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.addr), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// configure writes the configuration of a member.
func (w *world) configure(member string) string {
	w.t.Helper()
	text := fmt.Sprintf(`
admin: {listen: 127.0.0.1:0}
pipelines:
  shop:
    source: {kafka: {brokers: [%q], topics: [%s], instance_id: %s, session_timeout: 4s}}
    routes: [{field: /kind, table: "shop.{value}", max_tables: 5}]
    %s
    sink:
      iceberg:
        warehouse: %q
        commit_interval: 1s
        commits_per_second: 0
        catalog_commits_per_second: 0
        %s
`, w.addr, topic, member, w.more, w.path("lake"), strings.ReplaceAll(w.sink, "\n", "\n        "))
	file := w.path(member + ".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// rest has the tables live in a REST catalog of this process.
func (w *world) rest() *icebergtest.REST {
	c := icebergtest.NewREST(w.path("rest"))
	w.t.Cleanup(c.Close)
	w.sink = fmt.Sprintf("catalog: {rest: {uri: %q}}", c.URL)
	return c
}

// killAt kills the worker between a commit and its answer: the n-th that is asked for,
// or the next that is not refused.
func (w *world) killAt(p *worker, n int) func(int) icebergtest.Fault {
	return func(i int) (f icebergtest.Fault) {
		if i >= n {
			f.After = func() {
				_ = p.cmd.Process.Kill()
				<-p.done
			}
		}
		return f
	}
}

// table says where record i belongs.
func table(i int) string {
	switch {
	case i%10 == 7:
		return "shop_dlq"
	case i%2 == 0:
		return "shop.even"
	}
	return "shop.odd"
}

// value is record i. New fields keep coming, and every table gets every kind of them.
func value(i int) []byte {
	kind := strings.TrimPrefix(table(i), "shop.")
	if kind == "shop_dlq" {
		return fmt.Appendf(nil, `{"kind":"even","id":%d`, i)
	}
	return fmt.Appendf(nil, `{"kind":%q,"id":%d,"v":{"n":%d.5,"s":"%x"},"f%d":true}`, kind, i, i, i, i/(2*batch))
}

// feed appends n records, round robin over the partitions.
func (w *world) feed(n int) {
	w.t.Helper()
	var rs []*kgo.Record
	for range n {
		rs = append(rs, &kgo.Record{Partition: int32(w.produced % partitions), Value: value(w.produced)})
		w.produced++
	}
	if err := w.client.ProduceSync(w.t.Context(), rs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// feedUntil appends records and has the worker commit them until something is so.
func (w *world) feedUntil(what string, p *worker, ok func() bool) {
	w.t.Helper()
	for end, pace := time.Now().Add(patience), 20*time.Millisecond; !ok(); time.Sleep(pace) {
		if p.gone() && !ok() {
			w.t.Fatalf("until %s: the worker has ended with %d\n%s", what, p.exitCode(), p.tail())
		}
		if time.Now().After(end) {
			w.t.Fatalf("until %s: not within %v", what, patience)
		}
		if w.produced > 60*batch { // what is waited for takes its time
			pace = 300 * time.Millisecond
		}
		w.feed(batch)
		p.flush()
	}
}

// drain waits until the group's offsets are at the end: all is committed.
func (w *world) drain(ps ...*worker) {
	w.t.Helper()
	var at int64
	for end := time.Now().Add(patience); at < int64(w.produced); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d of %d records are acknowledged after %v", at, w.produced, patience)
		}
		for _, p := range ps {
			if p.gone() {
				w.t.Fatalf("a worker has ended with %d\n%s", p.exitCode(), p.tail())
			}
			p.flush()
		}
		got, err := w.admin.FetchOffsets(w.t.Context(), "shop")
		if err != nil {
			continue
		}
		at = 0
		got.Each(func(o kadm.OffsetResponse) { at += max(o.At, 0) })
	}
}

// finish lets the workers bring the rest, stops them, and judges the tables.
func (w *world) finish(ps ...*worker) {
	w.t.Helper()
	w.feed(3 * batch)
	if w.second != nil && len(ps) == 1 {
		ps = append(ps, w.second)
	}
	w.drain(ps...)
	for _, p := range ps {
		p.terminate()
		if code := p.exitCode(); code != 0 {
			w.t.Errorf("a worker that was asked to stop ended with %d\n%s", code, p.tail())
		}
	}
	w.judge(len(ps) > 1)
}

// judge has firehosed verify every row, and counts the rows with another reader.
// With two workers the group's offsets may have been moved back by the slower one:
// then records count as pending that are in their tables.
func (w *world) judge(two bool) {
	w.t.Helper()
	var v struct {
		Units                                                        int
		Lost, Duplicated, Unexpected, Differs, Pending, Unverifiable int64
		Dropped                                                      map[string]int64
	}
	text := w.command("verify", "--values", "--json", &v)
	if two {
		v.Pending = 0
	}
	if v.Units != w.produced || v.Lost+v.Duplicated+v.Unexpected+v.Differs+v.Pending+v.Unverifiable != 0 || len(v.Dropped) > 0 {
		w.t.Errorf("verify, of %d records: %s", w.produced, text)
	}
	var st struct {
		Pipelines []struct {
			Tables []struct {
				Name     string
				State    string
				Metadata string `json:"metadata_location"`
			}
		}
	}
	w.command("status", "--json", "", &st)
	seen := make([]int, w.produced)
	for _, t := range st.Pipelines[0].Tables {
		if t.State != "OK" {
			w.t.Errorf("table %s is %s", t.Name, t.State)
		}
		for _, i := range w.rows(t.Metadata) {
			if i >= len(seen) || table(i) != t.Name {
				w.t.Errorf("record %d is in table %s", i, t.Name)
				continue
			}
			seen[i]++
		}
	}
	for i, n := range seen {
		if n != 1 {
			w.t.Errorf("record %d is there %d times", i, n)
		}
	}
}

// rows reads the records that a table holds, with iceberg-go's own scanner.
func (w *world) rows(metadata string) (out []int) {
	w.t.Helper()
	ctx := w.t.Context()
	tbl, err := icetable.NewFromLocation(ctx, icetable.Identifier{"t"}, metadata, iceio.LoadFSFunc(nil, metadata), nil)
	if err != nil {
		w.t.Fatalf("load %s: %v", metadata, err)
	}
	rows, err := tbl.Scan(icetable.WithSelectedFields("_fh_partition", "_fh_offset")).ToArrowTable(ctx)
	if err != nil {
		w.t.Fatalf("scan %s: %v", metadata, err)
	}
	defer rows.Release()
	for r := array.NewTableReader(rows, 0); r.Next(); {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			p, o := b.Column(0).(*array.Int32).Value(i), b.Column(1).(*array.Int64).Value(i)
			out = append(out, int(o)*partitions+int(p))
		}
	}
	return out
}

// command runs the program and reads the last line that it prints.
func (w *world) command(name, flag1, flag2 string, into any) string {
	w.t.Helper()
	path, err := build()
	if err != nil {
		w.t.Fatal(err)
	}
	args := []string{name, "-c", w.path("one.yaml"), flag1}
	if flag2 != "" {
		args = append(args, flag2)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if bad := json.Unmarshal([]byte(lines[len(lines)-1]), into); bad != nil || err != nil {
		w.t.Errorf("firehosed %s: %v, %v\n%s%s", name, err, bad, out, errs.String())
	}
	return string(out)
}

// open lets whoever is blocked at the gate go on.
func (w *world) open(gate string) {
	w.t.Helper()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
}
