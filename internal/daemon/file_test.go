package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

// lookupIn returns a lookup for a few variables.
func lookupIn(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

// TestExamples: every example is a file that run takes.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "catalog-dsn"), []byte("postgres://u:p@h/db\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := lookupIn(map[string]string{
		"CATALOG_CREDENTIAL": "id:secret", "CATALOG_TOKEN": "x", "KAFKA_PASSWORD": "x", "OAUTH_CLIENT_SECRET": "x", "FIREHOSED_ADMIN_TOKEN": "x", "CREDENTIALS_DIRECTORY": dir,
	})
	files, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	index, err := os.ReadFile("../../examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, _, err := load(file, env)
		if err == nil {
			err = f.plans()
		}
		if err != nil {
			t.Error(err)
		}
		if name := filepath.Base(filepath.Dir(file)); !strings.Contains(string(index), "["+name+"]("+name+"/firehosed.yaml)") {
			t.Errorf("examples/README.md does not list %s", name)
		}
	}
}

// TestDocumentedFiles: every configuration in the documents is one that run takes.
func TestDocumentedFiles(t *testing.T) {
	var pages []string
	err := filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if !strings.Contains(block, "pipelines:") {
				continue
			}
			found++
			f, _, err := load(write(t, block), lookupIn(map[string]string{"CATALOG_CREDENTIAL": "id:secret"}))
			if err == nil {
				err = f.plans()
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
			}
		}
	}
	if found < 2 {
		t.Errorf("%d configurations found in the documents", found)
	}
}

// TestFirstFile: testdata/first.yaml, the file that the configuration was designed
// by, is one that validate takes, with what its partitions ask for: the columns that
// a table is partitioned by are there when it is created. Its catalog places the
// tables.
func TestFirstFile(t *testing.T) {
	const file = "testdata/first.yaml"
	env := map[string]string{"CATALOG_CREDENTIAL": "id:secret"}
	code, out, errs := firehosed(t, env, "validate", "-c", file)
	if code != ExitOK || out != file+": 1 pipeline(s), nothing wrong\n" || errs != "" {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	code, out, errs = firehosed(t, env, "validate", "--print", "-c", file)
	if code != ExitOK || errs != "" || strings.Contains(out, "secret") {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	for _, key := range []string{"control: s3://lake/_firehosed/", "warehouse: lake", "target_file_size: 128MiB"} {
		if !strings.Contains(out, key) {
			t.Errorf("%q is not in\n%s", key, out)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const someSource = "source: {kafka: {brokers: [b:9092], topics: [t]}}"

// TestFileProblems: all at once, each at its place.
func TestFileProblems(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		file := write(t, text)
		_, _, err := load(file, lookupIn(nil))
		if err == nil {
			t.Errorf("%s: no error", text)
			return
		}
		got := strings.Split(strings.ReplaceAll(err.Error(), file, "f.yaml"), "\n")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", text, d)
		}
		if exitCode(err) != ExitUsage {
			t.Errorf("exit code %d", exitCode(err))
		}
	}
	f("", "f.yaml:1:1: pipelines: none is given: a file has at least one, as in pipelines: {shop: {source: {kafka: ...}, sink: {iceberg: ...}}}")
	f(`
memory_budget: 1MiB
admin: {listen: 0.0.0.0:9644}
log: {level: loud}
pipelines:
  Shop:
    source: {kafka: {brokers: [b], topics: [t], start: yesterday}}
    routes:
      - {topic: a, table: "x.{value}"}
      - {topic: b, table: "y", field: type, max_tables: 5000}
    json: {max_depth: 1000, empty: keep}
    sink: {iceberg: {warehouse: "gs://lake", tables: {shop.orders: {partition_by: ["dya(ts)"]}}}}
`,
		`f.yaml:2:16: memory_budget: 1MiB is below the minimum of 32MiB`,
		`f.yaml:3:17: admin.listen: "0.0.0.0:9644" can be reached from other machines: set admin.token, as in token: {env: FIREHOSED_ADMIN_TOKEN}, or listen on 127.0.0.1`,
		`f.yaml:4:14: log.level: "loud" is neither debug, info, warn nor error`,
		`f.yaml:7:5: pipelines.Shop: a pipeline's name has 1 to 64 lower-case letters, digits, _ and -`,
		`f.yaml:7:31: pipelines.Shop.source.kafka.brokers: "b" is no address; write host:port, such as kafka-1.example.com:9092`,
		`f.yaml:7:56: pipelines.Shop.source.kafka.start: "yesterday" is none of earliest, latest or a time such as 2026-01-31T00:00:00Z`,
		`f.yaml:9:9: pipelines.Shop.routes[0].field: is missing: it says what {value} stands for`,
		`f.yaml:10:27: pipelines.Shop.routes[1].table: "y" does not use the field: write {value} where its value belongs`,
		`f.yaml:10:39: pipelines.Shop.routes[1].field: "type" is no JSON pointer: it begins with a slash, as in /event/type`,
		`f.yaml:10:57: pipelines.Shop.routes[1].max_tables: 5000 is not between 1 and 1000`,
		`f.yaml:11:23: pipelines.Shop.json.max_depth: 1000 is not between 1 and 100`,
		`f.yaml:11:36: pipelines.Shop.json.empty: "keep" is neither skip nor dead_letter`,
		`f.yaml:12:21: pipelines.Shop.sink.iceberg.catalog: is required for a warehouse in an object store: write rest, glue or postgres, or sqlite with a path`,
		`f.yaml:12:33: pipelines.Shop.sink.iceberg.warehouse: "gs://lake": the scheme gs is not supported: use a folder or s3://bucket/prefix`,
		`f.yaml:12:84: pipelines.Shop.sink.iceberg.tables["shop.orders"].partition_by[0]: "dya(ts)": want a column, identity, year, month, day, hour or void of one, bucket(n, column) or truncate(n, column)`,
	)
	f("pipelines: {a: {"+someSource+", sink: {icebreg: {}}}, b: {}}",
		`f.yaml:1:75: pipelines.a.sink.icebreg: unknown key; did you mean "iceberg"?`,
		"f.yaml:1:93: pipelines.b.source: is missing: write, for example, source: {kafka: {brokers: [localhost:9092], topics: [orders]}} or source: {kinesis: {streams: [orders]}}",
		"f.yaml:1:93: pipelines.b.sink: is missing: write, for example, sink: {iceberg: {warehouse: ./lake}}")
	f("pipelines:\n  a:\n    source:\n      kafka:\n        brokres: [b:9092]\n        topics: [t]\n    sink: {iceberg: {warehouse: x}}",
		`f.yaml:5:9: pipelines.a.source.kafka.brokres: unknown key; did you mean "brokers"?`)
}

// TestTableProblems: what would keep a table from being created, or would change
// nothing, is found before anything runs.
func TestTableProblems(t *testing.T) {
	f := func(source, routes, table, config string, want ...string) {
		t.Helper()
		file := write(t, fmt.Sprintf("pipelines:\n  shop:\n    source: {kafka: {brokers: [b:9092], %s}}\n    routes: [%s]\n    sink:\n      iceberg:\n"+
			"        warehouse: x\n        tables: {%s: {%s}}\n", source, routes, table, config))
		_, _, err := load(file, lookupIn(nil))
		var got []string
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				_, message, _ := strings.Cut(strings.TrimSpace(line), `pipelines.shop.sink.iceberg.tables`)
				got = append(got, message)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s %s: {%s}:\n%s", routes, table, config, d)
		}
	}
	const topics, regex, orders = "topics: [orders, my.clicks]", "topics_regex: 'ord.*'", "shop.orders"
	const declared = "columns: {customer_id: long, at: timestamptz, o: 'struct<a: long>'}"

	// Columns that a table is created with.
	f(topics, "", orders, "partition_by: [day(at), 'bucket(4, customer_id)', _fh_topic], "+declared)
	f(topics, "", orders, "partition_by: [custmer_id], "+declared,
		`["shop.orders"].partition_by[0]: the table has no column "custmer_id" when it is created; did you mean "customer_id"? If not, declare it under columns`)
	f(topics, "", orders, "partition_by: [_fh_topic, custmer_id]",
		`["shop.orders"].partition_by[1]: the table has no column "custmer_id" when it is created: declare it under columns`)
	f(topics, "", orders, "partition_by: [day(_fh_timestamp)]",
		`["shop.orders"].partition_by[0]: firehosed does not write the column "_fh_timestamp" here: columns such as _fh_timestamp have to be listed under metadata of the source`)
	f(topics+", metadata: [timestamp]", "", orders, "partition_by: [day(_fh_timestamp)]")
	f(topics+", metadata: [timestamp]", "", orders, "partition_by: [day(_fh_timestmp)]",
		`["shop.orders"].partition_by[0]: the table has no column "_fh_timestmp" when it is created; did you mean "_fh_timestamp"? If not, declare it under columns`)
	f(topics, "", orders, "partition_by: [day(customer_id), o.a], "+declared,
		`["shop.orders"].partition_by[1]: the table has no column "o.a" when it is created: declare it under columns`)
	f(topics, "", orders, "partition_by: [day(customer_id)], "+declared,
		`["shop.orders"].partition_by[0]: day cannot be applied to customer_id, which is long`)
	f(topics, "", orders, "partition_by: [customer_id, customer_id], "+declared,
		`["shop.orders"].partition_by: invalid metadata: invalid partition spec: duplicate partition name: customer_id`)
	f(topics, "", "shop_dlq", "partition_by: [code]")
	f(topics, "", orders, "columns: {t: timestamptz_ns}", `["shop.orders"].columns: invalid schema: for v2: - invalid type for t: timestamptz_ns is not supported until v3`)

	// Columns to sort by may come later.
	f(topics, "", orders, "sort_by: [later, at desc], "+declared)
	f(topics, "", orders, "sort_by: [custmer_id], "+declared,
		`["shop.orders"].sort_by[0]: the table has no column "custmer_id" when it is created; did you mean "customer_id"? If not, declare it under columns`)
	f(topics, "", orders, "sort_by: [_fh_timestamp], "+declared,
		`["shop.orders"].sort_by[0]: firehosed does not write the column "_fh_timestamp" here: columns such as _fh_timestamp have to be listed under metadata of the source`)
	f(topics, "", orders, "sort_by: [o], "+declared, `["shop.orders"].sort_by[0]: column "o" is a struct<a: long>, whose values have no order`)

	// Tables that records can reach.
	f(topics, "", "shop.my_clicks", "")
	f(topics, "", "shop.oders", "", `["shop.oders"]: no route leads to this table; did you mean "shop.orders"?`)
	f(topics, "", "archive.customers", "", `["archive.customers"]: no route leads to this table: they lead to shop.my_clicks, shop.orders`)
	f(topics, "{topic: orders, table: a.b}", "shop.orders", "", `["shop.orders"]: no route leads to this table: they lead to a.b, shop.my_clicks`)
	f(topics, "{field: /type, table: 'a.{value}_{topic}'}", "a.login_orders", "")
	f(topics, "{field: /type, table: 'a.{value}_{topic}'}", "b.login_orders", "",
		`["b.login_orders"]: no route leads to this table: they lead to a.{value}_orders, a.{value}_my_clicks`)
	f(regex, "{topic: orders, table: a.b}", "shop.ordinary", "")
	f(regex, "{topic: orders, table: a.b}, {topic: clicks, table: c.d}", "c.d", "",
		`["c.d"]: no route leads to this table: they lead to a.b, shop.{topic}`)
}

// TestPureIsPure: what cannot change the fate of a record is not part of a
// revision, and what can is.
func TestPureIsPure(t *testing.T) {
	pureText := func(text string) string {
		t.Helper()
		f, _, err := load(write(t, "pipelines: {shop: "+text+"}"), lookupIn(nil))
		if err != nil {
			t.Fatal(err)
		}
		p := f.Pipelines["shop"]
		so, err := chosenSource(p.Source.component)
		if err != nil {
			t.Fatal(err)
		}
		pure, err := pureOf("shop", &p, so)
		if err != nil {
			t.Fatal(err)
		}
		return string(pure)
	}
	base := pureText("{" + someSource + ", sink: {iceberg: {warehouse: x}}}")
	same := func(text string) {
		t.Helper()
		if got := pureText(text); got != base {
			t.Errorf("%s is a new revision: %s", text, got)
		}
	}
	other := func(text string) {
		t.Helper()
		if got := pureText(text); got == base {
			t.Errorf("%s is no new revision", text)
		}
	}
	same("{source: {kafka: {brokers: [c:1], topics: [t, u], fetch_bytes: 1MiB, group: g}}, sink: {iceberg: {warehouse: y, commit_interval: 1s, target_file_size: 1MiB}}}")
	same("{" + someSource + ", let_go_after: 1s, max_rows: 10, dead_letters: shop_dlq, sink: {iceberg: {warehouse: x}}}")
	same("{" + someSource + ", json: {max_depth: 32}, sink: {iceberg: {warehouse: x, tables: {shop.t: {partition_by: [_fh_offset]}}}}}")
	other("{" + someSource + ", dead_letters: d, sink: {iceberg: {warehouse: x}}}")
	other("{" + someSource + ", routes: [{table: a.b}], sink: {iceberg: {warehouse: x}}}")
	other("{" + someSource + ", json: {max_depth: 31}, sink: {iceberg: {warehouse: x}}}")
	other("{" + someSource + ", json: {empty: skip}, sink: {iceberg: {warehouse: x}}}")
	other("{" + someSource + ", sink: {iceberg: {warehouse: x, tables: {shop.t: {columns: {c: long}}}}}}")
	other("{" + someSource + ", unpack: {deaggregation: json}, sink: {iceberg: {warehouse: x}}}")
	other("{" + someSource + ", sink: {iceberg: {warehouse: x}}, also: {a: {sink: {s3: {bucket: y}}}}}")

	want := `{"json":{"max_record_bytes":10485760,"max_depth":32,"max_name_bytes":255,"max_keys_per_record":100000,` +
		`"max_number_bytes":65536,"max_columns":1000,"empty":"dead_letter","tombstones":"skip"},"dead_letters":"shop_dlq"}`
	if base != want {
		t.Errorf("canonical form changed: every pipeline out there would get a new revision\ngot  %s\nwant %s", base, want)
	}
}

// TestPureOfObjects: what decides whether a record becomes part of an object is a new
// revision, how and where objects are written is none.
func TestPureOfObjects(t *testing.T) {
	pureText := func(sink string) string {
		t.Helper()
		f, _, err := load(write(t, "pipelines: {shop: {"+someSource+", sink: {s3: {"+sink+"}}}}"), lookupIn(nil))
		if err != nil {
			t.Fatal(err)
		}
		p := f.Pipelines["shop"]
		pure, err := pureOf("shop", &p, sources()[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(pure)
	}
	base := pureText("bucket: s3://b")
	for _, same := range []string{"bucket: s3://c", "bucket: s3://b, buffer_interval: 60s, buffer_size: 1MiB, tags: {a: b}, control: s3://c/x", "bucket: /lake"} {
		if got := pureText(same); got != base {
			t.Errorf("%s is a new revision: %s", same, got)
		}
	}
	for _, other := range []string{
		"bucket: s3://b/below", "bucket: s3://b, format: json_lines", "bucket: s3://b, prefix: x/", "bucket: s3://b, compression_format: GZIP",
		`bucket: s3://b, prefix: "!{partitionKeyFromQuery:c}/", error_output_prefix: e/, buffer_interval: 60s, metadata_extraction_query: "{c: .c}"`,
	} {
		if got := pureText(other); got == base {
			t.Errorf("%s is no new revision", other)
		}
	}
	if want := `"dead_letters":"shop_dlq","objects":{"format":"raw"}}`; !strings.HasSuffix(base, want) {
		t.Errorf("canonical form changed: every pipeline out there would get a new revision\ngot  %s\nwant %s", base, want)
	}
}

func TestPlan(t *testing.T) {
	rev := pipeline.Revision{Number: 3, Rules: rulesVersion}
	text := []byte(`{"routes":[{"topic":"a","table":"x.y"}],"json":{"max_depth":3,"empty":"skip"},"dead_letters":"d","columns":{"x.y":{"n":"decimal(9, 2)"}}}`)
	if _, err := planOf("shop", nil, nil, nil, &letterTables{})(rev, text, nil); err != nil {
		t.Error(err)
	}
	f := func(rev pipeline.Revision, text, want string) {
		t.Helper()
		if _, err := planOf("shop", nil, nil, nil, &letterTables{})(rev, []byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	f(rev, `{"filters":[]}`, "configuration of revision 3: filters: unknown key")
	f(rev, `{"columns":{"t":{"c":"decimal(99)"}}}`, `type of column "c" of table "t"`)
	f(rev, `{"routes":[{"field":"x","table":"{value}"}]}`, "no JSON pointer")
	f(pipeline.Revision{Number: 4, Rules: rulesVersion + 1}, `{}`, "revision 4 has rules version 2, this binary knows version 1")
}
