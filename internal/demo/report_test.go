package demo

import (
	"regexp"
	"strings"
	"testing"
)

// TestQueryLines: the lines that the demo ends with name the table's metadata, in
// words that a shell, Python and Spark take.
func TestQueryLines(t *testing.T) {
	r := result{MetadataLocation: "file:///d/warehouse/demo/events/metadata/00007-a.metadata.json", DeadLetters: "file:///d/warehouse/demo/demo_dlq/m.json", Dir: "/d"}
	text := r.text(count{})
	const file = "/d/warehouse/demo/events/metadata/00007-a.metadata.json"
	for _, want := range []string{
		`duckdb -c "INSTALL iceberg; LOAD iceberg; SELECT type, count(*) FROM iceberg_scan('` + file + `') GROUP BY ALL"`,
		`python -c "from pyiceberg.table import StaticTable; print(StaticTable.from_metadata('` + file + `').scan(limit=10).to_arrow())"`,
		`spark.read.format("iceberg").load("file:` + file + `").groupBy("type").count().show()`,
		`The dead letters are a table too: /d/warehouse/demo/demo_dlq/m.json`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
	if !strings.Contains(string(newProducer(1, 10).events.record(0)), `"type"`) {
		t.Error("the events have no field type, which the lines group by")
	}
	if n := len(regexp.MustCompile(`(?m)^  (DuckDB|PyIceberg|Spark) `).FindAllString(text, -1)); n != 3 {
		t.Errorf("%d lines for engines, want 3", n)
	}
}
