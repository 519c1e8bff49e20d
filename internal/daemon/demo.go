package daemon

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/firehosed/firehosed/internal/demo"
	"github.com/firehosed/firehosed/internal/inspect"
	"github.com/firehosed/firehosed/internal/telemetry"
)

// demoCommand is "demo".
func demoCommand(ctx context.Context, c *call) error {
	if c.demo.records < 1 {
		return usagef("demo: --records %d: a demo has at least one", c.demo.records)
	}
	if c.demo.kills < 0 {
		return usagef("demo: --kills %d: name how often the worker is killed, 0 for never", c.demo.kills)
	}
	return demo.Run(ctx, demo.Options{
		Dir: c.demo.dir, Records: c.demo.records, Kills: c.demo.kills, JSON: c.json, Started: c.started,
		Open: c.openDemo, Out: c.Stdout, Err: c.Stderr,
	})
}

// demoTables reads the demo's tables beside the worker that writes them.
type demoTables struct{ u *unit }

var _ demo.Tables = demoTables{}

// openDemo opens the tables of the only pipeline of a file.
func (c *call) openDemo(ctx context.Context, file string) (demo.Tables, error) {
	f, _, err := load(file, c.LookupEnv)
	if err != nil {
		return nil, err
	}
	log, err := telemetry.NewLogger(c.Stderr, telemetry.LogConfig{Level: "error", Format: "text"}, false)
	if err != nil {
		return nil, err
	}
	for name := range f.Pipelines {
		u, err := build(ctx, f, name, newMemory(f.MemoryBudget), log, nil)
		if err != nil {
			return nil, err
		}
		return demoTables{u}, nil
	}
	return nil, fmt.Errorf("%s has no pipeline", file)
}

// Head implements demo.Tables.
func (t demoTables) Head(ctx context.Context, table string) (metadata string, rows int64, err error) {
	log, err := t.u.ctl.Read(ctx)
	if err != nil || log.Bound(table) == nil {
		return "", 0, err
	}
	st, err := t.u.snk.inspect(ctx, table)
	if err != nil {
		return "", 0, err
	}
	return st.Metadata, max(0, st.Records), nil
}

// Coordinates implements demo.Tables.
func (t demoTables) Coordinates(ctx context.Context, table string, visit func(partition int32, offset int64, sub int32) error) error {
	log, err := t.u.ctl.Read(ctx)
	if err != nil || log.Bound(table) == nil {
		return err
	}
	pin, err := t.u.snk.tables.Pin(ctx, table, false)
	if err != nil {
		return err
	}
	return pin.Rows(ctx, func(r inspect.Row) error {
		_, part, _ := strings.Cut(r.Log, "/")
		p, err := strconv.ParseInt(part, 10, 32)
		if err != nil {
			return fmt.Errorf("partition of a row: %w", err)
		}
		off, err := strconv.ParseInt(string(r.Place), 10, 64)
		if err != nil {
			return fmt.Errorf("offset of a row: %w", err)
		}
		return visit(int32(p), off, r.Sub)
	})
}

// Close implements demo.Tables.
func (t demoTables) Close() error {
	t.u.close(context.Background())
	return nil
}
