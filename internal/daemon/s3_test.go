package daemon

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/firehosed/firehosed/internal/inspect"
)

func objectsOf(addr, bucket, sink, more string) string {
	return fmt.Sprintf(`
admin: {listen: 127.0.0.1:0}
pipelines:
  shop:
    source: {kafka: {brokers: [%q], topics: [orders], instance_id: w, session_timeout: 6s}}
    sink: {s3: {bucket: %q%s}}
%s`, addr, bucket, sink, more)
}

// visible returns what readers of a folder see: the objects by key, and below a name that
// begins with an underscore nothing.
func visible(t *testing.T, lake string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(lake, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), "_") || strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			var r *gzip.Reader
			if r, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
				data, err = io.ReadAll(r)
			}
		}
		key, _ := filepath.Rel(lake, path)
		all[key] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// linesIn returns the lines of the objects in a folder, sorted.
func linesIn(objects map[string]string, folder string) (lines []string) {
	for key, text := range objects {
		if strings.HasPrefix(key, folder) {
			lines = append(lines, strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
		}
	}
	slices.Sort(lines)
	return lines
}

// TestS3Life: from records to objects, by keys that a query takes from them, over a
// restart and a change of the configuration, to a proof; all by the program's own
// commands. Then somebody tampers with the objects, and verify says what.
func TestS3Life(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	const sink = `, format: json_lines, compression_format: GZIP, prefix: "customer=!{partitionKeyFromQuery:customer}/", ` +
		`error_output_prefix: "failed/!{firehose:error-output-type}/", metadata_extraction_query: "{customer: .c}", buffer_interval: 60s`
	file := write(t, objectsOf(addr, lake, sink, ""))
	produce(t, addr, `{"c":1}`, `{"c":2,`+"\n"+`"b":"x"}`, `{broken`, `{"c":1} {"c":2}`, `{"no":"key"}`, `{"c":1,"n":2}`)

	l := start(t, file)
	l.committed("shop.orders", 3)
	l.committed("shop_dlq", 3)
	if _, metrics := l.get("/metrics"); !strings.Contains(metrics, `firehosed_files_total{pipeline="shop",table="shop.orders"} 2`) {
		t.Errorf("metrics lack the objects: %s", metrics)
	}
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d: %s", code, l.log)
	}
	objects := visible(t, lake)
	for folder, want := range map[string][]string{
		"customer=1/": {`{"c":1,"n":2}`, `{"c":1}`}, "customer=2/": {`{"c":2,"b":"x"}`},
	} {
		if got := linesIn(objects, folder); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", folder, got, want)
		}
	}
	if failed := strings.Join(linesIn(objects, "failed/processing-failed/"), "\n"); strings.Count(failed, "rawData") != 3 ||
		strings.Count(failed, "DynamicPartitioning.MetadataExtractionFailed") != 1 {
		t.Errorf("failed records: %s", failed)
	}

	verified := func(want int, words ...string) {
		t.Helper()
		for _, flags := range [][]string{nil, {"--values"}} {
			code, out, errs := firehosed(t, nil, append([]string{"verify", "-c", file}, flags...)...)
			if code != want {
				t.Errorf("verify %v: %d, want %d: %s%s", flags, code, want, out, errs)
			}
			wants(t, out, words...)
		}
	}
	verified(inspect.ExitProven, "6 units judged", "table shop.orders: 3 rows", "table shop_dlq: 3 rows")
	code, out, errs := firehosed(t, nil, "status", "-c", file)
	if code != ExitOK {
		t.Errorf("status: %d %s%s", code, out, errs)
	}
	wants(t, out, "OK", "3 rows", "commits")

	// another format from the next record on
	file = write(t, objectsOf(addr, lake, ", delimiter: '|', prefix: raw/", ""))
	l = start(t, file)
	produce(t, addr, `{broken`, `{"c":3}`)
	l.committed("shop.orders", 2)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d: %s", code, l.log)
	}
	got := strings.SplitAfter(strings.Join(linesIn(visible(t, lake), "raw/"), ""), "|") // in one object or in two
	if slices.Sort(got); !slices.Equal(got, []string{"", `{"c":3}|`, "{broken|"}) {
		t.Errorf("raw/ has %q", got)
	}
	verified(inspect.ExitProven, "8 units judged", "table shop.orders: 5 rows")
}

// TestS3Tampered: verify says which objects were changed, removed or added.
func TestS3Tampered(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	file := write(t, objectsOf(addr, lake, `, delimiter: '\n', buffer_interval: 0s`, ""))
	produce(t, addr, `{"c":1}`, `{"c":2}`)
	l := start(t, file)
	l.committed("shop.orders", 2)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d: %s", code, l.log)
	}
	var key string
	for key = range visible(t, lake) {
	}
	path := filepath.Join(lake, key)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, harm func() error, code, withValues int, words ...string) {
		t.Run(name, func(t *testing.T) {
			if err := harm(); err != nil {
				t.Fatal(err)
			}
			for _, v := range []struct {
				args []string
				want int
			}{{nil, code}, {[]string{"--values"}, withValues}} {
				got, out, errs := firehosed(t, nil, append([]string{"verify", "-c", file}, v.args...)...)
				if got != v.want {
					t.Errorf("verify %v: %d, want %d: %s%s", v.args, got, v.want, out, errs)
				}
				if got != inspect.ExitProven {
					wants(t, out, words...)
				}
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	f("a value changed", func() error { return os.WriteFile(path, bytes.Replace(data, []byte("2"), []byte("3"), 1), 0o600) },
		inspect.ExitProven, inspect.ExitViolated, "VIOLATION", "differs 1", "has SHA-256", filepath.Base(key))
	f("a record cut off", func() error { return os.WriteFile(path, data[:8], 0o600) },
		inspect.ExitViolated, inspect.ExitViolated, "differs 1", "has 8 bytes", filepath.Base(key))
	f("taken away", func() error { return os.Remove(path) },
		inspect.ExitIncomplete, inspect.ExitIncomplete, "unverifiable 2", filepath.Base(key)+" is not there any more")
	copied := strings.Replace(path, "orders-1-", "orders-2-", 1)
	f("a copy", func() error { return os.WriteFile(copied, data, 0o600) },
		inspect.ExitViolated, inspect.ExitViolated, "unexpected 1", filepath.Base(copied), "is in no commit")
}

// TestS3Columns: rows in Parquet, a folder for each table and a key that is a column, declared for one of them.
func TestS3Columns(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	file := write(t, objectsOf(addr, lake, `, format: parquet, prefix: "!{firehosed:table}/c=!{partitionKeyFromQuery:c}/", error_output_prefix: failed/, buffer_interval: 60s, columns: {b: {c: string}}`,
		`    routes: [{field: /t, table: "{value}"}]`+"\n"))
	produce(t, addr, `{"t":"a","c":1}`, `{"t":"a","c":2}`, `{"t":"b","c":1}`, `{"t":"a"}`, `{"t":"`+strings.Repeat("x", 65)+`","c":1}`)
	l := start(t, file)
	l.committed("a", 3)
	l.committed("b", 1)
	l.committed("shop_dlq", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d: %s", code, l.log)
	}
	folders := map[string]int{}
	for key, data := range visible(t, lake) {
		if !strings.HasPrefix(key, "failed/format-conversion-failed/") {
			if !strings.HasPrefix(data, "PAR1") || !strings.HasSuffix(key, ".parquet") {
				t.Errorf("%s is no Parquet file", key)
			}
			folders[filepath.Dir(key)]++
		} else if !strings.Contains(data, "is no name for a table in S3") {
			t.Errorf("the failed record does not say why: %s", data)
		}
	}
	want := map[string]int{"a/c=1": 1, "a/c=2": 1, "a/c=__HIVE_DEFAULT_PARTITION__": 1, "b/c=__HIVE_DEFAULT_PARTITION__": 1} // 1 is no text, as b declares
	if fmt.Sprint(folders) != fmt.Sprint(want) {
		t.Errorf("objects in %v, want %v", folders, want)
	}
	if code, out, errs := firehosed(t, nil, "verify", "-c", file); code != inspect.ExitProven || !strings.Contains(out, "5 units judged") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// TestS3Mistakes: what does not go together is found before anything runs, by key.
func TestS3Mistakes(t *testing.T) {
	f := func(sink, more, want string) {
		t.Helper()
		_, _, err := load(write(t, objectsOf("b:1", "s3://lake", sink, more)), lookupIn(nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: %v, want %q", sink, more, err, want)
		}
	}
	const keys = `, prefix: "!{partitionKeyFromQuery:c}/", error_output_prefix: e/, buffer_interval: 60s`
	f(keys, "", "sink.s3.prefix: MetadataExtraction processor should be present")
	f(keys+`, metadata_extraction_query: "{d: .d}"`, "", `the query has no key "c"`)
	f(keys+`, metadata_extraction_query: "{c: now}"`, "", "sink.s3.metadata_extraction_query: ")
	f(`, metadata_extraction_query: "{c: .c}"`, "", "S3 Prefix should contain Dynamic Partitioning namespaces")
	f(keys+`, format: parquet, metadata_extraction_query: "{c: .c}"`, "", "sink.s3.metadata_extraction_query: with parquet the partition keys are columns")
	f(`, format: parquet`, "    routes: [{field: /t, table: '{value}'}]\n", "sink.s3.prefix: files of several tables")
	f("", "    routes: [{field: /t, table: '{value}'}]\n", "sink.s3.format: raw keeps records as they came")
	f("", "    dead_letters: "+strings.Repeat("x", 65)+"\n", "is no name for a table in S3")
	const parquet = `, format: parquet, prefix: "!{firehosed:table}/"`
	f(parquet+", columns: {shop.order: {c: long}}", "", `columns["shop.order"]: no route leads to this table; did you mean "shop.orders"?`)
	f(parquet+", columns: {shop.orders: {c: lnog}}", "", `sink.s3.columns["shop.orders"].c: type "lnog"`)
	f(", columns: {shop.orders: {c: long}}", "", "columns: raw has none")
	f(", bufer_interval: 1s", "", `did you mean "buffer_interval"?`)
	f(", buffer_interval: 20m", "", "buffer_interval: 20m0s: it is outside 0s to 900s")
	f("", "    unpack: {deaggregation: csv}\n", `unpack.deaggregation: "csv": choose json, lines or delimited`)
}
