package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
)

// progressEvery is how often progress is shown.
const progressEvery = time.Second

// terminal is standard error with one line at its end that is drawn again and
// again. Log lines are written above it. Safe for concurrent use.
type terminal struct {
	mu struct {
		sync.Mutex
		w     io.Writer
		shown bool
	}
}

func newTerminal(w io.Writer) *terminal {
	t := &terminal{}
	t.mu.w = w
	return t
}

const clearLine = "\r\x1b[K"

// Write implements io.Writer for whole lines.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.shown {
		_, _ = io.WriteString(t.mu.w, clearLine)
		t.mu.shown = false
	}
	return t.mu.w.Write(p)
}

// show draws the last line; "" takes it away.
func (t *terminal) show(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line == "" && !t.mu.shown {
		return
	}
	_, _ = io.WriteString(t.mu.w, clearLine+line)
	t.mu.shown = line != ""
}

// snapshot is what one pipeline does, as progress and run --json tell it.
type snapshot struct {
	Time     time.Time `json:"time"`
	Pipeline string    `json:"pipeline"`
	telemetry.Totals
	RowsPerSecond  float64  `json:"rows_per_second"`
	BytesPerSecond float64  `json:"bytes_per_second"`
	Lag            *int64   `json:"lag_records"`    // null: not known
	Behind         *float64 `json:"behind_seconds"` // of the partition that is furthest behind; null: the source tells lag_records instead
	Partitions     int      `json:"partitions"`
	Tables         int      `json:"tables"`
	Held           int64    `json:"held_bytes"`
	Paused         bool     `json:"paused,omitempty"`
	Halts          []string `json:"halts,omitempty"`
}

// meter computes rates between two looks at a pipeline.
type meter struct {
	watched *telemetry.Watched
	status  func() pipeline.Status
	lag     func() []telemetry.Lag
	last    telemetry.Totals
	at      time.Time
}

func (m *meter) look(now time.Time) snapshot {
	st, t := m.status(), m.watched.Totals()
	s := snapshot{Time: now.UTC(), Pipeline: st.Pipeline, Totals: t, Partitions: len(st.Lanes), Tables: len(st.Tables), Held: st.Held, Paused: st.Paused}
	if secs := now.Sub(m.at).Seconds(); !m.at.IsZero() && secs > 0 {
		s.RowsPerSecond = float64(t.Units-m.last.Units) / secs
		s.BytesPerSecond = float64(t.Bytes-m.last.Bytes) / secs
	}
	m.last, m.at = t, now
	if m.lag != nil {
		if lags := m.lag(); lags != nil {
			s.count(lags)
		}
	}
	for i := range st.Tables {
		if h := st.Tables[i].Halt; h != nil {
			s.Halts = append(s.Halts, fmt.Sprintf("table %s: %v", st.Tables[i].Name, h))
		}
	}
	for i := range st.Lanes {
		if h := st.Lanes[i].Halt; h != nil {
			s.Halts = append(s.Halts, fmt.Sprintf("partition %s: %v", st.Lanes[i].Partition, h))
		}
	}
	return s
}

// count adds the lags of partitions up.
func (s *snapshot) count(lags []telemetry.Lag) {
	var records int64
	for _, l := range lags {
		if secs := l.Behind.Seconds(); l.Timed && (s.Behind == nil || secs > *s.Behind) {
			s.Behind = &secs
		}
		records += l.Records
	}
	if s.Behind == nil {
		s.Lag = &records
	}
}

// String returns the snapshot as part of a progress line.
func (s snapshot) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s rows committed, %s/s, %s/s", s.Pipeline, grouped(s.Committed), grouped(int64(s.RowsPerSecond)), bytesText(int64(s.BytesPerSecond)))
	if s.Lag != nil {
		fmt.Fprintf(&b, ", lag %s", grouped(*s.Lag))
	}
	if s.Behind != nil {
		fmt.Fprintf(&b, ", %.0fs behind", *s.Behind)
	}
	if s.DeadLetters > 0 {
		fmt.Fprintf(&b, ", %s dead letters", grouped(s.DeadLetters))
	}
	if s.Paused {
		b.WriteString(", PAUSED")
	}
	if n := len(s.Halts); n > 0 {
		fmt.Fprintf(&b, ", %d HALTED", n)
	}
	return b.String()
}

// progress shows what the pipelines do until ctx ends: a line on the terminal, if
// there is one, and JSON lines on out, if that is not nil.
func progress(ctx context.Context, meters []*meter, term *terminal, out io.Writer) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	if term != nil {
		defer term.show("")
	}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			var parts []string
			for _, m := range meters {
				s := m.look(now)
				parts = append(parts, s.String())
				if out != nil {
					_ = json.NewEncoder(out).Encode(s) // nobody reads it any more: go on working
				}
			}
			if term != nil {
				term.show(strings.Join(parts, " | "))
			}
		}
	}
}

// grouped returns n with commas.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		n = n >> 30 << 30
	case n >= 10<<20:
		n = n >> 20 << 20
	case n >= 10<<10:
		n = n >> 10 << 10
	case n >= 1<<10:
		return fmt.Sprintf("%.1fKiB", float64(n)/(1<<10))
	default:
		return strconv.FormatInt(n, 10) + "B"
	}
	return config.FormatSize(n)
}
