package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

func testPart(id string) pipeline.Partition { return partition(arn, time.UnixMilli(1), id) }

// TestReadable: children wait for every parent of theirs that is known.
func TestReadable(t *testing.T) {
	f := func(what, shards string, want ...string) {
		t.Helper()
		views := map[pipeline.Partition]*view{}
		for _, s := range strings.Fields(shards) { // id<parent,parent with ! if it has ended
			name, parents, _ := strings.Cut(s, "<")
			id, ended := strings.CutSuffix(name, "!")
			v := &view{part: testPart(id), ended: ended}
			for p := range strings.SplitSeq(parents, ",") {
				if p != "" {
					v.parents = append(v.parents, testPart(p))
				}
			}
			views[v.part] = v
		}
		var got []string
		for _, v := range readable(views) {
			got = append(got, v.part.ID)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	f("parents first", "a b c<a d<a", "a", "b")
	f("children of what has ended", "a! b c<a d<a", "b", "c", "d")
	f("both parents of a merge", "a! b c<a,b", "b")
	f("then", "a! b! c<a,b", "c")
	f("a parent of which nothing is known", "c<a,b", "c")
	f("one known, one not", "b c<a,b", "b")
	f("three generations", "a! b!<a c<b d<c", "c")
	f("a replay took the end of a back", "a b!<a c<b", "a", "c")
}

// world of workers that share shards until nothing moves.
func settle(t *testing.T, workers []string, views []*view) (rounds int) {
	t.Helper()
	for rounds = 1; rounds < 20; rounds++ {
		moved := false
		for _, me := range workers {
			take, ask := share(me, views)
			for _, v := range take {
				if v.lease.Owner != me {
					v.lease.Owner, v.lease.Next, v.alive, moved = me, "", true, true
				}
			}
			for _, v := range ask {
				if v.lease.Owner == me || v.lease.Next != "" || !v.alive {
					t.Fatalf("%s asks for %+v", me, v.lease)
				}
				v.lease.Next, moved = me, true
			}
		}
		for _, v := range views { // owners hand over
			if v.lease.Next != "" && slices.Contains(workers, v.lease.Owner) {
				v.lease.Owner, v.lease.Next = v.lease.Next, ""
			}
		}
		if !moved {
			return rounds
		}
	}
	t.Fatal("shards keep moving")
	return 0
}

// TestShare: workers come and go, and each has its share, with no more moves than needed.
func TestShare(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 100} {
		var views []*view
		for i := range n {
			views = append(views, &view{part: testPart(fmt.Sprintf("%03d", i))})
		}
		check := func(workers ...string) {
			t.Helper()
			before := map[*view]string{}
			for _, v := range views {
				before[v] = v.lease.Owner
			}
			if rounds := settle(t, workers, views); rounds > 6 {
				t.Errorf("%d shards, %v: settled after %d rounds", n, workers, rounds)
			}
			count, moves := map[string]int{}, 0
			for _, v := range views {
				count[v.lease.Owner]++
				if was := before[v]; was != v.lease.Owner && slices.Contains(workers, was) {
					moves++
				}
			}
			for _, w := range workers {
				if c := count[w]; c < n/len(workers) || c > (n+len(workers)-1)/len(workers) {
					t.Errorf("%d shards, %v: %v", n, workers, count)
				}
			}
			if moves > n/len(workers)+1 {
				t.Errorf("%d shards, %v: %d moved", n, workers, moves)
			}
		}
		check("a")
		check("a", "b")
		check("a", "b", "c")
		for _, v := range views { // b is silent
			v.alive = v.lease.Owner != "b"
		}
		check("a", "c")
	}
}

// TestShareHandedOver: what was handed to a worker is its own, and what is on its way
// is not asked for again.
func TestShareHandedOver(t *testing.T) {
	mine := &view{part: testPart("0"), lease: lease{Owner: "me"}, alive: true}
	coming := &view{part: testPart("1"), lease: lease{Owner: "x", Next: "me"}, alive: true}
	other := &view{part: testPart("2"), lease: lease{Owner: "x"}, alive: true}
	more := &view{part: testPart("3"), lease: lease{Owner: "x"}, alive: true}
	take, ask := share("me", []*view{mine, coming, other, more})
	if !slices.Equal(take, []*view{mine}) || len(ask) != 0 {
		t.Errorf("take %v, ask %v", take, ask)
	}
}
