package daemon

import (
	"context"
	"math"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeapLimit(t *testing.T) {
	const MiB = 1 << 20
	for _, c := range []struct{ budget, code, want int64 }{
		{32 * MiB, 0, 96 * MiB},
		{256 * MiB, 60 * MiB, 320 * MiB},
		{256 * MiB, 90 * MiB, 302 * MiB},      // more of the binary, less of a heap
		{32 * MiB, 300 * MiB, 69*MiB + MiB/2}, // but never so little that nothing but collecting goes on
		{math.MaxInt64 - MiB, 0, math.MaxInt64},
	} {
		if got := heapLimit(c.budget, c.code); got != c.want {
			t.Errorf("budget %d, code %d: %d, want %d", c.budget/MiB, c.code/MiB, got, c.want)
		}
	}
	for budget := int64(32 * MiB); budget <= 1024*MiB; budget *= 2 {
		for code := int64(0); code <= 100*MiB; code += MiB {
			if sum := heapLimit(budget, code) + code; sum > budget+overhead {
				t.Errorf("heap and code may take %d MiB of %d", sum/MiB, (budget+overhead)/MiB)
			}
		}
	}
}

func TestMemoryLimitIsSet(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	nothing := func(string) (string, bool) { return "", false }
	limit, keep := limitMemory(64<<20, nothing)
	if got := debug.SetMemoryLimit(-1); got != limit || limit < 64<<20 || limit > 64<<20+overhead {
		t.Errorf("the limit is %d, said to be %d", got, limit)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go keep(ctx)
		debug.SetMemoryLimit(1 << 40)
		synctest.Wait()
		time.Sleep(2 * codeEvery)
		if got := debug.SetMemoryLimit(-1); got == 1<<40 {
			t.Error("the limit does not follow the pages of the binary")
		}
		cancel()
		synctest.Wait()
	})
	debug.SetMemoryLimit(7 << 30)
	set := func(string) (string, bool) { return "7GiB", true }
	if limit, keep = limitMemory(64<<20, set); limit != 7<<30 || debug.SetMemoryLimit(-1) != 7<<30 {
		t.Errorf("GOMEMLIMIT is set, and the limit became %d", limit)
	}
	keep(t.Context())
}

func TestFileMemory(t *testing.T) {
	if n := fileMemory(); n != 0 && (n < 1<<20 || n > 1<<30) {
		t.Errorf("%d bytes of files in memory", n)
	}
}
