package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/convert"
	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/schema"
)

const convertLong = `
IN are files of JSON lines, plain or compressed by gzip or zstd, - is standard input; OUT is
the Parquet file, in the place of one that is there, - is standard output. It appears when it
is complete. The rows are in the order of the lines. A value that has no column, or does not
fit it, is kept in the column _fh_rescued. Lines that are no rows are an error, and then
nothing is written, unless --rejects names a file for them.`

func convertFlags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.convert.schema, "schema", "", "a YAML or JSON `FILE` with the columns, a line NAME: TYPE for each in Iceberg's words; default: what the values say")
	fs.StringVar(&o.convert.rejects, "rejects", "", "a `FILE` for lines that are no rows, as JSON lines; default: they are an error")
	fs.StringVar(&o.convert.codec, "codec", "zstd", "the `CODEC` of pages: zstd, snappy, gzip, lz4_raw or none")
	fs.IntVar(&o.convert.level, "level", 1, "the `LEVEL` of zstd (1 to 22) or gzip (1 to 9)")
	fs.BoolVar(&o.convert.noDelta, "no-delta", false, "leave the encoding DELTA_BINARY_PACKED out: old readers do not know it")
	fs.BoolVar(&o.convert.pageIndex, "page-index", false, "add the bounds and places of pages, by which engines skip pages")
	fs.IntVar(&o.convert.pageVersion, "page-version", 1, "the `VERSION` of data pages, 1 or 2")
	fs.StringVar(&o.convert.bloom, "bloom", "", "`COLUMNS` with a Bloom filter for each row group, separated by commas, parts of nested ones joined by dots")
	fs.Func("row-group-size", "`SIZE` of the values of a row group before they are encoded (default 32MiB, or 64MiB of more than 64 columns)", func(s string) (err error) {
		if o.convert.rowGroup, err = config.ParseSize(s); err == nil && o.convert.rowGroup < 1<<20 {
			err = errors.New("the least is 1MiB")
		}
		return err
	})
	fs.BoolVar(&o.json, "json", false, "end with one JSON object on standard output, or on standard error if the file goes there")
}

// converted is what convert --json tells.
type converted struct {
	convert.Figures
	Columns       columnTypes `json:"columns"`
	Seconds       float64     `json:"seconds"`
	UserSeconds   float64     `json:"cpu_user_seconds"`
	SystemSeconds float64     `json:"cpu_system_seconds"`
	PeakMemory    int64       `json:"peak_memory_bytes"` // 0: the system does not tell
}

func convertCommand(ctx context.Context, c *call) error {
	last := len(c.args) - 1
	opt := convert.Options{
		Inputs: c.args[:last], Output: c.args[last], Rejects: c.convert.rejects, Stdin: c.Stdin, Stdout: c.Stdout,
	}
	file := parquetfile.Options{ // nobody asks for the metrics of Iceberg; the bounds in the footer are there all the same
		Codec: c.convert.codec, Level: c.convert.level, RowGroupBytes: c.convert.rowGroup, Delta: !c.convert.noDelta,
		PageVersion: c.convert.pageVersion, PageIndex: c.convert.pageIndex, MetricColumns: 1,
	}
	if c.convert.bloom != "" {
		file.Bloom = strings.Split(c.convert.bloom, ",")
	}
	if c.convert.schema != "" {
		s, err := readSchema(c.convert.schema)
		if err != nil {
			return err
		}
		opt.Schema = s
	}
	term := newTerminal(c.Stderr)
	if c.Terminal {
		shown := c.started
		opt.Progress = func(f convert.Figures) {
			if now := time.Now(); now.Sub(shown) >= progressEvery/4 {
				shown = now
				term.show(fmt.Sprintf("%s of JSON, %s rows, %s/s", bytesText(f.JSONBytes), grouped(f.Rows),
					bytesText(int64(float64(f.JSONBytes)/now.Sub(c.started).Seconds()))))
			}
		}
	}
	var fig convert.Figures
	conv, err := convert.New(file)
	if err == nil {
		fig, err = conv.Run(ctx, opt)
	}
	term.show("")
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	r := converted{Figures: fig, Columns: columnTypes{fig.Schema}, Seconds: time.Since(c.started).Seconds()}
	r.UserSeconds, r.SystemSeconds, r.PeakMemory = consumed()
	if opt.Output == convert.Stdio {
		c.Stdout = c.Stderr
	}
	return c.result(r, func(io.Writer) { r.tell(c.Stderr, opt) })
}

// tell says in words what was done.
func (r *converted) tell(w io.Writer, opt convert.Options) {
	say(w, "%s: %s rows, %d columns, %s from %s of JSON in %.2f s\n", opt.Output, grouped(r.Rows), len(r.Schema.Fields),
		bytesText(r.ParquetBytes), bytesText(r.JSONBytes), r.Seconds)
	if r.Rejects > 0 {
		say(w, "rejects: %s, in %s with the reasons\n", grouped(r.Rejects), opt.Rejects)
	}
	if r.RescuedRows > 0 {
		say(w, "rows with values that have no column or do not fit it: %s, kept in %s\n", grouped(r.RescuedRows), schema.Rescued)
	}
}

// readSchema reads columns from a file: a mapping of names to types, whose order is that of
// the columns.
func readSchema(path string) (*schema.Schema, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("--schema: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, usagef("--schema: %s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) == 0 {
		return nil, usagef("--schema: %s: want columns, a line NAME: TYPE for each, such as id: long", path)
	}
	s := &schema.Schema{}
	seen := map[string]bool{}
	for pairs := doc.Content[0].Content; len(pairs) > 0; pairs = pairs[2:] {
		name, typ := pairs[0], pairs[1]
		where := fmt.Sprintf("%s:%d:%d: %s", path, typ.Line, typ.Column, name.Value)
		lower := strings.ToLower(name.Value)
		switch {
		case typ.Kind != yaml.ScalarNode:
			return nil, usagef("--schema: %s: want a type in quotes, such as \"struct<id: long, tags: list<string>>\"", where)
		case name.Value == "" || seen[lower]:
			return nil, usagef("--schema: %s: the name is empty, or comes twice (case aside)", where)
		case name.Value == schema.Rescued:
			continue // it is there in any case
		case strings.HasPrefix(lower, schema.Reserved):
			return nil, usagef("--schema: %s: names that begin with %s are firehosed's", where, schema.Reserved)
		}
		seen[lower] = true
		t, err := schema.ParseType(typ.Value)
		if err != nil {
			return nil, usagef("--schema: %s: %w", where, err)
		}
		s.Fields = append(s.Fields, schema.Field{Name: name.Value, Type: t})
	}
	return s, nil
}

// columnTypes prints columns as readSchema reads them, in JSON.
type columnTypes struct{ s *schema.Schema }

func (c columnTypes) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i := range c.s.Fields {
		f := &c.s.Fields[i]
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(f.JSONKey()); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(f.Type.String()); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
