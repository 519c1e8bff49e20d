package schema

import (
	"bytes"
	"strconv"
)

// What the methods below return instead of the index after what they read.
const (
	invalid = -1 // the record is no row; the scanner knows why
	misfit  = -2 // the value may be valid, but its column cannot hold it
)

// A reader lays the objects of one table out, cell by cell. It is guided by the
// schema: what it knows it reads in one pass, and what it does not know it leaves
// to the scanner. It accepts exactly what the scanner accepts, but does not say
// why it rejects; its caller then lets the scanner judge.
type reader struct {
	cut     *cutter
	src     source // cut.scan.buf
	root    node
	rescued node // a string column: the members that have no other
	members []member
	room    bool // whether more columns may be wanted
	coarse  bool // nested values are rescued whole
	start   int  // of the current row in rescued
	limit   int  // how long that may get; negative: not known yet
	from    int  // where the row begins in the text
	lined   bool // a row has to end with its line
	fed     bool // a line feed was passed
	over    bool // it did
	news    bool // a column may be wanted, or a wider one
	kept    int  // pieces of evidence
	strays  int  // keys without a column that are known
	clock   clock
	numbers numbers
	scratch []byte
}

// member is an object member of the current record that has no column.
type member struct {
	parent   *node
	key      string // valid until the next record
	from, to int
}

// rescueLimit is how long the rescued text of a record of n bytes may get before
// its nested values are rescued whole: members far down have long paths.
func rescueLimit(n int) int { return 3*n + 256 }

// row reads the object at i, which is the record row, and returns the index
// after it, or invalid. Then nothing is left of it.
func (r *reader) row(row, i int) int {
	r.src = sourceOf(r.cut.scan.buf)
	if r.src.byte(i) != '{' {
		return invalid
	}
	from := len(r.rescued.data)
	r.from, r.start, r.limit, r.over, r.fed = i, from, -1, false, false
	if !r.lined {
		r.limit = rescueLimit(r.cut.scan.end - i)
	}
	r.members = r.members[:0]
	r.cut.scan.reset()
	end := r.object(&r.root, row, i+1)
	if r.lined && end >= 0 && !r.endsLine(i, end) {
		end = invalid
	}
	if end >= 0 && (r.over || len(r.rescued.data)-from > rescueLimit(end-i)) && !r.coarse {
		r.drop(row)
		r.coarse = true
		end = r.row(row, i)
		r.coarse = false
		return end
	}
	if end < 0 {
		r.drop(row)
		return invalid
	}
	r.endRescued(row, from)
	for i := range r.members {
		r.learn(&r.members[i])
	}
	r.root.n = row + 1
	return end
}

// line is row for an object that has to be all of its line. It returns the index of the line
// feed, or invalid if it is anything else.
func (r *reader) line(row, i int) int {
	r.lined = true
	end := r.row(row, i)
	if r.lined = false; end >= 0 && r.src.byte(end) == '\r' {
		end++
	}
	return end
}

// endsLine tells whether the object from start to end is all of a line that is read like this.
func (r *reader) endsLine(start, end int) bool {
	n := end - start
	if r.src.byte(end) == '\r' {
		end++
	}
	return r.src.byte(end) == '\n' && !r.fed && n < min(r.cut.scan.opt.MaxRecordBytes, carefulBytes)
}

// space returns the index of the first byte at or after i that is not JSON white space.
func (r *reader) space(src source, i int) int {
	if src.byte(i) > ' ' {
		return i
	}
	return r.spaces(src, i)
}

// spaces is space where there may be some. Most JSON has none.
//
//go:noinline
func (r *reader) spaces(src source, i int) int {
	for {
		switch src.byte(i) {
		case '\n':
			r.fed = true
		case ' ', '\t', '\r':
		default:
			return i
		}
		i++
	}
}

// endRescued ends the cell of what was rescued of a row, if anything was.
func (r *reader) endRescued(row, from int) {
	if c := &r.rescued; len(c.data) > from {
		if c.n < row {
			c.skipTo(row)
		}
		c.data = append(c.data, '}')
		c.endText(row)
	}
}

// drop forgets a row and what was begun of it.
func (r *reader) drop(row int) {
	r.root.truncate(row)
	r.rescued.truncate(row)
}

// object reads the object whose first byte after the brace is at i into row of
// nd, whose own n it leaves alone. What most values are is read from here, without a
// step between.
//
//nolint:funlen // every step out of it costs a tenth
func (r *reader) object(nd *node, row, i int) int {
	src := r.src
	if i = r.space(src, i); src.byte(i) == '}' {
		return i + 1
	}
	nd.number = 0
	if (byBlocks || checked) && nd.scattered && !nd.byKey.long {
		return r.scattered(nd, row, i)
	}
	q := &nd.places[0] // of the last key
	for {
		p := q.next
		at := i + int(p.n)
		if (src.word(i)^p.head)&p.headMask|(src.word(i+8)^p.tail)&p.tailMask != 0 || p.n > 16 && !p.goesOn(src, i) {
			if p = nd.lookup(q, src, i); p != nil {
				at = i + int(p.n)
			} else {
				var read bool
				if p, at, read = r.turn(nd, q, row, i); read {
					if i = at; i < 0 {
						return invalid
					}
					q = p
					goto next
				}
			}
		}
		q = p
		{
			f := p.f
			if uint(f.n^row)|uint(f.sparse) != 0 {
				switch {
				case f.n > row:
					return invalid // the key was there before
				case f.sparse != 0:
					f.begin(row)
				default:
					f.skipTo(row)
				}
			}
			switch p.kind {
			case String:
				i = 0
				if src.byte(at) == '"' {
					if byBlocks {
						i = wideText(f, src, at+1, at+1)
					} else {
						i = wordText(f, src, at+1, at+1)
					}
					if i < 0 {
						i = r.longText(f, ^i, at+1)
					}
				}
			case Long:
				i = plainLong(f, src, at)
			case Double:
				i = plainDouble(f, src, at)
			case Bool:
				i = plainBool(f, src, at)
			case TimestampTZ:
				i = r.clock.plainUTC(f, src, at)
			case Struct:
				i = 0
				if src.byte(at) == '{' && !f.needs && !r.coarse {
					if i = r.object(f, row, at+1); i < 0 {
						return invalid
					}
					q.f.n = row + 1
				}
			case List:
				i = 0
				if src.byte(at) == '[' && !r.coarse {
					if i = r.list(f, row, at); i == invalid {
						return invalid
					}
				}
			default:
				i = 0
			}
			if i <= 0 {
				if uint32(src.word(at)) == nullWord {
					q.f.setNull(row)
					i = at + 4
				} else if i = r.member(q.f, row, at); i < 0 {
					return invalid
				}
			}
		}
	next:
		if src.half(i) == ','|'"'<<8 {
			i++
			continue
		}
		var more bool
		if i, more = r.another(i); !more {
			return i
		}
	}
}

// another returns where the next member begins after the one that ends at i. If there is none, it
// returns the index after the object, or invalid.
func (r *reader) another(i int) (next int, more bool) {
	i = r.space(r.src, i)
	switch r.src.byte(i) {
	case ',':
		return r.space(r.src, i+1), true
	case '}':
		return i + 1, false
	default:
		return invalid, false
	}
}

// turn reads the key at i, written as it mostly is not or unknown, and its colon. If it
// has a column, at is behind it, where its value is read next. If not, the value is rescued,
// and at is behind that. q is the place of the key before.
func (r *reader) turn(nd *node, q *place, row, i int) (p *place, at int, read bool) {
	f, key, at := r.next(nd, i)
	if at < 0 {
		return nil, invalid, true
	}
	prev := q.f // its place may change
	if f != nil {
		nd.learn(prev, f)
		return nd.placed(f), at, false
	}
	if nd.number == 0 {
		nd.number = r.cut.scan.keys.object()
	}
	if at = r.unknown(nd, nd.number, key, r.space(r.src, at)); at < 0 {
		return nil, invalid, true
	}
	r.remember(nd, key, row, i)
	return nd.placed(prev), at, true
}

// member reads the value at i, or the white space before it, into row of f, or rescues it.
func (r *reader) member(f *node, row, i int) int {
	if i = r.space(r.src, i); uint32(r.src.word(i)) == nullWord && f.kind != noKind {
		f.setNull(row)
		return i + 4
	}
	e := r.value(f, row, i)
	if e == misfit {
		return r.misfit(f, row, i)
	}
	return e
}

// next reads the key at i, and returns its field and the index after its colon. For a key
// without a field it returns the key.
func (r *reader) next(nd *node, i int) (f *node, key []byte, at int) {
	buf := r.cut.scan.buf
	if buf[i] != '"' {
		return nil, nil, invalid
	}
	e, escaped := scanString(buf, i+1)
	if e < 0 {
		return nil, nil, invalid
	}
	if at = r.space(r.src, e+1); buf[at] != ':' {
		return nil, nil, invalid
	}
	at++
	if escaped {
		key = r.cut.scan.keys.text(buf[i+1:e], escaped)
		r.scratch = quoted(r.scratch[:0], view(key))
		f = nd.find(r.scratch, 0, len(key))
	} else if f = nd.find(buf, i+1, e); f == nil {
		key = r.cut.scan.keys.text(buf[i+1:e], escaped)
	}
	if f == nil && !validUTF8(buf[i+1:e]) {
		return nil, nil, invalid
	}
	return f, key, at
}

// misfit rescues the value at i, which f cannot hold.
func (r *reader) misfit(f *node, row, i int) int {
	e := r.skip(f.parent.depth, i)
	if e < 0 {
		return invalid
	}
	r.rescue(f.parent, f.key, i, e)
	f.setNull(row)
	return e
}

// unknown rescues the value at i of a key that is not known.
func (r *reader) unknown(nd *node, object uint32, key []byte, i int) int {
	if !r.cut.scan.keys.add(object, key) {
		return invalid
	}
	return r.stray(nd, view(key), i)
}

// stray rescues the value at i of a key without a column.
func (r *reader) stray(nd *node, key string, i int) int {
	e := r.skip(nd.depth, i)
	if e < 0 {
		return invalid
	}
	if _, ok := untyped(r.cut.scan.buf, i); ok {
		return e
	}
	if r.room && !r.coarse {
		r.members = append(r.members, member{nd, key, i, e})
	}
	r.rescue(nd, key, i, e)
	return e
}

// known reads the value at i of a key without a column that is known. Mostly it says as little as
// the last one: null, [], or an object like {"urls":[]}.
func (r *reader) known(f *node, row, i int) int {
	buf, e := r.cut.scan.buf, i+4
	switch {
	case uint32(r.src.word(i)) == nullWord:
	case len(f.data) > 0 && bytes.HasPrefix(buf[i:], f.data):
		e = i + len(f.data)
	default:
		if e = r.stray(f.parent, f.key, i); e < 0 {
			return invalid
		}
		if text := buf[i:e]; len(text) <= maxKnownText && text[0] != 'n' && bytes.IndexByte(text, '\n') < 0 {
			if _, ok := untyped(buf, i); ok {
				f.data = append(f.data[:0], text...)
			}
		}
	}
	f.n, f.run = row+1, row+1
	return e
}

// maxKnownText is how long a value may be to be known by its text.
const maxKnownText = 64

// Keys without a column that are known: of one object, of all together, and their length.
const (
	maxStrays    = 64
	maxAllStrays = 256
	maxStrayKey  = 255
)

// remember makes the key at i, which the row has and no column, one that is found as fast
// as others: mostly it is in every record and its value is null.
func (r *reader) remember(nd *node, key []byte, row, i int) {
	buf, end := r.cut.scan.buf, i+1+len(key)
	if r.strays >= maxAllStrays || len(nd.strays) >= maxStrays || len(key) > maxStrayKey || buf[end] != '"' || string(buf[i+1:end]) != string(key) {
		return // with escapes it would be found by another text
	}
	r.strays++
	f := &node{key: string(key), parent: nd, depth: nd.depth, n: row + 1, run: row + 1}
	nd.strays = append(nd.strays, f)
	nd.addPlace(f)
}

// skip returns the index after the value at i, which must be acceptable in all
// its parts.
func (r *reader) skip(depth, i int) int {
	s := &r.cut.scan
	e := s.value(i, depth)
	if e < 0 || s.first.code != "" || !validUTF8(s.buf[i:e]) {
		return invalid
	}
	if r.lined && bytes.IndexByte(s.buf[i:e], '\n') >= 0 {
		r.fed = true
	}
	return e
}

// rescue keeps the text from i to end under the pointer to a member of nd.
func (r *reader) rescue(nd *node, key string, i, end int) {
	c := &r.rescued
	if r.limit < 0 {
		r.limit = rescueLimit(bytes.IndexByte(r.cut.scan.buf[r.from:], '\n'))
	}
	if r.over = r.over || len(c.data)-r.start > r.limit; r.over && !r.coarse {
		return // the row will be read again
	}
	open := byte(',')
	if len(c.data) == 0 || len(c.ends) > 0 && len(c.data) == int(c.ends[len(c.ends)-1]) {
		open = '{'
	}
	c.data = append(c.data, open, '"')
	c.data = appendToken(nd.appendPath(c.data), key)
	c.data = append(c.data, '"', ':', '"')
	c.data = appendQuoted(c.data, r.cut.scan.buf[i:end])
	c.data = append(c.data, '"')
}

// appendPath appends the JSON pointer to the value that is being read into n.
func (n *node) appendPath(dst []byte) []byte {
	p := n.parent
	if p == nil {
		return dst
	}
	dst = p.appendPath(dst)
	switch p.kind {
	case List:
		start := 0
		if p.ends != nil {
			start = int(p.ends[p.n])
		}
		return strconv.AppendInt(append(dst, '/'), int64(n.n-start), 10)
	case Map:
		return appendToken(dst, string(p.mapKey))
	default:
		return appendToken(dst, n.key)
	}
}

// value reads the value at i into row of f, whose n is row.
func (r *reader) value(f *node, row, i int) int {
	src := r.src
	e := misfit
	switch f.kind {
	case String:
		if end := r.text(f, i); end != 0 {
			return end
		}
	case Long:
		if end := plainLong(f, src, i); end > 0 {
			return end
		}
		e = r.number(f, row, i)
	case Double:
		if end := plainDouble(f, src, i); end > 0 {
			return end
		}
		e = r.number(f, row, i)
	case Int, Float, Decimal:
		e = r.number(f, row, i)
	case Bool:
		if end := plainBool(f, src, i); end > 0 {
			return end
		}
	case Struct:
		switch {
		case src.byte(i) != '{' || r.coarse:
		case f.needs:
			e = r.structure(f, row, i)
		default:
			if e = r.object(f, row, i+1); e >= 0 {
				f.n = row + 1
			}
			return e
		}
	case List:
		if src.byte(i) == '[' && !r.coarse {
			e = r.list(f, row, i)
		}
	case Map:
		if src.byte(i) == '{' && !r.coarse {
			e = r.mapping(f, row, i)
		}
	case noKind:
		return r.known(f, row, i)
	case TimestampTZ:
		if end := r.clock.plainUTC(f, src, i); end > 0 {
			return end
		}
		fallthrough
	default:
		if src.byte(i) == '"' {
			e = r.declared(f, row, i)
		}
	}
	if e == misfit && uint32(src.word(i)) == nullWord {
		f.setNull(row)
		return i + 4
	}
	return e
}

const nullWord = 'n' | 'u'<<8 | 'l'<<16 | 'l'<<24

// text reads a string, if there is one: the result is 0 else. Nothing else has to be
// UTF-8 but keys and values that are skipped: no other value, and no column's key, has
// other bytes than UTF-8.
func (r *reader) text(f *node, i int) int {
	if r.src.byte(i) != '"' {
		return 0
	}
	end := plainText(f, r.src, i+1, i+1)
	if end < 0 {
		end = r.longText(f, ^end, i+1)
	}
	return end
}

// structure reads an object into a struct that requires members.
func (r *reader) structure(f *node, row, i int) int {
	was, learnt := len(r.rescued.data), len(r.members)
	e := r.object(f, row, i+1)
	if e < 0 {
		return invalid
	}
	for _, kid := range f.kids {
		if kid.field.Required && !kid.holds(row) {
			f.truncate(row)
			r.forget(was, learnt)
			return misfit
		}
	}
	f.n = row + 1
	return e
}

// forget takes back what was rescued within a value that is rescued whole.
func (r *reader) forget(rescued, members int) {
	r.rescued.data = r.rescued.data[:rescued]
	r.members = r.members[:members]
}

// list reads an array.
func (r *reader) list(f *node, row, i int) int {
	src := r.src
	el := f.kids[0]
	f.reserve(row + 1)
	start := int(f.ends[row])
	was, learnt := len(r.rescued.data), len(r.members)
	if i = r.space(src, i+1); src.byte(i) == ']' {
		f.end(row, start)
		return i + 1
	}
	for at := start; ; at++ {
		i = r.value(el, at, i)
		if i == invalid {
			return invalid
		}
		if i == misfit || el.field.Required && !el.holds(at) {
			f.truncate(row)
			r.forget(was, learnt)
			return misfit
		}
		i = r.space(src, i)
		switch src.byte(i) {
		case ',':
			i = r.space(src, i+1)
		case ']':
			f.end(row, at+1)
			return i + 1
		default:
			return invalid
		}
	}
}

// mapping reads an object into a map.
func (r *reader) mapping(f *node, row, i int) int {
	src := r.src
	end := r.skip(f.depth-1, i)
	if end < 0 {
		return invalid
	}
	f.reserve(row + 1)
	at := int(f.ends[row])
	was, learnt := len(r.rescued.data), len(r.members)
	for i = r.space(src, i+1); src.byte(i) != '}'; at++ {
		var ok bool
		if i, ok = r.entry(f, at, i); !ok {
			f.truncate(row)
			r.forget(was, learnt)
			return misfit
		}
		if i = r.space(src, i); src.byte(i) == ',' {
			i = r.space(src, i+1)
		}
	}
	f.end(row, at)
	return end
}

// entry reads the key at i and its value, which are known to be valid, into the
// entry at of a map. A value that does not fit is rescued under its key.
func (r *reader) entry(f *node, at, i int) (end int, ok bool) {
	buf := r.cut.scan.buf
	key, value := f.kids[0], f.kids[1]
	e, _ := scanString(buf, i+1)
	if r.value(key, at, i) < 0 && !r.keyNumber(key, buf[i+1:e]) || !key.holds(at) {
		return 0, false
	}
	f.mapKey, _ = unescape(f.mapKey[:0], buf[i+1:e])
	i = r.space(r.src, r.space(r.src, e+1)+1)
	end = r.value(value, at, i)
	if end < 0 {
		value.truncate(at)
		end = skipValue(buf, i)
		r.rescue(f, string(f.mapKey), i, end)
		value.setNull(at)
	}
	return end, !value.field.Required || value.holds(at)
}

// keyNumber reads the key of a map of integers: only the shortest text of one.
func (r *reader) keyNumber(f *node, text []byte) bool {
	if f.kind != Int && f.kind != Long {
		return false
	}
	v, err := strconv.ParseInt(string(text), 10, map[Kind]int{Int: 32, Long: 64}[f.kind])
	if err != nil || strconv.FormatInt(v, 10) != string(text) {
		return false
	}
	f.setWord(uint64(v))
	return true
}
