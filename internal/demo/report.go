package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// result is the last line with --json.
type result struct {
	Records          int     `json:"records"`
	Rows             int64   `json:"rows"`
	DeadLettered     int64   `json:"dead_lettered"`
	Kills            int     `json:"kills"`
	KillsMidCommit   int     `json:"kills_mid_commit"`
	Lost             int64   `json:"lost"`
	Duplicated       int64   `json:"duplicated"`
	Unexpected       int64   `json:"unexpected"`
	FirstRowsSeconds float64 `json:"first_rows_seconds"`
	Seconds          float64 `json:"seconds"`
	MetadataLocation string  `json:"metadata_location"`
	DeadLetters      string  `json:"dead_letter_metadata_location"`
	Dir              string  `json:"dir"`
	Verify           verdict `json:"verify"`
}

// report prints the outcome and how to look at it, and judges it.
func (d *demo) report(ctx context.Context, v verdict, c count) error {
	r := result{
		Records: d.o.Records, Rows: c.rows, DeadLettered: c.dead, Kills: d.kills, KillsMidCommit: d.midCommit,
		Lost: max(c.lost, v.Lost+v.Pending), Duplicated: max(c.duplicated, v.Duplicated), Unexpected: max(c.misplaced, v.Unexpected),
		FirstRowsSeconds: time.Duration(d.firstRows.Load()).Seconds(), Seconds: time.Since(d.o.Started).Seconds(),
		Dir: d.dir, Verify: v,
	}
	var err error
	if r.MetadataLocation, _, err = d.tables.Head(ctx, table); err != nil {
		return err
	}
	if r.DeadLetters, _, err = d.tables.Head(ctx, deadLetters); err != nil {
		return err
	}
	d.progress.printf("%s", r.text(c))
	if d.o.JSON {
		if err := json.NewEncoder(d.o.Out).Encode(r); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	}
	switch {
	case r.Lost+r.Duplicated+r.Unexpected > 0:
		return fmt.Errorf("%w: %d lost, %d duplicated, %d unexpected; %s", ErrNotExact, r.Lost, r.Duplicated, r.Unexpected, c.first)
	case v.Differs > 0:
		return fmt.Errorf("%w: %d rows hold other values than their records", ErrNotExact, v.Differs)
	case v.Unverifiable > 0:
		return fmt.Errorf("%w: verify could not judge %d records", ErrNotExact, v.Unverifiable)
	case d.o.Kills > 0 && d.midCommit == 0:
		return fmt.Errorf("none of %d kills caught a commit in flight: run the demo again", d.kills)
	}
	return nil
}

func (r *result) text(c count) string {
	file := strings.TrimPrefix(r.MetadataLocation, "file://")
	return fmt.Sprintf(`
%d records: %d rows, %d dead letters
killed %d times, %d of them with a commit in flight
verify: %d lost, %d duplicated, %d unexpected, %d with other values, %d pending; the demo's own count: %d lost, %d duplicated
first rows after %.1f s, everything after %.0f s

Have a look at the table in %s:

  DuckDB    duckdb -c "INSTALL iceberg; LOAD iceberg; SELECT type, count(*) FROM iceberg_scan('%s') GROUP BY ALL"
  PyIceberg python -c "from pyiceberg.table import StaticTable; print(StaticTable.from_metadata('%s').scan(limit=10).to_arrow())"
  Spark     spark.read.format("iceberg").load("file:%s").groupBy("type").count().show()

The dead letters are a table too: %s
`, r.Records, r.Rows, r.DeadLettered, r.Kills, r.KillsMidCommit,
		r.Verify.Lost, r.Verify.Duplicated, r.Verify.Unexpected, r.Verify.Differs, r.Verify.Pending, c.lost, c.duplicated,
		r.FirstRowsSeconds, r.Seconds, r.Dir, file, file, file, strings.TrimPrefix(r.DeadLetters, "file://"))
}

// progress shows what happens, a line at a time. Concurrent use.
type progress struct {
	mu      sync.Mutex
	w       io.Writer
	started time.Time
}

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, format, args...) // nobody may be looking
}

func (p *progress) life(n, pid int) {
	p.printf("worker  life %d, process %d\n", n, pid)
}

func (p *progress) line(sent, visible, lag int64) {
	p.printf("%5.1f s  appended %7d   in tables %7d   lag %7d\n", time.Since(p.started).Seconds(), sent, visible, lag)
}
