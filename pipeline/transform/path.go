package transform

import (
	"bytes"
	"encoding/json"

	"github.com/itchyny/gojq"
)

// pathOf returns the names of a query that only goes down objects, such as .customer.id;
// nil: it does more.
func pathOf(q *gojq.Query) []string {
	if q.Term == nil || q.Term.Type != gojq.TermTypeIndex || len(q.FuncDefs) > 0 || q.Meta != nil || len(q.Imports) > 0 {
		return nil
	}
	name, ok := memberName(q.Term.Index)
	if !ok {
		return nil
	}
	path := []string{name}
	for _, s := range q.Term.SuffixList {
		if s.Index == nil || s.Iter || s.Optional {
			return nil
		}
		if name, ok = memberName(s.Index); !ok {
			return nil
		}
		path = append(path, name)
	}
	return path
}

func memberName(x *gojq.Index) (string, bool) {
	switch {
	case x.IsSlice || x.Start != nil || x.End != nil:
		return "", false
	case x.Str != nil:
		return x.Str.Str, x.Str.Queries == nil
	}
	return x.Name, x.Name != ""
}

// at returns the text of the value that a path leads to in a record of valid JSON. false:
// it does not come to a value, and the query has to say what there is.
func at(record []byte, path []string) ([]byte, bool) {
	s := scan{b: record}
	for _, name := range path {
		if !s.member(name) {
			return nil, false
		}
	}
	from := s.i
	s.value()
	return record[from:s.i], true
}

// scan goes over JSON that is known to be valid.
type scan struct {
	b []byte
	i int
}

func (s *scan) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\n' || s.b[s.i] == '\r') {
		s.i++
	}
}

// member goes from an object to its member of that name, to the last if there are
// several, as a map would have it. false: there is none, or no object.
func (s *scan) member(name string) (found bool) {
	s.space()
	if s.b[s.i] != '{' {
		return false
	}
	s.i++
	last := 0
	for {
		s.space()
		if s.b[s.i] == '}' { // of an object without members
			break
		}
		key := s.i
		s.text()
		this := named(s.b[key:s.i], name)
		found = found || this
		s.space()
		s.i++ // the colon
		s.space()
		if this {
			last = s.i
		}
		s.value()
		s.space()
		s.i++ // a comma or the brace
		if s.b[s.i-1] == '}' {
			break
		}
	}
	s.i = last
	return found
}

// named tells whether a key, in its quotes, is a name.
func named(key []byte, name string) bool {
	inner := key[1 : len(key)-1]
	if string(inner) == name {
		return true
	}
	if bytes.IndexByte(inner, '\\') < 0 {
		return false
	}
	var text string
	return json.Unmarshal(key, &text) == nil && text == name
}

// text goes over a string.
func (s *scan) text() {
	for s.i++; s.b[s.i] != '"'; s.i++ {
		if s.b[s.i] == '\\' {
			s.i++
		}
	}
	s.i++
}

// value goes over a value.
func (s *scan) value() {
	s.space()
	switch s.b[s.i] {
	case '"':
		s.text()
	case '{', '[':
		for depth := 0; ; {
			switch s.b[s.i] {
			case '"':
				s.text()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			s.i++
			if depth == 0 {
				return
			}
		}
	default:
		for s.i < len(s.b) && bytes.IndexByte([]byte(",]} \t\r\n"), s.b[s.i]) < 0 {
			s.i++
		}
	}
}
