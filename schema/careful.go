package schema

import (
	"fmt"
	"strings"
)

// fate is what is known of a unit beforehand. The zero fate is nothing.
type fate struct {
	panicked string // judging it panics: it is rejected, with this message
	rescued  bool   // laying it out panics: none of it gets a column
}

// DecodeCarefully is Decode for units of which some make a decoder panic, which is a
// bug. It tries every unit alone. A unit that panics while it is judged is rejected as
// a whole: like every other reject, that does not depend on s. A unit that panics
// while it is laid out for s becomes its rows all the same, and all their members are
// rescued.
//
// It panics if no unit alone does, or if a row that is rescued whole would lack what
// pinned requires. d must not be the decoder that panicked, which is of no use any more.
func (d *Decoder) DecodeCarefully(units [][]byte, s, pinned *Schema) *Decoded {
	fates := make([]fate, len(units))
	judge, lay := d.trial(nil, pinned), d.trial(s, pinned)
	for i, u := range units {
		if v := judge.panics(func(d *Decoder) { d.judge(d.tables[0], u) }); v != nil {
			fates[i].panicked = cutText(strings.ToValidUTF8(fmt.Sprintf("the decoder panicked: %v", v), "\uFFFD"), maxMessageBytes)
		} else if v := lay.panics(func(d *Decoder) { d.Decode(units[i:i+1], s, pinned).Data.Release() }); v != nil {
			if requiredOf(pinned) != nil {
				panic(v)
			}
			fates[i].rescued = true
		}
	}
	return d.decode(units, s, pinned, fates)
}

// A trial has a decoder that may panic.
type trial struct {
	fresh func() *Decoder
	d     *Decoder
}

// trial returns one for a table. What a decoder makes of the schemas is no unit's
// fault: a panic in fresh stays one.
func (d *Decoder) trial(s, pinned *Schema) *trial {
	t := &trial{fresh: func() *Decoder {
		f := NewDecoder(d.opt)
		f.table(s, pinned)
		return f
	}}
	t.d = t.fresh()
	return t
}

// panics returns what f panics with in a fresh decoder, or nil.
func (t *trial) panics(f func(*Decoder)) (v any) {
	for range 2 { // the first may have been left in a bad state by another unit
		if v = caught(func() { f(t.d) }); v == nil {
			return nil
		}
		t.d = t.fresh()
	}
	return v
}

// caught returns what f panics with, or nil.
func caught(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// judge finds out whether the units of a record are rows, without laying them out.
func (d *Decoder) judge(t *table, rec []byte) {
	c := &d.cut
	defer c.close()
	if skip, whole := c.open(rec); skip != "" || whole != nil {
		return
	}
	for c.more() {
		end, rej := c.judge()
		if rej != nil {
			continue
		}
		t.required(c.at)
		c.accept(end)
	}
}

// unitRescued is unit for a record whose members are all rescued.
func (d *Decoder) unitRescued(t *table, index int32, rec []byte) {
	o, c := &d.out, &d.cut
	defer c.close()
	c.open(rec) // and something is in it: laying it out panicked
	for c.more() {
		end, rej := c.judge()
		if rej != nil {
			d.reject(index, rej)
			continue
		}
		t.reader.rescueAll(len(o.Unit), c.at)
		o.Unit = append(o.Unit, index)
		o.Sub = append(o.Sub, int32(c.sub))
		c.accept(end)
	}
}

// rescueAll makes the valid object at i the record row, none of whose members gets a
// column.
func (r *reader) rescueAll(row, i int) {
	from := len(r.rescued.data)
	buf, keys := r.cut.scan.buf, &r.cut.scan.keys
	r.coarse = true // rescues without a limit
	defer func() { r.coarse = false }()
	for i = skipSpace(buf, i+1); buf[i] != '}'; {
		e, escaped := scanString(buf, i+1)
		key := string(keys.text(buf[i+1:e], escaped))
		i = skipSpace(buf, skipSpace(buf, e+1)+1)
		end := skipValue(buf, i)
		if _, ok := untyped(buf, i); !ok {
			r.rescue(&r.root, key, i, end)
		}
		if i = skipSpace(buf, end); buf[i] == ',' {
			i = skipSpace(buf, i+1)
		}
	}
	r.endRescued(row, from)
	r.root.n = row + 1
}
