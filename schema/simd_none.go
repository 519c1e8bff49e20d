//go:build !goexperiment.simd || !amd64 || race || checked

package schema

// byBlocks tells whether 16 bytes are looked at in a step: not in this build, see simd_amd64.go. What
// is there by blocks is here by bytes, for the builds that check what is read.
const byBlocks = false

const shortBytes = 32

func wideText(*node, source, int, int) (end int) { panic("BUG: there is no wideText") }

func wideQuotes(src source, i int) (m uint64) {
	for k := range sight {
		if src.byte(i+k) == '"' {
			m |= 1 << k
		}
	}
	return m
}

func shortText(f *node, src source, i, n int) (end int) {
	k, at := len(f.data), len(f.ends)
	if at >= cap(f.ends) || k > cap(f.data)-shortBytes || src.byte(i+n) != '"' {
		return 0
	}
	data := f.data
	for j := range n {
		c := src.byte(i + j)
		if c < ' ' || c == '\\' || c >= 0x80 {
			return 0
		}
		data = append(data, c)
	}
	f.data = data
	f.ends = append(f.ends, int32(k+n))
	f.n++
	return i + n + 1
}
