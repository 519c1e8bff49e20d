package parquetfile

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/huff0"
)

// Pages of texts are most of what is compressed, and texts of a column mostly begin and
// end as an earlier one does: URLs, paths, names with a number in them. A general
// compressor has to find that out at every byte; here it is known where a text begins and
// ends, so that two comparisons find what it shares with an earlier one, and only what is
// left between is searched, as far as that pays. What comes out is a zstd frame as any
// other, of about the size that the library's fastest level makes.

const (
	minTexts = 4 << 10  // bytes of a page, for which clearing the tables is worth it
	maxTexts = 16 << 20 // what seen can tell apart
	maxText  = 64 << 10 // bytes of a text; in larger ones beginning and end are little
	minText  = 8        // bytes of texts on the average
	ahead    = 32       // bytes behind a page that are read

	lastBits = 10 // of the hash of how a text begins
	seenBits = 14 // of the hash of seven bytes
	seenAt   = 24 // bits of a place in seen; above are eight more of the hash

	minBegin = 12 // bytes that a text has to share, of its length as well
	minEnd   = 6
	minAgain = 4 // at the distance of the match before
	minLook  = 8 // bytes between that are searched
	mostPays = 1 << 10
)

// texts finds what comes twice in a page of texts. One goroutine uses it at a time.
type texts struct {
	src  []byte // the page, and ahead bytes behind
	lits []byte // of a block
	seqs []sequence
	reps [3]uint32 // the distances of the matches before, the last first
	from int       // where the literals begin that are in no sequence yet
	pays int       // how much searching between has paid lately
	turn int       // how many texts there were to search

	last  [1 << lastBits]uint32 // by hash: where a text was that began like this
	seen  [1 << seenBits]uint32 // by hash: where seven bytes were
	coder sequenceCoder
	huff  huff0.Scratch
}

// append appends src, whose texts begin at the first-th byte, as a frame. It reports false
// if src is not for it: texts are too long or mostly very short, or there are more levels
// than fit a block.
func (t *texts) append(dst, src []byte, first int) ([]byte, bool) {
	n := len(src)
	t.src = slices.Grow(src, ahead)[:n+ahead]
	clear(t.src[n:])
	clear(t.last[:])
	clear(t.seen[:])
	t.reps, t.pays, t.turn = [3]uint32{1, 4, 8}, mostPays, 0
	t.lits = slices.Grow(t.lits[:0], blockSize+ahead)
	t.huff.Reuse = huff0.ReusePolicyNone
	dst = appendFrameHead(dst, n)
	for at := 0; at < n; {
		to, ok := t.blockEnd(at, first, n)
		if !ok {
			return dst, false
		}
		reps := t.reps
		t.block(at, first, to)
		head := len(dst)
		dst = appendLiteralSection(append(dst, 0, 0, 0), t.lits, &t.huff)
		if len(t.seqs) == 0 {
			dst = append(dst, 0)
		} else {
			dst = t.coder.append(dst, t.seqs)
		}
		if size := len(dst) - head - blockHead; size < to-at {
			putBlockHead(dst[head:], size, blockCompressed, to == n)
		} else { // which no distances are known from
			t.reps = reps
			dst = appendRaw(dst[:head], src[at:to], to == n)
		}
		at, first = to, to
	}
	return dst, true
}

// blockEnd returns where the block ends that begins at at, and whose texts begin at
// first: with a text.
func (t *texts) blockEnd(at, first, n int) (to int, ok bool) {
	many := 0
	for to = first; to < n; many++ {
		size := int(binary.LittleEndian.Uint32(t.src[to:]))
		if size > maxText {
			return 0, false
		}
		if to+4+size-at > blockSize {
			break
		}
		to += 4 + size
	}
	return to, to-at <= blockSize && to-first >= many*(4+minText) && to > at
}

// block finds the sequences of a block whose texts begin at first.
func (t *texts) block(at, first, to int) {
	t.lits, t.seqs, t.from = t.lits[:0], t.seqs[:0], at
	src := t.src
	if at < first {
		t.between(at, first)
		t.pays = mostPays
	}
	before := first // the text before; there is none at first
	for s := first; s < to; {
		n := int(binary.LittleEndian.Uint32(src[s:]))
		end := s + 4 + n
		// The last text of this length that began with these 16 bytes, or else the one before.
		begin := binary.LittleEndian.Uint64(src[s+4:])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(src[s+12:])*0xc2b2ae3d27d4eb4f
		slot := &t.last[(begin^uint64(n)*0x165667b19e3779f9)>>(64-lastBits)]
		like := int(*slot)
		*slot = uint32(s)
		if like == 0 {
			like = before
		}
		before = s
		likeEnd := like + 4 + int(binary.LittleEndian.Uint32(src[like:]))
		if like == s || likeEnd > s {
			t.between(s, end)
		} else {
			t.alike(s, end, like, likeEnd)
		}
		s = end
	}
	t.literal(to)
}

// alike finds what the text from s to end has of an earlier one.
func (t *texts) alike(s, end, like, likeEnd int) {
	x := s
	if t.src[s] != t.src[like] { // the lengths differ, but mostly in one byte
		x++
	}
	m := t.common(x, x-s+like, end)
	if m >= minBegin || m > 0 && t.goesOn(x, s-like) {
		t.match(x, m, s-like)
		x += m
	}
	tail := t.commonEnd(x, end, likeEnd)
	if tail < minEnd && (tail < minAgain || end-likeEnd != int(t.reps[0])) {
		tail = 0
	}
	t.between(x, end-tail)
	if tail > 0 {
		t.match(end-tail, tail, end-likeEnd)
	}
}

// common returns how many bytes from a on, up to end, are those from b on.
func (t *texts) common(a, b, end int) int {
	src := t.src
	for at := a; at < end; at, b = at+8, b+8 {
		if x := binary.LittleEndian.Uint64(src[at:]) ^ binary.LittleEndian.Uint64(src[b:]); x != 0 {
			return min(at+bits.TrailingZeros64(x)>>3, end) - a
		}
	}
	return end - a
}

// commonEnd returns how many bytes before end, back to from, are those before other.
func (t *texts) commonEnd(from, end, other int) int {
	src := t.src
	n := 0
	for end-n > from && other-n >= 8 {
		if x := binary.LittleEndian.Uint64(src[end-n-8:]) ^ binary.LittleEndian.Uint64(src[other-n-8:]); x != 0 {
			n += bits.LeadingZeros64(x) >> 3
			break
		}
		n += 8
	}
	return min(n, end-from)
}

// between looks for matches in what a text has between its beginning and its end. Where
// that has not paid of late, only every fourth text is searched.
func (t *texts) between(x, end int) {
	const long, rarely = 64, 4
	if end-x < minLook {
		return
	}
	if t.turn++; t.pays < 0 && end-x < long && t.turn%rarely != 0 {
		return
	}
	src := t.src
	miss := x
	for p := x; p+7 <= end; {
		v := binary.LittleEndian.Uint64(src[p:])
		other := t.swap(v, p)
		c := int(other)
		if other >= 1<<seenAt || c >= p || (v^binary.LittleEndian.Uint64(src[c:]))<<8 != 0 {
			p += 1 + (p-miss)>>5
			continue
		}
		m := 7 + t.common(p+7, c+7, end)
		for p > t.from && c > 0 && src[p-1] == src[c-1] {
			p, c, m = p-1, c-1, m+1
		}
		t.match(p, m, p-c)
		t.pays += 12 * m
		p += m
		t.swap(binary.LittleEndian.Uint64(src[p-2:]), p-2)
		miss = p
	}
	t.pays = max(min(t.pays-(end-x), mostPays), -mostPays)
}

// swap notes that the first seven bytes of v are at p, and returns where they were. A result
// of 1<<seenAt or more is for other bytes.
func (t *texts) swap(v uint64, p int) uint32 {
	h := v << 8 * 0x9e3779b97f4a7c15
	slot := &t.seen[h>>(64-seenBits)]
	entry := uint32(h>>(64-seenBits-8))<<seenAt | uint32(p)
	before := *slot
	*slot = entry
	return before ^ entry&^(1<<seenAt-1)
}

// goesOn reports whether a match at a place and distance continues the one before.
func (t *texts) goesOn(at, dist int) bool {
	return at == t.from && len(t.seqs) > 0 && dist == int(t.reps[0])
}

// match ends the literals at a match of n bytes at a distance.
func (t *texts) match(at, n, dist int) {
	if t.goesOn(at, dist) {
		t.seqs[len(t.seqs)-1].match += uint32(n)
	} else {
		lits := at - t.from
		t.literal(at)
		t.seqs = append(t.seqs, sequence{lits: uint32(lits), match: uint32(n), dist: t.distance(uint32(dist), lits == 0)})
	}
	t.from = at + n
}

// literal copies what is in no match up to at.
func (t *texts) literal(at int) {
	k, n := len(t.lits), at-t.from
	if n <= ahead {
		*(*[ahead]byte)(t.lits[k : k+ahead]) = [ahead]byte(t.src[t.from : t.from+ahead])
	} else {
		copy(t.lits[k:k+n], t.src[t.from:at])
	}
	t.lits = t.lits[:k+n]
}

// distance returns how a distance is coded, and remembers it (RFC 8878, 3.1.2.5). bare:
// there are no literals before the match.
func (t *texts) distance(dist uint32, bare bool) uint32 {
	r := &t.reps
	switch {
	case dist == r[0] && !bare:
		return 1
	case dist == r[1]:
		r[0], r[1] = r[1], r[0]
		if bare {
			return 1
		}
		return 2
	case dist == r[2]:
		r[0], r[1], r[2] = r[2], r[0], r[1]
		if bare {
			return 2
		}
		return 3
	}
	r[0], r[1], r[2] = dist, r[0], r[1]
	return dist + 3
}
