package inspect

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"sort"

	"github.com/firehosed/firehosed/pipeline"
)

// unit is what conservation counts: one of the JSON values of a record.
type unit struct {
	part int32
	sub  int32
	at   pipeline.Position // the place of the record
}

// item is a unit with what its row holds; no value where those are not compared.
type item struct {
	unit
	value sum
}

// windows adds up units by table, partition and run of records: a count, and a
// 128-bit sum of hashes keyed for this run, of what ought to be there less what is.
// Windows are cut while the source is read. When there are too many, neighbours
// merge.
type windows struct {
	width int64 // records a window
	limit int64 // windows, sums, and also units that details may hold at once
	seeds [2]maphash.Seed
	parts map[int32]*cuts
	count int64 // windows of all parts
	sums  map[windowKey]windowSum
}

// cuts are the windows of a partition.
type cuts struct {
	all     []window // ascending; between two spans there is a gap
	records int64    // in the last one
	at      int      // where a unit was added last: the next is near
}

type window struct {
	run
	units int64 // that were added or taken away
}

type windowKey struct {
	table, part int32
	index       int
}

type windowSum struct {
	count  int64
	hi, lo uint64
}

// windowBytes is what a window with its sum, or a unit in details, takes at most.
const windowBytes = 256

const firstWidth = 64

func newWindows(memory int64) *windows {
	return &windows{
		width: firstWidth, limit: max(64, memory/windowBytes),
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		parts: map[int32]*cuts{}, sums: map[windowKey]windowSum{},
	}
}

// begin begins a span. Those of a partition come in order.
func (w *windows) begin(s span) {
	c := w.parts[s.part.index]
	if c == nil {
		c = &cuts{}
		w.parts[s.part.index] = c
	}
	c.all, c.records = append(c.all, window{run: s.run}), 0
	w.count++
}

// records cuts windows for records of the span that was begun last, in order.
func (w *windows) records(part int32, places []pipeline.Position) {
	c := w.parts[part]
	for _, at := range places {
		if c.records++; c.records <= w.width {
			continue
		}
		if w.count >= w.limit {
			w.merge()
			continue
		}
		last := &c.all[len(c.all)-1]
		c.all, c.records = append(c.all, window{run: run{at, last.to}}), 1
		c.all[len(c.all)-2].to = at
		w.count++
	}
}

// find returns the window of a place that is in a span.
func (c *cuts) find(at pipeline.Position) int {
	if c.at >= len(c.all) || !c.all[c.at].has(at) {
		c.at = sort.Search(len(c.all), func(i int) bool { return at < c.all[i].to })
	}
	return c.at
}

// add counts an item for a table, or takes it away. Its place is in a span.
func (w *windows) add(table int32, u item, sign int64) {
	c := w.parts[u.part]
	k := windowKey{table, u.part, c.find(u.at)}
	s, ok := w.sums[k]
	if !ok && int64(len(w.sums)) >= w.limit {
		w.merge()
		w.add(table, u, sign)
		return
	}
	c.all[k.index].units++
	hi, lo := maphash.Comparable(w.seeds[0], u), maphash.Comparable(w.seeds[1], u)
	t := windowSum{sign, hi, lo}
	if sign < 0 {
		t = t.negated()
	}
	w.sums[k] = s.plus(t)
}

func (s windowSum) plus(t windowSum) windowSum {
	var carry uint64
	s.count += t.count
	s.lo, carry = bits.Add64(s.lo, t.lo, 0)
	s.hi, _ = bits.Add64(s.hi, t.hi, carry)
	return s
}

func (s windowSum) negated() windowSum {
	lo, borrow := bits.Sub64(0, s.lo, 0)
	hi, _ := bits.Sub64(0, s.hi, borrow)
	return windowSum{count: s.count, hi: hi, lo: lo}
}

// merge doubles the width. If spans, tables and partitions alone are too many, the
// limit gives way: there is nothing left to merge.
func (w *windows) merge() {
	w.width *= 2
	moved := map[int32][]int{} // by partition: the new index of every window
	before := w.count
	w.count = 0
	for part, c := range w.parts {
		moved[part] = c.merge(w.width / 2)
		w.count += int64(len(c.all))
	}
	sums := make(map[windowKey]windowSum, len(w.sums)/2)
	for k, s := range w.sums {
		k.index = moved[k.part][k.index]
		sums[k] = sums[k].plus(s)
	}
	if w.count == before && len(sums) == len(w.sums) {
		w.limit *= 2
	}
	w.sums = sums
}

// merge joins every second window with the one before, unless there is a gap between
// them, and returns where each went.
func (c *cuts) merge(width int64) []int {
	moved := make([]int, len(c.all))
	kept := c.all[:0]
	alone := false // the last of kept takes another
	for i, next := range c.all {
		if alone && kept[len(kept)-1].to == next.from {
			last := &kept[len(kept)-1]
			last.to, last.units = next.to, last.units+next.units
			alone = false
		} else {
			kept = append(kept, next)
			alone = true
		}
		moved[i] = len(kept) - 1
	}
	if !alone { // the last window took a full one
		c.records += width
	}
	c.all, c.at = kept, 0
	return moved
}

// differing returns the windows in which some table does not add up to nothing, in
// order.
func (w *windows) differing(parts []*part) []span {
	var out []span
	for k, s := range w.sums {
		if s != (windowSum{}) {
			win := w.parts[k.part].all[k.index]
			out = append(out, span{parts[k.part], win.run, win.units})
		}
	}
	slices.SortFunc(out, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.part.index, b.part.index), cmp.Compare(a.from, b.from))
	})
	return slices.CompactFunc(out, func(a, b span) bool { return a.part == b.part && a.from == b.from })
}
