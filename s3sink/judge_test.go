package s3sink

import (
	"fmt"

	"github.com/firehosed/firehosed/pipeline"
)

// linesOf returns the records that a commit claims.
func linesOf(m *manifest) (lines []string) {
	for _, c := range m.Claims {
		n, _ := fmt.Sscanf(string(c.From), "%d", new(int))
		from, to := 0, 0
		if n == 1 {
			_, _ = fmt.Sscanf(string(c.From), "%d", &from)
		}
		_, _ = fmt.Sscanf(string(c.To), "%d", &to)
		for i := from; i < to; i++ {
			lines = append(lines, line(pipeline.Partition{ID: c.ID}, i))
		}
	}
	return lines
}

func line(p pipeline.Partition, i int) string {
	return fmt.Sprintf("%s %s %d", string("ab"[(i+len(p.ID))%2]), p.ID, i)
}

// away returns the records that operators decided to leave out.
func (s *sim) away() map[string]bool {
	out := map[string]bool{}
	r := s.register()
	if r == nil {
		return out
	}
	for name := r.Head; name != ""; {
		m := s.manifest(name)
		if m.Action == actSkip {
			for _, l := range linesOf(s.manifest(m.Commit)) {
				out[l] = true
			}
		}
		name = m.Prev
	}
	return out
}

// copies counts the objects that a record is in, or was when a consumer took them.
func (s *sim) copies() map[string]int {
	n := map[string]int{}
	for _, l := range append(s.lines(), s.taken...) {
		n[l]++
	}
	delete(n, "")
	return n
}

// reported wants all records below a mark to be there.
func (s *sim) reported(p pipeline.Partition, mark int) {
	copies, away := s.copies(), s.away()
	for i := range mark {
		if l := line(p, i); copies[l] == 0 && !away[l] {
			s.breaks("I3: mark %d of %s was reported, %q is not visible", mark, p.ID, l)
		}
	}
}

// judge wants every record to be in one object at most, and no key to change.
func (s *sim) judge() {
	for l, n := range s.copies() {
		if n > 1 {
			s.breaks("I1: %q is there %d times", l, n)
		}
	}
	for _, key := range s.keys() {
		data, _, err := s.bucket.Get(s.Context(), key)
		if err != nil {
			s.Fatal(err)
		}
		if old, ok := s.seen[key]; ok && old != string(data) {
			s.breaks("%s was overwritten", key)
		}
		s.seen[key] = string(data)
	}
}

// heal ends all faults: a fresh worker, and an operator, must bring everything in.
func (s *sim) heal() {
	s.quiet, s.depth = true, 0
	s.note("recovery")
	if s.rng.IntN(2) == 0 {
		s.note("%d late requests arrive", s.bucket.Land()+s.control.Land())
	}
	for range 20 {
		s.workers[0] = s.start()
		s.lost = false
		for range 3 {
			s.turn(0)
		}
		if s.lost {
			s.operate()
		}
		s.judge()
		if r := s.register(); len(r.Pending) == 0 && r.vec[p0].At.At == pos(simRecords) && r.vec[p1].At.At == pos(simRecords) {
			break
		}
	}
	s.note("%d late requests arrive", s.bucket.Land()+s.control.Land())
	s.judge()
	copies, away := s.copies(), s.away()
	for _, p := range simPartitions {
		for i := range simRecords {
			if l := line(p, i); copies[l] == 0 && !away[l] {
				s.breaks("recovery: %q is missing", l)
			}
		}
	}
	if r := s.register(); len(r.Pending) > 0 {
		s.breaks("recovery: %v is pending", r.Pending)
	}
}
