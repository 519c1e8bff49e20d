package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Print writes the configuration that the document was decoded into as YAML,
// defaults included, in the order of the struct fields. Secrets appear as their
// references, passwords in URLs are blanked; the rest is a valid file.
func (d *Document) Print(w io.Writer, cfg any) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	p := printer{redact: true, refs: d.refs}
	if err := enc.Encode(p.node(reflect.ValueOf(cfg), at{})); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return enc.Close()
}

// Canonical returns a configuration as JSON that depends on its meaning alone:
// keys in the order of the struct fields, map keys sorted, zero values left out.
// So a field that a later version adds, with a zero value that means what it used
// to be, leaves the bytes of older configurations as they are.
func Canonical(cfg any) ([]byte, error) {
	p := printer{dense: true}
	n := p.node(reflect.ValueOf(cfg), at{})
	var b bytes.Buffer
	if n == nil {
		n = &yaml.Node{Kind: yaml.MappingNode}
	}
	if err := appendJSON(&b, n); err != nil {
		return nil, fmt.Errorf("canonical configuration: %w", err)
	}
	return b.Bytes(), nil
}

// FromCanonical decodes what Canonical returned into the zero value that into
// points to. A key that this version does not know is an error.
func FromCanonical(name string, text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	n, err := nodeFromJSON(dec)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d := &Document{name: name, root: n, secrets: func(string, string) (string, error) { return "", nil }}
	d.Root().Decode(into)
	return d.Err()
}

type printer struct {
	redact bool                 // blank passwords in URLs
	dense  bool                 // leave out zero values
	refs   map[string]reference // how secrets were written, by path
}

// at is where a value stands.
type at struct {
	path, key string
	tag       reflect.StructTag
}

// node returns v as YAML, or nil if it has nothing to show.
func (p printer) node(v reflect.Value, a at) *yaml.Node {
	if p.dense && v.IsZero() {
		return nil
	}
	if secretOf(v.Type(), a.tag) != noSecret { // what it holds may be the secret itself
		return p.secret(v, a.path)
	}
	if n, ok := p.custom(v, a); ok {
		return n
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return p.node(v.Elem(), a)
	case reflect.Struct:
		return p.mapping(v, a)
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
		for _, k := range keys {
			el := p.node(v.MapIndex(k), at{path: join(a.path, keyStep(k.String())), key: k.String()})
			if el == nil {
				el = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			}
			n.Content = append(n.Content, plain(k.String(), "!!str"), el)
		}
		return flowIfEmpty(n)
	case reflect.Slice, reflect.Array:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			el := p.node(v.Index(i), at{a.path + "[" + strconv.Itoa(i) + "]", a.key, a.tag})
			if el == nil {
				el = emptyOf(v.Index(i))
			}
			n.Content = append(n.Content, el)
		}
		return flowIfEmpty(n)
	default:
		return p.scalar(v, a.key)
	}
}

func flowIfEmpty(n *yaml.Node) *yaml.Node {
	simple := n.Kind == yaml.SequenceNode && !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind != yaml.ScalarNode })
	if len(n.Content) == 0 || simple {
		n.Style = yaml.FlowStyle
	}
	return n
}

// emptyOf stands for a zero element of a list, which cannot be left out.
func emptyOf(v reflect.Value) *yaml.Node {
	if n := (printer{}).node(v, at{}); n != nil && n.Kind == yaml.ScalarNode {
		return n
	}
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
}

// secret prints the reference that the secret was written as.
func (p printer) secret(v reflect.Value, path string) *yaml.Node {
	ref, ok := p.refs[path]
	switch {
	case ok && ref.Env != "":
		return flow("env", ref.Env)
	case ok:
		return flow("file", ref.File)
	case v.IsZero():
		return nil
	}
	return plain("REDACTED", "!!str")
}

func flow(key, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{plain(key, "!!str"), plain(value, "!!str")}}
}

// custom prints types that read themselves.
func (p printer) custom(v reflect.Value, a at) (*yaml.Node, bool) {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		return nil, false
	}
	ptr := reflect.New(v.Type()) // methods may be on the pointer, and v may not be addressable
	ptr.Elem().Set(v)
	switch x := ptr.Interface().(type) {
	case *yaml.Node:
		return x, true
	case Union:
		name, cfg := x.Chosen()
		if name == "" {
			return nil, true
		}
		el := p.node(reflect.ValueOf(cfg), at{path: join(a.path, keyStep(name))})
		if el == nil {
			el = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		}
		return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{plain(name, "!!str"), el}}, true
	case yaml.Marshaler:
		val, err := x.MarshalYAML()
		if err != nil {
			return plain(err.Error(), "!!str"), true
		}
		n := &yaml.Node{}
		if err := n.Encode(val); err != nil {
			return plain(err.Error(), "!!str"), true
		}
		return n, true
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			return plain(err.Error(), "!!str"), true
		}
		return plain(string(text), "!!str"), true
	}
	return nil, false
}

func (p printer) mapping(v reflect.Value, a at) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields(v.Type()) {
		el := p.node(v.FieldByIndex(f.index), at{join(a.path, keyStep(f.key)), f.key, f.tag})
		if el != nil && (!p.dense || el.Kind == yaml.ScalarNode || len(el.Content) > 0) {
			n.Content = append(n.Content, plain(f.key, "!!str"), el)
		}
	}
	return flowIfEmpty(n)
}

func (p printer) scalar(v reflect.Value, key string) *yaml.Node {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return plain(FormatDuration(time.Duration(v.Int())), "!!str")
	case v.Kind() == reflect.String && p.redact:
		return plain(Redact(v.String()), "!!str")
	case v.Kind() == reflect.String:
		return plain(v.String(), "!!str")
	case v.Kind() == reflect.Bool:
		return plain(strconv.FormatBool(v.Bool()), "!!bool")
	case v.CanInt() && sized(key) && !p.dense:
		return plain(FormatSize(v.Int()), "")
	case v.CanInt():
		return plain(strconv.FormatInt(v.Int(), 10), "!!int")
	case v.CanUint():
		return plain(strconv.FormatUint(v.Uint(), 10), "!!int")
	case v.CanFloat():
		return plain(strconv.FormatFloat(v.Float(), 'g', -1, 64), "")
	}
	panic("BUG: no configuration can hold " + v.Type().String())
}

func plain(s, tag string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: s, Tag: tag}
}

func appendJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendText(b, n.Content[i].Value); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := appendJSON(b, n.Content[i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendJSON(b, c); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" || tag == "!!bool" {
			b.WriteString(n.Value)
			return nil
		}
		return appendText(b, n.Value)
	}
	return nil
}

func appendText(b *bytes.Buffer, s string) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder ends with a newline
	return nil
}

func nodeFromJSON(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for dec.More() { // keys are tokens of their own
			el, err := nodeFromJSON(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, el)
		}
		_, err := dec.Token()
		return n, err
	case json.Number:
		return plain(t.String(), "!!int"), nil
	case bool:
		return plain(strconv.FormatBool(t), "!!bool"), nil
	case string:
		return plain(t, "!!str"), nil
	default:
		return plain("", "!!null"), nil
	}
}
