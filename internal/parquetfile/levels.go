package parquetfile

// levels are the definition or repetition levels of a column: runs of one level,
// and stretches that are spelled out. A batch of an absent column is one run.
type levels struct {
	segs []segment
	lit  []byte // what the spelled-out segments hold, in order
	n    int
}

// segment is a run of n times v, or, if lit, the next n bytes of levels.lit.
type segment struct {
	n   int32
	v   uint8
	lit bool
}

// maxSegment keeps a segment's count within 32 bits.
const maxSegment = 1 << 30

func (l *levels) run(v uint8, n int) {
	if n == 0 {
		return
	}
	l.n += n
	if k := len(l.segs) - 1; k >= 0 && !l.segs[k].lit && l.segs[k].v == v && int(l.segs[k].n)+n < maxSegment {
		l.segs[k].n += int32(n)
		return
	}
	l.segs = append(l.segs, segment{n: int32(n), v: v})
}

func (l *levels) literal(b []byte) {
	if len(b) == 0 {
		return
	}
	l.lit = append(l.lit, b...)
	l.spelled(len(b))
}

// spelled notes that the last n of lit are new.
func (l *levels) spelled(n int) {
	l.n += n
	if k := len(l.segs) - 1; k >= 0 && l.segs[k].lit && int(l.segs[k].n)+n < maxSegment {
		l.segs[k].n += int32(n)
		return
	}
	l.segs = append(l.segs, segment{n: int32(n), lit: true})
}

// next returns memory for n levels, and 8 more. By grew they become part of l.
func (l *levels) next(n int) []byte {
	l.lit = grow(l.lit, n+8)[:len(l.lit)]
	return l.lit[len(l.lit):]
}

// grew appends the first n of what next returned.
func (l *levels) grew(n int) {
	if n > 0 {
		l.lit = l.lit[:len(l.lit)+n]
		l.spelled(n)
	}
}

func (l *levels) reset() { l.segs, l.lit, l.n = l.segs[:0], l.lit[:0], 0 }

func (l *levels) used() int { return len(l.lit) + 8*len(l.segs) }

func (l *levels) held() int { return cap(l.lit) + 8*cap(l.segs) }

// one returns the level that all are, if they are one run.
func (l *levels) one() (v uint8, ok bool) {
	if len(l.segs) != 1 || l.segs[0].lit {
		return 0, l.n == 0
	}
	return l.segs[0].v, true
}

// spell returns all levels one by one: in mem, unless they lie in l like that.
func (l *levels) spell(mem *[]byte) []byte {
	if len(l.segs) == 1 && l.segs[0].lit {
		return l.lit
	}
	if cap(*mem) < l.n {
		*mem = make([]byte, l.n+l.n/4)
	}
	dst := (*mem)[:l.n]
	r := reader{l: l}
	r.read(dst)
	return dst
}

// reader hands levels out in order.
type reader struct {
	l        *levels
	seg, off int // the next level is number off of segment seg
	lit      int // and, if that is spelled out, byte lit
}

// next returns the next levels, at most max: either lit, or n times v.
func (r *reader) next(max int) (lit []byte, v uint8, n int) {
	for r.seg < len(r.l.segs) && r.off == int(r.l.segs[r.seg].n) {
		r.seg, r.off = r.seg+1, 0
	}
	if r.seg == len(r.l.segs) {
		return nil, 0, 0
	}
	s := r.l.segs[r.seg]
	n = min(max, int(s.n)-r.off)
	r.off += n
	if s.lit {
		r.lit += n
		return r.l.lit[r.lit-n : r.lit], 0, n
	}
	return nil, s.v, n
}

// read fills dst with the next levels.
func (r *reader) read(dst []byte) {
	for len(dst) > 0 {
		lit, v, n := r.next(len(dst))
		if lit != nil {
			copy(dst, lit)
		} else {
			for i := range dst[:n] {
				dst[i] = v
			}
		}
		dst = dst[n:]
	}
}
