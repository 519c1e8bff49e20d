package schema

import (
	"encoding/binary"
	"math"
	"math/bits"
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
	root    node
	rescued node // a string column: the members that have no other
	members []member
	room    bool // whether more columns may be wanted
	coarse  bool // nested values are rescued whole
	start   int  // of the current row in rescued
	limit   int  // how long that may get
	over    bool // it did
	news    bool // a column may be wanted, or a wider one
	kept    int  // pieces of evidence
	clock   clock
	numbers numbers
	scratch []byte
}

// member is an object member of the current record that has no column.
type member struct {
	parent   *node
	key      []byte
	from, to int
}

// rescueLimit is how long the rescued text of a record of n bytes may get before
// its nested values are rescued whole: members far down have long paths.
func rescueLimit(n int) int { return 3*n + 256 }

// row reads the object at i, which is the record row, and returns the index
// after it, or invalid. Then nothing is left of it.
func (r *reader) row(row, i int) int {
	if r.cut.scan.buf[i] != '{' {
		return invalid
	}
	from := len(r.rescued.data)
	r.start, r.limit, r.over = from, rescueLimit(r.cut.scan.end-i), false
	r.members = r.members[:0]
	r.cut.scan.reset()
	end := r.object(&r.root, row, i+1)
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

// endRescued ends the cell of what was rescued of a row, if anything was.
func (r *reader) endRescued(row, from int) {
	if len(r.rescued.data) > from {
		r.rescued.reserve(row)
		r.rescued.data = append(r.rescued.data, '}')
		r.rescued.ends[row+1] = int32(len(r.rescued.data))
		r.rescued.hold(row)
	}
}

// drop forgets a row and what was begun of it.
func (r *reader) drop(row int) {
	r.root.truncate(row)
	r.rescued.truncate(row)
	if r.rescued.ends == nil {
		r.rescued.data = r.rescued.data[:0]
	}
}

// object reads the object whose first byte after the brace is at i into row of
// nd, whose own n it leaves alone.
func (r *reader) object(nd *node, row, i int) int {
	buf := r.cut.scan.buf
	if i = skipSpace(buf, i); buf[i] == '}' {
		return i + 1
	}
	var prev *node
	object := uint32(0) // its number, once there is an unknown key
	for {
		f, key, at := r.next(nd, prev, i)
		switch {
		case at < 0:
			return invalid
		case f == nil:
			if object == 0 {
				object = r.cut.scan.keys.object()
			}
			i = r.unknown(nd, object, key, at)
		case f.n > row:
			return invalid // the key was there before
		default:
			i = r.member(f, row, at)
			prev = f
		}
		if i < 0 {
			return invalid
		}
		if buf[i] != ',' && buf[i] != '}' {
			i = skipSpace(buf, i)
		}
		switch buf[i] {
		case ',':
			i = skipSpace(buf, i+1)
		case '}':
			return i + 1
		default:
			return invalid
		}
	}
}

// next reads the key at i and returns its field and the index of its value. For a
// key without a field it returns the key. Mostly the key is one of those that follow
// prev's in the order learnt so far: then a few comparisons are all it takes.
func (r *reader) next(nd, prev *node, i int) (f *node, key []byte, at int) {
	buf := r.cut.scan.buf
	if f, at = nd.following(prev, buf, i); f != nil {
		return f, nil, skipSpace(buf, at)
	}
	if buf[i] != '"' {
		return nil, nil, invalid
	}
	e, escaped := scanString(buf, i+1)
	if e < 0 {
		return nil, nil, invalid
	}
	if at = skipSpace(buf, e+1); buf[at] != ':' {
		return nil, nil, invalid
	}
	at = skipSpace(buf, at+1)
	if escaped {
		key = r.cut.scan.keys.text(buf[i+1:e], escaped)
		r.scratch = append(append(r.scratch[:0], key...), make([]byte, 8)...)
		f = nd.byKey.find(r.scratch, 0, len(key))
	} else if f = nd.byKey.find(buf, i+1, e); f == nil {
		key = r.cut.scan.keys.text(buf[i+1:e], escaped)
	}
	if f != nil {
		nd.came(prev, f)
	}
	return f, key, at
}

// member reads the value at i into the cell of f, or rescues it.
func (r *reader) member(f *node, row, i int) int {
	e := misfit
	if !r.coarse || f.kind != Struct && f.kind != List && f.kind != Map {
		e = r.value(f, row, i)
	}
	if e == misfit {
		if e = r.skip(f.parent.depth, i); e < 0 {
			return invalid
		}
		r.rescue(f.parent, f.key, i, e)
		f.setNull(row)
	}
	return e
}

// unknown rescues the value at i of a key without a column.
func (r *reader) unknown(nd *node, object uint32, key []byte, i int) int {
	s := &r.cut.scan
	if !s.keys.add(object, key) {
		return invalid
	}
	e := r.skip(nd.depth, i)
	if e < 0 {
		return invalid
	}
	if _, ok := untyped(s.buf, i); ok {
		return e
	}
	if r.room && !r.coarse {
		r.members = append(r.members, member{nd, key, i, e})
	}
	r.rescue(nd, string(key), i, e)
	return e
}

// skip returns the index after the value at i, which must be acceptable in all
// its parts.
func (r *reader) skip(depth, i int) int {
	s := &r.cut.scan
	e := s.value(i, depth)
	if e < 0 || s.first.code != "" {
		return invalid
	}
	return e
}

// rescue keeps the text from i to end under the pointer to a member of nd.
func (r *reader) rescue(nd *node, key string, i, end int) {
	c := &r.rescued
	if r.over = r.over || len(c.data)-r.start > r.limit; r.over && !r.coarse {
		return // the row will be read again
	}
	open := byte(',')
	if len(c.data) == 0 || c.ends != nil && len(c.data) == int(c.ends[c.n]) {
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

// value reads the value at i into row of f.
func (r *reader) value(f *node, row, i int) int {
	buf := r.cut.scan.buf
	e := misfit
	switch c := buf[i]; f.kind {
	case String:
		if c == '"' {
			e = r.text(f, row, i)
		}
	case Long:
		if v, end := plainInt(buf, i); end > 0 {
			f.reserve(row)
			f.words[row] = uint64(v)
			f.hold(row)
			return end
		}
		e = r.number(f, row, i)
	case Double:
		if v, end := plainDouble(buf, i); end > 0 {
			f.reserve(row)
			f.words[row] = math.Float64bits(v)
			f.hold(row)
			return end
		}
		e = r.number(f, row, i)
	case Int, Float, Decimal:
		e = r.number(f, row, i)
	case Bool:
		e = r.boolean(f, row, i)
	case Struct:
		if c == '{' {
			e = r.structure(f, row, i)
		}
	case List:
		if c == '[' {
			e = r.list(f, row, i)
		}
	case Map:
		if c == '{' {
			e = r.mapping(f, row, i)
		}
	default:
		if c == '"' {
			e = r.declared(f, row, i)
		}
	}
	if e == misfit && buf[i] == 'n' && string(buf[i:i+4]) == "null" {
		f.setNull(row)
		return i + 4
	}
	return e
}

// text reads a string.
func (r *reader) text(f *node, row, i int) int {
	buf := r.cut.scan.buf
	f.reserve(row)
	k := len(f.data)
	room := f.data[k:cap(f.data)]
	for n := 0; n+8 <= len(room); n += 8 { // words are scanned and copied at once
		w := binary.LittleEndian.Uint64(buf[i+1+n:])
		binary.LittleEndian.PutUint64(room[n:], w)
		if m := special(w); m != 0 {
			n += bits.TrailingZeros64(m) >> 3
			if buf[i+1+n] != '"' {
				break
			}
			f.data = f.data[:k+n]
			f.ends[row+1] = int32(k + n)
			f.hold(row)
			return i + n + 2
		}
	}
	e, escaped := scanString(buf, i+1)
	if e < 0 {
		return invalid
	}
	if escaped {
		var lone bool
		was := len(f.data)
		if f.data, lone = unescape(f.data, buf[i+1:e]); lone {
			f.data = f.data[:was]
			return misfit
		}
	} else {
		f.data = append(f.data, buf[i+1:e]...)
	}
	f.ends[row+1] = int32(len(f.data))
	f.hold(row)
	return e + 1
}

// boolean reads true or false, which are as likely as each other: no branch tells.
func (r *reader) boolean(f *node, row, i int) int {
	const trues, falses = 't' | 'r'<<8 | 'u'<<16 | 'e'<<24, 'f' | 'a'<<8 | 'l'<<16 | 's'<<24 | 'e'<<32
	w := binary.LittleEndian.Uint64(r.cut.scan.buf[i:])
	var yes, no uint64
	if w&(1<<32-1) == trues {
		yes = 1
	}
	if w&(1<<40-1) == falses {
		no = 1
	}
	if yes|no == 0 {
		return misfit
	}
	f.reserve(row)
	word := &f.words[row>>6]
	*word = *word&^(1<<(row&63)) | yes<<(row&63)
	f.hold(row)
	return i + 5 - int(yes)
}

// structure reads an object into a struct.
func (r *reader) structure(f *node, row, i int) int {
	was, learnt := len(r.rescued.data), len(r.members)
	f.reserve(row)
	e := r.object(f, row, i+1)
	if e < 0 {
		return invalid
	}
	if f.needs {
		for _, kid := range f.kids {
			if kid.field.Required && !kid.holds(row) {
				f.truncate(row)
				r.forget(was, learnt)
				return misfit
			}
		}
	}
	f.hold(row)
	return e
}

// holds tells whether the row has a value.
func (n *node) holds(row int) bool {
	return n.n > row && n.valid[row>>6]>>(row&63)&1 == 1
}

// forget takes back what was rescued within a value that is rescued whole.
func (r *reader) forget(rescued, members int) {
	r.rescued.data = r.rescued.data[:rescued]
	r.members = r.members[:members]
}

// list reads an array.
func (r *reader) list(f *node, row, i int) int {
	buf := r.cut.scan.buf
	el := f.kids[0]
	start := f.begin(row)
	was, learnt := len(r.rescued.data), len(r.members)
	if i = skipSpace(buf, i+1); buf[i] == ']' {
		f.ends[row+1] = int32(start)
		f.hold(row)
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
		i = skipSpace(buf, i)
		switch buf[i] {
		case ',':
			i = skipSpace(buf, i+1)
		case ']':
			f.ends[row+1] = int32(at + 1)
			f.hold(row)
			return i + 1
		default:
			return invalid
		}
	}
}

// mapping reads an object into a map.
func (r *reader) mapping(f *node, row, i int) int {
	buf := r.cut.scan.buf
	end := r.skip(f.depth-1, i)
	if end < 0 {
		return invalid
	}
	start := f.begin(row)
	was, learnt := len(r.rescued.data), len(r.members)
	at := start
	for i = skipSpace(buf, i+1); buf[i] != '}'; at++ {
		var ok bool
		if i, ok = r.entry(f, at, i); !ok {
			f.truncate(row)
			r.forget(was, learnt)
			return misfit
		}
		if i = skipSpace(buf, i); buf[i] == ',' {
			i = skipSpace(buf, i+1)
		}
	}
	f.ends[row+1] = int32(at)
	f.hold(row)
	return end
}

// entry reads the key at i and its value, which are known to be valid, into the
// entry at of a map. A value that does not fit is rescued under its key.
func (r *reader) entry(f *node, at, i int) (end int, ok bool) {
	buf := r.cut.scan.buf
	key, value := f.kids[0], f.kids[1]
	e, _ := scanString(buf, i+1)
	if r.value(key, at, i) < 0 && !r.keyNumber(key, at, buf[i+1:e]) || !key.holds(at) {
		return 0, false
	}
	f.mapKey, _ = unescape(f.mapKey[:0], buf[i+1:e])
	i = skipSpace(buf, skipSpace(buf, e+1)+1)
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
func (r *reader) keyNumber(f *node, at int, text []byte) bool {
	if f.kind != Int && f.kind != Long {
		return false
	}
	v, err := strconv.ParseInt(string(text), 10, map[Kind]int{Int: 32, Long: 64}[f.kind])
	if err != nil || strconv.FormatInt(v, 10) != string(text) {
		return false
	}
	f.reserve(at)
	f.words[at] = uint64(v)
	f.hold(at)
	return true
}
