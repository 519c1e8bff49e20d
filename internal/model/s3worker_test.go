package model

func (m *s3Machine) step(s *sState, w int, out func(act, sState)) {
	k := &s.w[w]
	publish := func(t int8, f string) {
		n := *s
		n.w[w].pc, n.w[w].t, n.w[w].k, n.w[w].old = swPub, t+1, 0, sReg{}
		if m.is("clearfirst") {
			n.r.pend &^= bit(t)
		}
		out(A(f, w, int(t)), n)
	}
	stale := func(f string) {
		n := *s
		n.w[w].again(s)
		out(A(f, w), n)
	}
	halt := func(t int8) {
		n := *s
		n.w[w] = sWorker{pc: swHalted, owns: k.owns, t: t + 1}
		n.lost |= bit(t)
		out(A("halt(w%d c%d)", w, int(t)), n)
	}
	finished := func(n *sState) { // the own commit is published
		c := &s.c[k.c-1]
		x := &n.w[w]
		for p := 0; p < m.cfg.P; p++ {
			if c.claims(p) {
				x.from[p] = max(c.to[p], x.from[p])
			}
		}
		x.pc, x.c, x.t, x.k, x.old = swIdle, 0, 0, 0, sReg{}
	}
	if k.pc >= swIdle && k.pc != swHalted && !m.quiet {
		for p := 0; p < m.cfg.P; p++ { // unfenced, any time: may move G back
			if k.owns>>p&1 == 1 && s.g[p] != k.from[p] && (!m.is("twopending") || m.pendingOn(s, 1<<p) < 0) {
				n := *s
				n.g[p] = k.from[p]
				out(A("ack(w%d p%d)", w, p), n)
			}
		}
	}
	switch k.pc {
	case swBind: // Watermarks and bind
		if t := m.pendingOn(s, k.owns); t >= 0 && !m.is("nopublish") {
			if s.r.replaying&bit(t) == 0 {
				publish(t, "bindFindsPending(w%d c%d)")
			}
			return
		}
		n := *s
		n.w[w].pc = swIdle
		for p := 0; p < m.cfg.P; p++ {
			if k.owns>>p&1 == 1 {
				n.w[w].from[p] = s.r.mk[p]
			}
		}
		out(A("bind(w%d)", w), n)
	case swIdle:
		if s.n >= m.cfg.C && (!m.quiet || s.n >= sC) {
			return
		}
		hi := [sP]int8{}
		for p := range hi {
			if k.owns>>p&1 == 1 {
				hi[p] = int8(m.cfg.N)
			}
		}
		for a := k.from[0]; a <= max(hi[0], k.from[0]); a++ {
			for b := k.from[1]; b <= max(hi[1], k.from[1]); b++ {
				if a == k.from[0] && b == k.from[1] || m.quiet && (a < hi[0] || b < hi[1]) {
					continue
				}
				n := *s
				c := &n.c[s.n]
				c.from, c.to = k.from, [sP]int8{a, b}
				for p := 0; p < m.cfg.P; p++ {
					for o := max(k.from[p], k.start[p]); o < c.to[p]; o++ {
						c.rows[(int(o)+p)%sK] |= m.rec(p, o)
					}
				}
				for j := range sK {
					if c.rows[j] != 0 {
						c.up[j] = upStaged
					}
				}
				n.n++
				n.w[w].pc, n.w[w].c = swRead, s.n+1
				out(A("stage(w%d to%d,%d)", w, int(a), int(b)), n)
			}
		}
	case swRead: // step (2)
		c := &s.c[k.c-1]
		if m.is("earlycomplete") {
			for j := range sK {
				if c.up[j] == upStaged {
					n := *s
					s3Complete(&n, k.c-1, j)
					out(A("complete(w%d k%d)", w, j), n)
					return
				}
			}
		}
		if s.r.stamp > k.stamp {
			stale("newerStamp(w%d)")
			return
		}
		if s.r.void_&bit(k.c-1) != 0 || s.r.replaying&bit(k.c-1) != 0 {
			if !m.is("voiddone") {
				stale("void(w%d)")
				return
			}
		}
		if s.r.chain&bit(k.c-1) != 0 {
			publish(k.c-1, "onChain(w%d c%d)")
			return
		}
		var own uint8
		all, eq := true, true
		for p := 0; p < m.cfg.P; p++ {
			if c.claims(p) {
				own |= 1 << p
				all = all && s.r.mk[p] >= c.to[p]
				eq = eq && s.r.mk[p] == c.from[p]
			}
		}
		doneBy := func() {
			n := *s
			x := &n.w[w]
			for p := 0; p < m.cfg.P; p++ {
				if c.claims(p) {
					x.from[p] = s.r.mk[p]
				}
			}
			x.pc, x.c, x.t, x.k, x.old = swIdle, 0, 0, 0, sReg{}
			out(A("doneByOther(w%d)", w), n)
		}
		if all && m.is("doneearly") {
			doneBy()
			return
		}
		if t := m.pendingOn(s, own); t >= 0 && !m.is("twopending") {
			if s.r.replaying&bit(t) == 0 {
				publish(t, "publishOther(w%d c%d)")
			}
			return
		}
		switch {
		case all:
			doneBy()
		case !eq && !m.is("nocompare"):
			stale("staleClaims(w%d)")
		default:
			n := *s
			n.w[w].pc, n.w[w].old = swMan, s.r
			out(A("read(w%d)", w), n)
		}
	case swMan: // create-if-absent; one that is there is ours, its name holds our id
		n := *s
		n.c[k.c-1].man = true
		if s.nLost < m.cfg.lost && !m.quiet && !s.c[k.c-1].man {
			x := n
			x.nLost++
			x.w[w].pc, x.w[w].old = swRead, sReg{}
			out(A("manifestAnswerLost(w%d)", w), x)
		}
		n.w[w].pc = swSwap
		out(A("manifest(w%d)", w), n)
	case swSwap:
		n := *s
		x := &n.w[w]
		if s.r != k.old {
			x.pc, x.old = swRead, sReg{}
			out(A("swapLoses(w%d)", w), n)
			return
		}
		if s.nWire < m.cfg.wire && !s.wire.used && !m.quiet { // timed out, still under way
			y := n
			y.nWire++
			y.wire = sSwap{true, k.old, m.won(s, k)}
			y.w[w].pc, y.w[w].old = swRead, sReg{}
			out(A("swapTimeout(w%d)", w), y)
		}
		n.r = m.won(s, k)
		if s.nLost < m.cfg.lost && !m.quiet {
			y := n
			y.nLost++
			y.w[w].pc, y.w[w].old = swRead, sReg{}
			out(A("swapAnswerLost(w%d)", w), y)
		}
		if m.is("twopending") {
			finished(&n)
		} else {
			x.pc, x.t, x.k, x.old = swPub, k.c, 0, sReg{}
		}
		if m.is("clearfirst") {
			n.r.pend &^= bit(k.c - 1)
		}
		out(A("swap(w%d)", w), n)
	case swPub:
		t := k.t - 1
		c := &s.c[t]
		if k.k < sK {
			j := int(k.k)
			n := *s
			n.w[w].k++
			switch {
			case c.rows[j] == 0:
				out(A("noObject(w%d)", w), n)
			case c.up[j] == upStaged:
				s3Complete(&n, t, j)
				out(A("complete(w%d c%d k%d)", w, int(t), j), n)
				if !m.quiet { // answer lost: it is sent again
					n.w[w].k--
					out(A("completeAnswerLost(w%d c%d k%d)", w, int(t), j), n)
				}
			case m.is("nohead"), c.key[j] == keyVisible: // NoSuchUpload, HEAD is ours
				out(A("there(w%d c%d k%d)", w, int(t), j), n)
			default:
				if c.up[j] == upDone && !m.quiet { // some stores answer 200 to a repetition
					out(A("repeat200(w%d c%d k%d)", w, int(t), j), n)
				}
				// NoSuchUpload, HEAD 404: the register is read again
				switch {
				case s.r.replaying&bit(t) != 0, s.r.void_&bit(t) != 0 || s.r.chain&bit(t) == 0:
					if m.is("voiddone") {
						out(A("notPending(w%d c%d)", w, int(t)), n)
					} else {
						stale("replayed(w%d)")
					}
				case s.r.pend&bit(t) != 0:
					halt(t)
				default:
					out(A("notPending(w%d c%d)", w, int(t)), n)
				}
			}
			return
		}
		// clear
		n := *s
		x := &n.w[w]
		if (s.r.replaying|s.r.void_)&bit(t) != 0 && !m.is("voiddone") {
			stale("replayed(w%d)")
			return
		}
		if s.r.pend&^s.r.replaying&bit(t) != 0 {
			if s.nWire < m.cfg.wire && !s.wire.used && !m.quiet {
				y := *s
				y.nWire++
				nr := s.r
				nr.pend &^= bit(t)
				y.wire = sSwap{true, s.r, nr}
				out(A("clearTimeout(w%d c%d)", w, int(t)), y)
			}
			n.r.pend &^= bit(t)
		}
		switch {
		case k.c == k.t:
			finished(&n)
		case k.c != 0:
			x.pc, x.t, x.k = swRead, 0, 0
		default:
			x.pc, x.t, x.k = swBind, 0, 0
		}
		out(A("clear(w%d c%d)", w, int(t)), n)
	case swHalted:
		if s.r.pend&bit(k.t-1) == 0 { // it looks again now and then
			stale("haltLifted(w%d)")
		}
	}
}
