package iceberg

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
)

// State is what a table says about a pipeline's watermarks.
type State string

// The states. All but Fresh, Half and OK halt the table.
const (
	Fresh       State = "FRESH"                // never ours: it may be bound
	Half        State = "HALF"                 // bound in the table, not yet in the control log
	OK          State = "OK"                   // the vector is what the table's rows say
	Rewound     State = pipeline.HaltRewound   // rolled back, or the branch was replaced
	Lost        State = pipeline.HaltLost      // our snapshots without our property
	Corrupt     State = pipeline.HaltCorrupt   // a damaged property, or one the control log does not know
	Replaced    State = pipeline.HaltReplaced  // another table under the same name
	Stricter    State = pipeline.HaltStricter  // as OK, but it requires more of records than was pinned
	noFloor           = pipeline.Position("")  // no floor recorded
	sealed            = int64(math.MaxInt64)   // sequence number of a header that no expiry makes OK again
	pipelineKey       = "firehosed.pipeline"   // in a snapshot's summary: whose commit it is
	vectorKey         = "firehosed.wm"         // in a snapshot's summary: the vector, or inControl
	fenceKey          = "firehosed.fence"      // in the summary of a fence on a table that is not OK: the stamp
	createdKey        = "firehosed.created-by" // table property: the pipeline that created the table
	inControl         = "control"              // the vector is in the control prefix, under wm/
)

// register is a table's metadata seen as a pipeline's register.
type register struct {
	state  State
	reason string             // of a state that halts, with values
	hdr    *header            // nil: no readable property
	vec    pipeline.Vector    // of hdr
	ours   *icetable.Snapshot // newest retained ancestor of the head that is a commit of ours
	head   *icetable.Snapshot // nil: the branch has no snapshot
}

// effective judges metadata by the rules of docs/design/exactly-once.md 2.3.
// bound is the table's newest `bound` entry of the control log, or nil. Where bound is
// nil although there is a property, the log must have been read after md.
func effective(md icetable.Metadata, name string, bound *pipeline.Entry) register {
	r := registered(md, name, bound)
	if r.state != OK {
		return r
	}
	switch why, err := stricter(md, bound.Pinned); {
	case err != nil:
		return r.is(Stricter, "what it requires cannot be told: %v", err)
	case why != "":
		return r.is(Stricter, "%s", why)
	}
	return r
}

// registered is effective without a look at what the table requires.
func registered(md icetable.Metadata, name string, bound *pipeline.Entry) register {
	hdr, vec, err := decodeHeader(md.Properties(), name)
	r := register{head: headOf(md), hdr: hdr, vec: vec}
	line := ancestry(md, r.head, name, hdr)
	r.ours = line.ours
	switch {
	case bound != nil && bound.UUID != md.TableUUID().String():
		return r.is(Replaced, "the table's uuid is %s, bound is %s", md.TableUUID(), bound.UUID)
	case err != nil:
		return r.is(Corrupt, "%v", err)
	case hdr == nil && line.ours == nil && bound == nil:
		return r.is(Fresh, "")
	case hdr == nil:
		return r.is(Lost, "property %s is gone", headerKey(name))
	case bound == nil && hdr.Seq == 0:
		return r.is(Half, "")
	case bound == nil:
		return r.is(Corrupt, "property %s (seq %d) is unknown to the control log: the control prefix is lost or another one", headerKey(name), hdr.Seq)
	case line.found && line.oursID() == hdr.SID:
		return r.is(OK, "")
	case line.found:
		return r.is(Corrupt, "snapshot %s is ours and newer than the property, which names %s", line.oursID(), hdr.SID)
	case line.missing == "":
		return r.is(Rewound, "snapshot %s of our last commit is no ancestor of the head", hdr.SID)
	case line.missing == hdr.SID:
		return r.is(OK, "")
	case slices.ContainsFunc(hdr.Ring, func(e [2]string) bool { return e[0] == line.missing }):
		return r.is(Rewound, "the head goes back to %s, an older commit of ours than %s", line.missing, hdr.SID)
	case hdr.SNo < line.oldest:
		return r.is(OK, "")
	}
	return r.is(Rewound, "snapshot %s of our last commit is no ancestor of the head", hdr.SID)
}

func (r register) is(s State, format string, args ...any) register {
	r.state, r.reason = s, fmt.Sprintf(format, args...)
	return r
}

// lineage is the retained part of the chain of ancestors, from the head down.
type lineage struct {
	ours    *icetable.Snapshot // first of ours
	found   bool               // the header's snapshot is among them
	oldest  int64              // sequence number of the last one
	missing string             // the parent that expiry took away; "": the chain is whole
}

func (l lineage) oursID() string {
	if l.ours == nil {
		return ""
	}
	return strconv.FormatInt(l.ours.SnapshotID, 10)
}

func ancestry(md icetable.Metadata, cur *icetable.Snapshot, name string, hdr *header) (l lineage) {
	for cur != nil {
		if l.ours == nil && isOurs(cur, name) {
			l.ours = cur
		}
		if hdr != nil && strconv.FormatInt(cur.SnapshotID, 10) == hdr.SID {
			l.found = true
		}
		l.oldest = cur.SequenceNumber
		if cur.ParentSnapshotID == nil {
			return l
		}
		parent := *cur.ParentSnapshotID
		if cur = md.SnapshotByID(parent); cur == nil {
			l.missing = strconv.FormatInt(parent, 10)
		}
	}
	return l
}

func isOurs(s *icetable.Snapshot, name string) bool {
	return s.Summary != nil && s.Summary.Properties[pipelineKey] == name
}

// branchRef returns the main branch, or nil.
func branchRef(md icetable.Metadata) *icetable.SnapshotRef {
	for name, ref := range md.Refs() {
		if name == icetable.MainBranch {
			return &ref
		}
	}
	return nil
}

func headOf(md icetable.Metadata) *icetable.Snapshot {
	if ref := branchRef(md); ref != nil {
		return md.SnapshotByID(ref.SnapshotID)
	}
	return nil
}

// verdict is what claims are worth on one base.
type verdict int

const (
	apply   verdict = iota // every mark equals its From
	done                   // every mark has reached its To
	stale                  // somebody else moved a mark
	rewound                // a mark is below its From: it was there before
)

// judge compares claims with the vector of one base. The zero cursor is ABSENT
// and below every position.
func judge(claims []pipeline.Claim, v pipeline.Vector) verdict {
	in, moved := 0, false
	for i := range claims {
		c := &claims[i]
		at := v[c.Partition].At.At
		switch {
		case at >= c.To.At:
			in++
		case at < c.From.At:
			return rewound
		case at != c.From.At:
			moved = true
		}
	}
	switch {
	case in == len(claims) && in > 0:
		return done
	case in > 0 || moved:
		return stale
	}
	return apply
}

// advance returns the vector after the claims. Floors of another run than st's are void.
func advance(v pipeline.Vector, claims []pipeline.Claim, was, st pipeline.Stamp) pipeline.Vector {
	next := v.Clone()
	if !was.SameRun(st) {
		for p, m := range next {
			m.Floor = noFloor
			next[p] = m
		}
	}
	for i := range claims {
		c := &claims[i]
		m := next[c.Partition]
		m.At = c.To
		m.Floor = max(m.Floor, c.Floor)
		next[c.Partition] = m
	}
	return next
}
