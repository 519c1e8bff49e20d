package s3sink

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// The protocol of docs/design/exactly-once.md 3.1, with the product's own code, walked at
// random: two workers of which each may stand still at any call while the other goes on,
// answers that are lost, requests that arrive late, crashes, consumers that take objects,
// a lifecycle rule, new revisions, an operator. After every step a judge looks at every
// record.

var (
	firstSeed = flag.Uint64("first", 0, "the first seed of TestProtocol")
	seeds     = flag.Uint64("seeds", 150, "how many of them")
)

const simRecords = 5 // of a partition

var simPartitions = []pipeline.Partition{p0, p1}

type sim struct {
	*world
	rng     *rand.Rand
	workers [2]*simWorker
	spare   map[string]int // how often each event may still happen
	depth   int            // of what happens while somebody stands still
	quiet   bool           // no faults any more
	still   string         // the commit that an operator replays: consumers stand still
	lost    bool           // somebody has reported lost parts
	cause   bool           // a consumer or a lifecycle rule may be to blame for that
	rev     int64

	deciding bool // an operator is at work

	taken  []string          // records in objects that consumers took
	seen   map[string]string // what each key held when it was first seen
	trace  []string
	broken string
}

type simWorker struct {
	*worker
	busy, crashed bool
	owns          []pipeline.Partition
	marks         map[pipeline.Partition]int // nil: not asked yet
	d             pipeline.Delivery
	claims        []pipeline.Claim
}

func newSim(t *testing.T, seed uint64) *sim {
	w := partitioned(t)
	s := &sim{world: w, rng: rand.New(rand.NewPCG(seed, 7)), rev: 1, seen: map[string]string{}}
	s.spare = map[string]int{"crash": 3, "fault": 12, "take": 3, "fence": 1}
	if s.rng.IntN(3) == 0 {
		s.spare[[]string{"lifecycle", "clean"}[s.rng.IntN(2)]] = 1
	}
	if s.rng.IntN(2) == 0 {
		w.bucket.RepeatComplete()
	}
	for i := range s.workers {
		s.workers[i] = s.start()
	}
	return s
}

func (s *sim) note(format string, args ...any) {
	s.trace = append(s.trace, strings.Repeat("  ", s.depth)+fmt.Sprintf(format, args...))
}

func (s *sim) breaks(format string, args ...any) {
	if s.broken == "" {
		s.broken = fmt.Sprintf(format, args...)
	}
}

func (s *sim) often(what string, n int) bool {
	if s.quiet || s.spare[what] == 0 || s.rng.IntN(n) != 0 {
		return false
	}
	s.spare[what]--
	return true
}

func (s *sim) start() *simWorker {
	k := &simWorker{worker: s.worker()}
	k.st.Rev = s.rev
	k.sink.completers = 1 // so that a seed is one run
	k.bucket.SetFaults(s.decide(k, "bucket"))
	k.control.SetFaults(s.decide(k, "control"))
	pause := k.sink.pause
	k.sink.pause = func(ctx context.Context, attempt int) error {
		if k.crashed {
			return objstore.ErrCrashed
		}
		return pause(ctx, attempt)
	}
	return k
}

// decide lets things happen before a call, and decides what becomes of it.
func (s *sim) decide(k *simWorker, where string) func(objstore.Call) objstore.Outcome {
	return func(c objstore.Call) objstore.Outcome {
		if k.crashed {
			return objstore.Crash
		}
		if !s.quiet && s.depth < 2 && s.rng.IntN(10) == 0 {
			s.note("(before %s %s of %s)", c.Op, c.Key, where)
			s.depth++
			for range 1 + s.rng.IntN(4) {
				s.act()
			}
			s.depth--
		}
		outcome := objstore.Pass
		switch {
		case s.often("crash", 40):
			k.crashed = true
			outcome = objstore.Crash + objstore.Outcome(s.rng.IntN(2))
		case s.often("fault", 12):
			outcome = objstore.Fail + objstore.Outcome(s.rng.IntN(3))
		}
		if outcome != objstore.Pass {
			s.note("outcome %d of %s %s", outcome, c.Op, c.Key)
		}
		return outcome
	}
}

func (s *sim) act() {
	switch n := s.rng.IntN(21); {
	case n < 14:
		s.turn(n % 2)
	case n == 14:
		s.note("%d late requests arrive", s.bucket.Land()+s.control.Land())
	case n < 17 && s.often("take", 2):
		s.consume()
	case n == 17 && s.often("lifecycle", 2):
		s.cause = true
		gone, err := s.bucket.Sweep(s.Context(), "", time.Now().Add(time.Hour))
		s.note("a lifecycle rule takes %d uploads, %v", gone, err)
	case n == 18 && s.lost && !s.deciding:
		s.operate()
	case n == 19 && s.often("fence", 3):
		s.fence()
	case n == 20 && s.often("clean", 2):
		s.clean()
	}
	s.judge()
}

// turn lets a worker do its next step: ask for marks, stage, commit.
func (s *sim) turn(i int) {
	k := s.workers[i]
	switch {
	case k.busy: // it stands still
		return
	case k.crashed:
		s.note("worker %d starts anew", i)
		s.workers[i] = s.start()
		return
	}
	k.busy = true
	defer func() { k.busy = false }()
	switch {
	case k.marks == nil:
		s.note("worker %d asks for marks", i)
		s.assign(k)
		s.note("worker %d has marks %v", i, slices.Collect(maps.Values(k.marks)))
	case k.d == nil:
		s.note("worker %d stages", i)
		s.stage(k)
	default:
		s.note("worker %d commits %v", i, spans(k.claims))
		s.commit(k)
	}
}

func spans(claims []pipeline.Claim) (out []string) {
	for _, c := range claims {
		out = append(out, fmt.Sprintf("%s:[%.19s,%.19s)", c.Partition.ID, strings.TrimLeft(string(c.From.At), "0"), strings.TrimLeft(string(c.To.At), "0")))
	}
	return out
}

func (s *sim) assign(k *simWorker) {
	k.st.Rev = s.rev
	k.owns = simPartitions
	if n := s.rng.IntN(4); n < 2 && !s.quiet {
		k.owns = simPartitions[n : n+1]
	}
	t, err := k.sink.Table(s.Context(), "t", k.st)
	if err != nil {
		s.fails(err)
		return
	}
	l, err := t.Watermarks(s.Context(), k.owns)
	if err != nil {
		s.fails(err)
		return
	}
	k.marks = map[pipeline.Partition]int{}
	for _, p := range k.owns {
		k.marks[p] = posOf(s, l.Marks[p].At.At)
		s.reported(p, k.marks[p])
	}
}

func (s *sim) fails(err error) {
	s.note("%v", err)
	h := (*pipeline.Halt)(nil)
	if !errors.As(err, &h) {
		return
	}
	s.lost = true
	if h.Class != pipeline.HaltPartsLost || !s.cause {
		s.breaks("nobody is to blame: %v", err)
	}
}

func (s *sim) stage(k *simWorker) {
	t, err := k.sink.Table(s.Context(), "t", k.st)
	if err != nil {
		s.fails(err)
		k.marks = nil
		return
	}
	d, err := t.Begin(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	k.claims = nil
	for _, p := range k.owns {
		from := k.marks[p]
		first := max(from, 0)
		to := min(simRecords, first+1+s.rng.IntN(3))
		if s.quiet {
			to = simRecords
		}
		if first >= to {
			continue
		}
		for i := first; i < to && err == nil; i++ {
			err = write(s.Context(), t, d, batch(p, i, i+1, string("ab"[(i+len(p.ID))%2])))
		}
		k.claims = append(k.claims, claimOf(p, from, to))
	}
	if err != nil || len(k.claims) == 0 {
		_ = d.Abort(s.Context())
		k.marks = nil
		return
	}
	k.d = d
}

func (s *sim) commit(k *simWorker) {
	d := k.d
	k.d = nil
	err := d.Commit(s.Context(), k.st, k.claims, "")
	if err != nil {
		s.fails(err)
		k.marks = nil
		return
	}
	s.note("it is in")
	for _, c := range k.claims {
		k.marks[c.Partition] = posOf(s, c.To.At)
		s.reported(c.Partition, k.marks[c.Partition])
	}
}

// consume takes an object away.
func (s *sim) consume() {
	keys := s.keys()
	keys = slices.DeleteFunc(keys, func(key string) bool { return s.still != "" && strings.Contains(key, s.still) })
	if len(keys) == 0 || s.still != "" {
		return
	}
	key := keys[s.rng.IntN(len(keys))]
	s.cause = true
	s.note("a consumer takes %s", key)
	s.judge()
	s.taken = append(s.taken, split(s.seen[key])...)
	if err := s.bucket.Delete(s.Context(), key); err != nil {
		s.Fatal(err)
	}
}

func split(data string) []string { return strings.Split(strings.TrimSuffix(data, "\n"), "\n") }

func (s *sim) fence() {
	if s.register() == nil {
		return
	}
	k := s.start()
	k.st.Rev = s.rev + 1
	_, err := k.sink.Fence(s.Context(), "t", k.st)
	s.note("revision %d fences: %v", k.st.Rev, err)
	s.rev++ // it may be there whatever the answer was
	for err != nil && s.quiet {
		_, err = s.start().sink.Fence(s.Context(), "t", k.st)
	}
}

// clean gives uploads up that no pending commit has, however young: that can cost a
// commit its parts which is sent later, and nothing else.
func (s *sim) clean() {
	if s.register() == nil {
		return
	}
	s.cause = true
	k := s.start()
	k.sink.bucket = aged{k.bucket, 2 * orphanAge}
	n, err := k.sink.Clean(s.Context(), "t")
	s.note("%d uploads are cleaned up, %v", n, err)
}

// operate decides about commits that cannot be published.
func (s *sim) operate() {
	s.deciding = true
	defer func() { s.deciding = false }()
	k := s.start()
	stuck, err := k.sink.Stuck(s.Context(), "t")
	if err != nil {
		s.note("an operator looks: %v", err)
		return
	}
	if len(stuck) == 0 {
		s.still = ""
	}
	for _, c := range stuck {
		m := s.manifest(c.Commit)
		replay := !slices.ContainsFunc(s.taken, func(line string) bool { return slices.Contains(linesOf(m), line) })
		if replay && (c.Replaying || s.still == c.Commit || s.rng.IntN(3) > 0) {
			s.still = c.Commit
			err = k.sink.Replay(s.Context(), "t", c.Commit)
			s.note("an operator replays %s: %v", c.Commit, err)
		} else {
			_, err = k.sink.Skip(s.Context(), "t", c.Commit)
			s.note("an operator skips %s: %v", c.Commit, err)
		}
		if err == nil {
			s.still = ""
		}
	}
}

// simulate returns what broke, with the steps to it.
func simulate(t *testing.T, seed uint64) string {
	t.Helper()
	s := newSim(t, seed)
	for range 40 {
		if s.act(); s.broken != "" {
			break
		}
	}
	if s.broken == "" {
		s.heal()
	}
	if s.broken == "" {
		return ""
	}
	return fmt.Sprintf("seed %d: %s after\n  %s\nrepeat with -first %d -seeds 1", seed, s.broken, strings.Join(s.trace, "\n  "), seed)
}

func TestProtocol(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		if broken := simulate(t, seed); broken != "" {
			t.Fatal(broken)
		}
	}
}
