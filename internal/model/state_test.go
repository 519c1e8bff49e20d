package model

import "fmt"

const (
	maxP = 2 // source partitions
	maxN = 4 // records per partition
	maxT = 2 // tables
	maxW = 2 // workers
	maxS = 9 // snapshots per table (index 0 = no snapshot)
	maxQ = 3 // requests on the wire
)

type (
	wmv  [maxP]int8 // one position per partition; -1 = absent (floors, R, barrier); 0 = absent or log start (watermarks)
	bits [maxP][maxN]bool
)

var none = wmv{-1, -1}

type snap struct {
	used, expired, fh bool // fh: written by firehosed (header, watermarks)
	parent            int8
	seq               int8
	rows              [maxP][maxN]int8 // copies of each record the table shows at this snapshot
	wm, floor         wmv              // what the summary (or the control prefix) keeps of the header
}

type tbl struct {
	head, lastSeq   int8
	wm, floor       wmv // table property: watermarks and floors ...
	sid, sno        int8
	re, rev         int8 // ... bound to a snapshot, with the stamp of the last commit
	s               [maxS]snap
	rRe, rA         int8 // newest `replay` entry of this table: its number (0: none or done), the ancestor it names ...
	rW, rFl         wmv  // ... and the vector and floors it brings back
	pk, pBase, pRev int8
	undone, away    bits // ghosts: rows taken by an operator's rollback; left out by resume --skip
}

type bt struct { // per worker x table
	loaded, halted  bool
	inBatch         bool
	zeroRows        bool // mutant metaonly
	from, bFrom, to wmv
	buf, rows       bits // rows read and not in a batch; rows of the batch
	hold            wmv  // first row let go from memory
}

type wk struct {
	alive        bool
	re, rev      int8       // stamp read at assignment
	owns         [maxP]bool // what the worker believes
	pos          wmv
	pend         [maxP]bool
	pg, pge, pgr wmv
	t            [maxT]bt
}

type req struct {
	used, metaOnly bool
	w, t, base     int8
	seq, re, rev   int8
	rows           bits
	wm, floor      wmv
}

type state struct {
	g, ge, gr                                                                wmv  // G and its stamp (re, rev)
	owner                                                                    wmv  // what the broker believes
	end                                                                      wmv  // log end
	org                                                                      wmv  // stored origin
	first                                                                    wmv  // ghost: the first origin ever decided
	re                                                                       int8 // newest `replay` entry
	rS                                                                       wmv  // R of that entry: where reading starts
	rev                                                                      int8
	barSet                                                                   bool
	bar                                                                      wmv
	tb                                                                       [maxT]tbl
	w                                                                        [maxW]wk
	q                                                                        [maxQ]req
	nAssign, nForeign, nExpire, nRoll, nCrash, nDrop, nGloss, nResume, nFlip int8
	bad                                                                      int8 // 1 + invariant that broke inside an action
}

type routes [maxP][maxN]int // table of each record; -1 = no rows

type config struct {
	name          string
	P, N, T, W    int
	route, route1 routes // route1: under revision 1
	assign, foreign, expire, roll, crash, drop, gloss, replay, skip, flip,
	revs int8
	latest, wide, bound, noack, two bool
	snaps                           int
	live                            int // check recovery in one of `live` states (0: never)
	max                             int
}

// machine is one search: its bounds, and the rule that is left out.
type machine struct {
	cfg     config
	mutant  string // "": none
	healing bool
}

func (x *machine) is(mutant string) bool { return x.mutant == mutant }

func pgIf(b bool, v wmv) wmv {
	if b {
		return v
	}
	return wmv{}
}

type act struct { // formatted only when a trace is printed
	f string
	a [6]int8
	n int8
}

func A(f string, a ...int) (r act) {
	r.f = f
	for i, v := range a {
		r.a[i] = int8(v)
	}
	r.n = int8(len(a))
	return
}

func (a act) String() string {
	v := make([]any, a.n)
	for i := range v {
		v[i] = a.a[i]
	}
	return fmt.Sprintf(a.f, v...)
}

type emit func(act, state)

func (x *machine) initial() (s state) {
	s.owner, s.g, s.org, s.first, s.rS = none, none, none, none, none
	for p := range s.end {
		if !x.cfg.latest {
			s.end[p] = int8(x.cfg.N)
		}
	}
	for ti := range s.tb {
		s.tb[ti].floor = none
		if x.cfg.bound {
			x.own(&s.tb[ti], wmv{}, none, 0, 0)
		}
	}
	return
}
