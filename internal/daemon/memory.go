package daemon

import (
	"math"
	"runtime/debug"
)

// overhead is what the heap may take beside the budget, in bytes: connections,
// metadata of tables, pages being encoded, and garbage not yet collected. The code of
// the binary, some 70 MiB, comes on top.
const overhead = 72 << 20

// flowing is the part of the memory budget that records and rows may take, from
// fetch to commit. The rest is for decoding and encoding them, which grows with the
// number of columns and of partitions, and is not counted.
func flowing(budget int64) int64 { return budget / 8 * 5 }

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
