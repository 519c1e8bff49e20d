package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/firehosed/firehosed/bench/data"
)

type options struct {
	sets, engines, data, python, prototype, profile, chart string
	mb, runs, rounds                                       int
	seed                                                   uint64
	json, decode                                           bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.sets, "sets", "A,B,C,D", "data `SETS` to convert")
	flag.StringVar(&o.data, "data", "", "a `FILE` of JSON lines to convert instead")
	flag.StringVar(&o.engines, "engines", strings.Join(engineNames(), ","), "`ENGINES` by turns; the others are compared with the first")
	flag.IntVar(&o.mb, "mb", 200, "`MIB` of JSON in each set")
	flag.IntVar(&o.runs, "runs", 5, "how many `TURNS` each engine has")
	flag.IntVar(&o.rounds, "rounds", 3, "how many `TIMES` a process converts the file; the first is fresh, the last steady")
	flag.Uint64Var(&o.seed, "seed", 1, "of the data")
	flag.StringVar(&o.python, "python", "python3", "a `PYTHON` with duckdb")
	flag.StringVar(&o.prototype, "prototype", "", "the `FOLDER` of a prototype of the engine, whose command e2e is measured, too")
	flag.StringVar(&o.profile, "profile", "", "a `FOLDER` for CPU profiles of the engines in Go, all rounds of their last turn")
	flag.BoolVar(&o.decode, "decode", false, "decode only, to record batches, in place of converting: firehosed with columns and without, arrow-go, and the prototype")
	flag.StringVar(&o.chart, "chart", "", "a `FILE` for a chart of the steady part, as SVG")
	flag.BoolVar(&o.json, "json", false, "write every measurement as a JSON line to standard output; the tables go to standard error")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "engines:", err)
		os.Exit(1)
	}
}

// input is a file to convert, and its columns.
type input struct {
	name    string
	path    string
	bytes   int64
	rows    int64
	columns string // a file, as parseColumns reads it
	duck    string // the same for DuckDB, as the argument columns of read_json
	lines   string // a file of lines NAME TAB TYPE, in DuckDB's words
}

// batch returns how many records are decoded at a time where nothing else is done: as many as a consumer hands over.
func (in *input) batch() int {
	const bytes, records = 1 << 20, 2000
	return int(max(1, min(records, in.rows*bytes/in.bytes)))
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "firehosed-engines-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	names := strings.Split(o.engines, ",")
	for _, name := range names {
		if _, ok := engines[name]; !ok {
			return fmt.Errorf("-engines: no engine is called %q: %s", name, strings.Join(engineNames(), ", "))
		}
	}
	w := world{o: o, dir: dir}
	if o.decode && o.engines == strings.Join(engineNames(), ",") {
		names = decoders()
	}
	if o.prototype != "" {
		if err := w.buildPrototype(ctx); err != nil {
			return err
		}
		names = append(names, map[bool]string{false: prototype, true: prototypeDecode}[o.decode])
	}
	sets := strings.Split(o.sets, ",")
	if o.data != "" {
		sets = []string{filepath.Base(o.data)}
	}
	for _, set := range sets {
		in, err := w.input(ctx, set)
		if err != nil {
			return fmt.Errorf("set %s: %w", set, err)
		}
		if err := w.compare(ctx, in, names); err != nil {
			return fmt.Errorf("set %s: %w", set, err)
		}
	}
	if o.chart != "" {
		return os.WriteFile(o.chart, w.bars.svg(), 0o644)
	}
	return nil
}

// world is what the turns share.
type world struct {
	o         options
	dir       string
	prototype string
	bars      chart
}

// input writes a set to a file, and finds its columns.
func (w *world) input(ctx context.Context, set string) (*input, error) {
	in := &input{name: set, path: w.o.data}
	if in.path == "" {
		in.path = filepath.Join(w.dir, set+".ndjson")
		if err := w.write(set, in.path); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(in.path)
	if err != nil {
		return nil, err
	}
	in.bytes = info.Size()
	return in, w.learn(ctx, in)
}

func (w *world) write(set, path string) error {
	s, err := data.New(set, w.o.seed)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for i, n := 0, 0; n < w.o.mb<<20; i++ {
		line = append(s(line[:0], i), '\n')
		n += len(line)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return errors.Join(out.Flush(), f.Close())
}

// measured is what one conversion took.
type measured struct {
	Set     string  `json:"set"`
	Engine  string  `json:"engine"`
	Turn    int     `json:"turn"`
	Round   int     `json:"round"`
	Seconds float64 `json:"seconds"`
	User    float64 `json:"cpu_user_seconds"`
	System  float64 `json:"cpu_system_seconds"`
	Size    int64   `json:"parquet_bytes"`
	Peak    int64   `json:"peak_memory_bytes"` // of the process until then
	Rows    int64   `json:"rows"`

	Allocations int64 `json:"allocations"` // of engines in Go
}

func (m *measured) cpu() float64 { return m.User + m.System }

// compare gives every engine its turns, and prints a table.
func (w *world) compare(ctx context.Context, in *input, names []string) error {
	got := map[string][][]measured{} // by engine and turn: the rounds
	for turn := range w.o.runs {
		for _, name := range names {
			rounds, err := w.turn(ctx, in, name)
			if err != nil {
				if turn > 0 || name == names[0] {
					return fmt.Errorf("%s: %w", name, err)
				}
				fmt.Fprintf(os.Stderr, "%s is left out: %v\n", name, err)
				names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
				continue
			}
			for i := range rounds {
				rounds[i].Set, rounds[i].Engine, rounds[i].Turn, rounds[i].Round = in.name, name, turn, i
				if rounds[i].Rows != in.rows {
					return fmt.Errorf("%s wrote %d rows of %d", name, rounds[i].Rows, in.rows)
				}
				if w.o.json {
					if err := json.NewEncoder(os.Stdout).Encode(&rounds[i]); err != nil {
						return err
					}
				}
			}
			got[name] = append(got[name], rounds)
		}
	}
	var to io.Writer = os.Stdout
	if w.o.json {
		to = os.Stderr
	}
	report(to, in, names, got)
	w.bars.add(in, names, got)
	if w.o.decode {
		return nil
	}
	return w.check(ctx, to, in)
}

// turn runs one process.
func (w *world) turn(ctx context.Context, in *input, name string) ([]measured, error) {
	out := filepath.Join(w.dir, "out-"+name+".parquet")
	cmd, err := w.command(ctx, in, name, out)
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var rounds []measured
	if strings.HasPrefix(name, prototype) {
		rounds, err = prototypeRounds(string(stdout), name == prototypeDecode)
	} else {
		for d := json.NewDecoder(bytes.NewReader(stdout)); d.More() && err == nil; {
			var m measured
			err = d.Decode(&m)
			rounds = append(rounds, m)
		}
	}
	if err != nil || len(rounds) != w.o.rounds {
		return nil, fmt.Errorf("%d rounds of %d, %w; it says %s", len(rounds), w.o.rounds, err, stdout)
	}
	size := int64(0)
	if !w.o.decode {
		info, err := os.Stat(out)
		if err != nil {
			return nil, err
		}
		size = info.Size()
	}
	for i := range rounds {
		rounds[i].Size = size
		if strings.HasPrefix(name, prototype) {
			rounds[i].Rows = in.rows // it does not tell
		}
	}
	return rounds, nil
}
