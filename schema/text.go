package schema

import (
	"encoding/binary"
	"math/bits"
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
		i += bits.TrailingZeros64(m) >> 3
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
	var v rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		v = v<<4 | rune(c)
	}
	return v
}

// unescape appends the text of a valid JSON string without its quotes. A
// surrogate without its other half is appended as the three bytes that UTF-8
// would use if it were allowed there, so that different strings stay
// different; lone then says that the text is not valid UTF-8.
func unescape(dst, raw []byte) (text []byte, lone bool) {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		n := 0
		if dst, n = unescapeOne(dst, raw, i); n == misfit {
			lone, n = true, 6
			r := hex4(raw[i+2:])
			dst = append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
		}
		i += n
	}
	return dst, lone
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
		n := bits.TrailingZeros64(m) >> 3
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
