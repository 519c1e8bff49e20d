//go:build unix

package daemon

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// consumed returns the CPU seconds of the process, and the most memory that was resident:
// 0 where the system does not tell.
func consumed() (user, system float64, peak int64) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0, 0, 0
	}
	return float64(r.Utime.Nano()) / 1e9, float64(r.Stime.Nano()) / 1e9, highWater()
}

// highWater is not that of getrusage, which begins with what the parent had.
func highWater() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	number, _, _ := bytes.Cut(bytes.TrimSpace(after), []byte(" "))
	kib, _ := strconv.ParseInt(string(number), 10, 64)
	return kib << 10
}
