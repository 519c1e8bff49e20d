package schema

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// pad is how many zero bytes follow a record in the buffer it is read from. A
// zero byte stops every loop below, so that none of them looks for the end.
const pad = 64

// skipSpace returns the index of the first byte at or after i that is not JSON
// white space.
func skipSpace(buf []byte, i int) int {
	for {
		if c := buf[i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return i
		}
		i++
	}
}

// special marks the top bit of every byte of w that is a quote, a backslash or
// a control character. Only the lowest mark is exact; those above it may be
// wrong.
func special(w uint64) uint64 {
	const l, h = 0x0101010101010101, 0x8080808080808080
	q := w ^ l*2 // makes a quote the one byte that goes with the control characters
	b := w ^ l*'\\'
	return ((q - l*0x21) | (b - l)) &^ w & h
}

// firstMark returns the index of the first byte of m, which has the top bits of bytes and no
// others, that is not 0; 8 if there is none.
func firstMark(m uint64) int { return int((m - 1) &^ m >> 7 & ones * ones >> 56) }

// scanString returns the index of the quote that ends the string whose first
// byte is at i, and whether there are escapes in it. If the string is not valid
// JSON, it returns ^at instead, at being the offending byte.
func scanString(buf []byte, i int) (end int, escaped bool) {
	for {
		m := special(binary.LittleEndian.Uint64(buf[i:]))
		if m == 0 {
			i += 8
			continue
		}
		i += firstMark(m)
		switch buf[i] {
		case '"':
			return i, escaped
		case '\\':
			escaped = true
			n := escapeLen(buf, i)
			if n == 0 {
				return ^i, true
			}
			i += n
		default:
			return ^i, escaped
		}
	}
}

// escapes are the letters of escapes, and what they stand for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'} //nolint:gochecknoglobals // constants

// escapeLen returns the length of the escape at i, or 0 if it is none.
func escapeLen(buf []byte, i int) int {
	switch c := buf[i+1]; {
	case escapes[c] != 0:
		return 2
	case c == 'u' && hex4(buf[i+2:]) >= 0:
		return 6
	}
	return 0
}

// plainText reads what is left of a string from i on into data, and makes that the text of the
// next row: words are looked at and copied at once. It returns the index after the quote, or ^at
// where it met a longer escape or what is no text, or where there is no more room; then data
// has what is before, and [reader.longText] goes on. The text began at from: if that is not i, what was read
// of it before may have bytes beyond ASCII.
func plainText(f *node, src source, i, from int) (end int) {
	if byBlocks {
		return wideText(f, src, i, from)
	}
	return wordText(f, src, i, from)
}

// wordText is plainText by words of 8 bytes.
func wordText(f *node, src source, i, from int) (end int) {
	data := f.data
	high := uint64(0)
	if i != from {
		high = topBits
	}
	k := len(data)
	i -= k // i+k is the next byte
	for k+8 <= cap(data) {
		w := src.word(i + k)
		putWord(data, k, w)
		high |= w
		m := special(w)
		if m == 0 {
			k += 8
			continue
		}
		k += firstMark(m)
		c := src.byte(i + k)
		if c == '"' {
			at := len(f.ends)
			if at >= cap(f.ends) || high&topBits != 0 && !validUTF8(data[f.ends[at-1]:k]) {
				break
			}
			f.data = f.data[:k]
			f.ends = f.ends[:at+1]
			f.ends[at] = int32(k)
			f.n++
			return i + k + 1
		}
		e := escapes[src.byte(i+k+1)]
		if c != '\\' || e == 0 {
			break
		}
		putByte(data, k, e) // where a word was written
		i, k = i+1, k+1
	}
	f.data = f.data[:k]
	return ^(i + k)
}

// textRoom is how much room plainText needs for a step.
const textRoom = 64

// longText goes on with the text that plainText left at i. An escape is a whole character: the
// text is UTF-8 if what is around its escapes is.
//
//go:noinline
func (r *reader) longText(f *node, i, from int) int {
	if len(f.ends) == 0 {
		f.ends = append(f.ends, 0)
	}
	for {
		if cap(f.data)-len(f.data) < textRoom || len(f.ends) == cap(f.ends) {
			f.data, f.ends = slices.Grow(f.data, 2*textRoom), slices.Grow(f.ends, 1)
		} else {
			n := 0
			if r.src.byte(i) == '\\' {
				f.data, n = unescapeOne(f.data, r.cut.scan.buf, i)
			}
			if n <= 0 {
				f.data = f.data[:f.ends[len(f.ends)-1]]
				return cmp.Or(n, invalid)
			}
			if i += n; r.src.byte(i) == '\\' { // they are rarely alone
				continue
			}
		}
		if i = plainText(f, r.src, i, from); i > 0 {
			return i
		}
		i = ^i
	}
}

// unescapeOne appends what the escape at i stands for, and returns its length: 0 if it is
// none, misfit if it is half of a surrogate pair.
func unescapeOne(dst, buf []byte, i int) (text []byte, n int) {
	c := buf[i+1]
	if e := escapes[c]; e != 0 {
		return append(dst, e), 2
	}
	if c != 'u' {
		return dst, 0
	}
	switch r := hex4(buf[i+2:]); {
	case r < 0:
		return dst, 0
	case r < 0xD800 || r >= 0xE000:
		return utf8.AppendRune(dst, r), 6
	case r < 0xDC00 && i+12 <= len(buf) && buf[i+6] == '\\' && buf[i+7] == 'u':
		if low := hex4(buf[i+8:]); low >= 0xDC00 && low < 0xE000 {
			return utf8.AppendRune(dst, (r-0xD800)<<10+(low-0xDC00)+0x10000), 12
		}
	}
	return dst, misfit
}

// hex4 returns the value of four hexadecimal digits, or -1.
func hex4(b []byte) rune {
	v := hexValues[b[0]]<<12 | hexValues[b[1]]<<8 | hexValues[b[2]]<<4 | hexValues[b[3]]
	if v < 0 {
		return -1
	}
	return v
}

// hexValues are the values of hexadecimal digits. Those of other bytes stay negative however
// they are shifted by hex4.
var hexValues = func() (values [256]rune) { //nolint:gochecknoglobals // a table
	for c := range values {
		values[c] = -1
	}
	for i := range 16 {
		values["0123456789abcdef"[i]], values["0123456789ABCDEF"[i]] = rune(i), rune(i)
	}
	return values
}()

// unescape appends the text of a valid JSON string without its quotes. A
// surrogate without its other half is appended as the three bytes that UTF-8
// would use if it were allowed there, so that different strings stay
// different; lone then says that the text is not valid UTF-8.
func unescape(dst, raw []byte) (text []byte, lone bool) {
	for {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			return append(dst, raw...), lone
		}
		dst, raw = append(dst, raw[:n]...), raw[n:]
		if dst, n = unescapeOne(dst, raw, 0); n == misfit {
			lone, n = true, 6
			r := hex4(raw[2:])
			dst = append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
		}
		raw = raw[n:]
	}
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends c as it stands inside a JSON string.
func appendEscaped(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c >= 0x20:
		return append(dst, c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\t':
		return append(dst, '\\', 't')
	case c == '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendQuoted appends text, which is valid UTF-8, as it stands inside a JSON
// string.
func appendQuoted(dst, text []byte) []byte {
	for len(text) >= 8 {
		m := special(binary.LittleEndian.Uint64(text))
		if m == 0 {
			dst = append(dst, text[:8]...)
			text = text[8:]
			continue
		}
		n := firstMark(m)
		dst = appendEscaped(append(dst, text[:n]...), text[n])
		text = text[n+1:]
	}
	for _, c := range text {
		dst = appendEscaped(dst, c)
	}
	return dst
}

// appendToken appends "/" and a reference token of a JSON pointer, as it stands
// inside a JSON string. Half surrogates, as left by unescape, become escapes.
func appendToken(dst []byte, key string) []byte {
	dst = append(dst, '/')
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '~':
			dst = append(dst, '~', '0')
		case c == '/':
			dst = append(dst, '~', '1')
		case c == 0xED && i+2 < len(key) && key[i+1] >= 0xA0:
			r := uint(c&0x0F)<<12 | uint(key[i+1]&0x3F)<<6 | uint(key[i+2]&0x3F)
			dst = append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			i += 2
		default:
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}

// skipValue returns the index after the value at i, which is known to be valid.
func skipValue(buf []byte, i int) int {
	depth := 0
	for {
		switch c := buf[i]; c {
		case '"':
			e, _ := scanString(buf, i+1)
			i = e + 1
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		default:
			i++
			if c != ',' && c != ':' && c > ' ' {
				for ; buf[i] > ' ' && buf[i] != ',' && buf[i] != '}' && buf[i] != ']'; i++ {
				}
			}
		}
		if depth == 0 {
			return i
		}
	}
}

// untyped tells whether the value at i, which is known to be valid, says nothing
// about a type: null, [], or an object whose members are all untyped. It returns
// the index after the value if so.
func untyped(buf []byte, i int) (end int, ok bool) {
	switch buf[i] {
	case 'n':
		return i + 4, true
	case '[':
		i = skipSpace(buf, i+1)
		return i + 1, buf[i] == ']'
	case '{':
		i = skipSpace(buf, i+1)
		for buf[i] != '}' {
			e, _ := scanString(buf, i+1)
			i = skipSpace(buf, e+1)
			if i, ok = untyped(buf, skipSpace(buf, i+1)); !ok {
				return 0, false
			}
			if i = skipSpace(buf, i); buf[i] == ',' {
				i = skipSpace(buf, i+1)
			}
		}
		return i + 1, true
	}
	return 0, false
}
