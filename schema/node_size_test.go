package schema

import (
	"testing"
	"unsafe"
)

// TestNodeSize: nodes fill cache lines, and what every value needs is in the first two.
func TestNodeSize(t *testing.T) {
	var n node
	if size := unsafe.Sizeof(n); size%64 != 0 {
		t.Errorf("a node has %d bytes, no multiple of 64: change nodePad", size)
	}
	if end := unsafe.Offsetof(n.data) + unsafe.Sizeof(n.data); end > 128 {
		t.Errorf("what every value needs ends at byte %d", end)
	}
}
