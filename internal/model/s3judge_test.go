package model

func (m *s3Machine) check(s *sState) string {
	switch s.bad {
	case 1:
		return "an object was overwritten"
	case 2:
		return "I5 a mark moved back without an operator"
	}
	for p := 0; p < m.cfg.P; p++ {
		covered := int8(0)
		pend := 0
		for i := int8(0); i < s.n; i++ {
			c := &s.c[i]
			if s.r.chain&^s.r.void_&bit(i) == 0 || !c.claims(p) {
				continue
			}
			if s.r.pend&bit(i) != 0 {
				if pend++; !m.is("twopending") && (pend > 1 || c.to[p] != s.r.mk[p]) {
					return "I6 a pending commit is not the last one of its partition"
				}
			}
			covered += c.to[p] - c.from[p]
			for o := c.from[p]; o < c.to[p]; o++ {
				if (c.rows[0]|c.rows[1])&m.rec(p, o) == 0 {
					return "I3 gap: a commit on the chain claims a record that it does not hold"
				}
				if o >= s.r.mk[p] {
					return "I3 a commit on the chain claims records above the mark"
				}
			}
		}
		if covered != s.r.mk[p] {
			return "I6 claims on the chain are not contiguous"
		}
		for o := int8(0); o < int8(m.cfg.N); o++ {
			r := m.rec(p, o)
			n := s.shown(r)
			if n > 1 {
				return "I1 duplicate: a record is in two objects"
			}
			if n == 1 || s.away&r != 0 {
				continue
			}
			if o < s.g[p] {
				return "I4 loss: G passed a record whose object was never visible"
			}
			for w := range s.w {
				if k := &s.w[w]; k.pc >= swIdle && k.pc != swHalted && k.owns>>p&1 == 1 && o < k.from[p] && !m.is("twopending") {
					return "I3 a mark was reported before its rows were visible"
				}
			}
		}
	}
	for i := int8(0); i < s.n; i++ {
		c := &s.c[i]
		on := s.r.chain&^s.r.void_&bit(i) != 0
		for k := range sK {
			if !on && c.key[k] == keyVisible {
				return "I1 an object is visible, its commit is not on the chain"
			}
			if on && s.r.pend&bit(i) == 0 && c.rows[k]&^s.away != 0 && c.key[k] != keyVisible && c.key[k] != keyTaken {
				return "I4 silent loss: a commit counts as published, an object of it does not exist"
			}
		}
		if s.voided&s.r.pend&bit(i) != 0 {
			return "I6 a commit that --replay took back is pending again"
		}
		if s.lost&^s.cause&bit(i) != 0 && !m.cfg.noage {
			return "I8 PARTS_LOST, and neither a lifecycle rule nor a consumer is to blame"
		}
	}
	return ""
}

func (m *s3Machine) done(s *sState) bool {
	for p := 0; p < m.cfg.P; p++ {
		for o := int8(0); o < int8(m.cfg.N); o++ {
			if r := m.rec(p, o); s.shown(r) != 1 && s.away&r == 0 {
				return false
			}
		}
	}
	return s.r.pend == 0
}

// s3Late delivers what stopped workers may have left on the wire.
func (m *s3Machine) late(s *sState) {
	if s.wire.used && s.r == s.wire.old {
		s.r = s.wire.new
	}
	for w := range s.w {
		switch k := &s.w[w]; {
		case k.pc == swSwap && s.r == k.old:
			s.r = m.won(s, k)
		case k.pc == swPub && k.k < sK:
			s3Complete(s, k.t-1, int(k.k))
		}
	}
}

func (m *s3Machine) heal(s sState) string {
	for late := range 3 { // requests on the wire: lost, delivered before the fresh worker starts, or after it has finished
		n := s
		if late == 1 {
			m.late(&n)
		}
		old := n
		halted := false
		for range sP { // a halted table is replayed if no consumer has a key of it
			n.w = [maxW]sWorker{{pc: swBind, owns: 1<<m.cfg.P - 1, start: n.g, stamp: n.r.stamp}}
			n.wire, n.clean, n.skip = sSwap{}, 0, 0
			m.run(&n)
			if halted = n.w[0].pc == swHalted; !halted {
				break
			}
			t := n.w[0].t - 1
			if n.c[t].key[0] == keyTaken || n.c[t].key[1] == keyTaken {
				break
			}
			n.r.replaying |= bit(t)
		}
		if !halted && !m.done(&n) {
			return "recovery: not halted, and not every record is visible"
		}
		if late == 2 {
			n.wire, n.w[1] = old.wire, old.w[1]
			if w := old.w[0]; w.pc == swSwap || w.pc == swPub {
				n.w[0] = w
			}
			m.late(&n)
			n.w = [maxW]sWorker{}
		}
		if b := m.check(&n); b != "" {
			return "recovery: " + b
		}
	}
	return ""
}

func (m *s3Machine) run(n *sState) {
	m.quiet = true
	for range 80 {
		var nx *sState
		m.next(n, func(_ act, x sState) {
			if nx == nil {
				nx = &x
			}
		})
		if nx == nil {
			break
		}
		*n = *nx
	}
	m.quiet = false
}

func s3Complete(s *sState, t int8, k int) {
	if c := &s.c[t]; c.up[k] == upStaged {
		if c.key[k] != keyNone {
			s.bad = 1
		}
		c.up[k], c.key[k] = upDone, keyVisible
	}
}

// s3Won is the register after worker k's swap.
func (m *s3Machine) won(s *sState, k *sWorker) sReg {
	c := &s.c[k.c-1]
	r := k.old
	r.seq++
	r.chain |= bit(k.c - 1)
	r.pend |= bit(k.c - 1)
	r.stamp = k.stamp
	for p := 0; p < m.cfg.P; p++ {
		if c.claims(p) {
			r.mk[p] = c.to[p]
		}
	}
	return r
}

func (k *sWorker) again(s *sState) { // Assigned, for what it holds
	*k = sWorker{pc: swBind, owns: k.owns, start: s.g, stamp: s.r.stamp}
}

// norm drops what no step can see any more: batches nobody can send, starts below the marks, who of two equal workers is who.
func (m *s3Machine) norm(s *sState) {
	for w := range s.w {
		k := &s.w[w]
		for p := range k.start {
			if k.pc >= swIdle && k.start[p] <= k.from[p] {
				k.start[p] = 0
			}
		}
	}
	for i := int8(0); i < s.n; i++ {
		c := &s.c[i]
		if s.r.chain&bit(i) == 0 && s.w[0].c != i+1 && s.w[1].c != i+1 && (!s.wire.used || s.wire.new.chain&bit(i) == 0) &&
			c.key == [sK]int8{} && s.voided&bit(i) == 0 && s.clean != i+1 {
			*c = sCommit{}
		}
		if s.r.chain&bit(i) != 0 {
			c.man = false
		}
	}
	if s.w[0].order() < s.w[1].order() && !m.quiet {
		s.w[0], s.w[1] = s.w[1], s.w[0]
	}
}

func (k *sWorker) order() (v int) {
	for _, x := range []int8{k.pc, int8(k.owns), k.from[0], k.from[1], k.start[0], k.start[1], k.c, k.t, k.k, k.stamp, k.old.seq, k.old.mk[0], int8(k.old.pend)} {
		v = v<<4 | int(x)&15
	}
	return
}
