package iceberg

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
)

// The commit protocol as in internal/model, walked at random, with the product's own
// effective, judge, advance and encode, and with iceberg-go's own rules for
// requirements and metadata: two workers, requests that are late, repeated or lost,
// commits of others, expiry, rollback, resume. After every step the table must hold
// each record below its mark once, and none above.

const walkRecords = 4

type job struct {
	sid   int64
	from  int // records [from, to)
	to    int
	claim pipeline.Claim
}

// sent is a commit request on the wire.
type sent struct {
	batch job
	base  int64
	props icego.Properties
	seq   int64
}

type protocol struct {
	*history
	rng    *rand.Rand
	mutant string // a rule that is left out
	rows   map[int64][walkRecords]int
	away   [walkRecords]bool // left out by an operator
	undone [walkRecords]bool // taken by a rollback that nobody has answered
	work   [2]*job
	halted [2]bool
	wire   []sent
	next   int64
	spare  map[string]int // how often each fault may still happen
	trace  []string
}

func newProtocol(t *testing.T, seed uint64, mutant string) *protocol {
	t.Helper()
	p := &protocol{history: newHistory(t), rng: rand.New(rand.NewPCG(seed, 3)), mutant: mutant, rows: map[int64][walkRecords]int{}, next: 5000}
	p.do("bind")
	p.do("bound")
	p.rows[headOf(p.md).SnapshotID] = [walkRecords]int{}
	p.spare = map[string]int{"foreign": 1, "crash": 2}
	// Both together can take all evidence: the known limit of the design.
	if p.rng.IntN(2) == 0 {
		p.spare["rollback"] = 1
	} else {
		p.spare["expire"] = 1
	}
	return p
}

func (p *protocol) mark(vec pipeline.Vector) int {
	if vec[p0].At.At == "" {
		return -1
	}
	var n int
	if _, err := fmt.Sscanf(string(vec[p0].At.At), "%d", &n); err != nil {
		p.Fatal(err)
	}
	return n
}

// worker takes one turn of the commit loop of 2.4.
func (p *protocol) worker(k int) {
	r := effective(p.md, "p", p.bound)
	if r.state != OK && p.mutant != "norewind" {
		p.halted[k], p.work[k] = true, nil
		return
	}
	p.halted[k] = false
	at := p.mark(r.vec)
	if p.work[k] == nil {
		if max(at, 0) < walkRecords {
			p.next++
			from := max(at, 0)
			to := min(walkRecords, from+1+p.rng.IntN(2))
			p.work[k] = &job{p.next, from, to, claim(p0, at, to)}
		}
		return
	}
	b := *p.work[k]
	v := judge([]pipeline.Claim{b.claim}, r.vec)
	if p.mutant == "nocheck" || p.mutant == "stalelow" && v == stale {
		v = apply
	}
	if v != apply { // it is in, somebody else was faster, or the table went back: begin anew at the mark
		p.work[k] = nil
		return
	}
	st := pipeline.Stamp{Pipeline: "p", Rev: 1}
	e := continued(r.hdr, advance(r.vec, []pipeline.Claim{b.claim}, st, st), st)
	seq := p.md.LastSequenceNumber() + 1
	set, _, err := e.header(b.sid, seq).encode(e.vec, "p", chunkBytes, p.md.Properties())
	if err != nil {
		p.Fatal(err)
	}
	if len(p.wire) < 3 {
		p.wire = append(p.wire, sent{b, r.head.SnapshotID, set, seq})
	}
}

// deliver lets a request reach the catalog, perhaps not for the last time.
func (p *protocol) deliver(i int) {
	s := p.wire[i]
	if p.rng.IntN(3) > 0 {
		p.wire = append(p.wire[:i:i], p.wire[i+1:]...)
	}
	head := headOf(p.md)
	if p.mutant == "nopin" { // the library refreshes and replays
		s.base, s.seq = head.SnapshotID, p.md.LastSequenceNumber()+1
	}
	if icetable.AssertRefSnapshotID(icetable.MainBranch, &s.base).Validate(p.md) != nil {
		return
	}
	snap := &icetable.Snapshot{
		SnapshotID: s.batch.sid, ParentSnapshotID: &s.base, SequenceNumber: s.seq, TimestampMs: timestamp(p.md, head), ManifestList: "x",
		SchemaID: &p.md.CurrentSchema().ID, Summary: &icetable.Summary{Operation: icetable.OpAppend, Properties: icego.Properties{pipelineKey: "p"}},
	}
	ups := []icetable.Update{icetable.NewSetPropertiesUpdate(s.props), icetable.NewAddSnapshotUpdate(snap), headUpdate(p.md, s.batch.sid)}
	md, err := icetable.UpdateTableMetadata(p.md, ups, "")
	if err != nil {
		return // its number was used, or its id is known
	}
	rows := p.rows[head.SnapshotID]
	for i := s.batch.from; i < s.batch.to; i++ {
		rows[i]++
	}
	p.md, p.rows[s.batch.sid] = md, rows
}

// fault lets something happen that no worker does.
func (p *protocol) fault(what string) {
	head := headOf(p.md)
	rows := p.rows[head.SnapshotID]
	switch what {
	case "foreign":
		p.do("foreign")
		p.rows[headOf(p.md).SnapshotID] = rows
	case "crash":
		p.work[p.rng.IntN(2)] = nil
	case "expire":
		p.do("expire:1")
	case "rollback":
		if head.ParentSnapshotID == nil {
			return
		}
		p.do("rollback:1")
		for i, n := range p.rows[headOf(p.md).SnapshotID] {
			p.undone[i] = p.undone[i] || rows[i] > n
		}
	}
	p.spare[what]--
}

// resume is an operator's table resume --skip.
func (p *protocol) resume() {
	r := effective(p.md, "p", p.bound)
	if r.state != Rewound {
		return
	}
	rows := p.rows[r.head.SnapshotID]
	p.add(r.head, continued(r.hdr, r.vec, pipeline.Stamp{Pipeline: "p", Rev: 1}))
	p.rows[headOf(p.md).SnapshotID] = rows
	for i, gone := range p.undone {
		p.away[i] = p.away[i] || gone
	}
	p.undone = [walkRecords]bool{}
}

func (p *protocol) step() {
	var acts []string
	acts = append(acts, "worker 0", "worker 1", "worker 0", "worker 1", "resume")
	for i := range p.wire {
		acts = append(acts, fmt.Sprintf("deliver %d", i), fmt.Sprintf("deliver %d", i))
	}
	for _, what := range []string{"foreign", "crash", "expire", "rollback"} {
		if p.spare[what] > 0 && p.rng.IntN(4) == 0 {
			acts = append(acts, what)
		}
	}
	act := acts[p.rng.IntN(len(acts))]
	p.trace = append(p.trace, act)
	var n int
	switch word, arg, _ := strings.Cut(act, " "); word {
	case "worker":
		_, _ = fmt.Sscan(arg, &n)
		p.worker(n)
	case "deliver":
		_, _ = fmt.Sscan(arg, &n)
		p.deliver(n)
	case "resume":
		p.resume()
	default:
		p.fault(word)
	}
}

// check is I1 and I3 of the design.
func (p *protocol) check() string {
	r := effective(p.md, "p", p.bound)
	rows := p.rows[r.head.SnapshotID]
	at := p.mark(r.vec)
	for i, n := range rows {
		switch {
		case n > 1:
			return fmt.Sprintf("I1: record %d is there %d times", i, n)
		case r.state != OK:
		case i < at && n == 0 && !p.away[i]:
			return fmt.Sprintf("I3: record %d is below the mark %d and not there", i, at)
		case i >= at && n == 1:
			return fmt.Sprintf("I3: record %d is there and not below the mark %d", i, at)
		}
	}
	return ""
}

// walk returns what broke, with the steps to it.
func walk(t *testing.T, seed uint64, mutant string) (broken string, complete bool) {
	t.Helper()
	p := newProtocol(t, seed, mutant)
	for range 60 {
		p.step()
		if b := p.check(); b != "" {
			return fmt.Sprintf("seed %d: %s after\n  %s", seed, b, strings.Join(p.trace, "\n  ")), false
		}
	}
	return "", p.mark(effective(p.md, "p", p.bound).vec) == walkRecords
}

func TestProtocol(t *testing.T) {
	finished := 0
	for seed := range uint64(150) {
		broken, complete := walk(t, seed, "")
		if broken != "" {
			t.Fatal(broken)
		}
		if complete {
			finished++
		}
	}
	if finished < 50 {
		t.Errorf("only %d of 150 walks wrote every record", finished)
	}
}

// Each rule that is left out must show.
func TestProtocolMutants(t *testing.T) {
	for _, mutant := range []string{"nopin", "nocheck", "stalelow", "norewind"} {
		killed := false
		for seed := uint64(0); seed < 400 && !killed; seed++ {
			broken, _ := walk(t, seed, mutant)
			if killed = broken != ""; killed {
				t.Logf("%s: %s", mutant, strings.SplitN(broken, "\n", 2)[0])
			}
		}
		if !killed {
			t.Errorf("%s survived", mutant)
		}
	}
}
