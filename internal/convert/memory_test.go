//go:build !race

package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestMemoryIsUsedAgain: a second conversion does not allocate the memory of a row group anew.
func TestMemoryIsUsedAgain(t *testing.T) {
	c := converter(t)
	in := filepath.Join(t.TempDir(), "in.ndjson")
	var lines strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&lines, `{"id":%d,"text":"a text of some length, the %d-th of them","x":%d.5}`+"\n", i, i, i)
	}
	if err := os.WriteFile(in, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var took [2]uint64
	for i := range took {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := c.Run(t.Context(), Options{Inputs: []string{in}, Output: in + ".parquet"}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		took[i] = after.TotalAlloc - before.TotalAlloc
	}
	if took[1]+3<<20 > took[0] {
		t.Errorf("the first conversion allocates %d bytes, the second %d", took[0], took[1])
	}
}
