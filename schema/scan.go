package schema

import (
	"fmt"
	"strconv"
)

// maxNesting is how deep a value may nest at all; deeper ones are no rows. It is
// far above any [Options.MaxDepth], beyond which values are rescued.
const maxNesting = 10_000

// A scanner judges JSON values: it alone says why one is not valid, or not
// allowed. It takes linear time and no more stack for deeper values.
type scanner struct {
	buf   []byte // the record, and pad zero bytes
	end   int    // of the record in buf
	opt   *Options
	keys  keySet
	stack []frame
	count int // keys seen

	stop    fault // why the value has no end
	stopped int   // the byte where that was found
	first   fault // the first rule it breaks although it is JSON
}

// frame is an object or array that is not closed yet.
type frame struct {
	array  bool
	object uint32 // number of the object
	index  int    // of the array's current element
	key    []byte // the object's current key
}

type fault struct {
	code, message string
	path          string
}

// reset prepares for a value on its own.
func (s *scanner) reset() {
	s.keys.reset()
	s.count = 0
	if s.stop.code != "" {
		s.stop = fault{}
	}
	if s.first.code != "" {
		s.first = fault{}
	}
}

type scanState uint8

const (
	wantValue scanState = iota
	wantKey
	wantMore
)

// value returns the index after the value at i, which lies in depth objects and
// arrays. It is -1 if there is no valid value; stop then says why. If the value
// is valid JSON but breaks another rule, first says which.
func (s *scanner) value(i, depth int) int {
	s.stack = s.stack[:0]
	state := wantValue
	for {
		switch state {
		case wantValue:
			switch s.buf[i] {
			case '{', '[':
				if i, state = s.begin(i, depth); i < 0 {
					return -1
				}
				continue
			case '"':
				e, _ := scanString(s.buf, i+1)
				if e < 0 {
					return s.fail(^e, "in a string")
				}
				i = e + 1
			default:
				e := scanScalar(s.buf, i)
				if e < 0 {
					return s.fail(^e, "where a value is due")
				}
				if e-i > s.opt.MaxNumberBytes {
					s.note(CodeNumber, "a number of %d bytes at byte %d, the limit is %d", e-i, i, s.opt.MaxNumberBytes)
				}
				i = e
			}
			state = wantMore
		case wantKey:
			if i = s.key(i); i < 0 {
				return -1
			}
			state = wantValue
		case wantMore:
			if len(s.stack) == 0 {
				return i
			}
			f := &s.stack[len(s.stack)-1]
			i = skipSpace(s.buf, i)
			switch c := s.buf[i]; {
			case c == ',':
				i = skipSpace(s.buf, i+1)
				if f.array {
					f.index++
					state = wantValue
				} else {
					f.key = nil
					state = wantKey
				}
			case c == '}' && !f.array, c == ']' && f.array:
				s.stack = s.stack[:len(s.stack)-1]
				i++
			case f.array:
				return s.fail(i, "in an array")
			default:
				return s.fail(i, "in an object")
			}
		}
	}
}

// begin enters the object or array at i, and leaves it if it is empty.
func (s *scanner) begin(i, depth int) (next int, state scanState) {
	if depth+len(s.stack) >= maxNesting {
		s.stop = s.fault(CodeDepth, "nested deeper than %d levels at byte %d", maxNesting, i)
		s.stopped = i
		return -1, 0
	}
	f := frame{array: s.buf[i] == '['}
	end := byte(']')
	if !f.array {
		f.object = s.keys.object()
		end, state = '}', wantKey
	}
	if i = skipSpace(s.buf, i+1); s.buf[i] == end {
		return i + 1, wantMore
	}
	s.stack = append(s.stack, f)
	return i, state
}

// key reads the key at i and its colon.
func (s *scanner) key(i int) int {
	if s.buf[i] != '"' {
		return s.fail(i, "where a key is due")
	}
	e, escaped := scanString(s.buf, i+1)
	if e < 0 {
		return s.fail(^e, "in a key")
	}
	f := &s.stack[len(s.stack)-1]
	f.key = s.keys.text(s.buf[i+1:e], escaped)
	switch s.count++; {
	case s.count > s.opt.MaxKeys:
		s.note(CodeKeys, "more than %d keys", s.opt.MaxKeys)
	case !s.keys.add(f.object, f.key):
		s.note(CodeDuplicateKey, "a key twice in one object, again at byte %d", i)
	}
	if i = skipSpace(s.buf, e+1); s.buf[i] != ':' {
		return s.fail(i, "after a key")
	}
	return skipSpace(s.buf, i+1)
}

// scanScalar returns the index after the number, true, false or null at i, or
// ^at if there is none.
func scanScalar(buf []byte, i int) int {
	word := ""
	switch buf[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return scanNumber(buf, i)
	}
	if string(buf[i:i+len(word)]) != word {
		return ^i
	}
	return i + len(word)
}

// scanNumber returns the index after the number at i, or ^at if it is none.
func scanNumber(buf []byte, i int) int {
	if buf[i] == '-' {
		i++
	}
	if buf[i] == '0' {
		i++
		if isDigit(buf[i]) {
			return ^i
		}
	} else if i = skipDigits(buf, i); i < 0 {
		return i
	}
	if buf[i] == '.' {
		if i = skipDigits(buf, i+1); i < 0 {
			return i
		}
	}
	if buf[i]|0x20 == 'e' {
		if i++; buf[i] == '+' || buf[i] == '-' {
			i++
		}
		return skipDigits(buf, i)
	}
	return i
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// skipDigits returns the index after one or more digits at i, or ^i.
func skipDigits(buf []byte, i int) int {
	if !isDigit(buf[i]) {
		return ^i
	}
	for isDigit(buf[i]) {
		i++
	}
	return i
}

// fail sets stop and returns -1.
func (s *scanner) fail(at int, where string) int {
	s.stopped = at
	if at >= s.end {
		s.stop = s.fault(CodeSyntax, "the text ends %s", where)
	} else {
		s.stop = s.fault(CodeSyntax, "unexpected %q at byte %d, %s", s.buf[at:at+1], at, where)
	}
	return -1
}

// note sets first, unless it is set.
func (s *scanner) note(code, format string, args ...any) {
	if s.first.code == "" {
		s.first = s.fault(code, format, args...)
	}
}

func (s *scanner) fault(code, format string, args ...any) fault {
	return fault{code, fmt.Sprintf(format, args...), s.pointer()}
}

// maxPathBytes bounds the path of a reject.
const maxPathBytes = 1024

// pointer returns the JSON pointer to where the scanner is, cut after
// maxPathBytes.
func (s *scanner) pointer() string {
	var p []byte
	for i := range s.stack {
		switch f := &s.stack[i]; {
		case f.array:
			p = strconv.AppendInt(append(p, '/'), int64(f.index), 10)
		case f.key != nil:
			p = appendPlainToken(p, f.key)
		}
		if len(p) > maxPathBytes {
			return cutText(string(p), maxPathBytes)
		}
	}
	return string(p)
}

// appendPlainToken appends "/" and a reference token of a JSON pointer as text.
func appendPlainToken(dst, key []byte) []byte {
	dst = append(dst, '/')
	for _, c := range key[:min(len(key), maxPathBytes)] {
		switch c {
		case '~':
			dst = append(dst, '~', '0')
		case '/':
			dst = append(dst, '~', '1')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
