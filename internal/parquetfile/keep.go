package parquetfile

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/schema"
)

// keeping are the records of a row group that are not copied: their columns are put
// together one at a time, when the row group is encoded, in memory that all columns
// share. Copying each record into its columns as it comes would have every column's
// memory grow with the row group, and pass through the processor's caches twice.
type keeping struct {
	batches []*batch
	idle    []*batch
	rows    int
	used    int64 // bytes of values and levels
	own     int64 // bytes of the memory of batches, idle ones included
}

// batch is a record, laid out by leaf column.
type batch struct {
	rec    arrow.RecordBatch
	leaves []ref
	spaces []*space // those that are used again come first
	taken  int
	bytes  []byte
	rows   []int32
}

// ref is the values of a leaf.
type ref struct {
	v  *schema.Vector // nil: none
	sp *space
}

// Small records take more memory by what is noted about each of their columns than by
// their values: they are only kept among larger ones.
const (
	fewRows  = 256
	fewExtra = 4 * fewRows
)

// takes tells whether a record of n rows is kept.
func (k *keeping) takes(n int) bool {
	return k.rows+n+fewExtra >= fewRows*(len(k.batches)+1)
}

// keep keeps rec. Its memory is used until the row group is encoded.
func (s *columnSet) keep(rec arrow.RecordBatch, n int) error {
	k := &s.kept
	b := &batch{}
	if i := len(k.idle) - 1; i >= 0 {
		b, k.idle = k.idle[i], k.idle[:i]
	}
	before := b.own()
	if b.leaves == nil {
		b.leaves = make([]ref, len(s.cols))
	}
	b.taken, b.bytes, b.rows = 0, b.bytes[:0], b.rows[:0]
	s.batch = b
	err := s.lay(rec, b.space(space{n: n, whole: true}))
	s.batch = nil
	if err != nil {
		return err
	}
	rec.Retain()
	b.rec = rec
	k.batches = append(k.batches, b)
	k.rows += n
	k.own += b.own() - before
	k.used += int64(len(b.bytes))
	for i := range b.leaves {
		k.used += b.leaves[i].size(s.cols[i])
	}
	return nil
}

// release lets go of all records.
func (k *keeping) release() {
	for _, b := range k.batches {
		b.rec.Release()
		b.rec = nil
		clear(b.leaves)
	}
	k.idle = append(k.idle, k.batches...)
	clear(k.batches)
	k.batches, k.rows, k.used = k.batches[:0], 0, 0
}

// settle puts what is kept into the columns, since what follows is copied.
func (s *columnSet) settle() error {
	for _, b := range s.kept.batches {
		for i, c := range s.cols {
			if err := c.add(b.leaves[i].v, b.leaves[i].sp, &s.leaves); err != nil {
				return err
			}
		}
	}
	s.kept.release()
	return nil
}

// fill puts what is kept of the column with the number leaf into c, whose store is empty.
func (k *keeping) fill(c *column, leaf int, t *leafScratch) error {
	size := int64(0)
	for _, b := range k.batches {
		size += b.leaves[leaf].size(c)
	}
	c.reserve(size)
	for _, b := range k.batches {
		if err := c.add(b.leaves[leaf].v, b.leaves[leaf].sp, t); err != nil {
			return err
		}
	}
	return nil
}

// space keeps sp.
func (b *batch) space(sp space) *space {
	if b.taken == len(b.spaces) {
		b.spaces = append(b.spaces, new(space))
	}
	kept := b.spaces[b.taken]
	b.taken++
	*kept = sp
	return kept
}

// own returns the bytes of memory of the batch itself.
func (b *batch) own() int64 {
	return int64(refBytes*cap(b.leaves) + spaceBytes*cap(b.spaces) + cap(b.bytes) + 4*cap(b.rows))
}

// claim makes what sp has beside from's the batch's own: it lies in memory that is used
// again.
func (b *batch) claim(sp, from *space) {
	if sp.def != nil && (from.def == nil || &sp.def[0] != &from.def[0]) {
		sp.def = keptOf(&b.bytes, sp.def)
	}
	if sp.rep != nil && (from.rep == nil || &sp.rep[0] != &from.rep[0]) {
		sp.rep = keptOf(&b.bytes, sp.rep)
	}
	if sp.rows != nil && (from.rows == nil || &sp.rows[0] != &from.rows[0]) {
		sp.rows = keptOf(&b.rows, sp.rows)
	}
}

// keptOf appends v to mem, and returns it there. What was appended before stays where
// it was if mem has to move.
func keptOf[T any](mem *[]T, v []T) []T {
	at := len(*mem)
	*mem = append(*mem, v...)
	return (*mem)[at:len(*mem):len(*mem)]
}

// leaf keeps the values of v for the column of f, once it is known that they fit.
func (b *batch) leaf(f *field, v *schema.Vector, sp *space, t *leafScratch) error {
	if v != nil && !f.optional {
		def, err := bump(t.def, f, v, sp)
		if err != nil {
			return err
		}
		t.def = def
	}
	if v != nil && f.typ.Kind == schema.Decimal {
		for i, d := range decimals(v) {
			if (v.Packed || v.IsValid(i)) && !d.FitsInPrecision(int32(f.typ.Precision)) {
				return fmt.Errorf("column %s: %s does not fit %s", f.path, d.ToString(int32(f.typ.Scale)), f.typ)
			}
		}
	}
	if last := b.taken - 1; last < 0 || !b.spaces[last].same(sp) {
		sp = b.space(*sp)
	} else {
		sp = b.spaces[last]
	}
	b.leaves[f.leaf] = ref{v, sp}
	return nil
}

// same tells whether two spaces are made of the same memory.
func (sp *space) same(o *space) bool {
	return sp.n == o.n && sp.d == o.d && sp.first == o.first && sp.whole == o.whole &&
		sameSlice(sp.def, o.def) && sameSlice(sp.rep, o.rep) && sameSlice(sp.rows, o.rows)
}

func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) && (a == nil) == (b == nil)
}

// size returns about what the values take.
func (r *ref) size(c *column) int64 {
	v := r.v
	if v == nil {
		return 0
	}
	n := v.Len
	if v.Packed {
		n -= v.Nulls
	}
	switch {
	case v.Dictionary:
		return int64(4 * n)
	case c.phys == physBool:
		return int64(n / 8)
	case c.phys == physBytes:
		return int64(4*n) + int64(v.Ends[n]-v.Ends[0])
	case c.f.typ.Kind == schema.Decimal:
		return int64(16 * n)
	}
	return int64(c.width * n)
}
