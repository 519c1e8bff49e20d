package parquetfile

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// What stands in a zstd frame beside literals are sequences: so many literals, then a
// match of such a length at such a distance. Their numbers are split into codes, coded by
// finite state entropy, and bits that follow (RFC 8878, 3.1.1.3.2 and 4.1).

// Kinds of codes of a sequence, in the order of their tables in a block.
const (
	codeLits = iota
	codeDist
	codeMatch
	codeKinds
)

// maxCodes is more than any kind of code has.
const maxCodes = 64

// sequence is a match and the literals before it.
type sequence struct {
	lits, match uint32 // bytes
	dist        uint32 // as coded: 1 to 3 for a distance of before, else the distance plus 3
}

// coded is a sequence as codes, a byte for each kind, and what follows them: bits, whose
// number is in the fourth byte.
type coded struct {
	bits  uint64
	codes uint32
}

// code returns the code of a kind, below maxCodes.
func (c coded) code(kind int) uint8 { return uint8(c.codes >> (8 * kind) & (maxCodes - 1)) }

// base and extra bits of the codes of lengths (RFC 8878, tables 15 and 16).
//
//nolint:gochecknoglobals // tables
var (
	litsBase  = [36]uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}
	litsBits  = [36]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBase = [53]uint32{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 37, 39, 41,
		43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051, 4099, 8195, 16387, 32771, 65539,
	}
	matchBits = [53]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	shortLits  = shortCodes(litsBase[:])  // of lengths below 64
	shortMatch = shortCodes(matchBase[:]) // of lengths below 131
)

// shortCodes returns the code of every length below the one from where on codes go by powers of two.
func shortCodes(base []uint32) (codes [131]uint8) {
	code := 0
	for n := range uint32(len(codes)) {
		for code+1 < len(base) && base[code+1] <= n {
			code++
		}
		codes[n] = uint8(code)
	}
	return codes
}

// coded returns the codes of a sequence.
func (s sequence) coded() coded {
	l, m, d := uint32(bits.Len32(s.lits)+18), uint32(bits.Len32(s.match-3)+35), uint32(bits.Len32(s.dist)-1)
	if s.lits < 64 {
		l = uint32(shortLits[s.lits])
	}
	if s.match < 131 {
		m = uint32(shortMatch[s.match])
	}
	nl, nm := uint32(litsBits[l]), uint32(matchBits[m])
	return coded{
		bits:  uint64(s.lits-litsBase[l]) | uint64(s.match-matchBase[m])<<(nl&63) | uint64(s.dist-1<<(d&31))<<((nl+nm)&63),
		codes: l<<(8*codeLits) | d<<(8*codeDist) | m<<(8*codeMatch) | (nl+nm+d)<<24,
	}
}

// stateTable has what coding needs of a distribution of codes.
type stateTable struct {
	log    uint8 // of the number of states; 0: all codes are the same
	next   [1 << maxStateLog]uint16
	change [maxCodes]struct {
		bits  uint32 // how many bits leave the state, in the upper half
		state int32
	}
	share [maxCodes]uint16 // of the states
	codes int              // of which the largest is the last
}

// maxStateLog is what the format allows for lengths; distances have one less.
const maxStateLog = 9

// build makes the table for how often each code is there, n in all, and appends its
// description to dst.
func (t *stateTable) build(dst []byte, count *[maxCodes]uint32, n int, maxLog uint8) []byte {
	kinds := 0
	for i, c := range count {
		if c > 0 {
			kinds++
			t.codes = i + 1
		}
	}
	if kinds == 1 {
		t.log = 0
		return append(dst, byte(t.codes-1))
	}
	log := max(bits.Len(uint(n))-3, bits.Len(uint(kinds))+1, 5)
	t.log = uint8(min(log, int(maxLog)))
	t.divide(count, n)
	t.spread()
	return t.describe(dst)
}

// divide gives each code its share of the states, at least one.
func (t *stateTable) divide(count *[maxCodes]uint32, n int) {
	left, most := 1<<t.log, 0
	for i := range t.codes {
		c := uint64(count[i])
		share := (c<<t.log + uint64(n)/2) / uint64(n)
		if c > 0 && share == 0 {
			share = 1
		}
		t.share[i] = uint16(share)
		left -= int(share)
		if t.share[i] > t.share[most] {
			most = i
		}
	}
	if left >= 0 || int(t.share[most])+left > int(t.share[most])/2 {
		t.share[most] = uint16(int(t.share[most]) + left)
		return
	}
	for i := 0; left < 0; i = (i + 1) % t.codes { // rare codes took too much
		if t.share[i] > 1 {
			t.share[i]--
			left++
		}
	}
}

// spread deals the states out.
func (t *stateTable) spread() {
	size := 1 << t.log
	step, mask := size>>1+size>>3+3, size-1
	var of [1 << maxStateLog]uint8
	at := 0
	for i, share := range t.share[:t.codes] {
		for range share {
			of[at] = uint8(i)
			at = (at + step) & mask
		}
	}
	var from [maxCodes]uint16
	sum := uint16(0)
	for i, share := range t.share[:t.codes] {
		from[i] = sum
		c := &t.change[i]
		switch {
		case share == 1:
			c.bits = uint32(t.log)<<16 - uint32(size)
		case share > 1:
			out := uint32(int(t.log) - (bits.Len16(share-1) - 1))
			c.bits = out<<16 - uint32(share)<<out
		}
		c.state = int32(sum) - int32(share)
		sum += share
	}
	for state, i := range of[:size] {
		t.next[from[i]] = uint16(size + state)
		from[i]++
	}
}

// describe appends the shares (RFC 8878, 4.1.1).
func (t *stateTable) describe(dst []byte) []byte {
	w := bitWriter{out: dst}
	w.add(uint64(t.log)-5, 4)
	remaining, threshold, width := 1<<t.log+1, 1<<t.log, t.log+1
	for i := 0; remaining > 1; {
		share := int(t.share[i])
		i++
		most := 2*threshold - 1 - remaining
		remaining -= share
		v, n := share+1, width
		if v >= threshold {
			v += most
		}
		if v < most {
			n--
		}
		w.add(uint64(v), n)
		for remaining < threshold {
			width--
			threshold >>= 1
		}
		if share == 0 { // how many more have none
			zeros := 0
			for t.share[i] == 0 {
				i++
				zeros++
			}
			for ; zeros >= 3; zeros -= 3 {
				w.add(3, 2)
			}
			w.add(uint64(zeros), 2)
		}
		w.flush()
	}
	return w.end()
}

// bitWriter appends bits to out, the lowest first.
type bitWriter struct {
	out  []byte
	held uint64
	n    uint8 // bits held, below 8 after a flush
}

// add appends the n lowest bits of v; those above must be 0. Between two flushes 56 bits may be added.
func (w *bitWriter) add(v uint64, n uint8) {
	w.held |= v << (w.n & 63)
	w.n += n
}

func (w *bitWriter) flush() {
	w.out = binary.LittleEndian.AppendUint64(w.out, w.held)
	w.out = w.out[:len(w.out)-8+int(w.n>>3)]
	w.held >>= w.n &^ 7 & 63
	w.n &= 7
}

// end fills the last byte up with zeros.
func (w *bitWriter) end() []byte {
	w.flush()
	if w.n > 0 {
		w.out = append(w.out, byte(w.held))
	}
	return w.out
}

// first returns the state that stands for a code.
func (t *stateTable) first(code uint8) uint32 {
	if t.log == 0 {
		return 0
	}
	c := t.change[code&(maxCodes-1)]
	n := (c.bits + 1<<15) >> 16
	v := n<<16 - c.bits
	return uint32(t.next[(int32(v>>n)+c.state)&(1<<maxStateLog-1)])
}

// then returns the state that leads to a state by a code, and how many bits of that
// state tell the way.
func (t *stateTable) then(s uint32, code uint8) (next, n uint32) {
	c := &t.change[code&(maxCodes-1)]
	n = (s + c.bits) >> 16 & 15
	return uint32(t.next[(int32(s>>n)+c.state)&(1<<maxStateLog-1)]), n
}

// sequenceCoder codes the sequences of a block.
type sequenceCoder struct {
	tables [codeKinds]stateTable
	coded  []coded
}

// append appends the section of a block that has its sequences; there is at least one.
func (c *sequenceCoder) append(dst []byte, seqs []sequence) []byte {
	switch n := len(seqs); {
	case n < 128:
		dst = append(dst, byte(n))
	case n < 0x7f00:
		dst = append(dst, byte(n>>8)+128, byte(n))
	default:
		dst = append(dst, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	}
	var count [codeKinds][maxCodes]uint32
	c.coded = slices.Grow(c.coded[:0], len(seqs))[:len(seqs)]
	for i, s := range seqs {
		k := s.coded()
		count[codeLits][k.code(codeLits)]++
		count[codeDist][k.code(codeDist)]++
		count[codeMatch][k.code(codeMatch)]++
		c.coded[i] = k
	}
	const oneCode, described = 1, 2
	modes := len(dst)
	dst = append(dst, 0)
	for kind := range count {
		t := &c.tables[kind]
		maxLog := uint8(maxStateLog)
		if kind == codeDist {
			maxLog--
		}
		dst = t.build(dst, &count[kind], len(seqs), maxLog)
		mode := byte(described)
		if t.log == 0 {
			mode = oneCode
			clear(t.change[:]) // codes cost no bits
			clear(t.next[:])
		}
		dst[modes] |= mode << (6 - 2*kind)
	}
	return c.bits(dst)
}

// bits appends the stream, which is read from its end: bits are held in a word, of which
// the whole bytes are written once per sequence, or twice.
func (c *sequenceCoder) bits(dst []byte) []byte {
	const atOnce = 30 // bits beside three states and what is held
	lits, dist, match := &c.tables[codeLits], &c.tables[codeDist], &c.tables[codeMatch]
	at := len(dst)
	dst = slices.Grow(dst, 11*len(c.coded)+16)
	out := dst[:cap(dst)]
	last := &c.coded[len(c.coded)-1]
	l, d, m := lits.first(last.code(codeLits)), dist.first(last.code(codeDist)), match.first(last.code(codeMatch))
	held, n := last.bits, last.codes>>24
	for i := len(c.coded) - 2; i >= 0; i-- {
		binary.LittleEndian.PutUint64(out[at:], held)
		at += int(n >> 3)
		held >>= n &^ 7 & 63
		n &= 7
		s := &c.coded[i]
		next, k := dist.then(d, s.code(codeDist))
		held |= uint64(d&(1<<k-1)) << (n & 63)
		d, n = next, n+k
		next, k = match.then(m, s.code(codeMatch))
		held |= uint64(m&(1<<k-1)) << (n & 63)
		m, n = next, n+k
		next, k = lits.then(l, s.code(codeLits))
		held |= uint64(l&(1<<k-1)) << (n & 63)
		l, n = next, n+k
		more := s.codes >> 24
		if more > atOnce {
			binary.LittleEndian.PutUint64(out[at:], held)
			at += int(n >> 3)
			held >>= n &^ 7 & 63
			n &= 7
		}
		held |= s.bits << (n & 63)
		n += more
	}
	w := bitWriter{out: dst[:at], held: held, n: uint8(n)}
	w.flush()
	w.add(uint64(m)&(1<<match.log-1), match.log)
	w.add(uint64(d)&(1<<dist.log-1), dist.log)
	w.add(uint64(l)&(1<<lits.log-1), lits.log)
	w.add(1, 1)
	return w.end()
}
