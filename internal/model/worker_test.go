package model

// assigned is Assigned of 2.4 for one partition.
func (x *machine) open(n *state, w, p int) {
	k := &n.w[w]
	k.pend[p] = false
	v := *n // start(p) from the hint and the log as read in step 1; tables and origin as they are now
	v.g[p], v.ge[p], v.gr[p] = k.pg[p], k.pge[p], k.pgr[p]
	v.rev = k.rev
	if k.rev == 0 {
		v.barSet = false
	}
	st := x.startOf(&v, p)
	if st < 0 {
		st = 0
		if x.cfg.latest {
			st = n.end[p]
		}
		n.org[p] = st
		if n.first[p] < 0 {
			n.first[p] = st
		}
	}
	k.pos[p] = st
	k.owns[p] = true
}

func (x *machine) assigned(n *state, w, p int) {
	k := &n.w[w]
	if !k.alive {
		*k = wk{alive: true}
		for ti := range k.t {
			k.t[ti].hold = none
		}
	}
	k.owns[p] = true
	if k.re != n.re || k.rev != n.rev { // one stamp per worker: when it rises, everything it holds is assigned anew
		k.re, k.rev = n.re, n.rev
		for q := 0; q < x.cfg.P; q++ {
			if q != p && k.owns[q] && !x.is("keepstamp") {
				x.assigned(n, w, q)
			}
		}
	}
	k.pg[p], k.pge[p], k.pgr[p] = n.g[p], n.ge[p], n.gr[p]
	if x.cfg.two && !x.healing {
		k.pend[p], k.owns[p], k.pos[p] = true, false, 0
	} else {
		x.open(n, w, p)
	}
	if x.cfg.two {
		k.pg, k.pge, k.pgr = pgIf(k.pend[p], k.pg), pgIf(k.pend[p], k.pge), pgIf(k.pend[p], k.pgr)
	} else {
		k.pg, k.pge, k.pgr = wmv{}, wmv{}, wmv{}
	}
	for ti := 0; ti < x.cfg.T; ti++ {
		b := &k.t[ti]
		b.buf[p] = [maxN]bool{}
		b.hold[p] = -1
		if b.inBatch { // a batch is all or nothing: the other partition's rows go back to the buffer
			for p2 := 0; p2 < x.cfg.P; p2++ {
				for o := 0; o < x.cfg.N; o++ {
					if p2 != p && b.rows[p2][o] {
						b.buf[p2][o] = true
					}
				}
			}
		}
		b.clear()
		b.loaded, b.halted = false, false
	}
}

func (b *bt) clear() {
	b.inBatch, b.zeroRows, b.rows, b.bFrom, b.to = false, false, bits{}, wmv{}, wmv{}
}

// letGo drops a halted table's rows from memory and remembers the first one.
func (x *machine) letGo(b *bt) {
	for p := 0; p < x.cfg.P; p++ {
		for o := int8(x.cfg.N) - 1; o >= 0; o-- {
			if (b.buf[p][o] || b.inBatch && b.rows[p][o]) && (b.hold[p] < 0 || o < b.hold[p]) {
				b.hold[p] = o
			}
		}
	}
	b.buf = bits{}
	b.clear()
	b.halted = true
}

func (x *machine) filter(b *bt, wm wmv) {
	b.from = wm
	for p := 0; p < x.cfg.P; p++ {
		for o := int8(0); o < wm[p]; o++ {
			b.buf[p][o] = false
		}
	}
}

func (x *machine) alloc(t *tbl) int {
	for i := 1; i <= x.cfg.snaps; i++ {
		if !t.s[i].used {
			return i
		}
	}
	return -1
}

// own adds a snapshot of ours with the same rows (bind, fence, resume).
func (x *machine) own(t *tbl, wm, floor wmv, re, rev int8) bool {
	si := x.alloc(t)
	if si < 0 {
		return false
	}
	sn := snap{used: true, fh: true, parent: t.head, seq: t.lastSeq + 1, wm: wm, floor: floor}
	if t.head != 0 {
		sn.rows = t.s[t.head].rows
	}
	t.s[si] = sn
	t.lastSeq++
	t.head, t.sid, t.sno = int8(si), int8(si), t.lastSeq
	t.wm, t.floor, t.re, t.rev = wm, floor, re, rev
	return true
}

func (x *machine) next(s *state, out emit) {
	ready := s.rev == 0 || s.barSet
	if s.nAssign < x.cfg.assign && ready { // p is given to w; the previous owner is NOT told
		for p := 0; p < x.cfg.P; p++ {
			for w := 0; w < x.cfg.W; w++ {
				if int(s.owner[p]) == w && s.w[w].alive && s.w[w].owns[p] || s.nAssign == 0 && w > 0 {
					continue
				}
				n := *s
				n.nAssign++
				n.owner[p] = int8(w)
				x.assigned(&n, w, p)
				out(A("assign(p%d->w%d at %d)", p, w, int(n.w[w].pos[p])), n)
			}
		}
	}
	if x.cfg.latest {
		for p := 0; p < x.cfg.P; p++ {
			if int(s.end[p]) < x.cfg.N {
				n := *s
				n.end[p]++
				out(A("produce(p%d o%d)", p, int(s.end[p])), n)
			}
		}
	}
	if s.nGloss < x.cfg.gloss {
		for p := 0; p < x.cfg.P; p++ {
			if s.g[p] >= 0 {
				n := *s
				n.nGloss++
				n.g[p], n.ge[p], n.gr[p] = -1, 0, 0
				out(A("loseG(p%d)", p), n)
			}
		}
	}
	for w := 0; w < x.cfg.W; w++ {
		if s.w[w].alive {
			x.worker(s, w, out)
		}
	}
	x.wire(s, out)
	x.operators(s, out)
}

func (x *machine) worker(s *state, w int, out emit) {
	if s.nCrash < x.cfg.crash {
		n := *s
		n.nCrash++
		n.w[w] = wk{}
		out(A("crash(w%d)", w), n)
	}
	for p := 0; p < x.cfg.P; p++ {
		x.lane(s, w, p, out)
	}
	for ti := 0; ti < x.cfg.T; ti++ {
		x.table(s, w, ti, out)
	}
}

// lane is what a worker does for one partition: open, read, acknowledge.
func (x *machine) lane(s *state, w, p int, out emit) {
	k := &s.w[w]
	if k.pend[p] {
		n := *s
		x.open(&n, w, p)
		n.w[w].pg[p], n.w[w].pge[p], n.w[w].pgr[p] = 0, 0, 0
		out(A("open(w%d p%d at %d)", w, p, int(n.w[w].pos[p])), n)
	}
	if !k.owns[p] {
		return
	}
	if k.pos[p] < s.end[p] { // read one record
		n := *s
		o := k.pos[p]
		n.w[w].pos[p]++
		if r := x.judge(s, k, p, int(o)); r >= 0 {
			b := &n.w[w].t[r]
			switch {
			case b.loaded && !b.halted && o < b.from[p]: // already in the table
			case b.halted || b.hold[p] >= 0:
				if b.hold[p] < 0 {
					b.hold[p] = o
				}
			default:
				b.buf[p][o] = true
			}
		}
		out(A("poll(w%d p%d o%d)", w, p, int(o)), n)
	}
	v := x.low(k, p)
	if x.is("gpos") {
		v = k.pos[p]
	}
	if !x.cfg.noack && (v != s.g[p] || s.ge[p] != k.re || s.gr[p] != k.rev) {
		n := *s
		n.g[p], n.ge[p], n.gr[p] = v, k.re, k.rev
		out(A("ack(w%d p%d=%d)", w, p, int(v)), n)
	}
}

// table is what a worker does for one table: load, catch up, cut, send.
func (x *machine) table(s *state, w, ti int, out emit) {
	k := &s.w[w]
	b := &k.t[ti]
	t := &s.tb[ti]
	wm, st := x.effective(t)
	stale := t.re > k.re && !x.is("noreplayepoch") || t.rev > k.rev && !x.is("nofence")
	if b.halted {
		if st != stOK {
			return
		}
		n := *s // the operator resumed it
		if stale {
			n.w[w] = wk{}
			out(A("stale(w%d t%d) abandon", w, ti), n)
			return
		}
		nb := &n.w[w].t[ti]
		nb.halted, nb.loaded = false, true
		x.filter(nb, wm)
		out(A("recover(w%d t%d)", w, ti), n)
		return
	}
	if stale {
		n := *s
		n.w[w] = wk{}
		out(A("stale(w%d t%d) abandon", w, ti), n)
		return
	}
	if !b.loaded {
		n := *s
		nb := &n.w[w].t[ti]
		nb.loaded = true
		if st != stOK {
			x.letGo(nb)
		} else {
			x.filter(nb, wm)
		}
		out(A("load(w%d t%d wm=[%d %d] st=%d)", w, ti, int(wm[0]), int(wm[1]), st), n)
		return
	}
	for p := 0; p < x.cfg.P; p++ { // second reader
		if o := b.hold[p]; o >= 0 && k.owns[p] {
			n := *s
			nb := &n.w[w].t[ti]
			if x.judge(s, k, p, int(o)) == ti && o >= b.from[p] && !x.is("letgoto") {
				nb.buf[p][o] = true
			}
			nb.hold[p]++
			if nb.hold[p] >= k.pos[p] {
				nb.hold[p] = -1
			}
			out(A("catchup(w%d t%d p%d o%d)", w, ti, p, int(o)), n)
		}
	}
	if !b.inBatch {
		x.cut(s, w, ti, out)
		return
	}
	x.send(s, w, ti, wm, st, out)
}

func (x *machine) cut(s *state, w, ti int, out emit) {
	k := &s.w[w]
	b := &k.t[ti]
	var has [maxP]bool
	any, adv := false, false
	for p := 0; p < x.cfg.P; p++ {
		for o := 0; o < x.cfg.N; o++ {
			has[p] = has[p] || b.buf[p][o]
		}
		any = any || has[p]
		adv = adv || k.owns[p] && x.seen(b, k, p) > b.from[p]
	}
	if !any && (!x.is("metaonly") || !adv) {
		return
	}
	n := *s
	nb := &n.w[w].t[ti]
	nb.inBatch, nb.zeroRows = true, !any
	nb.bFrom, nb.to = nb.from, nb.from
	for p := 0; p < x.cfg.P; p++ {
		if (has[p] || x.cfg.wide || !any) && k.owns[p] {
			nb.to[p] = max(nb.from[p], x.seen(b, k, p))
		}
	}
	nb.rows, nb.buf = nb.buf, bits{}
	out(A("cut(w%d t%d [[%d %d],[%d %d]))", w, ti, int(nb.bFrom[0]), int(nb.bFrom[1]), int(nb.to[0]), int(nb.to[1])), n)
}

// send is one turn of the commit loop of 2.4: re-read, then resolve or put a request on the wire.
func (x *machine) send(s *state, w, ti int, wm wmv, st int, out emit) {
	k := &s.w[w]
	b := &k.t[ti]
	t := &s.tb[ti]
	allDone, allEq, behind := true, true, false
	for p := 0; p < x.cfg.P; p++ {
		if b.to[p] == b.bFrom[p] {
			continue
		}
		allDone = allDone && wm[p] >= b.to[p]
		allEq = allEq && wm[p] == b.bFrom[p]
		behind = behind || wm[p] < b.bFrom[p]
	}
	if st != stOK || behind && !x.is("nocheck") {
		n := *s
		x.letGo(&n.w[w].t[ti])
		out(A("halt(w%d t%d)", w, ti), n)
		return
	}
	switch {
	case allDone && !x.is("nocheck"):
		n := *s
		nb := &n.w[w].t[ti]
		nb.clear()
		x.filter(nb, wm)
		out(A("resolved(w%d t%d wm=[%d %d])", w, ti, int(wm[0]), int(wm[1])), n)
	case allEq || x.is("nocheck") || x.is("stalelow"):
		free, mine := -1, 0
		for i := range s.q {
			if !s.q[i].used {
				free = i
			} else if int(s.q[i].w) == w && int(s.q[i].t) == ti {
				mine++
			}
		}
		if free < 0 || mine >= 2 {
			return
		}
		r := req{
			used: true, w: int8(w), t: int8(ti), base: t.head, seq: t.lastSeq + 1, re: k.re, rev: k.rev,
			rows: b.rows, metaOnly: b.zeroRows, wm: wm, floor: none,
		}
		if t.sid != 0 && (t.re == k.re || x.is("oldfloor")) {
			r.floor = t.floor
		}
		for p := 0; p < x.cfg.P; p++ {
			if k.owns[p] {
				r.floor[p] = max(r.floor[p], x.low(k, p))
			}
			if b.to[p] != b.bFrom[p] {
				r.wm[p] = b.to[p]
			}
		}
		n := *s
		n.q[free] = r
		norm(&n)
		out(A("send(w%d t%d base=s%d wm->[%d %d])", w, ti, int(r.base), int(r.wm[0]), int(r.wm[1])), n)
	default: // somebody else moved the watermark: run Assigned again, or let the rows go and read them again
		n := *s
		n.w[w] = wk{}
		out(A("stale(w%d t%d) abandon", w, ti), n)
		n = *s
		nb := &n.w[w].t[ti]
		x.letGo(nb)
		nb.halted, nb.loaded = false, false
		out(A("reread(w%d t%d)", w, ti), n)
	}
}

// wire: any request may be delivered at any time, also after its sender died, or dropped.
func (x *machine) wire(s *state, out emit) {
	for i := range s.q {
		r := s.q[i]
		if !r.used || i > 0 && r == s.q[i-1] {
			continue
		}
		if s.nDrop < x.cfg.drop {
			n := *s
			n.nDrop++
			n.q[i] = req{}
			norm(&n)
			out(A("drop(w%d t%d)", int(r.w), int(r.t)), n)
		}
		n := *s
		n.q[i] = req{}
		norm(&n)
		t := &n.tb[r.t]
		okBase := t.head == r.base || x.is("nopin")
		okSeq := r.seq > t.lastSeq || x.is("noseq") || x.is("nopin") || r.metaOnly
		if !okBase || !okSeq {
			out(A("reject(w%d t%d base=s%d)", int(r.w), int(r.t), int(r.base)), n)
			continue
		}
		if r.metaOnly {
			for p := 0; p < x.cfg.P; p++ {
				if r.wm[p] < t.wm[p] {
					n.bad = 5
				}
			}
			t.wm = r.wm
			out(A("applyMeta(w%d t%d wm=[%d %d])", int(r.w), int(r.t), int(r.wm[0]), int(r.wm[1])), n)
			continue
		}
		if !x.own(t, r.wm, r.floor, r.re, r.rev) {
			continue
		}
		sn := &t.s[t.head]
		for p := 0; p < x.cfg.P; p++ {
			for o := 0; o < x.cfg.N; o++ {
				if r.rows[p][o] && sn.rows[p][o] < 2 {
					sn.rows[p][o]++
				}
			}
		}
		out(A("apply(w%d t%d s%d wm=[%d %d])", int(r.w), int(r.t), int(t.head), int(r.wm[0]), int(r.wm[1])), n)
	}
}

func (r *req) key() (k uint64) {
	k = uint64(r.w) | uint64(r.t)<<4 | uint64(r.base)<<8 | uint64(r.wm[0]+1)<<12 | uint64(r.wm[1]+1)<<16 |
		uint64(r.floor[0]+1)<<20 | uint64(r.floor[1]+1)<<24 | uint64(r.re)<<28 | uint64(r.rev)<<30
	for p := range r.rows {
		for o := range r.rows[p] {
			if r.rows[p][o] {
				k |= 1 << (32 + p*maxN + o)
			}
		}
	}
	return k | uint64(r.seq)<<48
}

func norm(s *state) { // canonical order of the wire
	for i := 1; i < maxQ; i++ {
		for j := i; j > 0 && s.q[j].used && (!s.q[j-1].used || s.q[j].key() < s.q[j-1].key()); j-- {
			s.q[j], s.q[j-1] = s.q[j-1], s.q[j]
		}
	}
}
