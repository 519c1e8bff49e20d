package schema

import "strconv"

// A Splitter finds the units of a record, its JSON values, exactly as a [Decoder]
// with the same options does. One goroutine uses it.
type Splitter struct {
	opt        Options
	cut        cutter
	whole      *Reject
	start, end int // of the last unit
}

// Unit is a part of a record that becomes one row or one reject.
type Unit struct {
	Value  []byte // a window into the record
	Sub    int32
	Reject *Reject // nil: the unit is an object that becomes a row
}

// NewSplitter returns a splitter with these rules.
func NewSplitter(opt Options) *Splitter {
	s := &Splitter{opt: opt.withDefaults()}
	s.opt.Padded = false
	s.cut = newCutter(&s.opt)
	return s
}

// Open begins a record; nil is one without a value. It returns the rule by which
// the record is skipped, or "": then Next finds at least one unit.
func (s *Splitter) Open(rec []byte) (skip string) {
	if skip, s.whole = s.cut.open(rec); skip == "" && s.whole == nil && !s.cut.more() {
		skip = SkipBlank
	}
	return skip
}

// Next returns the next unit of the record. ok is false if there is none.
func (s *Splitter) Next() (u Unit, ok bool) {
	c := &s.cut
	if s.whole != nil {
		u = Unit{Value: s.whole.Payload, Reject: s.whole}
		c.at, s.whole = c.scan.end, nil
		c.rec = nil
		return u, true
	}
	if c.rec == nil || !c.more() {
		return u, false
	}
	s.start = c.at
	end, rej := c.judge()
	if rej != nil {
		return Unit{Value: rej.Payload, Sub: rej.Sub, Reject: rej}, true
	}
	s.end = end
	u = Unit{Value: c.rec[s.start:end:end], Sub: int32(c.sub)}
	c.accept(end)
	return u, true
}

// Refuse returns a reject for the unit that Next returned last and that was none.
func (s *Splitter) Refuse(code, message, path string) Reject {
	return Reject{Sub: int32(s.cut.sub - 1), Code: code, Message: message, Path: path, Payload: s.cut.rec[s.start:s.end:s.end]}
}

// Scalar returns the text of the string, number or boolean that the tokens of a
// JSON pointer lead to in the object that Next returned last. It is valid until
// the next call. ok is false if there is nothing, null, or a value of another kind.
func (s *Splitter) Scalar(path []string) (text []byte, ok bool) {
	buf, keys := s.cut.scan.buf, &s.cut.scan.keys
	i := s.start
	for _, token := range path {
		switch buf[i] {
		case '{':
			i = findMember(buf, i, token, keys)
		case '[':
			i = findElement(buf, i, token)
		default:
			return nil, false
		}
		if i < 0 {
			return nil, false
		}
	}
	switch buf[i] {
	case '{', '[', 'n':
		return nil, false
	case '"':
		e, escaped := scanString(buf, i+1)
		return keys.text(buf[i+1:e], escaped), true
	}
	return buf[i:skipValue(buf, i)], true
}

// findMember returns the index of the value of a key in the valid object at i, or
// -1.
func findMember(buf []byte, i int, key string, keys *keySet) int {
	for i = skipSpace(buf, i+1); buf[i] != '}'; {
		e, escaped := scanString(buf, i+1)
		found := string(keys.text(buf[i+1:e], escaped)) == key
		i = skipSpace(buf, skipSpace(buf, e+1)+1)
		if found {
			return i
		}
		if i = skipSpace(buf, skipValue(buf, i)); buf[i] == ',' {
			i = skipSpace(buf, i+1)
		}
	}
	return -1
}

// findElement returns the index of an element of the valid array at i, or -1.
func findElement(buf []byte, i int, index string) int {
	n, err := strconv.Atoi(index)
	if err != nil || n < 0 || strconv.Itoa(n) != index {
		return -1
	}
	for i = skipSpace(buf, i+1); buf[i] != ']'; n-- {
		if n == 0 {
			return i
		}
		if i = skipSpace(buf, skipValue(buf, i)); buf[i] == ',' {
			i = skipSpace(buf, i+1)
		}
	}
	return -1
}
