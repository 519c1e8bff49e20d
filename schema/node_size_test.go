package schema

import (
	"testing"
	"unsafe"
)

// TestNodeSize: nodes fill cache lines, and what every value needs is in the first two.
func TestNodeSize(t *testing.T) {
	var n node
	if size := unsafe.Sizeof(n); size != nodeBytes || size%64 != 0 {
		t.Errorf("a node has %d bytes, said to be %d: it has to be a multiple of 64", size, nodeBytes)
	}
	if end := unsafe.Offsetof(n.data) + unsafe.Sizeof(n.data); end > 128 {
		t.Errorf("what every value needs ends at byte %d", end)
	}
}
