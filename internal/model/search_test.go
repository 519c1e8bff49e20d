package model

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"
)

// system is what the search needs to know of a model.
type system[S comparable] struct {
	init  S
	next  func(*S, func(act, S))
	check func(*S) string // invariants, in every state
	heal  func(S) string  // recovery, in the states chosen by live
	done  func(*S) bool
}

type result struct {
	config, mutant       string
	states, done, healed int
	bad                  string
	trace                []string
	dur                  time.Duration
	complete             bool
	live                 int
}

func (r result) String() string {
	v := "ok"
	if r.bad != "" {
		v = fmt.Sprintf("VIOLATION after %d steps: %s", len(r.trace), r.bad)
	} else if !r.complete {
		v = "no violation (bound reached)"
	}
	return fmt.Sprintf("%-12s %-14s states=%-9d complete=%-5v recovered=%-9d finished=%-8d %6.1fs  %s",
		r.config, r.mutant, r.states, r.complete && r.bad == "", r.healed, r.done, r.dur.Seconds(), v)
}

// bfs visits every reachable state once (by a 64-bit hash). live = k: recovery is run in one of k states.
func bfs[S comparable](m system[S], limit, live int) (res result) {
	t0, seed := time.Now(), maphash.MakeSeed()
	fp := func(s *S) uint64 { return maphash.Comparable(seed, *s) }
	type link struct{ parent int32 }
	h0 := fp(&m.init)
	seen := map[uint64]int32{h0: 0}
	nodes := []link{{-1}}
	type item struct {
		s  S
		id int32
	}
	frontier := []item{{m.init, 0}}
	res.complete, res.live = true, live
	defer func() { res.states, res.dur = len(nodes), time.Since(t0) }()
	trace := func(i int32) (tr []string) { // actions are recovered by re-execution
		var path []int32
		for ; i >= 0; i = nodes[i].parent {
			path = append(path, i)
		}
		cur := m.init
		for k := len(path) - 2; k >= 0; k-- {
			found := false
			var nx S
			m.next(&cur, func(a act, n S) {
				if j, ok := seen[fp(&n)]; !found && ok && j == path[k] {
					found, nx = true, n
					tr = append(tr, a.String())
				}
			})
			cur = nx
		}
		return
	}
	for len(frontier) > 0 {
		var nf []item
		for fi := range frontier {
			stop := false
			m.next(&frontier[fi].s, func(a act, n S) {
				if stop {
					return
				}
				h := fp(&n)
				if _, ok := seen[h]; ok {
					return
				}
				j := int32(len(nodes))
				seen[h] = j
				nodes = append(nodes, link{frontier[fi].id})
				if m.done(&n) {
					res.done++
				}
				b := m.check(&n)
				if b == "" && live > 0 && int(j)%live == 0 {
					b = m.heal(n)
					res.healed++
				}
				if b != "" {
					res.bad, res.trace, stop = b, trace(j), true
					return
				}
				nf = append(nf, item{n, j})
			})
			if stop {
				return
			}
			if limit > 0 && len(nodes) > limit {
				res.complete = false
				return
			}
		}
		frontier = nf
	}
	return
}

// kill looks for a violation by the invariants alone, then with recovery too.
func kill(c config, mutant string) result {
	c.live = 0
	if r := run(c, mutant); r.bad != "" {
		return r
	}
	c.live = 1
	return run(c, mutant)
}

// run searches one config, with one rule left out or none.
func run(c config, mutant string) result {
	var r result
	if c.name == "admission" {
		r = bfs(admissionModel(mutant), c.max, c.live)
	} else if bounds, ok := s3Configs()[c.name]; ok {
		m := &s3Machine{cfg: bounds, mutant: mutant}
		r = bfs(m.system(), c.max, c.live)
	} else {
		x := &machine{cfg: c, mutant: mutant}
		r = bfs(system[state]{x.initial(), func(s *state, f func(act, state)) { x.next(s, f) }, x.check, func(s state) string {
			if b := x.heal(s, false); b != "" {
				return b
			}
			return x.heal(s, true)
		}, x.done}, c.max, c.live)
	}
	r.config, r.mutant = c.name, mutant
	return r
}

// walk takes random steps through a config that is too large to search.
func walk(c config, walks, depth int, seed uint64) (steps, finished int, bad string, trace []string) {
	x := &machine{cfg: c}
	rng := rand.New(rand.NewPCG(seed, 1))
	for range walks {
		s := x.initial()
		trace = trace[:0]
		for range depth {
			var pick state
			var taken act
			n := 0
			x.next(&s, func(a act, y state) { // reservoir sampling over the enabled actions
				if n++; rng.IntN(n) == 0 {
					pick, taken = y, a
				}
			})
			if n == 0 {
				break
			}
			s = pick
			steps++
			trace = append(trace, taken.String())
			if b := x.check(&s); b != "" {
				return steps, finished, b, trace
			}
		}
		if x.done(&s) {
			finished++
		}
	}
	return steps, finished, "", nil
}
