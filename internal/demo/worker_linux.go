package demo

import (
	"runtime"
	"syscall"
)

// orphanless makes the kernel kill the worker when the demo dies, and the broker
// in it. The kernel looks at the thread that started the worker, not at the
// process: see lockThread.
func orphanless() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// lockThread keeps the calling goroutine on its thread, and the thread alive,
// until unlock.
func lockThread() (unlock func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
