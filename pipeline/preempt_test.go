package pipeline

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// preemptSeed chooses the places that are slow in this schedule.
var preemptSeed atomic.Uint64

// Preempt begins a schedule of preemptions. It has an effect on a build whose
// locks call yield: instrument of mutants_test.go makes one.
func Preempt(seed uint64) { preemptSeed.Store(seed) }

// yield stands before a lock of the runtime, where a goroutine may be preempted and
// the others go on. Within one schedule a quarter of the places are slow, and often.
// No lock of the runtime is taken while another one is held, so that a sleeper
// never holds one.
func yield(place uint64) {
	slow := rand.NewPCG(preemptSeed.Load(), place).Uint64()%4 == 0
	if slow && rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
	}
}

var _ = yield // the plain build does not call it
