package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestKillLoopLayouts is the kill loop over tables that are not laid out as by default:
// format v3, hidden partitions by a hash and by time, rows sorted within their files.
// Engines that share no code with the program must find the same rows there, through
// their own idea of row ids, partition values, bounds and sort orders.
func TestKillLoopLayouts(t *testing.T) {
	t.Parallel() // it waits more than it computes

	for _, place := range []string{"sqlite"} { // many small files: three minutes a place, most of them the engines'
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			kills := sized(*kills, 2)
			w := newWorld(t, place, sized(*records, 10_000))
			w.place.sink += fmt.Sprintf(`
format_version: 3
tables:
  %[1]s.%[1]s:
    partition_by: ["day(created_at)", "bucket(2, id)"]
    sort_by: [type, created_at desc]
    columns: {created_at: timestamptz, id: string, type: string}
`, w.name)
			w.configure("only", "")
			w.killLoop(0, kills, kills)
			w.finish(w.start())
			w.judge("", w.name)
			out, err := w.run("status", "-c", w.config, "--json")
			if err != nil || !strings.Contains(out, `"state":"OK"`) {
				t.Errorf("status: %v %s", err, out)
			}
		})
	}
}
