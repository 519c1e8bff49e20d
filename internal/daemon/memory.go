package daemon

import (
	"bytes"
	"context"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
)

// What the process may take beside the memory budget, in bytes of resident memory.
const (
	overhead   = 150 << 20 // in all; this is promised
	leastCode  = 72 << 20  // the pages of the binary that a worker comes to use, at least
	otherParts = 14 << 20  // what neither the collector nor the binary's pages account for
)

// codeEvery is how often the pages of the binary in memory are counted.
const codeEvery = 10 * time.Second

// memory is what the pipelines of a process share.
type memory struct {
	size     int64 // memory_budget
	budget   *pipeline.Budget
	decoders *decode.Pool
}

func newMemory(size int64) memory {
	return memory{size, pipeline.NewBudget(flowing(size)), decode.NewPool(decoderBytes, int(max(leastBatches, size/batchShare)), int(max(2, size/perDecoder)))}
}

const (
	// decoderBytes is what decoders keep while nobody decodes.
	decoderBytes = 12 << 20

	// What is kept for the next batches is a share of the memory budget, and more than nothing.
	batchShare   = 12
	leastBatches = 4 << 20

	// perDecoder is the memory budget for each that works: a table of a thousand
	// columns takes 8 MiB or so.
	perDecoder = 16 << 20
)

// flowing is the part of the memory budget that records and rows may take, from
// fetch to commit. The rest is for decoding and encoding them, which grows with the
// number of columns and of partitions, and is not counted.
func flowing(budget int64) int64 { return budget / 8 * 5 }

// limitMemory makes the collector work harder as the process nears budget and
// overhead, unless GOMEMLIMIT says otherwise. It returns the limit in force, which
// counts what the Go runtime holds, and what changes it with the pages of the binary
// in memory, until ctx ends.
func limitMemory(budget int64, lookup func(string) (string, bool)) (limit int64, keep func(ctx context.Context)) {
	if v, set := lookup("GOMEMLIMIT"); set && v != "" {
		return debug.SetMemoryLimit(-1), func(context.Context) {}
	}
	limit = heapLimit(budget, fileMemory())
	debug.SetMemoryLimit(limit)
	return limit, func(ctx context.Context) {
		for t := time.NewTicker(codeEvery); ; {
			select {
			case <-t.C:
				debug.SetMemoryLimit(heapLimit(budget, fileMemory()))
			case <-ctx.Done():
				t.Stop()
				return
			}
		}
	}
}

// heapLimit is what the Go runtime may hold while code bytes of the binary are in
// memory.
func heapLimit(budget, code int64) int64 {
	if budget > math.MaxInt64-overhead {
		return math.MaxInt64
	}
	return budget + max(overhead-otherParts-max(code, leastCode), overhead/4)
}

// fileMemory returns how many bytes of files, those of the binary above all, are part
// of this process's resident memory; 0 where the system does not tell.
func fileMemory() int64 {
	text, _ := os.ReadFile("/proc/self/statm") // in pages: size, resident, shared ...
	f := bytes.Fields(text)
	if len(f) < 3 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(f[2]), 10, 64)
	return pages * int64(os.Getpagesize())
}
