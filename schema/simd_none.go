//go:build !goexperiment.simd || !amd64 || race || checked

package schema

// byBlocks tells whether 16 bytes are looked at in a step: not in this build, see simd_amd64.go.
const byBlocks = false

func wideText(*node, source, int, int, uint64) (end int) { panic("BUG: there is no wideText") }

func wideUTF8([]byte) (from int, ok bool) { panic("BUG: there is no wideUTF8") }

const blockBytes = 16
