//go:build !linux

package demo

import "syscall"

// orphanless is for Linux only: elsewhere a worker whose demo was killed goes on
// looking for its broker until somebody ends it.
func orphanless() *syscall.SysProcAttr { return nil }

func lockThread() (unlock func()) { return func() {} }
