package model

import (
	"fmt"
	"strings"
)

func (x *machine) check(s *state) string {
	if s.bad != 0 {
		return fmt.Sprintf("I%d a watermark moved backwards without an operator", s.bad)
	}
	if x.is("statedlq") { // p0 o0 may be in either table, but in exactly one once G passed it
		c := int8(0)
		for ti := 0; ti < x.cfg.T; ti++ {
			if h := s.tb[ti].head; h != 0 {
				c += s.tb[ti].s[h].rows[0][0]
			}
		}
		if c == 0 && s.g[0] > 0 {
			return "I4/I16 loss: G passed p0 o0; neither the table nor the dead-letter table has it"
		}
		if c > 1 {
			return "I16 duplicate: p0 o0 is in the table and in the dead-letter table"
		}
		return ""
	}
	for ti := 0; ti < x.cfg.T; ti++ {
		t := &s.tb[ti]
		var rows [maxP][maxN]int8
		if t.head != 0 {
			rows = t.s[t.head].rows
		}
		wm, st := x.effective(t)
		for p := 0; p < x.cfg.P; p++ {
			start := x.startOf(s, p)
			for o := 0; o < x.cfg.N; o++ {
				c := rows[p][o]
				if c > 1 {
					return fmt.Sprintf("I1 duplicate: table %d p%d o%d appears %d times", ti, p, o, c)
				}
				if c == 1 && x.trueRoute(s, p, o) != ti {
					return fmt.Sprintf("I2 misrouted: table %d p%d o%d", ti, p, o)
				}
				if x.trueRoute(s, p, o) != ti || t.away[p][o] || s.first[p] < 0 {
					continue
				}
				if int8(o) < s.first[p] {
					if c == 1 {
						return fmt.Sprintf("I3 table %d p%d o%d is below the origin", ti, p, o)
					}
					continue
				}
				if st == stOK && int8(o) < wm[p] && c == 0 {
					return fmt.Sprintf("I3 gap: table %d p%d o%d below watermark %d but not in the table", ti, p, o, wm[p])
				}
				if st == stOK && int8(o) >= wm[p] && c == 1 {
					return fmt.Sprintf("I3 leak: table %d p%d o%d in the table but not below watermark %d", ti, p, o, wm[p])
				}
				if int8(o) < start && c == 0 && (st == stOK || !t.undone[p][o]) {
					return fmt.Sprintf("I4 loss: p%d would start at %d, o%d is not in table %d", p, start, o, ti)
				}
			}
		}
	}
	return ""
}

func (x *machine) done(s *state) bool { // every table complete, or rewound and waiting for its operator
	for ti := 0; ti < x.cfg.T; ti++ {
		t := &s.tb[ti]
		if _, st := x.effective(t); st != stOK {
			continue
		}
		for p := 0; p < x.cfg.P; p++ {
			if s.first[p] < 0 {
				return false
			}
			for o := max(0, int(s.first[p])); o < x.cfg.N; o++ {
				if x.trueRoute(s, p, o) == ti && !t.away[p][o] && (t.head == 0 || t.s[t.head].rows[p][o] != 1) {
					return false
				}
			}
		}
	}
	return true
}

var healKinds = []string{"apply(", "reject(", "replayCommit(", "replayLoad(", "fence(", "barrier(", "resolved(", "halt(", "recover(", "reread(", "send(", "load(", "cut(", "catchup(", "poll("}

// heal ends all faults, kills every worker, gives all partitions to a fresh one and runs it alone. With late, what is
// on the wire is delivered only after it has finished. Every table must end complete, or rewound and not resumed.
func (x *machine) heal(s state, late bool) string {
	calm := *x
	x = &calm
	x.cfg.snaps, x.cfg.assign, x.cfg.crash, x.cfg.drop = maxS-1, 0, 0, 0
	x.healing = true
	s.w = [maxW]wk{}
	old := s.q
	if late {
		s.q = [maxQ]req{}
	}
	given := false
	for range 400 {
		if !given && (s.rev == 0 || s.barSet) {
			for p := 0; p < x.cfg.P; p++ {
				s.owner[p] = 0
				x.assigned(&s, 0, p)
				s.end[p] = int8(x.cfg.N)
			}
			given = true
		}
		best := len(healKinds)
		var nx state
		x.next(&s, func(a act, n state) {
			for i, kd := range healKinds {
				if i < best && strings.HasPrefix(a.f, kd) {
					best, nx = i, n
				}
			}
		})
		if best == len(healKinds) {
			break
		}
		s = nx
		if b := x.check(&s); b != "" {
			return "during recovery: " + b
		}
	}
	if !given || !x.done(&s) {
		return "recovery did not complete the tables"
	}
	for step := 0; late && step <= maxQ; step++ {
		if step == 0 {
			s.q = old
		}
		found := false
		x.wire(&s, func(a act, n state) {
			if !found && (strings.HasPrefix(a.f, "apply") || strings.HasPrefix(a.f, "reject(")) {
				found, s = true, n
			}
		})
		if b := x.check(&s); b != "" {
			return "late delivery after recovery: " + b
		}
		if !found {
			break
		}
	}
	return ""
}
