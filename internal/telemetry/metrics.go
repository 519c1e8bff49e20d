package telemetry

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/firehosed/firehosed/pipeline"
)

// Metrics is every metric of a process. Safe for concurrent use.
type Metrics struct {
	reg *prometheus.Registry

	unitsIn, bytesIn, rows, deadLetters, dropped *prometheus.CounterVec
	commits, committedRows, attempts, rescued    *prometheus.CounterVec
	files, fileBytes, smallFiles, panics         *prometheus.CounterVec
	commitSeconds                                *prometheus.HistogramVec

	mu struct {
		sync.Mutex
		watched map[string]*Watched
		used    func() (total, used int64)
	}
}

// New returns the metrics of a process of that version.
func New(version string) *Metrics {
	m := &Metrics{reg: prometheus.NewRegistry()}
	m.mu.watched = map[string]*Watched{}
	m.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"pipeline"}, labels...))
		m.reg.MustRegister(c)
		return c
	}
	m.unitsIn = counter("firehosed_units_in_total", "Units judged for a sink: records, or the values of a record that holds several.", "sink")
	m.bytesIn = counter("firehosed_in_bytes_total", "Bytes of the values of records that were read, without repetitions.")
	m.rows = counter("firehosed_rows_total", "Rows that units became, by table.", "table")
	m.deadLetters = counter("firehosed_dead_letters_total", "Units that went to the dead-letter table of a sink, by code.", "sink", "code")
	m.panics = counter("firehosed_panics_total",
		"Batches at which a step panicked, which is a bug: stages, decoder, dead letters or write. Records that are the cause are dead letters of code panic.", "step")
	m.dropped = counter("firehosed_dropped_total", "Units left out for a sink, by the name of the rule.", "sink", "rule")
	m.commits = counter("firehosed_commits_total", "Commits that made rows visible.", "table")
	m.committedRows = counter("firehosed_committed_rows_total", "Rows that became visible.", "table")
	m.attempts = counter("firehosed_commit_attempts_total",
		"Commits sent to the catalog, by outcome: done, or unknown, as when another writer was faster or the answer was lost.", "table", "outcome")
	m.rescued = counter("firehosed_rescued_rows_total", "Rows of which a value fit no column and was kept in _fh_rescued, as often as they were laid out.", "table")
	m.files = counter("firehosed_files_total", "Data files written.", "table")
	m.fileBytes = counter("firehosed_file_bytes_total", "Bytes of data files written.", "table")
	m.smallFiles = counter("firehosed_small_files_total", "Data files below half the target size, by why they were cut.", "table", "reason")
	m.commitSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "firehosed_commit_duration_seconds", Help: "How long commits took.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"pipeline", "table"})
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "firehosed_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	info.Set(1)
	m.reg.MustRegister(m.commitSeconds, info, state{m})
	return m
}

// Handler serves the metrics as text.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Gather returns the metrics, for tests.
func (m *Metrics) Gather() prometheus.Gatherer { return m.reg }

// Budget tells where the memory budget of the process stands.
func (m *Metrics) Budget(f func() (total, used int64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.used = f
}

// Lag is how far one partition is behind its source: what is to be committed, or, of
// a source whose positions have no distance, the time that reading is behind.
type Lag struct {
	Topic, Partition string
	Records          int64
	Behind           time.Duration
	Timed            bool // Behind counts, not Records
}

// Watched is one pipeline: what it has done, and how to ask what it does.
type Watched struct {
	name   string
	m      *Metrics
	totals totals
	sinks  sync.Map // by name, what was booked for each: *booked

	mu struct {
		sync.Mutex
		status func() pipeline.Status
		lag    func() []Lag
	}
}

type totals struct{ units, bytes, rows, deadLetters, dropped, committed, commits atomic.Int64 }

// booked is what conservation counts for a sink.
type booked struct{ units, rows, deadLetters, dropped atomic.Int64 }

func (b *booked) unaccounted() int64 {
	return b.units.Load() - b.rows.Load() - b.deadLetters.Load() - b.dropped.Load()
}

// sink returns what is booked for a sink.
func (w *Watched) sink(name string) *booked {
	b, ok := w.sinks.Load(name)
	if !ok {
		b, _ = w.sinks.LoadOrStore(name, &booked{})
	}
	return b.(*booked) //nolint:forcetypeassert // nothing else is in it
}

// Totals is what a pipeline has done since the process began.
type Totals struct {
	Units       int64 `json:"units"` // as the first sink counts them; all else is of all sinks
	Bytes       int64 `json:"bytes"`
	Rows        int64 `json:"rows"` // laid out, not all committed yet
	DeadLetters int64 `json:"dead_letters"`
	Dropped     int64 `json:"dropped"`
	Committed   int64 `json:"committed_rows"` // dead letters among them
	Commits     int64 `json:"commits"`
}

// Pipeline begins to measure a pipeline.
func (m *Metrics) Pipeline(name string) *Watched {
	w := &Watched{name: name, m: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.watched[name] = w
	return w
}

// Watch tells how to ask the pipeline what it does. lag may be nil. Neither may
// wait.
func (w *Watched) Watch(status func() pipeline.Status, lag func() []Lag) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.status, w.mu.lag = status, lag
}

// Totals returns what the pipeline has done.
func (w *Watched) Totals() Totals {
	t := &w.totals
	return Totals{t.units.Load(), t.bytes.Load(), t.rows.Load(), t.deadLetters.Load(), t.dropped.Load(), t.committed.Load(), t.commits.Load()}
}

// Observer returns the hooks for the pipeline.
func (w *Watched) Observer() *pipeline.Observer {
	m, name, t := w.m, w.name, &w.totals
	bytesIn := m.bytesIn.WithLabelValues(name)
	w.sink("")
	return &pipeline.Observer{
		Judged: func(_ pipeline.Partition, sink string, units int, bytes int64) {
			if sink == "" {
				t.units.Add(int64(units))
			}
			t.bytes.Add(bytes)
			w.sink(sink).units.Add(int64(units))
			m.unitsIn.WithLabelValues(name, sink).Add(float64(units))
			bytesIn.Add(float64(bytes))
		},
		Rows: func(table string, rows int) {
			t.rows.Add(int64(rows))
			sink, _ := pipeline.SplitTable(table)
			w.sink(sink).rows.Add(int64(rows))
			m.rows.WithLabelValues(name, table).Add(float64(rows))
		},
		Rejected: func(sink, code string, n int) {
			t.deadLetters.Add(int64(n))
			w.sink(sink).deadLetters.Add(int64(n))
			m.deadLetters.WithLabelValues(name, sink, code).Add(float64(n))
		},
		Dropped: func(sink, rule string, n int) {
			t.dropped.Add(int64(n))
			w.sink(sink).dropped.Add(int64(n))
			m.dropped.WithLabelValues(name, sink, rule).Add(float64(n))
		},
		Panicked: func(step string) { m.panics.WithLabelValues(name, step).Inc() },
		Committed: func(table string, rows int64, took time.Duration) {
			t.committed.Add(rows)
			t.commits.Add(1)
			m.commits.WithLabelValues(name, table).Inc()
			m.committedRows.WithLabelValues(name, table).Add(float64(rows))
			m.commitSeconds.WithLabelValues(name, table).Observe(took.Seconds())
		},
	}
}

// Sent counts an attempt of a sink to commit. err nil: it is in.
func (w *Watched) Sent(table string, err error) {
	outcome := "done"
	if err != nil {
		outcome = "unknown"
	}
	w.m.attempts.WithLabelValues(w.name, table, outcome).Inc()
}

// File counts a data file, and why it was ended.
func (w *Watched) File(table string, bytes int64, small bool, reason string) {
	w.m.files.WithLabelValues(w.name, table).Inc()
	w.m.fileBytes.WithLabelValues(w.name, table).Add(float64(bytes))
	if small {
		w.m.smallFiles.WithLabelValues(w.name, table, reason).Inc()
	}
}

// Rescued counts rows that kept a value that fits no column.
func (w *Watched) Rescued(table string, rows int) {
	w.m.rescued.WithLabelValues(w.name, table).Add(float64(rows))
}
