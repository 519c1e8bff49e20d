package model

// A model of 3.1 alone: one table of objects, its register, uploads that are invisible until completed, two workers (the
// old owner is never told), a clean-up job, a lifecycle rule, a consumer that takes objects, an operator. Requests of a
// stopped worker may still arrive. Record o of partition p is bit p*N+o and goes to prefix
// (o+p)%2, so a batch makes one or two objects.

// s3Machine is one search of the model of 3.1: its bounds, and the rule that is left out.
type s3Machine struct {
	cfg    sConfig
	mutant string // "": none
	quiet  bool   // recovery: one fresh worker, no faults
}

func (m *s3Machine) is(mutant string) bool { return m.mutant == mutant }

func (m *s3Machine) system() system[sState] {
	return system[sState]{next: m.next, check: m.check, heal: m.heal, done: m.done}
}

const (
	sP = 2
	sC = 6 // commits ever begun
	sK = 2 // objects of one commit
)

const ( // uploads
	upNone   int8 = iota
	upStaged      // all parts acknowledged, invisible
	upDone        // completed
	upGone        // aborted, or parts removed by a lifecycle rule
)

const ( // keys
	keyNone int8 = iota
	keyVisible
	keyTaken   // deleted or moved away by a consumer, after it was visible
	keyRemoved // by resume --replay
)

const ( // where a worker is
	swDead   int8 = iota
	swBind        // about to ask for the marks
	swIdle        // knows its marks
	swRead        // has a batch with all parts acknowledged; step (2) is next
	swMan         // (2) said go; the manifest is next
	swSwap        // the manifest is there; the swap is next, or on its way
	swPub         // publishing commit t, object k
	swHalted      // PARTS_LOST of commit t
)

type sReg struct { // the register; a swap compares all of it, as an ETag made of the content does
	mk               [sP]int8
	seq              int8
	chain, pend      uint8 // commits on the prev chain of head; those not yet published
	replaying, void_ uint8 // pending and given up by --replay, not yet set back; set back
	stamp            int8
}

type sCommit struct {
	from, to [sP]int8 // claims; from == to: none
	man      bool
	rows     [sK]uint8
	up, key  [sK]int8
}

type sWorker struct {
	pc          int8
	owns        uint8
	from, start [sP]int8
	c, t        int8 // own batch, commit being published: slot + 1
	k           int8
	stamp       int8
	old         sReg // what (2) read
}

type sSwap struct {
	used     bool
	old, new sReg
}

type sState struct {
	r    sReg
	c    [sC]sCommit
	n    int8 // commits begun
	w    [maxW]sWorker
	g    [sP]int8
	wire sSwap // a swap whose sender no longer waits

	clean                                                                   int8  // commit that the clean-up job found off the chain, + 1
	skip                                                                    int8  // resume --skip at work on this commit, + 1 ...
	skipAt, found                                                           int8  // ... next object, bits: published
	lost                                                                    uint8 // reported PARTS_LOST
	cause                                                                   uint8 // ghost: a lifecycle rule or a consumer took something of this commit in the window
	away                                                                    uint8 // ghost: rows left out by --skip, listed
	voided                                                                  uint8 // ghost: ever set back
	undec                                                                   uint8 // mutant undecided: a replay that is only known to its operator
	nAssign, nCrash, nLost, nWire, nTake, nLife, nClean, nResume, nRev, bad int8
}

type sConfig struct {
	P, N                                                      int
	C                                                         int8 // commits
	assign, crash, lost, wire, take, life, clean, resume, rev int8
	noage                                                     bool // clean-up without the age rule
}

// s3Configs are the bounds of the searches, by name.
func s3Configs() map[string]sConfig {
	return map[string]sConfig{
		"s3small":   {P: 1, N: 2, C: 3, assign: 2, crash: 1, lost: 1, wire: 1},
		"s3lost":    {P: 1, N: 2, C: 3, assign: 2, wire: 1, life: 1, resume: 1},
		"s3taken":   {P: 1, N: 2, C: 3, assign: 2, take: 1, resume: 1},
		"s3fence":   {P: 1, N: 2, C: 3, assign: 2, wire: 1, rev: 1},
		"s3":        {P: 1, N: 3, C: 3, assign: 3, crash: 1, lost: 1, wire: 1},
		"s3two":     {P: 2, N: 1, C: 4, assign: 3, crash: 1, lost: 1},
		"s3clean":   {P: 1, N: 3, C: 3, assign: 3, crash: 1, wire: 1, clean: 2},
		"s3noage":   {P: 1, N: 2, C: 3, assign: 3, wire: 1, clean: 1, noage: true, resume: 1},
		"s3take":    {P: 1, N: 2, C: 3, assign: 3, wire: 1, take: 2, resume: 1},
		"s3life":    {P: 1, N: 3, C: 3, assign: 2, wire: 1, life: 1, resume: 2},
		"s3lifetwo": {P: 2, N: 1, C: 4, assign: 3, life: 1, resume: 1},
		"s3all":     {P: 1, N: 2, C: 3, assign: 2, crash: 1, wire: 1, take: 1, life: 1, clean: 1, resume: 1},
		"s3rev":     {P: 1, N: 3, C: 3, assign: 3, wire: 1, rev: 1},
	}
}

func bit(c int8) uint8 { return 1 << c }

func (m *s3Machine) rec(p int, o int8) uint8 { return 1 << (p*m.cfg.N + int(o)) }

// shown counts a record's copies in objects that are, or were, visible.
func (s *sState) shown(rec uint8) (n int) {
	for i := range s.c[:s.n] {
		for k := range sK {
			if c := &s.c[i]; c.rows[k]&rec != 0 && (c.key[k] == keyVisible || c.key[k] == keyTaken) {
				n++
			}
		}
	}
	return
}

func (c *sCommit) claims(p int) bool { return c.to[p] > c.from[p] }

func (m *s3Machine) pendingOn(s *sState, owns uint8) int8 { // a pending commit that touches one of these partitions, or -1
	for i := int8(0); i < s.n; i++ {
		for p := 0; p < m.cfg.P; p++ {
			if s.r.pend&bit(i) != 0 && s.c[i].claims(p) && owns>>p&1 == 1 {
				return i
			}
		}
	}
	return -1
}
