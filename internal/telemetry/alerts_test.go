package telemetry

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestAlerts: every rule of deploy/alerts.yaml is whole, asks for metrics and labels
// that there are, and the alarms that nobody should do without are among them.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	page, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(firehosed_\\w+)` \\| \\w+ \\| (.*?) \\|")
	labels := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		labels[m[1]] = m[2]
	}
	metric := regexp.MustCompile(`(firehosed_\w+)(?:\{(\w+)=~?"([^"]*)"\})?`)
	var asked []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Annotations["summary"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("rule %q lacks a name, a summary or a severity", r.Alert)
			}
			found := metric.FindAllStringSubmatch(r.Expr, -1)
			if len(found) == 0 {
				t.Errorf("rule %s asks for no metric: %s", r.Alert, r.Expr)
			}
			for _, m := range found {
				has, ok := labels[m[1]]
				if !ok || m[2] != "" && !strings.Contains(has, "`"+m[2]+"`") {
					t.Errorf("rule %s: there is no metric %s with label %q", r.Alert, m[1], m[2])
				}
				for _, reason := range strings.Split(m[3], "|") {
					if m[2] == "reason" && !strings.Contains(page, "| `"+reason+"` |") {
						t.Errorf("rule %s: %q is no reason", r.Alert, reason)
					}
				}
				asked = append(asked, m[1])
			}
			for _, l := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(r.Annotations["summary"]+r.Annotations["description"], -1) {
				if !strings.Contains(labels[found[0][1]], "`"+l[1]+"`") {
					t.Errorf("rule %s: its metric has no label %s", r.Alert, l[1])
				}
			}
		}
	}
	for _, name := range []string{
		"firehosed_unaccounted_units", "firehosed_unaccounted_rows", "firehosed_pipeline_ended", "firehosed_table_halted",
		"firehosed_halted_partitions", "firehosed_held_seconds",
	} {
		if !slices.Contains(asked, name) {
			t.Errorf("no rule asks for %s", name)
		}
	}
}
