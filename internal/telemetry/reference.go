package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// Reference returns the page of all metrics, in Markdown.
func Reference() (string, error) {
	m := New("v0")
	m.Budget(func() (total, used int64) { return 1, 1 })
	w := m.Pipeline("p")
	w.Watch(func() pipeline.Status {
		return pipeline.Status{Lanes: []pipeline.LaneStatus{{}}, Tables: []pipeline.TableStatus{{LastCommit: time.Unix(1, 0)}}}
	}, func() []Lag { return []Lag{{}, {Timed: true}} })
	o := w.Observer()
	o.Judged(pipeline.Partition{}, "s", 1, 1)
	o.Rows("t", 1)
	o.Rejected("s", "c", 1)
	o.Dropped("s", "r", 1)
	o.Panicked("s")
	o.Committed("t", 1, 1)
	w.Sent("t", nil)
	w.File("t", 1, true, "r")
	w.Rescued("t", 1)
	families, err := m.reg.Gather()
	if err != nil {
		return "", fmt.Errorf("gather metrics: %w", err)
	}
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Written by go run ./internal/docgen from the code. Do not edit. -->

` + "`GET /metrics`" + ` of the admin address, in Prometheus' text form, with Go's own metrics of the process.

` + "[`deploy/alerts.yaml`](../../deploy/alerts.yaml)" + ` has alarms as Prometheus rules. Those to have first: ` + "`firehosed_unaccounted_units`" + `
or ` + "`firehosed_unaccounted_rows`" + ` other than 0 for minutes, any ` + "`firehosed_table_halted`" + `, ` + "`firehosed_halted_partitions`" + ` or
` + "`firehosed_pipeline_ended`" + ` above 0, and ` + "`firehosed_held_seconds`" + ` on the way to the retention of the topic.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
`)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "firehosed_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		slices.Sort(labels)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	b.WriteString(`
Why a file is small is the label ` + "`reason`" + ` of ` + "`firehosed_small_files_total`" + `:

| Reason | Meaning | What changes it |
|---|---|---|
| ` + "`interval`" + ` | ` + "`commit_interval`" + ` was over before the file was full: the stream is slower than that | a longer interval, fewer partition values |
| ` + "`memory`" + ` | the memory budget was short | a larger ` + "`memory_budget`" + `, fewer tables or partition values at once |
| ` + "`max_rows`" + ` | ` + "`max_rows`" + ` was reached | a larger one |
| ` + "`full`" + ` | another file of the same commit reached its size, or there were too many | |
| ` + "`open_files`" + ` | ` + "`open_files`" + ` were being written, and this was the oldest | coarser partitions, a larger ` + "`open_files`" + ` |
| ` + "`schema`" + ` | the table's columns changed | columns that are declared from the start |
| ` + "`request`" + ` | somebody asked for a flush | |
| ` + "`handover`" + ` | partitions were given away, or the worker stopped | fewer restarts and rebalances, ` + "`instance_id`" + ` |
`)
	return b.String(), nil
}
