package schema

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Codes of rejects: why a unit is no row.
const (
	CodeEmpty        = "empty"         // 0 bytes
	CodeTombstone    = "tombstone"     // no value, where that is not skipped
	CodeSize         = "size"          // larger than the largest record
	CodeEncoding     = "encoding"      // UTF-16 or UTF-32
	CodeMagic        = "magic"         // another format by its first bytes, compressed perhaps
	CodeUTF8         = "utf8"          // not valid UTF-8
	CodeSyntax       = "syntax"        // not JSON
	CodeTrailing     = "trailing"      // not JSON, after a value on the same line
	CodeTopLevel     = "toplevel"      // JSON, but no object
	CodeDuplicateKey = "duplicate_key" // a key twice in one object
	CodeDepth        = "depth"         // nested too deep to be read
	CodeNumber       = "number"        // a number too long to be read
	CodeKeys         = "keys"          // too many keys
	CodeRequired     = "required"      // a column that must have a value gets none
	CodePanic        = "panic"         // a bug: judging it panicked
)

// Names of the rules by which records are left out.
const (
	SkipTombstone = "tombstone" // no value
	SkipBlank     = "blank"     // white space only
	SkipEmpty     = "empty"     // 0 bytes, if so chosen
)

// Reject is a unit that is no row, and why.
type Reject struct {
	Unit, Sub           int32 // as in [Rows]
	Code, Message, Path string
	Payload             []byte // the bytes of the unit: a window into what was decoded
}

// A cutter finds the units of a record, one after the other. Where they begin
// and end, and which are rejected, depends on the record and the options alone.
type cutter struct {
	scan    scanner
	rec     []byte
	own     []byte // copies of records
	lent    bool   // the record is read where it lies
	after   byte   // what is behind it there
	at      int    // the next unit, once more has said that there is one
	sub     int    // its number
	follows bool   // a unit ended on the same line
	careful bool   // every unit has to be judged before it is read
	badUTF8 bool   // the record is not valid UTF-8; only once checked
	checked bool
	work    int // bytes read again after syntax errors
	line    int // end of the line that at is on, if at < line
}

func newCutter(opt *Options) cutter {
	return cutter{scan: scanner{opt: opt, keys: newKeySet()}}
}

// open begins a record. It returns the rule that leaves it out, or a reject if
// it is none as a whole. Units are to be looked for only if it returns neither.
func (c *cutter) open(rec []byte) (skip string, rej *Reject) {
	opt := c.scan.opt
	c.rec, c.at, c.sub, c.follows, c.work, c.line = rec, 0, 0, false, 0, 0
	switch {
	case rec == nil && opt.RejectTombstones:
		return "", c.whole(CodeTombstone, "the record has no value")
	case rec == nil:
		return SkipTombstone, nil
	case len(rec) == 0 && opt.SkipEmpty:
		return SkipEmpty, nil
	case len(rec) == 0:
		return "", c.whole(CodeEmpty, "the record is empty")
	case len(rec) > opt.MaxRecordBytes:
		return "", c.whole(CodeSize, fmt.Sprintf("the record has %d bytes, the limit is %d", len(rec), opt.MaxRecordBytes))
	}
	if rec[0] != '{' || len(rec) > 1 && rec[1] == 0 {
		if code, what := sniff(rec); code != "" {
			return "", c.whole(code, "the record is "+what+", not JSON in UTF-8")
		}
		if bytes.HasPrefix(rec, []byte("\xEF\xBB\xBF")) {
			c.at = 3
		}
	}
	c.checked = false
	c.careful = len(rec) > carefulBytes
	s := &c.scan
	if s.end = len(rec); c.lend(rec) {
		return "", nil
	}
	if s.end+pad > cap(c.own) {
		c.own = make([]byte, 2*(s.end+pad))
	}
	s.buf = c.own[:s.end+pad]
	copy(s.buf, rec)
	clear(s.buf[s.end:])
	return "", nil
}

// openPlain is open for what nearly all records are: an object from the first byte to the
// last, read where it lies. It reports whether rec looks like one.
func (c *cutter) openPlain(rec []byte) bool {
	n := len(rec)
	if n < 2 || n > min(c.scan.opt.MaxRecordBytes, carefulBytes) || rec[0] != '{' || rec[1] == 0 || rec[n-1] != '}' || !c.lend(rec) {
		return false
	}
	c.rec, c.at, c.sub, c.follows, c.work, c.line = rec, 0, 0, false, 0, 0
	c.checked, c.careful, c.scan.end = false, false, n
	return true
}

// lend has the record be read where it lies, if that is allowed and there is padding.
func (c *cutter) lend(rec []byte) bool {
	s, n := &c.scan, len(rec)
	if !s.opt.Padded || n+pad > cap(rec) {
		return false
	}
	s.buf, c.lent = rec[:n+pad], true
	c.after, s.buf[n] = s.buf[n], 0
	return true
}

// lendLines has lines be read where they lie. There is padding behind them.
func (c *cutter) lendLines(text []byte) {
	n := len(text)
	c.scan.end, c.scan.buf, c.lent = n, text[:n+pad], true
	c.after, c.scan.buf[n] = c.scan.buf[n], 0
}

// close ends a record.
func (c *cutter) close() {
	if c.lent {
		c.scan.buf[c.scan.end] = c.after
		c.scan.buf, c.lent = nil, false
	}
}

func (c *cutter) whole(code, message string) *Reject {
	return &Reject{Code: code, Message: message, Payload: c.rec}
}

// more moves to the next unit and tells whether there is one.
func (c *cutter) more() bool {
	i := skipSpace(c.scan.buf, c.at)
	if i > c.at && c.follows && bytes.IndexByte(c.scan.buf[c.at:i], '\n') >= 0 {
		c.follows = false
	}
	c.at = i
	return i < c.scan.end
}

// accept ends the unit at the index end and makes a row of it.
func (c *cutter) accept(end int) {
	c.at, c.follows = end, true
	c.sub++
}

// judge returns the end of the unit if it is an object that may become a row,
// otherwise why not; then it has moved past it.
func (c *cutter) judge() (end int, rej *Reject) {
	s := &c.scan
	s.reset()
	if !c.checked {
		c.checked, c.badUTF8 = true, !validUTF8(c.rec)
	}
	start := c.at
	end = s.value(start, 0)
	if end >= 0 && !delimited(s.buf, start, end) {
		s.fail(end, "after a value")
		end = -1
	}
	if end < 0 {
		return -1, c.badLine(start)
	}
	f := s.first
	switch unit := s.buf[start:end]; {
	case c.badUTF8 && !utf8.Valid(unit):
		f = fault{code: CodeUTF8, message: fmt.Sprintf("invalid UTF-8 at byte %d", start+validPrefix(unit))}
	case f.code != "":
	case unit[0] != '{':
		f = fault{code: CodeTopLevel, message: "the value is not an object"}
	default:
		return end, nil
	}
	return -1, c.reject(f, end)
}

// delimited tells whether the value from start to end is over there: what
// follows a number or a word must not run on.
func delimited(buf []byte, start, end int) bool {
	switch buf[start] {
	case '{', '[', '"':
		return true
	}
	switch buf[end] {
	case 0, ' ', '\n', '\t', '\r', ',', ':', '{', '[', '}', ']', '"':
		return true
	}
	return false
}

// badLine rejects the rest of the line. A record in which that made too much to
// be read again is rejected to its end.
func (c *cutter) badLine(start int) *Reject {
	s := &c.scan
	end := s.end
	c.work += s.stopped - start
	if c.work <= 8*s.end+carefulBytes {
		if start >= c.line {
			c.line = s.end
			if n := bytes.IndexByte(s.buf[start:s.end], '\n'); n >= 0 {
				c.line = start + n
			}
		}
		end = c.line
	}
	f := s.stop
	switch unit := s.buf[start:end]; {
	case c.badUTF8 && !utf8.Valid(unit):
		f = fault{code: CodeUTF8, message: fmt.Sprintf("invalid UTF-8 at byte %d", start+validPrefix(unit))}
	case f.code == CodeSyntax && c.follows:
		f.code = CodeTrailing
	}
	return c.reject(f, end)
}

// maxMessageBytes bounds the message of a reject.
const maxMessageBytes = 1024

func (c *cutter) reject(f fault, end int) *Reject {
	r := &Reject{Sub: int32(c.sub), Code: f.code, Payload: c.rec[c.at:end:end]}
	r.Message = cutText(f.message, maxMessageBytes)
	r.Path = strings.ToValidUTF8(f.path, "\uFFFD")
	c.accept(end)
	return r
}

// validPrefix returns the length of the longest prefix that is valid UTF-8.
func validPrefix(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// cutText cuts valid UTF-8 after at most n bytes.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// sniff recognises by its first bytes what is certainly not JSON in UTF-8.
func sniff(b []byte) (code, what string) {
	for _, m := range []struct{ prefix, code, what string }{
		{"\xFF\xFE", CodeEncoding, "UTF-16 or UTF-32 text"},
		{"\xFE\xFF", CodeEncoding, "UTF-16 text"},
		{"\x00\x00\xFE\xFF", CodeEncoding, "UTF-32 text"},
		{"\x1F\x8B", CodeMagic, "gzip"},
		{"\x28\xB5\x2F\xFD", CodeMagic, "zstd"},
		{"\x04\x22\x4D\x18", CodeMagic, "lz4"},
		{"\xFF\x06\x00\x00sNaPpY", CodeMagic, "snappy"},
		{"BZh", CodeMagic, "bzip2"},
		{"PK\x03\x04", CodeMagic, "zip"},
		{"Obj\x01", CodeMagic, "Avro"},
		{"PAR1", CodeMagic, "Parquet"},
		{"H4sI", CodeMagic, "gzip in base64"},
	} {
		if bytes.HasPrefix(b, []byte(m.prefix)) {
			return m.code, m.what
		}
	}
	switch {
	case len(b) >= 8 && wide(b, 4):
		return CodeEncoding, "UTF-32 text"
	case len(b) >= 4 && wide(b, 2):
		return CodeEncoding, "UTF-16 text"
	case len(b) >= 5 && b[0] == 0:
		return CodeMagic, "in a schema registry's wire format"
	}
	return "", ""
}

// wide tells whether b starts with two ASCII characters of size bytes each.
func wide(b []byte, size int) bool {
	ascii := func(at int) bool {
		for i := range 2 * size {
			if (i%size == at) != (b[i] != 0) || b[i] >= 0x80 {
				return false
			}
		}
		return true
	}
	return ascii(0) || ascii(size-1)
}
