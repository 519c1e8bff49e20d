//go:build unix

package daemon

import (
	"runtime"
	"syscall"
)

// consumed returns the CPU seconds of the process, and the most memory that was resident.
func consumed() (user, system float64, peak int64) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0, 0, 0
	}
	peak = int64(r.Maxrss) //nolint:unconvert // 32 bits on some
	if runtime.GOOS == "linux" {
		peak <<= 10 // elsewhere it is in bytes
	}
	return float64(r.Utime.Nano()) / 1e9, float64(r.Stime.Nano()) / 1e9, peak
}
