package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNewcomerFullDisk needs leave to mount a small file system.
func TestNewcomerFullDisk(t *testing.T) {
	lake := t.TempDir()
	if err := syscall.Mount("tmpfs", lake, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no small file system to be had here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(lake, 0) })
	fill, err := os.Create(filepath.Join(lake, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = fill.Close()
	got := oneLine(t, shop(broker(t), "orders", "{warehouse: "+lake+"}"))
	wants(t, got, "pipelines.shop.sink.iceberg.warehouse: the disk that holds "+lake+" is full: free some space or choose another folder")
}
