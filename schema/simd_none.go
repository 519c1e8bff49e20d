//go:build !goexperiment.simd || !amd64 || race || checked

package schema

// byBlocks tells whether 16 bytes are looked at in a step: not in this build, see simd_amd64.go.
const byBlocks = false

func wideText(*node, source, int, uint64) (end int) { panic("BUG: there is no wideText") }
