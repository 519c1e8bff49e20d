package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/firehosed/firehosed/internal/convert"
	"github.com/firehosed/firehosed/schema"
)

// engines are those that can be measured, by name, and in Python what converts input IN with columns COLUMNS to OUT
// and returns the rows; "": it is in this program.
var engines = map[string]string{
	"firehosed":       "",
	"decoder+pqarrow": "",
	"arrow-go":        "",
	"decode":          "",
	"decode-inferred": "",
	"arrow-go-decode": "",
	"duckdb": `
import duckdb
c = duckdb.connect(config={"threads": 1})
c.execute("SET enable_progress_bar = false")
def convert():
    return c.execute(f"COPY (FROM read_json('{IN}', format='newline_delimited', columns={COLUMNS})) TO '{OUT}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)").fetchone()[0]
`,
	"duckdb-auto": `
import duckdb
c = duckdb.connect(config={"threads": 1})
c.execute("SET enable_progress_bar = false")
def convert():
    return c.execute(f"COPY (FROM read_json('{IN}', format='newline_delimited')) TO '{OUT}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)").fetchone()[0]
`,
	"clickhouse": `
import os, chdb
def convert():
    if os.path.exists(OUT): os.remove(OUT)
    chdb.query(f"INSERT INTO FUNCTION file('{OUT}', Parquet) SELECT * FROM file('{IN}', JSONEachRow) SETTINGS max_threads=1, output_format_parquet_compression_method='zstd', output_format_compression_level=1, output_format_parquet_parallel_encoding=0")
    return int(chdb.query(f"SELECT count() FROM file('{OUT}', Parquet)").bytes())
`,
	"polars": `
import os
os.environ["POLARS_MAX_THREADS"] = "1"
import polars
def convert():
    frame = polars.read_ndjson(IN, infer_schema_length=20480)
    frame.write_parquet(OUT, compression="zstd", compression_level=1)
    return frame.height
`,
	"pyarrow": `
import pyarrow, pyarrow.json, pyarrow.parquet
pyarrow.set_cpu_count(1)
def convert():
    table = pyarrow.json.read_json(IN, read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=64 << 20))
    pyarrow.parquet.write_table(table, OUT, compression="zstd", compression_level=1)
    return table.num_rows
`,
}

// measure is the Python around an engine.
const measure = `
import json, resource, sys, time
IN, OUT, COLUMNS, ROUNDS = sys.argv[1], sys.argv[2], open(sys.argv[3]).read(), int(sys.argv[4])
%s
for _ in range(ROUNDS):
    began, before = time.time(), resource.getrusage(resource.RUSAGE_SELF)
    rows = convert()
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"rows": rows, "seconds": time.time() - began, "cpu_user_seconds": after.ru_utime - before.ru_utime,
        "cpu_system_seconds": after.ru_stime - before.ru_stime,
        "peak_memory_bytes": int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) << 10}))
`

// What a prototype is measured as.
const (
	prototype       = "prototype"
	prototypeDecode = "prototype-decode"
)

// decoders are the engines that only decode.
func decoders() []string { return []string{"decode", "decode-inferred", "arrow-go-decode"} }

func engineNames() []string {
	return []string{"firehosed", "decoder+pqarrow", "arrow-go", "duckdb", "duckdb-auto", "clickhouse", "polars", "pyarrow"}
}

// command returns the process of a turn.
func (w *world) command(ctx context.Context, in *input, name, out string) (*exec.Cmd, error) {
	rounds, batch := strconv.Itoa(w.o.rounds), strconv.Itoa(in.batch())
	switch name {
	case prototype:
		return exec.CommandContext(ctx, w.prototype, "-i", in.path, "-s", in.lines, "-o", out, "-n", rounds, "-w", "pqw"), nil
	case prototypeDecode:
		return exec.CommandContext(ctx, w.prototype, "-i", in.path, "-s", in.lines, "-n", rounds, "-w", "none", "-batch", batch), nil
	}
	if script := engines[name]; script != "" {
		return exec.CommandContext(ctx, w.o.python, "-c", fmt.Sprintf(measure, script), in.path, out, in.duck, rounds), nil
	}
	self, err := os.Executable()
	profile := ""
	if w.o.profile != "" {
		profile = filepath.Join(w.o.profile, in.name+"-"+name+".pprof")
	}
	return exec.CommandContext(ctx, self, childArg, name, in.path, out, in.columns, rounds, profile, batch), err
}

// buildPrototype builds the command e2e of a prototype.
func (w *world) buildPrototype(ctx context.Context) error {
	w.prototype = filepath.Join(w.dir, "prototype")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", w.prototype, "./e2e")
	cmd.Dir = w.o.prototype
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the prototype: %w\n%s", err, out)
	}
	return nil
}

var prototypeLine = regexp.MustCompile(`cpu ([0-9.]+)s.*wall ([0-9.]+)s \(parse ([0-9.]+)\).*rss (\d+)MB`)

// prototypeRounds reads what the prototype prints. It does not tell system time apart, and its peak begins with what this process has. Of decoding it tells the
// time of the clock, without that of reading the file.
func prototypeRounds(text string, decode bool) (rounds []measured, err error) {
	for _, m := range prototypeLine.FindAllStringSubmatch(text, -1) {
		var n [4]float64
		for i := range n {
			if n[i], err = strconv.ParseFloat(m[i+1], 64); err != nil {
				return nil, err
			}
		}
		r := measured{User: n[0], Seconds: n[1], Peak: int64(n[3]) << 20}
		if decode {
			r.User, r.Seconds = n[2], n[2]
		}
		rounds = append(rounds, r)
	}
	return rounds, nil
}

// learn finds the columns of an input, and writes them down for all.
func (w *world) learn(ctx context.Context, in *input) error {
	c, err := converter()
	if err != nil {
		return err
	}
	fig, err := c.Run(ctx, convert.Options{Inputs: []string{in.path}, Output: filepath.Join(w.dir, "learnt.parquet")})
	if err != nil {
		return fmt.Errorf("find the columns: %w", err)
	}
	in.rows = fig.Rows
	var columns []column
	var duck, lines []string
	for i := range fig.Schema.Fields {
		f := &fig.Schema.Fields[i]
		if f.Name == schema.Rescued {
			continue
		}
		columns = append(columns, column{f.JSONKey(), f.Type.String()})
		typ := duckType(f.Type)
		duck = append(duck, fmt.Sprintf("'%s':'%s'", f.Name, typ))
		lines = append(lines, f.Name+"\t"+typ+"\n")
	}
	text, err := json.Marshal(columns)
	if err != nil {
		return err
	}
	base := filepath.Join(w.dir, in.name)
	in.columns, in.duck, in.lines = base+".columns", base+".duck", base+".lines"
	for path, text := range map[string]string{in.columns: string(text), in.duck: "{" + strings.Join(duck, ",") + "}", in.lines: strings.Join(lines, "")} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// column is a line of the file of columns.
type column struct{ Name, Type string }

func parseColumns(text []byte) (*schema.Schema, error) {
	var columns []column
	if err := json.Unmarshal(text, &columns); err != nil {
		return nil, err
	}
	s := &schema.Schema{}
	for _, c := range columns {
		t, err := schema.ParseType(c.Type)
		if err != nil {
			return nil, err
		}
		s.Fields = append(s.Fields, schema.Field{Name: c.Name, Type: t})
	}
	return s, nil
}

// duckType returns a type in DuckDB's words.
func duckType(t *schema.Type) string {
	switch t.Kind {
	case schema.Bool:
		return "BOOLEAN"
	case schema.Long:
		return "BIGINT"
	case schema.Double:
		return "DOUBLE"
	case schema.TimestampTZ:
		return "TIMESTAMP"
	case schema.Struct:
		var parts []string
		for i := range t.Fields {
			parts = append(parts, fmt.Sprintf("%q %s", t.Fields[i].Name, duckType(t.Fields[i].Type)))
		}
		return "STRUCT(" + strings.Join(parts, ", ") + ")"
	case schema.List:
		return duckType(t.Fields[0].Type) + "[]"
	default:
		return "VARCHAR"
	}
}
