package model

func (x *machine) operators(s *state, out emit) {
	if s.nFlip < x.cfg.flip {
		n := *s
		n.nFlip++
		out(A("schemaChanged()"), n)
	}
	if x.cfg.revs > 0 {
		x.revision(s, out)
	}
	for ti := 0; ti < x.cfg.T; ti++ {
		t := &s.tb[ti]
		if _, st := x.effective(t); st != stOK {
			x.resume(s, ti, out)
		}
		if s.nForeign < x.cfg.foreign && t.head != 0 { // compaction or a foreign append: our rows stay
			if si := x.alloc(t); si >= 0 {
				n := *s
				n.nForeign++
				nt := &n.tb[ti]
				nt.s[si] = snap{used: true, parent: nt.head, seq: nt.lastSeq + 1, rows: nt.s[nt.head].rows}
				nt.lastSeq++
				nt.head = int8(si)
				out(A("foreign(t%d s%d)", ti, si), n)
			}
		}
		if s.nExpire < x.cfg.expire && t.head != 0 {
			n := *s
			n.nExpire++
			nt := &n.tb[ti]
			ch := false
			for i := 1; i < maxS; i++ {
				if nt.s[i].used && !nt.s[i].expired && int8(i) != nt.head {
					nt.s[i].expired = true
					ch = true
				}
			}
			if ch {
				out(A("expire(t%d)", ti), n)
			}
		}
		if p := t.s[t.head].parent; s.nRoll < x.cfg.roll && t.head != 0 && p != 0 && !t.s[p].expired {
			n := *s
			n.nRoll++
			nt := &n.tb[ti]
			for q := 0; q < x.cfg.P; q++ {
				for o := 0; o < x.cfg.N; o++ {
					if t.s[t.head].rows[q][o] > t.s[p].rows[q][o] {
						nt.undone[q][o] = true
					}
				}
			}
			nt.head = p
			out(A("rollback(t%d to s%d)", ti, int(p)), n)
		}
	}
}

// resume is 2.8: --replay in two steps (entry in the log, commit on the table), --skip in one.
func (x *machine) resume(s *state, ti int, out emit) {
	t := &s.tb[ti]
	wm, fl, anc := t.before()
	same := anc == t.rA && wm == t.rW
	if t.pk != 0 && (t.head != t.pBase) {
		n := *s
		n.tb[ti].pk, n.tb[ti].pBase, n.tb[ti].pRev = 0, 0, 0
		out(A("replayLoad(t%d) lost", ti), n)
		return
	}
	if t.pk == 0 && t.rRe > 0 && same {
		n := *s
		n.tb[ti].pk, n.tb[ti].pBase, n.tb[ti].pRev = 1, t.head, x.revIf(s)
		out(A("replayLoad(t%d)", ti), n)
	}
	if t.pk == 0 && s.nResume < x.cfg.skip {
		n := *s
		n.tb[ti].pk, n.tb[ti].pBase, n.tb[ti].pRev = 2, t.head, x.revIf(s)
		out(A("skipLoad(t%d)", ti), n)
	}
	if t.pk == 1 && t.rRe > 0 && same {
		n := *s
		nt := &n.tb[ti]
		if x.own(nt, t.rW, t.rFl, t.rRe, max(nt.rev, t.pRev)) {
			nt.undone, nt.rRe = bits{}, 0
			nt.pk, nt.pBase, nt.pRev = 0, 0, 0
			out(A("replayCommit(t%d wm=[%d %d])", ti, int(t.rW[0]), int(t.rW[1])), n)
		}
	}
	if s.nResume < x.cfg.replay && (t.rRe == 0 || !same) {
		n := *s
		n.nResume++
		nt := &n.tb[ti]
		nt.rA, nt.rW, nt.rFl = anc, wm, fl
		for p := 0; p < x.cfg.P; p++ {
			if !x.is("replayfloor") {
				nt.rFl[p] = min(nt.rFl[p], x.startOf(s, p))
			}
		}
		n.re++
		n.rS, nt.rRe = nt.rFl, n.re
		out(A("replayBegin(t%d re=%d start=[%d %d])", ti, int(n.re), int(n.rS[0]), int(n.rS[1])), n)
	}
	if t.pk == 2 && s.nResume < x.cfg.skip {
		n := *s
		nt := &n.tb[ti]
		if x.own(nt, nt.wm, nt.floor, nt.re, max(nt.rev, t.pRev)) {
			nt.pk, nt.pBase, nt.pRev = 0, 0, 0
			n.nResume++
			for p := range nt.away {
				for o := range nt.away[p] {
					nt.away[p][o] = nt.away[p][o] || nt.undone[p][o]
				}
			}
			nt.undone = bits{}
			out(A("resumeSkip(t%d)", ti), n)
		}
	}
}

func (x *machine) revIf(s *state) int8 {
	if x.is("nofence") {
		return 0
	}
	return s.rev
}

// revision is 2.5: entry, fence of every table, barrier.
func (x *machine) revision(s *state, out emit) {
	if s.rev == 0 {
		n := *s
		n.rev = 1
		out(A("newRevision()"), n)
		return
	}
	if s.barSet {
		return
	}
	all := true
	for ti := 0; ti < x.cfg.T; ti++ {
		t := &s.tb[ti]
		_, st := x.effective(t)
		if t.rev == 1 || st != stOK && x.is("skipfence") {
			continue
		}
		all = false
		if st != stOK {
			if si := x.alloc(t); si >= 0 {
				n := *s
				nt := &n.tb[ti]
				sn := snap{used: true, parent: nt.head, seq: nt.lastSeq + 1}
				if nt.head != 0 {
					sn.rows = nt.s[nt.head].rows
				}
				nt.s[si] = sn
				nt.lastSeq++
				nt.head, nt.rev, nt.sno = int8(si), 1, 127
				out(A("fence(t%d) rewound", ti), n)
			}
			continue
		}
		n := *s
		nt := &n.tb[ti]
		fl := nt.floor
		if nt.sid == 0 {
			fl = none
		}
		if !x.is("nofence") && x.own(nt, nt.wm, fl, nt.re, 1) {
			out(A("fence(t%d)", ti), n)
		}
	}
	if !all && !x.is("nofence") {
		return
	}
	n := *s
	n.barSet = true
	for p := 0; p < x.cfg.P; p++ {
		if n.org[p] < 0 && !x.is("oldO") {
			n.org[p] = 0
			if x.cfg.latest {
				n.org[p] = s.end[p]
			}
			n.first[p] = n.org[p]
		}
		sf := x.startOf(s, p)
		b := max(0, n.org[p], sf)
		for ti := 0; ti < x.cfg.T; ti++ {
			b = max(b, s.tb[ti].wm[p])
		}
		n.bar[p] = b
	}
	out(A("barrier([%d %d])", int(n.bar[0]), int(n.bar[1])), n)
}
