package schema

import "strings"

// class is what kind of JSON a place holds.
type class uint8

const (
	classNone class = iota // nothing with a type was seen
	classBool
	classNumber
	classText
	classObject
	classArray
	classDeclared // whatever it is: the type is declared
)

// evidence is what a batch says about the type of a place without a column. The
// first typed value fixes the class; what is of another class will be rescued.
type evidence struct {
	key      string
	class    class
	declared *Field

	ints, bigInts, floats bool // Number: bigInts are beyond 2^53
	times, texts          bool // Text
	members               []*evidence
	byKey                 map[string]*evidence
	element               *evidence
}

// maxExactInt is the largest integer below which a double holds all integers.
const maxExactInt = 1 << 53

// learn notes what a member without a column says about its type.
func (r *reader) learn(m *member) {
	r.news = true
	p := m.parent
	if p.found == nil {
		p.found = &evidence{class: classObject}
	}
	e := p.found.member(m.key, p.declared)
	r.see(e, m.from, p.depth)
	r.keep(p.found, e)
}

// member returns the evidence for a key. Evidence that is new has to be kept.
func (e *evidence) member(key string, declared []Field) *evidence {
	if m := e.byKey[key]; m != nil {
		return m
	}
	return &evidence{key: strings.Clone(key), declared: fieldForKey(declared, key)}
}

// evidencePerColumn bounds how many places a batch may say something about, for
// every column that a table may have.
const evidencePerColumn = 16

// keep adds m to the members of e if it has something to say.
func (r *reader) keep(e, m *evidence) {
	if m.class == classNone || e.byKey[m.key] != nil || r.kept >= evidencePerColumn*r.cut.scan.opt.MaxColumns {
		return
	}
	if e.byKey == nil {
		e.byKey = map[string]*evidence{}
	}
	r.kept++
	e.byKey[m.key] = m
	e.members = append(e.members, m)
}

// see takes the valid value at i, which lies in depth objects and arrays, as
// evidence. It returns the index after it, and whether a column of the type that
// e stands for could hold it, or parts of it.
func (r *reader) see(e *evidence, i, depth int) (end int, fits bool) {
	buf := r.cut.scan.buf
	if d := e.declared; d != nil && buf[i] != 'n' {
		switch {
		case d.Type.Kind == Struct && buf[i] == '{', d.Type.Kind == List && buf[i] == '[':
		case d.Type.Kind == Struct, d.Type.Kind == List:
			return skipValue(buf, i), false
		default:
			e.class = classDeclared
			return skipValue(buf, i), true
		}
	}
	switch c := buf[i]; c {
	case 'n':
		return i + 4, true
	case 't', 'f':
		return scanScalar(buf, i), e.is(classBool)
	case '"':
		end, escaped := scanString(buf, i+1)
		return end + 1, r.seeText(e, i, end, escaped)
	case '{', '[':
		if depth >= r.cut.scan.opt.MaxDepth {
			return skipValue(buf, i), false
		}
		if c == '{' {
			return r.seeObject(e, i, depth+1)
		}
		return r.seeArray(e, i, depth+1)
	}
	end = scanNumber(buf, i)
	return end, r.seeNumber(e, i, end)
}

// is fixes the class, or tells whether it is that.
func (e *evidence) is(c class) bool {
	if e.class == classNone {
		e.class = c
	}
	return e.class == c
}

func (r *reader) seeText(e *evidence, i, end int, escaped bool) bool {
	buf := r.cut.scan.buf
	if escaped {
		var lone bool
		if r.scratch, lone = unescape(r.scratch[:0], buf[i+1:end]); lone {
			return false
		}
	}
	if !e.is(classText) {
		return false
	}
	if e.texts {
		return true
	}
	_, _, isTime := r.clock.instant(buf, i+1, TimestampTZ)
	e.times = e.times || isTime
	e.texts = e.texts || !isTime
	return true
}

func (r *reader) seeNumber(e *evidence, i, end int) bool {
	buf := r.cut.scan.buf
	var isInt, isBig bool
	d := r.numbers.decimal(buf[i:end])
	whole := d.whole
	v, exact := d.exactInt()
	isInt = exact && whole
	if !whole {
		if _, ok := r.numbers.double(buf, i, end); !ok {
			isInt = exact
		} else {
			exact = true
		}
	}
	if !exact {
		return false
	}
	isBig = isInt && (v > maxExactInt || v < -maxExactInt)
	if !e.is(classNumber) {
		return false
	}
	e.ints = e.ints || isInt
	e.bigInts = e.bigInts || isBig
	e.floats = e.floats || !isInt
	return true
}

// seeObject sees an object at i; depth counts it.
func (r *reader) seeObject(e *evidence, i, depth int) (end int, fits bool) {
	buf := r.cut.scan.buf
	if e.class != classNone && e.class != classObject {
		return skipValue(buf, i), false
	}
	var declared []Field
	if e.declared != nil {
		declared = e.declared.Type.Fields
	}
	i = skipSpace(buf, i+1)
	for buf[i] != '}' {
		k, escaped := scanString(buf, i+1)
		key := string(r.cut.scan.keys.text(buf[i+1:k], escaped))
		i = skipSpace(buf, skipSpace(buf, k+1)+1)
		m := e.member(key, declared)
		i, _ = r.see(m, i, depth)
		r.keep(e, m)
		if i = skipSpace(buf, i); buf[i] == ',' {
			i = skipSpace(buf, i+1)
		}
	}
	if len(e.members) > 0 {
		e.class = classObject
	}
	return i + 1, true
}

// seeArray sees an array at i; depth counts it. An array whose elements do not go
// together is no evidence at all.
func (r *reader) seeArray(e *evidence, i, depth int) (end int, fits bool) {
	buf := r.cut.scan.buf
	if e.class != classNone && e.class != classArray {
		return skipValue(buf, i), false
	}
	all := &evidence{}
	if e.declared != nil && e.declared.Type.Kind == List {
		all.declared = &e.declared.Type.Fields[0]
	}
	fits = true
	for i = skipSpace(buf, i+1); buf[i] != ']'; {
		var one bool
		i, one = r.see(all, i, depth)
		fits = fits && one
		if i = skipSpace(buf, i); buf[i] == ',' {
			i = skipSpace(buf, i+1)
		}
	}
	switch {
	case !fits || all.class == classNone:
	case e.element == nil:
		e.class, e.element = classArray, all
	default:
		fits = r.join(e.element, all)
	}
	return i + 1, fits
}

// join adds what b says to e, unless they are of different classes.
func (r *reader) join(e, b *evidence) bool {
	if b.class == classNone {
		return true
	}
	if !e.is(b.class) {
		return false
	}
	e.ints, e.bigInts, e.floats = e.ints || b.ints, e.bigInts || b.bigInts, e.floats || b.floats
	e.times, e.texts = e.times || b.times, e.texts || b.texts
	for _, m := range b.members {
		if mine := e.byKey[m.key]; mine != nil {
			r.join(mine, m)
		} else {
			r.keep(e, m)
		}
	}
	switch {
	case b.element == nil:
	case e.element == nil:
		e.element = b.element
	default:
		return r.join(e.element, b.element)
	}
	return true
}
