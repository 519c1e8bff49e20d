package inspect

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
)

// unit is what conservation counts: one of the JSON values of a record.
type unit struct {
	part int32
	sub  int32
	off  int64
}

// windows adds up units by table, partition and run of offsets: a count, and a
// 128-bit sum of hashes keyed for this run, of what ought to be there less what is.
// When they do not fit any more, neighbours merge.
type windows struct {
	width int64 // offsets a window
	limit int64 // windows, and also positions that details may hold at once
	seeds [2]maphash.Seed
	sums  map[windowKey]windowSum
}

type windowKey struct {
	table, part int32
	index       int64
}

type windowSum struct {
	count  int64
	hi, lo uint64
}

// windowBytes is what a window, or a unit in details, takes at most in a map.
const windowBytes = 128

const firstWidth = 64

func newWindows(memory int64) *windows {
	return &windows{
		width: firstWidth, limit: max(64, memory/windowBytes),
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, sums: map[windowKey]windowSum{},
	}
}

// item is a unit with what its row holds; no value where those are not compared.
type item struct {
	unit
	value sum
}

// add counts an item for a table, or takes it away.
func (w *windows) add(table int32, u item, sign int64) {
	k := windowKey{table, u.part, u.off / w.width}
	s, ok := w.sums[k]
	if !ok && int64(len(w.sums)) >= w.limit {
		w.merge()
		w.add(table, u, sign)
		return
	}
	hi, lo := maphash.Comparable(w.seeds[0], u), maphash.Comparable(w.seeds[1], u)
	var carry uint64
	if s.count += sign; sign > 0 {
		s.lo, carry = bits.Add64(s.lo, lo, 0)
		s.hi, _ = bits.Add64(s.hi, hi, carry)
	} else {
		s.lo, carry = bits.Sub64(s.lo, lo, 0)
		s.hi, _ = bits.Sub64(s.hi, hi, carry)
	}
	w.sums[k] = s
}

// merge doubles the width. If tables and partitions alone are more than the limit,
// it gives way: there is nothing left to merge.
func (w *windows) merge() {
	sums := make(map[windowKey]windowSum, len(w.sums)/2)
	for k, s := range w.sums {
		k.index /= 2
		t := sums[k]
		var carry uint64
		t.count += s.count
		t.lo, carry = bits.Add64(t.lo, s.lo, 0)
		t.hi, _ = bits.Add64(t.hi, s.hi, carry)
		sums[k] = t
	}
	if w.width *= 2; w.width > 1<<62 || len(sums) == len(w.sums) && w.width > 1<<40 {
		w.limit *= 2
	}
	w.sums = sums
}

// differing returns the offsets where a window of any table does not add up to
// nothing, in order.
func (w *windows) differing(parts []*part) []span {
	var out []span
	for k, s := range w.sums {
		if s != (windowSum{}) {
			out = append(out, span{parts[k.part], interval{k.index * w.width, (k.index + 1) * w.width}})
		}
	}
	slices.SortFunc(out, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.part.index, b.part.index), cmp.Compare(a.from, b.from))
	})
	return slices.CompactFunc(out, func(a, b span) bool { return a.part == b.part && a.from == b.from })
}
