package model

func (m *s3Machine) next(s *sState, emit func(act, sState)) {
	out := func(a act, n sState) {
		m.norm(&n)
		emit(a, n)
	}
	for i := int8(0); i < s.n; i++ { // --replay was decided: anyone carries it on
		b := bit(i)
		if s.r.pend&(s.r.replaying|s.undec)&b == 0 {
			continue
		}
		c := &s.c[i]
		left := false
		for k := range sK {
			if c.up[k] == upStaged && !m.is("replaynoabort") {
				left = true
				n := *s
				n.c[i].up[k] = upGone
				out(A("replayAbort(c%d k%d)", int(i), k), n)
			} else if c.key[k] == keyVisible && !m.is("replaykeep") {
				left = true
				if c.up[1-k] != upStaged || m.is("replaynoabort") { // all uploads are aborted first
					n := *s
					n.c[i].key[k] = keyRemoved
					out(A("replayRemove(c%d k%d)", int(i), k), n)
				}
			}
		}
		if !left {
			n := *s
			n.r.seq++
			n.r.pend &^= b
			n.r.replaying &^= b
			n.undec &^= b
			n.r.void_ |= b
			n.voided |= b
			for p := range n.r.mk {
				if c.claims(p) {
					n.r.mk[p] = c.from[p]
				}
			}
			if m.is("replayaba") { // head, seq and marks as before: the very value of old
				n.r.seq -= 3
				n.r.chain &^= b
				n.r.void_ &^= b
			}
			out(A("replaySwapBack(c%d)", int(i)), n)
		}
	}
	for w := range s.w {
		if m.quiet && w > 0 {
			break
		}
		m.step(s, w, out)
	}
	if m.quiet {
		return
	}
	for w := range s.w {
		if s.nAssign < m.cfg.assign {
			for own := uint8(1); own < 1<<m.cfg.P; own++ { // the old owner is not told
				if w == 1 && s.w[0] == s.w[1] {
					continue
				}
				n := *s
				n.nAssign++
				n.w[w] = sWorker{pc: swBind, owns: own, start: s.g, stamp: s.r.stamp}
				out(A("assign(w%d owns%d)", w, int(own)), n)
			}
		}
		if s.nCrash < m.cfg.crash && s.w[w].pc > swBind {
			n := *s
			n.nCrash++
			n.w[w] = sWorker{}
			out(A("crash(w%d)", w), n)
		}
	}
	if s.wire.used {
		n := *s
		n.wire = sSwap{}
		if s.r == s.wire.old {
			n.r = s.wire.new
			out(A("lateSwapWins()"), n)
		} else {
			out(A("lateSwapLoses()"), n)
		}
	}
	if s.nRev < m.cfg.rev { // a new revision fences the register
		n := *s
		n.nRev++
		n.r.stamp++
		n.r.seq++
		out(A("fence()"), n)
	}
	for i := int8(0); i < s.n; i++ {
		b := bit(i)
		c := &s.c[i]
		for k := range sK {
			if c.key[k] == keyVisible && s.nTake < m.cfg.take && (s.r.replaying|s.undec)&b == 0 { // consumers stand still during a replay
				n := *s
				n.nTake++
				n.c[i].key[k] = keyTaken
				if s.r.pend&b != 0 {
					n.cause |= b
				}
				out(A("consume(c%d k%d)", int(i), k), n)
			}
			if c.up[k] == upStaged && s.nLife < m.cfg.life {
				n := *s
				n.nLife++
				n.c[i].up[k] = upGone
				n.cause |= b
				out(A("lifecycle(c%d k%d)", int(i), k), n)
			}
		}
		if s.clean == 0 && s.nClean < m.cfg.clean && (c.up[0] == upStaged || c.up[1] == upStaged) {
			// the age rule: older than any process that could still send its swap
			held := s.wire.used && s.wire.new.chain&b != 0
			for w := range s.w {
				held = held || s.w[w].c == i+1
			}
			if (s.r.chain&b == 0 || m.is("cleanchain")) && (!held || m.cfg.noage || m.is("noage")) {
				n := *s
				n.nClean++
				n.clean = i + 1
				out(A("cleanupFinds(c%d)", int(i)), n)
			}
		}
		if s.clean == i+1 {
			n := *s
			n.clean = 0
			for k := range sK {
				if n.c[i].up[k] == upStaged {
					n.c[i].up[k] = upGone
				}
			}
			out(A("cleanupAborts(c%d)", int(i)), n)
		}
		if s.lost&s.r.pend&^s.r.replaying&b != 0 && s.nResume < m.cfg.resume {
			if s.undec&b == 0 && (c.key[0] != keyTaken && c.key[1] != keyTaken || m.is("replayblind")) {
				n := *s
				n.nResume++
				if m.is("undecided") {
					n.undec |= b
				} else {
					n.r.replaying |= b
					n.r.seq++
				}
				out(A("resumeReplay(c%d)", int(i)), n)
			}
			if s.skip == 0 {
				n := *s
				n.nResume++
				n.skip, n.skipAt, n.found = i+1, 0, 0
				out(A("resumeSkip(c%d)", int(i)), n)
			}
		}
	}
	if s.skip != 0 {
		i := s.skip - 1
		n := *s
		if s.skipAt < sK {
			k := int(s.skipAt)
			s3Complete(&n, i, k)
			n.skipAt++
			if n.c[i].key[k] == keyVisible || n.c[i].key[k] == keyTaken {
				n.found |= 1 << k
			}
			out(A("skipPublish(c%d k%d)", int(i), k), n)
		} else {
			n.skip, n.skipAt, n.found = 0, 0, 0
			if s.r.pend&^s.r.replaying&bit(i) != 0 {
				n.r.pend &^= bit(i)
				n.r.seq++
				for k := range sK {
					if s.found>>k&1 == 0 {
						n.away |= s.c[i].rows[k]
					}
				}
			}
			out(A("skipClear(c%d)", int(i)), n)
		}
	}
}
