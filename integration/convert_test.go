package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// convertPage is the page of firehosed convert, whose statements and table are tried.
func convertPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/convert.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// built returns the path of the binary under test.
func built(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// blocks returns the fenced blocks of a page in a language.
func blocks(page, language string) (out []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

// TestConvertCommands runs the commands of the page.
func TestConvertCommands(t *testing.T) {
	need(t, "readers")
	page := convertPage(t)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for _, err := range []error{os.Mkdir(bin, 0o700), os.Symlink(built(t), filepath.Join(bin, "firehosed"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	line := `{"id":7,"at":"2026-01-02T03:04:05Z","price":1.5,"user":{"name":"x","tags":["a"]}}` + "\n"
	for name, text := range map[string]string{"events.ndjson": line, "january.ndjson": line, "february.ndjson": line + "{\n", "columns.yaml": blocks(page, "yaml")[0]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-ec", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	run("gzip january.ndjson; mv february.ndjson february.ndjson.zst") // the content tells, not the name
	commands := strings.Split(strings.TrimSpace(blocks(page, "sh")[0]), "\n")
	for _, command := range commands {
		run("set -o pipefail; " + command)
	}
	for _, name := range []string{"events.parquet", "both.parquet", "no-rows.ndjson", "january.parquet", "figures.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConvertBeside holds the table of the page against what firehosed and others make of each file.
func TestConvertBeside(t *testing.T) {
	need(t, "readers", "clickhouse")
	page := convertPage(t)
	statements := blocks(page, "sql")
	table := regexp.MustCompile("(?m)^\\| `(\\{.*?)` \\| (.*?) \\| (.*?) \\| (.*?) \\|$").FindAllStringSubmatch(page, -1)
	if len(statements) != 2 || len(table) < 6 {
		t.Fatalf("%d statements and %d lines of a table on the page", len(statements), len(table))
	}
	var first bytes.Buffer
	for i := range 29_999 {
		fmt.Fprintf(&first, "{\"id\":%d}\n", i)
	}
	for i, m := range table {
		t.Run(fmt.Sprintf("line%d", i+1), func(t *testing.T) { // without braces, which would be a pattern of files
			t.Log(m[1])
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "events.ndjson"), []byte(first.String()+m[1]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), built(t), "convert", "events.ndjson", "ours.parquet", "--rejects", "rejects.ndjson")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("firehosed convert: %v\n%s", err, out)
			}
			asked, err := json.Marshal(statements)
			if err != nil {
				t.Fatal(err)
			}
			cmd = exec.CommandContext(t.Context(), os.Getenv("FIREHOSED_PYTHON"), "-c", besideScript)
			cmd.Dir, cmd.Stdin = dir, bytes.NewReader(asked)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("the engines: %v\n%s", err, &stderr)
			}
			var got []string
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("the engines say %s: %v", out, err)
			}
			for i, engine := range []string{"firehosed", "DuckDB", "ClickHouse"} {
				if got[i] != m[2+i] {
					t.Errorf("%s: %s; the page says %s\n%s", engine, got[i], m[2+i], &stderr)
				}
			}
		})
	}
}

// besideScript converts with DuckDB and ClickHouse, and says what became of the last line in each file, as the page does.
const besideScript = `
import json, os, sys
import chdb, duckdb
statements = json.load(sys.stdin)
db = duckdb.connect()
line = json.loads(open("events.ndjson").read().splitlines()[-1]) if open("events.ndjson").read().rstrip().endswith("}") else {}

def fate(path):
    rows = db.execute(f"FROM '{path}'")
    names = [d[0] for d in rows.description]
    rows = rows.fetchall()
    assert [r[names.index("id")] for r in rows[:29999]] == list(range(29999)), "the other rows"
    if len(rows) == 29999:
        return "reject" if os.path.getsize("rejects.ndjson") > 0 else "dropped"
    last = dict(zip(names, rows[-1]))
    if last.get("_fh_rescued") is not None:
        return "rescued"
    if "late" in line:
        return "column late" if last.get("late") == line["late"] else "late is dropped"
    return f"id is {last['id']}"

def attempt(convert, path):
    try:
        convert()
    except Exception as e:
        print(path, e, file=sys.stderr)
        return "error"
    return fate(path)

print(json.dumps([
    fate("ours.parquet"),
    attempt(lambda: db.execute(statements[0].replace("events.parquet", "duckdb.parquet")), "duckdb.parquet"),
    attempt(lambda: chdb.query(statements[1].replace("events.parquet", "clickhouse.parquet")), "clickhouse.parquet"),
]))
`
