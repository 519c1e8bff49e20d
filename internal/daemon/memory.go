package daemon

import (
	"math"
	"runtime/debug"
)

// overhead is what the heap may take beside the budget, in bytes: connections,
// metadata of tables, pages being encoded, and garbage not yet collected. The code of
// the binary, some 70 MiB, comes on top.
const overhead = 72 << 20

// limitMemory makes the collector work harder as the heap nears budget and
// overhead, unless GOMEMLIMIT says otherwise. It returns the limit in force.
func limitMemory(budget int64, lookup func(string) (string, bool)) int64 {
	if v, set := lookup("GOMEMLIMIT"); set && v != "" {
		return debug.SetMemoryLimit(-1)
	}
	limit := int64(math.MaxInt64)
	if budget < math.MaxInt64-overhead {
		limit = budget + overhead
	}
	debug.SetMemoryLimit(limit)
	return limit
}
