package kinesis

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/firehosed/firehosed/pipeline"
)

// view is what a worker knows of a shard that is listed or has a lease.
type view struct {
	part    pipeline.Partition
	listed  bool
	parents []pipeline.Partition // none if it is not listed
	lease   lease
	alive   bool // the lease's owner has shown signs of life lately
	ended   bool // its reading would begin at END
}

// readable returns the shards that are to be read now: not read to their end, with
// every parent read to its end. A parent of which nothing is known is not ours:
// retention has removed it before the pipeline began. So the records of a partition
// key keep their order over splits and merges.
func readable(views map[pipeline.Partition]*view) (rs []*view) {
	for _, v := range views {
		waits := slices.ContainsFunc(v.parents, func(p pipeline.Partition) bool {
			return views[p] != nil && !views[p].ended
		})
		if !v.ended && !waits {
			rs = append(rs, v)
		}
	}
	slices.SortFunc(rs, func(a, b *view) int { return cmp.Compare(a.part.Key(), b.part.Key()) })
	return rs
}

// share says which of the readable shards a worker takes, and which it asks others
// for, so that all have the same number, give or take one. A shard that nobody reads
// is taken before one that somebody does.
func share(me string, rs []*view) (take, ask []*view) {
	has := map[string][]*view{me: nil} // by the worker that has it, or will
	var free []*view
	for _, v := range rs {
		switch l := v.lease; {
		case l.Owner == me && l.Next == "":
			has[me] = append(has[me], v)
			take = append(take, v) // if it was handed over just now
		case l.Owner == "" || !v.alive:
			free = append(free, v)
		case l.Next != "":
			has[l.Next] = append(has[l.Next], v)
			if has[l.Owner] == nil {
				has[l.Owner] = []*view{} // a worker without shards is one, too
			}
		default:
			has[l.Owner] = append(has[l.Owner], v)
		}
	}
	want := (len(rs)+len(has)-1)/len(has) - len(has[me])
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] }) // others look at the same list
	for _, v := range free[:max(0, min(want, len(free)))] {
		take = append(take, v)
		has[me] = append(has[me], v)
	}
	if len(free) > 0 {
		return take, nil // who lacks shards takes those first
	}
	for {
		most := ""
		for w, vs := range has {
			if w != me && (most == "" || len(vs) > len(has[most]) || len(vs) == len(has[most]) && w < most) {
				most = w
			}
		}
		i := slices.IndexFunc(has[most], func(v *view) bool { return v.lease.Next == "" })
		if len(has[most])-len(has[me]) < 2 || i < 0 {
			return take, ask
		}
		v := has[most][i]
		has[most] = slices.Delete(has[most], i, i+1)
		has[me] = append(has[me], v)
		ask = append(ask, v)
	}
}
