package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
)

// TestSeveralSinks: the same records go to a table, to objects by routes of their own,
// and as they came to a backup; each sink has its dead letters and its positions, and
// one that halts holds no other up. Later one is added and one taken away.
func TestSeveralSinks(t *testing.T) {
	addr, lake, bucket := broker(t), t.TempDir(), t.TempDir()
	other, err := icebergtest.OpenLake(lake)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	archive := `
      archive:
        routes: [{field: /kind, table: "by.{value}", max_tables: 2}]
        sink: {s3: {bucket: ` + bucket + `, prefix: "archive/!{firehosed:table}/", error_output_prefix: failed/, format: json_lines, buffer_interval: 0s}}`
	backup := `
      backup:
        source_backup: true
        sink: {s3: {bucket: ` + bucket + `, prefix: backup/, format: raw, delimiter: "\\n", buffer_interval: 0s}}`
	also := func(more string) string { return quick(addr, lake, "    also:"+more+"\n") }
	file := write(t, also(archive+backup))
	produce(t, addr, `{"id":1,"kind":"a"}`, `{"id":2}`, `{"id":3,"kind":"b"} {"id":4,"kind":"a"}`, `{broken`, `{"id":5,"kind":"c"}`)
	l := start(t, file)
	l.committed("shop.orders", 4)
	l.committed("shop_dlq", 1)
	l.committed("archive:by.a", 2)
	l.committed("archive:by.b", 1)
	l.committed("archive:shop_dlq", 3)
	l.committed("backup:shop.orders", 5)
	if _, body := l.get("/metrics"); !strings.Contains(body, `firehosed_unaccounted_units{pipeline="shop",sink="archive"} 0`) ||
		!strings.Contains(body, `firehosed_units_in_total{pipeline="shop",sink="archive"} 6`) ||
		!strings.Contains(body, `firehosed_units_in_total{pipeline="shop",sink="backup"} 5`) ||
		!strings.Contains(body, `firehosed_dead_letters_total{code="route",pipeline="shop",sink="archive"} 2`) {
		t.Errorf("metrics by sink:\n%s", body)
	}
	lines := func(prefix string) (all []string) {
		t.Helper()
		err := filepath.WalkDir(filepath.Join(bucket, prefix), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.Contains(path, "_firehosed") {
				return err
			}
			text, err := os.ReadFile(path)
			all = append(all, strings.Fields(string(text))...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	if d := cmp.Diff([]string{`{"id":1,"kind":"a"}`, `{"id":4,"kind":"a"}`}, lines("archive/by.a")); d != "" {
		t.Errorf("objects of archive:by.a: %s", d)
	}
	if d := cmp.Diff([]string{`{"id":1,"kind":"a"}`, `{"id":2}`, `{"id":3,"kind":"b"}`, `{"id":4,"kind":"a"}`, `{"id":5,"kind":"c"}`, `{broken`}, lines("backup")); d != "" { // that two values were one record does not show
		t.Errorf("objects of the backup: %s", d)
	}
	status := func(want string) {
		t.Helper()
		l.wait(want, func() bool {
			_, out, errs := firehosed(t, nil, "status", "-c", file)
			return strings.Contains(out+errs, want)
		})
	}
	status("table archive:by.a")

	// One sink's table halts: the others go on, and the source is not acknowledged.
	if err := other.Drop(t.Context(), "shop.orders"); err != nil {
		t.Fatal(err)
	}
	produce(t, addr, `{"id":6,"kind":"a"}`)
	l.committed("archive:by.a", 3)
	l.committed("backup:shop.orders", 6)
	status("HALTED: table shop.orders is REPLACED")
	status("lag 1")
	if code, out, errs := firehosed(t, nil, "table", "forfeit", "-c", file, "shop.orders"); code != ExitOK {
		t.Fatalf("forfeit: %d %s%s", code, out, errs)
	}
	status("orders/0  lag 0")
	verified := func() {
		t.Helper()
		if code, out, errs := firehosed(t, nil, "verify", "--values", "-c", file); code != ExitOK || !strings.Contains(out, "proven: nothing lost, duplicated or unexpected") {
			t.Errorf("verify: %d %s%s", code, out, errs)
		}
	}
	verified()
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}

	// The backup is taken away while it is still bound: that wants a decision.
	file = write(t, also(archive))
	l = start(t, file)
	l.wait("what keeps the revision from beginning", func() bool {
		return strings.Contains(l.log.String(), `put also.backup back, or firehosed table forfeit`)
	})
	for _, table := range []string{"backup:shop.orders", "backup:shop_dlq"} {
		if code, out, errs := firehosed(t, nil, "table", "forfeit", "-c", file, table); code != ExitOK && !strings.Contains(errs, "knows no table") {
			t.Fatalf("forfeit: %d %s%s", code, out, errs)
		}
	}
	produce(t, addr, `{"id":7,"kind":"a"}`)
	l.committed("archive:by.a", 1)
	verified()
	l.end()

	// And the last of them: the first sink does not take its tables for its own.
	file = write(t, quick(addr, lake, ""))
	l = start(t, file)
	l.wait("what keeps the revision from beginning", func() bool {
		return strings.Contains(l.log.String(), `put also.archive back, or firehosed table forfeit`)
	})
	l.end()
}

// TestLettersOfARevision: dead letters of a revision go to the table that it names, as
// dead letters, also when they are read again under another one, by verify for example.
func TestLettersOfARevision(t *testing.T) {
	addr, bucket := broker(t), t.TempDir()
	config := func(letters string) string {
		return write(t, quickS3(addr, bucket)+"    dead_letters: "+letters+"\n")
	}
	for i, letters := range []string{"first", "second"} {
		produce(t, addr, `{"id":1}`, `[broken`)
		file := config(letters)
		l := start(t, file)
		l.committed(letters, 1)
		l.committed("shop.orders", 1)
		if code := l.end(); code != ExitOK {
			t.Errorf("exit code %d", code)
		}
		code, out, errs := firehosed(t, nil, "verify", "-c", file)
		if want := fmt.Sprintf("%d units judged", 2*(i+1)); code != ExitOK || !strings.Contains(out, want) || !strings.Contains(out, "proven") {
			t.Errorf("verify: %d %s%s", code, out, errs)
		}
		if code, out, errs := firehosed(t, nil, "status", "-c", file); code != ExitOK || !strings.Contains(out, "table first") {
			t.Errorf("status: %d %s%s", code, out, errs)
		}
	}
}

func quickS3(addr, bucket string) string {
	return fmt.Sprintf(`
admin: {listen: 127.0.0.1:0}
pipelines:
  shop:
    source: {kafka: {brokers: [%q], topics: [orders], instance_id: w, session_timeout: 6s}}
    sink: {s3: {bucket: %q, format: json_lines, buffer_interval: 0s}}
`, addr, bucket)
}

// TestSinkMistakes: what people get wrong about more sinks, in one line each.
func TestSinkMistakes(t *testing.T) {
	f := func(also, want string) {
		t.Helper()
		file := write(t, quick("broker:9092", "./lake", "    also: "+also+"\n"))
		if code, _, errs := firehosed(t, nil, "validate", "-c", file); code != ExitUsage || !strings.Contains(errs, want) || strings.Count(strings.TrimSpace(errs), "\n") > 1 {
			t.Errorf("%s: %d %s\nwant %s", also, code, errs, want)
		}
	}
	f(`{a: {}}`, `also.a.sink: is missing: write, for example, sink: {s3: {bucket: archive}}`)
	f(`{A: {sink: {s3: {bucket: b}}}}`, `also.A: a sink's name has 1 to 64 lower-case letters`)
	f(`{a: {sink: {iceberg: {warehouse: ./lake}}}}`, `also.a.sink.iceberg: writes to the same place as sink: give it a catalog of its own`)
	f(`{a: {sink: {iceberg: {warehouse: s3://b, catalog: {rest: {uri: "http://c", warehouse: w}}, control: s3://b/c}}}, b: {sink: {iceberg: {warehouse: s3://d, catalog: {rest: {uri: "http://c", warehouse: w}}, control: s3://b/c}}}}`,
		`also.b.sink.iceberg: writes to the same place as also.a.sink`)
	f(`{a: {sink: {s3: {bucket: ./b, prefix: x/}}}, b: {sink: {s3: {bucket: ./b, prefix: "x/!{timestamp:yyyy}/", error_output_prefix: failed/}}}}`,
		`also.b.sink.s3: writes to the same place as also.a.sink: give it a prefix and an error_output_prefix of its own`)
	f(`{a: {sink: {s3: {bucket: ./b, prefix: x/}}}, b: {sink: {s3: {bucket: ./b}}}}`, `also.b.sink.s3: writes to the same place as also.a.sink`)
	f(`{a: {sink: {s3: {bucket: ./b, prefix: x/, error_output_prefix: f/}}}, b: {sink: {s3: {bucket: ./b, prefix: y/, error_output_prefix: f/}}}}`,
		`also.b.sink.s3: writes to the same place as also.a.sink`)
	f(`{a: {source_backup: true, sink: {s3: {bucket: ./b, format: parquet}}}}`, `also.a.source_backup: keeps records as they are: it wants sink: {s3: {format: raw}}`)
	f(`{a: {source_backup: true, sink: {iceberg: {warehouse: ./other}}}}`, `also.a.source_backup: keeps records as they are`)
	f(`{a: {routes: [{field: type, table: "{value}"}], sink: {s3: {bucket: ./b, format: json_lines}}}}`, `also.a.routes[0].field: "type" is no JSON pointer`)
	f(`{a: {routes: [{field: /type, table: "{value}"}], sink: {s3: {bucket: ./b}}}}`, `also.a.sink.s3.format: raw keeps records as they came, and a route looks into them`)
	f(`{a: {dead_letters: "b:c", sink: {s3: {bucket: ./b}}}}`, `also.a.dead_letters: "b:c" is no name for a table`)
	f(`{a: {route: [], sink: {s3: {bucket: ./b}}}}`, `unknown key`)
}
