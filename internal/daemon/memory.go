package daemon

import (
	"math"
	"runtime/debug"
)

// overhead is what the process may need beside the budget, in bytes: code,
// stacks, connections, metadata of tables, and garbage not yet collected.
const overhead = 128 << 20

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
