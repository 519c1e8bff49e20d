package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseType reads a type in Iceberg's words, as [Type.String] writes them, in any
// case and with any spaces:
//
//	boolean int long float double date time timestamp timestamptz timestamp_ns
//	timestamptz_ns string uuid binary decimal(10, 2) fixed[16]
//	list<string> map<string, long> struct<id: long, name: string>
//
// A field name that has more than letters, digits and "_" in it is quoted like a
// JSON string. All parts are optional, keys of maps aside.
func ParseType(s string) (*Type, error) {
	p := typeParser{text: s}
	t, err := p.typ(1)
	if err == nil && p.peek() != 0 {
		err = p.errorf("unexpected %q after the type", p.rest())
	}
	if err != nil {
		return nil, fmt.Errorf("type %q: %w", s, err)
	}
	return t, nil
}

// kindNamed returns the kind of a name in lower case, or 0.
func kindNamed(name string) Kind {
	for k := Bool; k < Struct; k++ {
		if k != Decimal && k != Fixed && (&Type{Kind: k}).String() == name {
			return k
		}
	}
	switch name {
	case "decimal":
		return Decimal
	case "fixed":
		return Fixed
	case "struct":
		return Struct
	case "list":
		return List
	case "map":
		return Map
	}
	return 0
}

// icebergName returns what Iceberg calls a type that has another name elsewhere,
// or "".
func icebergName(name string) string {
	switch name {
	case "bool":
		return "boolean"
	case "integer", "int32":
		return "int"
	case "bigint", "int64":
		return "long"
	case "real", "float32":
		return "float"
	case "float64":
		return "double"
	case "varchar", "text":
		return "string"
	case "numeric":
		return "decimal"
	case "array":
		return "list"
	case "object", "row":
		return "struct"
	case "datetime":
		return "timestamp"
	case "bytes":
		return "binary"
	}
	return ""
}

// maxTypeDepth bounds how deep a declared type may nest.
const maxTypeDepth = 64

type typeParser struct {
	text string
	at   int
}

func (p *typeParser) errorf(format string, args ...any) error {
	return fmt.Errorf("at %d: "+format, append([]any{p.at + 1}, args...)...)
}

// peek returns the next byte that is no space, or 0.
func (p *typeParser) peek() byte {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *typeParser) rest() string { return cutText(p.text[p.at:], 20) }

func (p *typeParser) want(c byte, where string) error {
	if p.peek() != c {
		return p.errorf("want %q %s, got %q", string(c), where, p.rest())
	}
	p.at++
	return nil
}

func (p *typeParser) word() string {
	p.peek()
	start := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		if c != '_' && !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && c < 0x80 {
			break
		}
		p.at++
	}
	return p.text[start:p.at]
}

func (p *typeParser) number(where string) (int, error) {
	w := p.word()
	n, err := strconv.Atoi(w)
	if err != nil {
		return 0, p.errorf("want a number %s, got %q", where, w+p.rest())
	}
	return n, nil
}

func (p *typeParser) typ(depth int) (*Type, error) {
	if depth > maxTypeDepth {
		return nil, p.errorf("nested deeper than %d levels", maxTypeDepth)
	}
	w := strings.ToLower(p.word())
	kind := kindNamed(w)
	switch other := icebergName(w); {
	case kind != 0:
	case other != "":
		return nil, p.errorf("no type is called %q; Iceberg calls it %q", w, other)
	case w == "":
		return nil, p.errorf("want a type, got %q", p.rest())
	default:
		return nil, p.errorf("no type is called %q", w)
	}
	t := &Type{Kind: kind}
	var err error
	switch kind {
	case Decimal:
		err = p.decimal(t)
	case Fixed:
		err = p.fixed(t)
	case Struct:
		err = p.fields(t, depth)
	case List:
		err = p.parts(t, depth, "element")
	case Map:
		err = p.parts(t, depth, "key", "value")
	default:
	}
	return t, err
}

func (p *typeParser) decimal(t *Type) error {
	if err := p.want('(', "after decimal, as in decimal(10, 2)"); err != nil {
		return err
	}
	var err error
	if t.Precision, err = p.number("of digits"); err != nil {
		return err
	}
	if err = p.want(',', "between precision and scale"); err != nil {
		return err
	}
	if t.Scale, err = p.number("of digits after the point"); err != nil {
		return err
	}
	if t.Precision < 1 || t.Precision > 38 || t.Scale > t.Precision {
		return p.errorf("decimal(%d, %d): the precision is 1 to 38, the scale at most the precision", t.Precision, t.Scale)
	}
	return p.want(')', "after the scale")
}

func (p *typeParser) fixed(t *Type) error {
	if err := p.want('[', "after fixed, as in fixed[16]"); err != nil {
		return err
	}
	var err error
	if t.Length, err = p.number("of bytes"); err != nil {
		return err
	}
	if t.Length < 1 || t.Length > 1<<20 {
		return p.errorf("fixed[%d]: the length is 1 to 1048576", t.Length)
	}
	return p.want(']', "after the length")
}

// parts reads the types of a list or map.
func (p *typeParser) parts(t *Type, depth int, names ...string) error {
	sep := byte('<')
	for i, name := range names {
		if err := p.want(sep, "before the "+name); err != nil {
			return err
		}
		part, err := p.typ(depth + 1)
		if err != nil {
			return err
		}
		t.Fields = append(t.Fields, Field{Name: name, Type: part, Required: t.Kind == Map && i == 0})
		sep = ','
	}
	return p.want('>', "after the "+names[len(names)-1])
}

// fields reads the fields of a struct.
func (p *typeParser) fields(t *Type, depth int) error {
	if err := p.want('<', "after struct, as in struct<id: long>"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for {
		name, err := p.name()
		if err != nil {
			return err
		}
		if seen[strings.ToLower(name)] {
			return p.errorf("field %q twice", name)
		}
		seen[strings.ToLower(name)] = true
		if err := p.want(':', "after the field's name"); err != nil {
			return err
		}
		ft, err := p.typ(depth + 1)
		if err != nil {
			return err
		}
		t.Fields = append(t.Fields, Field{Name: name, Type: ft})
		if p.peek() == ',' {
			p.at++
			continue
		}
		return p.want('>', "or a comma after a field")
	}
}

func (p *typeParser) name() (string, error) {
	if p.peek() != '"' {
		w := p.word()
		if w == "" {
			return "", p.errorf("want a field's name, got %q", p.rest())
		}
		return w, nil
	}
	q, err := strconv.QuotedPrefix(p.text[p.at:])
	if err != nil {
		return "", p.errorf("the name is not closed by a quote")
	}
	p.at += len(q)
	name, err := strconv.Unquote(q)
	if err != nil || name == "" {
		return "", p.errorf("bad name %s", q)
	}
	return name, nil
}
