package daemon

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestConvert is the command line of it; what it does is tested where it is done.
func TestConvert(t *testing.T) {
	t.Chdir(t.TempDir())
	put := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("in.ndjson", `{"id":1,"a<b":"x","at":"2026-01-02T03:04:05Z"}`+"\n"+`{"id":2,"deep":{"x":[1.5]}}`+"\n")
	put("bad.ndjson", "{\"id\":1}\nnope\n{\"id\":\"text\"}\n")

	code, out, errs := firehosed(t, nil, "convert", "in.ndjson", "out.parquet")
	if code != 0 || out != "" || !strings.HasPrefix(errs, "out.parquet: 2 rows, 5 columns, ") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	code, out, errs = firehosed(t, nil, "convert", "in.ndjson", "in.ndjson", "out.parquet", "--json")
	var fig struct {
		Rows    int
		Columns json.RawMessage
		Peak    int64   `json:"peak_memory_bytes"`
		CPU     float64 `json:"cpu_user_seconds"`
	}
	if err := json.Unmarshal([]byte(out), &fig); err != nil || code != 0 || errs != "" || fig.Rows != 4 {
		t.Fatalf("%d %s %s %v", code, out, errs, err)
	}
	if runtime.GOOS == "linux" && (fig.Peak < 1<<20 || fig.CPU <= 0) {
		t.Errorf("%+v", fig)
	}
	const columns = `{"id":"long","a<b":"string","at":"timestamptz","deep":"struct<x: list<double>>","_fh_rescued":"string"}`
	if string(fig.Columns) != columns {
		t.Errorf("columns %s", fig.Columns)
	}

	put("columns.json", columns) // is a schema
	if code, _, errs = firehosed(t, nil, "convert", "--schema", "columns.json", "--codec", "snappy", "in.ndjson", "again.parquet"); code != 0 || !strings.Contains(errs, "2 rows, 5 columns") {
		t.Errorf("%d %s", code, errs)
	}

	if code, _, errs = firehosed(t, nil, "convert", "--bloom", "id,deep.x.element", "--page-index", "--page-version", "2", "--no-delta", "in.ndjson", "indexed.parquet"); code != 0 {
		t.Errorf("%d %s", code, errs)
	}
	for flags, want := range map[string]string{
		"--bloom=id,idd":   `bloom filter of column "idd": there is no such column, or it is not a leaf`,
		"--bloom=deep":     `bloom filter of column "deep": there is no such column, or it is not a leaf`,
		"--page-version=3": "parquet page version: 3 is neither 1 nor 2",
	} {
		if code, _, errs = firehosed(t, nil, "convert", flags, "in.ndjson", "none.parquet"); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", flags, code, errs)
		}
	}
	if _, err := os.Stat("none.parquet"); err == nil {
		t.Error("a file was written in spite of an error")
	}

	code, out, errs = firehosed(t, nil, "convert", "bad.ndjson", "-")
	if code != 1 || !strings.Contains(errs, `bad.ndjson:2: syntax: unexpected "n" at byte 0`) || !strings.Contains(errs, "--rejects FILE") || out != "" {
		t.Errorf("%d %q %s", code, out, errs)
	}
	code, _, errs = firehosed(t, nil, "convert", "bad.ndjson", "some.parquet", "--rejects", "rejects.ndjson")
	if code != 0 || !strings.Contains(errs, "rejects: 1, in rejects.ndjson") || !strings.Contains(errs, "do not fit it: 1, kept in _fh_rescued") {
		t.Errorf("%d %s", code, errs)
	}

	for schema, want := range map[string]string{
		"id: lng":            `schema.yaml:1:5: id: type "lng"`,
		"id: {a: long}":      "schema.yaml:1:5: id: want a type in quotes",
		"id: long\nID: long": "schema.yaml:2:5: ID: the name is empty, or comes twice",
		"- id":               "want columns, a line NAME: TYPE for each",
		"_fh_topic: string":  "names that begin with _fh_ are firehosed's",
		"a: long\n b: c: d":  "schema.yaml: line 2",
	} {
		put("schema.yaml", schema)
		if code, _, errs := firehosed(t, nil, "convert", "--schema", "schema.yaml", "in.ndjson", "x.parquet"); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%q: %d %s", schema, code, errs)
		}
	}
	for want, args := range map[string][]string{
		"convert wants 2 arguments or more, IN... OUT; 1 given": {"convert", "in.ndjson"},
		"the least is 1MiB":                  {"convert", "--row-group-size", "1KiB", "in.ndjson", "x.parquet"},
		"--schema: open nosuch.yaml: no":     {"convert", "--schema", "nosuch.yaml", "in.ndjson", "x.parquet"},
		`parquet codec: "rar" is not one of`: {"convert", "--codec", "rar", "in.ndjson", "x.parquet"},
	} {
		if code, _, errs := firehosed(t, nil, args...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}
