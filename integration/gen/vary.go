package gen

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode"
)

type kind byte

const (
	object kind = iota + 1
	array
	text
	number
	literal
)

// node is a parsed sample; the order of its keys is kept.
type node struct {
	kind kind
	keys []string
	kids []*node
	s    string
}

func parse(d *json.Decoder) (*node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := t.(type) {
	case json.Delim:
		n := &node{kind: object}
		if v == '[' {
			n.kind = array
		}
		for d.More() {
			if n.kind == object {
				k, err := d.Token()
				if err != nil {
					return nil, err
				}
				n.keys = append(n.keys, fmt.Sprint(k))
			}
			kid, err := parse(d)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, kid)
		}
		_, err := d.Token()
		return n, err
	case string:
		return &node{kind: text, s: v}, nil
	case json.Number:
		return &node{kind: number, s: v.String()}, nil
	case bool:
		return &node{kind: literal, s: strconv.FormatBool(v)}, nil
	default:
		return &node{kind: literal, s: "null"}, nil
	}
}

// varier writes samples with other values of the same shape.
type varier struct {
	*rand.Rand
	now time.Time
}

func (v *varier) append(b []byte, key string, n *node) []byte {
	switch n.kind {
	case object, array:
		open, end := byte('{'), byte('}')
		if n.kind == array {
			open, end = '[', ']'
		}
		b = append(b, open)
		for i, kid := range n.kids {
			if i > 0 {
				b = append(b, ',')
			}
			if n.kind == object {
				key = n.keys[i]
				b = append(appendString(b, key), ':')
			}
			b = v.append(b, key, kid)
		}
		return append(b, end)
	case text:
		return appendString(b, v.text(key, n.s))
	case number:
		return v.appendNumber(b, n.s)
	default:
		return append(b, n.s...)
	}
}

// isName reports whether a key's values are names, which stay as they are.
func isName(key string) bool {
	switch key {
	case "lang", "state", "source", "ref", "action", "size", "time_zone":
		return true
	}
	return strings.HasSuffix(key, "type")
}

func (v *varier) text(key, s string) string {
	switch {
	case s == "" || isName(key):
		return s
	case len(s) == 20 && s[10] == 'T' && s[19] == 'Z':
		return v.now.Add(-time.Duration(v.IntN(1e6)) * time.Second).UTC().Format(time.RFC3339)
	case isHex(s):
		b := make([]byte, len(s))
		for i := range b {
			b[i] = "0123456789abcdef"[v.IntN(16)]
		}
		return string(b)
	case strings.HasPrefix(s, "http"):
		parts := strings.Split(s, "/")
		for i := min(3, len(parts)); i < len(parts); i++ {
			parts[i] = v.word(parts[i])
		}
		return strings.Join(parts, "/")
	}
	var b strings.Builder
	for len(s) > 0 {
		end := strings.IndexFunc(s, unicode.IsSpace)
		if end < 0 {
			end = len(s)
		}
		b.WriteString(v.word(s[:end]))
		s = s[end:]
		end = len(s) - len(strings.TrimLeftFunc(s, unicode.IsSpace))
		b.WriteString(s[:end])
		s = s[end:]
	}
	return b.String()
}

// word changes one word in three, keeping its length and classes of characters.
func (v *varier) word(w string) string {
	if v.IntN(3) != 0 {
		return w
	}
	return strings.Map(func(r rune) rune {
		letter := func(letters string) rune { return rune(letters[min(v.IntN(26), v.IntN(26))]) }
		switch {
		case r >= 'a' && r <= 'z':
			return letter("etaoinshrdlucmfwypvbgkjqxz")
		case r >= 'A' && r <= 'Z':
			return letter("ETAOINSHRDLUCMFWYPVBGKJQXZ")
		case r >= '0' && r <= '9':
			return '0' + v.Int32N(10)
		case r >= 0x3041 && r <= 0x3093: // hiragana
			return 0x3041 + v.Int32N(0x52)
		case r >= 0x4e00 && r <= 0x9fa0: // ideographs
			return 0x4e00 + v.Int32N(0x1000)
		}
		return r
	}, w)
}

func (v *varier) appendNumber(b []byte, s string) []byte {
	if strings.ContainsAny(s, ".eE") {
		return strconv.AppendFloat(b, float64(v.IntN(1e9))/1e6, 'f', -1, 64)
	}
	if len(s) < 2 {
		return strconv.AppendInt(b, int64(v.IntN(10)), 10)
	}
	first := 1 + strings.Count(s[:1], "-") // the leading digit stays, so the length does
	b = append(b, s[:first]...)
	for range s[first:] {
		b = append(b, '0'+byte(v.IntN(10)))
	}
	return b
}

func isHex(s string) bool {
	return len(s) >= 20 && strings.Trim(s, "0123456789abcdef") == ""
}

// appendString appends s as a JSON string, with no escapes beyond what JSON asks for.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
