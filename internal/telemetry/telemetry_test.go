package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("scrape: %d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func TestConservation(t *testing.T) {
	m := New("v1")
	w := m.Pipeline("shop")
	o := w.Observer()
	o.Judged(pipeline.Partition{}, "", 10, 1000)
	o.Rows("orders", 6)
	o.Rejected("", "syntax", 3)
	o.Judged(pipeline.Partition{}, "archive", 10, 0)
	o.Rows("archive:orders", 11)
	if got := scrape(t, m); !strings.Contains(got, `firehosed_unaccounted_units{pipeline="shop",sink=""} 1`) ||
		!strings.Contains(got, `firehosed_unaccounted_units{pipeline="shop",sink="archive"} -1`) {
		t.Error("a unit is missing in one sink and made up in another, and no alarm")
	}
	o.Dropped("", "tombstone", 1)
	o.Judged(pipeline.Partition{}, "archive", 1, 0)
	w.Sent("orders", errors.New("409"))
	w.Sent("orders", nil)
	w.File("orders", 100, true, "commit")
	w.File("orders", 900, false, "size")
	w.Rescued("orders", 2)
	o.Panicked("decoder")
	o.Committed("orders", 6, 250*time.Millisecond)
	got := scrape(t, m)
	for _, want := range []string{
		`firehosed_unaccounted_units{pipeline="shop",sink=""} 0`,
		`firehosed_unaccounted_units{pipeline="shop",sink="archive"} 0`,
		`firehosed_units_in_total{pipeline="shop",sink=""} 10`,
		`firehosed_in_bytes_total{pipeline="shop"} 1000`,
		`firehosed_rows_total{pipeline="shop",table="orders"} 6`,
		`firehosed_dead_letters_total{code="syntax",pipeline="shop",sink=""} 3`,
		`firehosed_dropped_total{pipeline="shop",rule="tombstone",sink=""} 1`,
		`firehosed_committed_rows_total{pipeline="shop",table="orders"} 6`,
		`firehosed_commit_duration_seconds_bucket{pipeline="shop",table="orders",le="0.25"} 1`,
		`firehosed_commit_attempts_total{outcome="unknown",pipeline="shop",table="orders"} 1`,
		`firehosed_commit_attempts_total{outcome="done",pipeline="shop",table="orders"} 1`,
		`firehosed_files_total{pipeline="shop",table="orders"} 2`,
		`firehosed_file_bytes_total{pipeline="shop",table="orders"} 1000`,
		`firehosed_small_files_total{pipeline="shop",reason="commit",table="orders"} 1`,
		`firehosed_rescued_rows_total{pipeline="shop",table="orders"} 2`,
		`firehosed_panics_total{pipeline="shop",step="decoder"} 1`,
		`firehosed_build_info{go=`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	if want := (Totals{Units: 10, Bytes: 1000, Rows: 17, DeadLetters: 3, Dropped: 1, Committed: 6, Commits: 1}); w.Totals() != want {
		t.Errorf("totals %+v", w.Totals())
	}
}

func TestState(t *testing.T) {
	m := New("v1")
	w := m.Pipeline("shop")
	st := pipeline.Status{
		Stamp: pipeline.Stamp{Rev: 3}, Held: 77, Paused: true, Ended: "superseded",
		Lanes: []pipeline.LaneStatus{
			{At: "5", Low: "3", HeldBy: "orders"},
			{At: "5", Low: "5", HeldBy: "orders"},
			{Halt: &pipeline.Halt{Class: pipeline.HaltTruncated}},
		},
		Tables: []pipeline.TableStatus{
			{Name: "orders", Held: 64, Rows: 20, Pending: 8, Taken: 40, LetGo: 11, DownFor: 90 * time.Second, Lagging: 2, Halt: &pipeline.Halt{Class: pipeline.HaltRewound}},
			{Name: "clicks", LastCommit: time.Unix(1700000000, 0)},
		},
	}
	w.Watch(func() pipeline.Status { return st }, func() []Lag {
		return []Lag{{Topic: "orders", Partition: "4", Records: 12}, {Topic: "clicks", Partition: "shard-1", Behind: 90 * time.Second, Timed: true}}
	})
	m.Budget(func() (int64, int64) { return 1000, 77 })
	got := scrape(t, m)
	for _, want := range []string{
		`firehosed_budget_bytes 1000`,
		`firehosed_budget_used_bytes 77`,
		`firehosed_paused{pipeline="shop"} 1`,
		`firehosed_pipeline_ended{pipeline="shop"} 1`,
		`firehosed_taken_rows_total{pipeline="shop",table="orders"} 40`,
		`firehosed_let_go_rows_total{pipeline="shop",table="orders"} 11`,
		`firehosed_unaccounted_rows{pipeline="shop",table="orders"} 1`,
		`firehosed_unaccounted_rows{pipeline="shop",table="clicks"} 0`,
		`firehosed_partitions{pipeline="shop"} 3`,
		`firehosed_revision{pipeline="shop"} 3`,
		`firehosed_halted_partitions{pipeline="shop"} 1`,
		`firehosed_table_halted{class="REWOUND",pipeline="shop",table="orders"} 1`,
		`firehosed_table_halted{class="",pipeline="shop",table="clicks"} 0`,
		`firehosed_held_by_table{pipeline="shop",table="orders"} 1`,
		`firehosed_held_seconds{pipeline="shop",table="orders"} 90`,
		`firehosed_buffer_bytes{pipeline="shop",table="orders"} 64`,
		`firehosed_lag_records{partition="4",pipeline="shop",topic="orders"} 12`,
		`firehosed_behind_seconds{partition="shard-1",pipeline="shop",topic="clicks"} 90`,
		`firehosed_last_commit_timestamp_seconds{pipeline="shop",table="clicks"} 1.7e+09`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	st.Tables = st.Tables[:1]
	if got := scrape(t, m); strings.Contains(got, `table="clicks"`) {
		t.Error("a table that is gone left a gauge behind")
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	f := func(c LogConfig, terminal bool, want string) {
		t.Helper()
		b.Reset()
		log, err := NewLogger(&b, c, terminal)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("shown", slog.Any("err", errors.New("why\nnot")))
		if got := b.String(); !strings.Contains(got, want) || strings.Contains(got, "hidden") || strings.Count(got, "\n") != 1 {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
	f(DefaultLogConfig(), true, `level=INFO msg=shown err="why\nnot"`)
	f(DefaultLogConfig(), false, `"level":"INFO","msg":"shown","err":"why\nnot"}`)
	f(LogConfig{Level: "info", Format: "json"}, true, `"msg":"shown"`)
	f(LogConfig{Level: "info", Format: "text"}, false, `msg=shown`)
	if err := (LogConfig{Level: "loud", Format: "xml"}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two problems: %v", err)
	}
}

// TestRepeats: the same warning once a minute, with how often it was held back.
func TestRepeats(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	log := slog.New(newRepeats(slog.NewTextHandler(&b, nil), func() time.Time { return now })).With(slog.String("pipeline", "shop"))
	for range 3 {
		log.Warn("table down", slog.String("table", "a"))
		log.Info("hello")
	}
	log.Warn("table down", slog.String("table", "b"))
	log.With(slog.Int("x", 1)).Warn("table down", slog.String("table", "a"))
	now = now.Add(quietFor)
	log.Warn("table down", slog.String("table", "a"))
	log.Warn("table down", slog.String("table", "a"))
	got := b.String()
	for want, n := range map[string]int{
		"table=a\n": 2, "pipeline=shop table=a\n": 1, "table=a repeated=2\n": 1, "table=b\n": 1, "hello": 3, "x=1 table=a": 1,
	} {
		if strings.Count(got, want) != n {
			t.Errorf("%q %d times, want %d:\n%s", want, strings.Count(got, want), n, got)
		}
	}
	for i := range 2 * maxWarnings {
		log.Warn("many", slog.Int("i", i))
	}
	if r := log.Handler().(*repeats); len(r.seen.mu.last) > maxWarnings {
		t.Errorf("%d warnings are kept", len(r.seen.mu.last))
	}
}
