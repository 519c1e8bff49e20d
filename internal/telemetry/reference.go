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
	}, func() []Lag { return []Lag{{}} })
	o := w.Observer()
	o.Judged(pipeline.Partition{}, 1, 1)
	o.Rows("t", 1)
	o.Rejected("c", 1)
	o.Dropped("r", 1)
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

The alarms to have first: ` + "`firehosed_unaccounted_units`" + ` other than 0 for minutes, any
` + "`firehosed_table_halted`" + ` or ` + "`firehosed_halted_partitions`" + ` above 0, and ` + "`firehosed_held_seconds`" + ` on the way to
the retention of the topic.

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
	return b.String(), nil
}
