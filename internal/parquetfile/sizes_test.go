package parquetfile

import (
	"testing"
	"unsafe"
)

// TestSaidSizes: what is said about memory is no less than it takes, and not much more.
func TestSaidSizes(t *testing.T) {
	for _, s := range []struct {
		name       string
		said, real uintptr
	}{
		{"column", columnBytes, unsafe.Sizeof(column{})},
		{"stats", statsBytes, unsafe.Sizeof(stats{})},
		{"chunk", chunkBytes, unsafe.Sizeof(chunk{})},
		{"page", pageBytes, unsafe.Sizeof(page{})},
		{"space", spaceBytes, unsafe.Sizeof(space{})},
		{"ref", refBytes, unsafe.Sizeof(ref{})},
	} {
		if s.said < s.real || s.said > s.real+s.real/2 {
			t.Errorf("a %s has %d bytes, said to be %d", s.name, s.real, s.said)
		}
	}
}
