package model

func (x *machine) trueRoute(s *state, p, o int) int {
	if s.barSet && int8(o) >= s.bar[p] {
		return x.cfg.route1[p][o]
	}
	return x.cfg.route[p][o]
}

// judge is what worker k makes of a record: its table, or -1.
func (x *machine) judge(s *state, k *wk, p, o int) int {
	r := x.cfg.route[p][o]
	if k.rev == 1 && int8(o) >= s.bar[p] {
		r = x.cfg.route1[p][o]
	}
	if x.is("statedlq") && s.nFlip > 0 && p == 0 && o == 0 {
		r = 1 - r // the verdict follows the table's schema, which changed
	}
	return r
}

const (
	stOK = iota
	stRewound
)

func (x *machine) effective(t *tbl) (wmv, int) { // 2.3
	if x.is("curonly") {
		if t.head != 0 && t.s[t.head].fh {
			return t.s[t.head].wm, stOK
		}
		return wmv{}, stOK
	}
	if x.is("walk") {
		for i := t.head; i != 0 && !t.s[i].expired; i = t.s[i].parent {
			if t.s[i].fh {
				return t.s[i].wm, stOK
			}
		}
		return wmv{}, stOK
	}
	if t.sid == 0 {
		return wmv{}, stOK
	}
	if x.is("norewind") {
		return t.wm, stOK
	}
	oldest := int8(127)
	for i := t.head; i != 0; i = t.s[i].parent {
		if t.s[i].expired { // dangling parent: the retained chain ends here
			if i == t.sid || oldest != 127 && t.sno < oldest && !t.s[i].fh {
				return t.wm, stOK
			}
			return t.wm, stRewound // an older one of ours (the ring)
		}
		if i == t.sid {
			return t.wm, stOK
		}
		oldest = t.s[i].seq
	}
	return t.wm, stRewound
}

// before is what `resume --replay` goes back to: vector and floors of the newest ancestor of ours; if expiry took it, the
// vector is read from the rows' own columns and the floors are unknown. Last result: which ancestor (-1: expired).
func (t *tbl) before() (w, fl wmv, anc int8) {
	fl = none
	for i := t.head; i != 0; i = t.s[i].parent {
		if t.s[i].expired {
			for p := range w {
				for o := range t.s[t.head].rows[p] {
					if t.s[t.head].rows[p][o] > 0 {
						w[p] = int8(o) + 1
					}
				}
			}
			return w, fl, -1
		}
		if t.s[i].fh {
			return t.s[i].wm, t.s[i].floor, i
		}
	}
	return w, fl, 0
}

// startOf is start(p) of 2.4; -1 = never started.
func (x *machine) startOf(s *state, p int) int8 {
	st := int8(-1)
	g := s.g[p]
	switch {
	case g >= 0 && (s.ge[p] == s.re || x.is("noreplayepoch")):
		if s.gr[p] < s.rev && s.barSet && !x.is("nocap") {
			g = min(g, s.bar[p])
			if !x.is("oldO") {
				g = max(g, s.org[p])
			}
		}
		st = g
	case x.is("latest") && s.org[p] >= 0:
		return s.end[p]
	case x.is("minwm") && s.org[p] >= 0:
		st = int8(x.cfg.N)
		for ti := 0; ti < x.cfg.T; ti++ {
			if t := &s.tb[ti]; t.sid != 0 && t.wm[p] < st {
				st = t.wm[p]
			}
		}
		if st == int8(x.cfg.N) && s.tb[0].sid == 0 && s.tb[1].sid == 0 {
			st = 0
		}
		return st
	default:
		if s.re > 0 {
			st = s.rS[p]
		}
		for ti := 0; ti < x.cfg.T; ti++ {
			if t := &s.tb[ti]; t.sid != 0 && (t.re == s.re || x.is("noreplayepoch")) {
				st = max(st, t.floor[p])
			}
		}
		if st < 0 && !x.is("noorigin") {
			st = s.org[p]
		}
	}
	if st >= 0 && x.is("barrierpos") && s.barSet {
		st = max(st, s.bar[p])
	}
	return st
}

// low is low(p) of 2.4.
func (x *machine) low(k *wk, p int) int8 {
	v := k.pos[p]
	for ti := 0; ti < x.cfg.T; ti++ {
		b := &k.t[ti]
		for o := int8(0); o < v; o++ {
			if b.buf[p][o] || b.inBatch && b.rows[p][o] {
				v = o
			}
		}
		if b.hold[p] >= 0 && b.hold[p] < v && !x.is("letgo") {
			v = b.hold[p]
		}
	}
	return v
}

func (x *machine) seen(b *bt, k *wk, p int) int8 {
	if b.hold[p] >= 0 && !x.is("letgoto") {
		return b.hold[p]
	}
	return k.pos[p]
}
