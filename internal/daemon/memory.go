package daemon

import (
	"math"
	"runtime/debug"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
)

// overhead is what the heap may take beside the budget, in bytes: connections,
// metadata of tables, pages being encoded, and garbage not yet collected. The code of
// the binary, some 70 MiB, comes on top.
const overhead = 72 << 20

// memory is what the pipelines of a process share.
type memory struct {
	size     int64 // memory_budget
	budget   *pipeline.Budget
	decoders *decode.Pool
}

func newMemory(size int64) memory {
	return memory{size, pipeline.NewBudget(flowing(size)), decode.NewPool(int(max(16<<20, size/8)))}
}

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
