package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
)

// checks has the engines of a Python read the file that firehosed wrote, and the JSON that it was made of, with the
// same columns: the number of rows, and of every column the values and a hash that does not depend on their order. It prints a line
// for each engine that is there.
const checks = `
import json, sys
JSON, PARQUET, COLUMNS = sys.argv[1], sys.argv[2], open(sys.argv[3]).read()

def compare(name, columns, ask):
    sides = ask("json"), ask("parquet")
    for what, a, b in zip(["rows"] + [c for c in columns for _ in range(2)], *sides):
        if a != b:
            sys.exit(f"{name}: {what}: {a} in the JSON, {b} in the Parquet file")
    print(f"{name} reads {sides[0][0]} rows and the same values of {len(columns)} columns out of the JSON and the Parquet file")

try:
    import duckdb
    c = duckdb.connect()
    c.execute("SET enable_progress_bar = false")
    c.execute("SET TimeZone = 'UTC'")
    columns = eval(COLUMNS)
    sides = {"json": f"read_json('{JSON}', format='newline_delimited', columns={COLUMNS})", "parquet": f"read_parquet('{PARQUET}')"}
    def ask(side):
        parts = ", ".join(f"""count("{n}"), sum(hash(CAST("{n}" AS {t}))::HUGEINT)""" for n, t in columns.items())
        return c.execute(f"SELECT count(*), {parts} FROM {sides[side]}").fetchone()
    compare("DuckDB " + duckdb.__version__, columns, ask)
except ImportError:
    print("DuckDB is not there: not checked")

try:
    import chdb
    Q = chr(96)
    def query(q, form="TSVRaw"):
        return chdb.query(q + " SETTINGS input_format_null_as_default=1, input_format_json_use_string_type_for_ambiguous_paths_in_named_tuples_inference_from_objects=1", form).bytes().decode()
    described = [row[:2] for row in json.loads(query(f"DESCRIBE file('{PARQUET}', Parquet)", "JSONCompact"))["data"]]
    described = [(n, t) for n, t in described if n != "_fh_rescued"]
    structure = ", ".join(f"{Q}{n}{Q} {t}" for n, t in described).replace("'", "''")
    sides = {"json": f"file('{JSON}', JSONEachRow, '{structure}')", "parquet": f"file('{PARQUET}', Parquet)"}
    def ask(side):
        parts = ", ".join(f"count({Q}{n}{Q}), sum(cityHash64(toString({Q}{n}{Q})))" for n, _ in described)
        return query(f"SELECT count(), {parts} FROM {sides[side]}").split()
    compare("ClickHouse " + chdb.query("SELECT version()", "TSVRaw").bytes().decode().strip(), [n for n, _ in described], ask)
except ImportError:
    print("ClickHouse is not there: not checked")
`

// check holds the file of the first engine against the JSON.
func (w *world) check(ctx context.Context, to io.Writer, in *input) error {
	out := filepath.Join(w.dir, "out-firehosed.parquet")
	cmd := exec.CommandContext(ctx, w.o.python, "-c", checks, in.path, out, in.duck)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		_, err = fmt.Fprintf(to, "not checked by DuckDB and ClickHouse: %v\n\n", err)
		return err
	}
	if err != nil {
		return fmt.Errorf("check: %w: %s%s", err, text, bytes.TrimSpace(stderr.Bytes()))
	}
	_, err = fmt.Fprintf(to, "%s\n", text)
	return err
}
