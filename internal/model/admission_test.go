package model

import (
	"slices"
	"strconv"

	"github.com/firehosed/firehosed/pipeline"
)

// Admission of table names under revisions (2.7 D3): two readers judge names under any revision they
// know, the log grows, and a verdict once given under a revision must never change. What counts is
// asked of the product's own control log.

const adNames = 3

type adEntry struct{ kind, name, rev int8 } // kind 0: a rev entry, 1: admit

type adState struct {
	pair    int8 // which budgets, 0: not chosen yet
	log     [9]adEntry
	n       int8
	cache   [2]int8          // how far each reader has read
	verdict [3][adNames]int8 // per revision and name: 0 none, 1 row, 2 dead letter
	flip    bool
}

var adBudgets = [...][3]int{{}, {0, 2, 2}, {0, 1, 2}, {0, 2, 1}, {0, 3, 2}, {0, 2, 3}} // per revision

type admission struct{ mutant string }

// decisions is the log up to an entry, as the product reads it.
func (s *adState) decisions(upto int8) *pipeline.Decisions {
	d := &pipeline.Decisions{}
	for i := range upto {
		e := pipeline.Entry{N: int64(i) + 1, Kind: pipeline.KindRev, Rev: int64(s.log[i].rev)}
		if s.log[i].kind == 1 {
			e.Kind, e.Table = pipeline.KindAdmit, strconv.Itoa(int(s.log[i].name))
		}
		d.Entries = append(d.Entries, e)
	}
	return d
}

// admitted lists the names that count under revision r.
func (a admission) admitted(s *adState, upto, r int8) (names []string) {
	if a.mutant != "admitleq" {
		return s.decisions(upto).AdmittedNames(int64(r))
	}
	for _, e := range s.log[:upto] {
		if name := strconv.Itoa(int(e.name)); e.kind == 1 && e.rev <= r && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (s *adState) newest(upto int8) int8 { return int8(s.decisions(upto).Stamp().Rev) }

func (a admission) next(s *adState, out func(act, adState)) {
	if s.pair == 0 {
		for i := range adBudgets[1:] {
			n := *s
			n.pair = int8(i + 1)
			out(A("budgets %d %d", adBudgets[n.pair][1], adBudgets[n.pair][2]), n)
		}
		return
	}
	if s.n > 7 {
		return
	}
	if s.newest(s.n) == 1 {
		n := *s
		n.log[n.n] = adEntry{0, 0, 2}
		n.n++
		out(A("revision 2"), n)
	}
	for w := range s.cache {
		a.reader(s, w, out)
	}
}

func (a admission) reader(s *adState, w int, out func(act, adState)) {
	if s.cache[w] < s.n {
		n := *s
		n.cache[w]++
		out(A("w%d reads the log", w), n)
	}
	stamp := s.newest(s.cache[w])
	for r := int8(1); r <= stamp; r++ {
		names := a.admitted(s, s.cache[w], r)
		for name := range int8(adNames) {
			n := *s
			v := int8(1)
			switch {
			case slices.Contains(names, strconv.Itoa(int(name))):
			case len(names) >= adBudgets[s.pair][r]:
				v = 2
			case s.cache[w] < s.n || stamp != s.newest(s.n):
				continue // the entry number is taken: read first; a newer revision: ErrStale
			default:
				n.log[n.n] = adEntry{1, name, r}
				n.n++
				n.cache[w] = n.n
			}
			n.flip = s.verdict[r][name] != 0 && s.verdict[r][name] != v
			n.verdict[r][name] = v
			out(A("w%d judges name %d under revision %d", w, int(name), int(r)), n)
		}
	}
}

func admissionModel(mutant string) system[adState] {
	first := adState{n: 1, cache: [2]int8{1, 1}}
	first.log[0] = adEntry{0, 0, 1}
	return system[adState]{
		init: first, next: admission{mutant}.next,
		check: func(s *adState) string {
			if s.flip {
				return "I15: a verdict changed"
			}
			return ""
		},
		heal: func(adState) string { return "" },
		done: func(s *adState) bool { return s.n > 7 },
	}
}
