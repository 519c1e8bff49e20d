package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firehosed/firehosed/pipeline"
)

// state collects what is read from status snapshots at every scrape, so that a
// table or a partition that is gone leaves no stale gauge behind.
type state struct{ m *Metrics }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// gauges of a snapshot. They are built once per scrape.
type gauges struct{ out chan<- prometheus.Metric }

func (g gauges) set(d *prometheus.Desc, v float64, labels ...string) {
	g.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (g gauges) count(d *prometheus.Desc, n int64, labels ...string) {
	g.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

// Describe implements prometheus.Collector. It names nothing: which tables there
// are is known at a scrape only.
func (state) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s state) Collect(out chan<- prometheus.Metric) {
	g := gauges{out}
	s.m.mu.Lock()
	used := s.m.mu.used
	all := make([]*Watched, 0, len(s.m.mu.watched))
	for _, w := range s.m.mu.watched {
		all = append(all, w)
	}
	s.m.mu.Unlock()
	if used != nil {
		total, n := used()
		g.set(desc("firehosed_budget_bytes", "The memory budget of the process."), float64(total))
		g.set(desc("firehosed_budget_used_bytes", "What of the memory budget is in use."), float64(n))
	}
	for _, w := range all {
		g.watched(w)
	}
}

func (g gauges) watched(w *Watched) {
	unaccounted := desc("firehosed_unaccounted_units",
		"Units in, less rows, dead letters and drops. Anything but 0 that lasts is a defect: units were lost or made up.", "pipeline", "sink")
	w.sinks.Range(func(sink, b any) bool {
		g.set(unaccounted, float64(b.(*booked).unaccounted()), w.name, sink.(string)) //nolint:forcetypeassert // nothing else is in it
		return true
	})
	w.mu.Lock()
	status, lag := w.mu.status, w.mu.lag
	w.mu.Unlock()
	if lag != nil {
		d := desc("firehosed_lag_records", "Records of the partition that are not yet committed to every table.", "pipeline", "topic", "partition")
		behind := desc("firehosed_behind_seconds", "How far reading of the shard is behind its tip. Of Kinesis streams, whose lag cannot be counted.",
			"pipeline", "topic", "partition")
		for _, l := range lag() {
			if l.Timed {
				g.set(behind, l.Behind.Seconds(), w.name, l.Topic, l.Partition)
			} else {
				g.set(d, float64(l.Records), w.name, l.Topic, l.Partition)
			}
		}
	}
	if status != nil {
		g.status(w.name, status())
	}
}

func (g gauges) status(name string, st pipeline.Status) {
	paused := 0.0
	if st.Paused {
		paused = 1
	}
	ended := 0.0
	if st.Ended != "" {
		ended = 1
	}
	g.set(desc("firehosed_pipeline_ended", "1 when the pipeline has ended by itself while the process goes on; the log and the status say why.", "pipeline"), ended, name)
	g.set(desc("firehosed_paused", "1 while the pipeline is paused.", "pipeline"), paused, name)
	g.set(desc("firehosed_partitions", "Partitions that this worker reads.", "pipeline"), float64(len(st.Lanes)), name)
	g.set(desc("firehosed_revision", "The revision of the configuration in force.", "pipeline"), float64(st.Stamp.Rev), name)
	g.set(desc("firehosed_held_bytes", "Memory that the pipeline has charged to the budget.", "pipeline"), float64(st.Held), name)
	held, halted := map[string]int{}, 0
	for i := range st.Lanes {
		if l := &st.Lanes[i]; l.HeldBy != "" && l.Low < l.At {
			held[l.HeldBy]++
		}
		if st.Lanes[i].Halt != nil {
			halted++
		}
	}
	g.set(desc("firehosed_halted_partitions", "Partitions that wait for an operator.", "pipeline"), float64(halted), name)
	for i := range st.Tables {
		g.table(name, &st.Tables[i], held[st.Tables[i].Name])
	}
}

func (g gauges) table(name string, t *pipeline.TableStatus, held int) {
	class, halted := "", 0.0
	if t.Halt != nil {
		class, halted = t.Halt.Class, 1
	}
	g.set(desc("firehosed_table_halted", "1 while the table waits for an operator.", "pipeline", "table", "class"), halted, name, t.Name, class)
	g.set(desc("firehosed_buffer_bytes", "Memory held by rows of the table that are not yet committed.", "pipeline", "table"), float64(t.Held), name, t.Name)
	g.set(desc("firehosed_pending_rows", "Rows of the table in memory or in files, not yet committed.", "pipeline", "table"), float64(t.Pending), name, t.Name)
	g.count(desc("firehosed_taken_rows_total", "Rows written for the table, as often as they were read.", "pipeline", "table"), t.Taken, name, t.Name)
	g.count(desc("firehosed_let_go_rows_total", "Rows given up uncommitted, as when a commit lost or a partition was given away. They are read again.", "pipeline", "table"),
		t.LetGo, name, t.Name)
	g.set(desc("firehosed_unaccounted_rows",
		"Rows taken, less committed, pending and let go. Anything but 0 is a defect: rows were lost or made up on the way to the commit.", "pipeline", "table"),
		float64(t.Taken-t.Rows-t.Pending-t.LetGo), name, t.Name)
	g.set(desc("firehosed_held_by_table", "Partitions whose low watermark this table holds back.", "pipeline", "table"), float64(held), name, t.Name)
	g.set(desc("firehosed_held_seconds", "For how long the table has taken no rows; 0 while it works. Retention may overtake it.", "pipeline", "table"),
		t.DownFor.Seconds(), name, t.Name)
	g.set(desc("firehosed_lagging_partitions", "Partitions of which the table has let rows go that it still has to catch up with.", "pipeline", "table"),
		float64(t.Lagging), name, t.Name)
	g.set(desc("firehosed_committing_seconds", "For how long the commit in flight has been running; 0: none.", "pipeline", "table"),
		t.Committing.Seconds(), name, t.Name)
	if !t.LastCommit.IsZero() {
		g.set(desc("firehosed_last_commit_timestamp_seconds", "When rows of the table last became visible.", "pipeline", "table"),
			float64(t.LastCommit.UnixNano())/float64(time.Second), name, t.Name)
	}
}
