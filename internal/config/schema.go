package config

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Schema is a JSON Schema, as far as configurations need it.
type Schema struct {
	Draft       string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Type        string `json:"type,omitempty"` // "": see AnyOf

	Properties           Properties `json:"properties,omitempty"`
	AdditionalProperties any        `json:"additionalProperties,omitempty"` // false, or the *Schema of a map's values
	MinProperties        int        `json:"minProperties,omitempty"`
	MaxProperties        int        `json:"maxProperties,omitempty"`
	Items                *Schema    `json:"items,omitempty"`
	AnyOf                []*Schema  `json:"anyOf,omitempty"`
	Pattern              string     `json:"pattern,omitempty"`
	Default              any        `json:"default,omitempty"`

	Syntax string `json:"-"` // for people: size, duration, secret, text, one of ...
}

// Property is a key of an object.
type Property struct {
	Key string
	*Schema
}

// Properties keeps the order of the struct fields.
type Properties []Property

// MarshalJSON implements json.Marshaler.
func (ps Properties) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(p.Key)
		if err != nil {
			return nil, err
		}
		val, err := json.Marshal(p.Schema)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(val)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// Doc returns the doc comment of a struct field, or of the type if field is "".
type Doc func(t reflect.Type, field string) string

// SchemaOf returns the JSON Schema of what Decode takes into the struct that cfg
// points to. Its values are the defaults.
func SchemaOf(cfg any, doc Doc) *Schema {
	s := schemas{doc}.of(reflect.ValueOf(cfg).Elem(), "", "")
	s.Draft = "https://json-schema.org/draft/2020-12/schema"
	return s
}

type schemas struct{ doc Doc }

// variable matches a value that holds a variable, which may stand anywhere.
func variable() *Schema { return &Schema{Type: "string", Pattern: `\$\{`} }

func (s schemas) of(v reflect.Value, key string, tag reflect.StructTag) *Schema {
	t := v.Type()
	if secretOf(t, tag) != noSecret {
		return s.secret()
	}
	p := reflect.New(t)
	p.Elem().Set(v)
	if u, ok := reflect.TypeAssert[Union](p); ok {
		return s.union(u)
	}
	if p.Type().Implements(reflect.TypeFor[yaml.Unmarshaler]()) || p.Type().Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || t == reflect.TypeFor[yaml.Node]() {
		return s.custom(p)
	}
	switch t.Kind() {
	case reflect.Pointer:
		el := reflect.New(t.Elem()).Elem()
		setDefaults(el)
		return s.of(el, key, tag)
	case reflect.Struct:
		return s.object(v)
	case reflect.Map:
		el := reflect.New(t.Elem()).Elem()
		setDefaults(el)
		return &Schema{Type: "object", AdditionalProperties: s.of(el, "", ""), Syntax: "mapping"}
	case reflect.Slice:
		return &Schema{Type: "array", Items: s.of(reflect.New(t.Elem()).Elem(), key, tag), Syntax: "list"}
	default:
		return s.scalar(v, key)
	}
}

func (s schemas) object(v reflect.Value) *Schema {
	o := &Schema{Type: "object", Description: s.doc(v.Type(), ""), AdditionalProperties: false, Syntax: "mapping"}
	for _, f := range fields(v.Type()) {
		p := s.of(v.FieldByIndex(f.index), f.key, f.tag)
		owner := v.Type()
		for _, i := range f.index[:len(f.index)-1] { // of inlined structs
			owner = owner.Field(i).Type
		}
		if d := s.doc(owner, owner.Field(f.index[len(f.index)-1]).Name); d != "" {
			p.Description = d
		}
		o.Properties = append(o.Properties, Property{f.key, p})
	}
	return o
}

func (s schemas) union(u Union) *Schema {
	o := &Schema{Type: "object", AdditionalProperties: false, MinProperties: 1, MaxProperties: 1, Syntax: "one of"}
	for _, c := range u.Choices() {
		o.Properties = append(o.Properties, Property{c.Name, s.of(reflect.ValueOf(c.New()).Elem(), "", "")})
	}
	return o
}

func (schemas) secret() *Schema {
	text := func(d string) *Schema { return &Schema{Type: "string", Description: d} }
	return &Schema{
		Type: "object", AdditionalProperties: false, MinProperties: 1, MaxProperties: 1, Syntax: "secret",
		Properties: Properties{{"env", text("The environment variable that holds it.")}, {"file", text("The file that holds it.")}},
	}
}

// custom types are written as they print.
func (schemas) custom(p reflect.Value) *Schema {
	out := &Schema{AnyOf: []*Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}, {Type: "array"}, {Type: "object"}}, Syntax: "text"}
	if p.Type().Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) && !p.Type().Implements(reflect.TypeFor[yaml.Unmarshaler]()) {
		out = &Schema{Type: "string", Syntax: "text"}
	}
	if n, ok := (printer{}).custom(p.Elem(), at{}); ok && n != nil && n.Value != "" {
		out.Default = n.Value
	}
	return out
}

func (schemas) scalar(v reflect.Value, key string) *Schema {
	text := (printer{redact: true}).scalar(v, key).Value
	withVariable := func(syntax string, def any, plain ...*Schema) *Schema {
		return &Schema{AnyOf: append(plain, variable()), Default: def, Syntax: syntax}
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return &Schema{
			Type: "string", Default: text, Syntax: "duration",
			Pattern: `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^[0-9]+d$|^0$|\$\{`,
		}
	case v.Kind() == reflect.String:
		out := &Schema{Type: "string", Syntax: "text"}
		if text != "" {
			out.Default = text
		}
		return out
	case v.Kind() == reflect.Bool:
		return withVariable("true or false", v.Bool(), &Schema{Type: "boolean"})
	case v.CanInt() && sized(key):
		return withVariable("size", text, &Schema{Type: "integer"}, &Schema{Type: "string", Pattern: `^[0-9.]+ *([KMGT]i?B|kB|B)?$`})
	case v.CanInt():
		return withVariable("number", v.Int(), &Schema{Type: "integer"})
	case v.CanUint():
		return withVariable("number", v.Uint(), &Schema{Type: "integer"})
	default:
		return withVariable("number", v.Float(), &Schema{Type: "number"})
	}
}
