package config

import (
	"encoding"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Union is a mapping with exactly one of several keys, such as the kinds of
// source; each key has a configuration of its own type. It is implemented by a
// pointer.
type Union interface {
	// Choices lists the keys.
	Choices() []Choice
	// Chosen returns the key and the pointer that Choose was given; "" if none.
	Chosen() (name string, cfg any)
	// Choose is called by the decoder with a pointer to the decoded configuration, or
	// with "" and nil if the value is not in order; that is reported then.
	Choose(name string, cfg any)
}

// Choice is one key of a Union.
type Choice struct {
	Name string
	New  func() any // returns a pointer to the default configuration
}

// Defaulter is implemented by the pointer of a struct that begins with other
// values than zero wherever it appears, in lists and maps for example. A struct
// that implements it starts from its defaults, not from what its parent held.
type Defaulter interface{ SetDefaults() }

// Validator checks a decoded configuration. Each error in what it returns may
// begin with a key path and a colon.
type Validator interface{ Validate() error }

// field is a key of a struct.
type field struct {
	key   string
	index []int
	typ   reflect.Type
	tag   reflect.StructTag
}

// fields lists the keys of a struct type in their order.
func fields(t reflect.Type) []field {
	var fs []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if name == "-" || !sf.IsExported() {
			continue
		}
		if options == "inline" || sf.Anonymous && name == "" {
			for _, f := range fields(sf.Type) {
				f.index = append([]int{i}, f.index...)
				fs = append(fs, f)
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(sf.Name)
		}
		fs = append(fs, field{name, []int{i}, sf.Type, sf.Tag})
	}
	return fs
}

// Decode stores the value in what into points to, which holds the defaults.
// Problems are kept by the document. Keys that are absent, or empty, keep their
// defaults.
func (v Value) Decode(into any) { v.decode(reflect.ValueOf(into).Elem(), "", "") }

func (v Value) isScalar() bool { return deref(v.node).Kind == yaml.ScalarNode }

func (v Value) isNull() bool {
	n := deref(v.node)
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func (v Value) decode(rv reflect.Value, key string, tag reflect.StructTag) {
	if v.isNull() {
		return
	}
	if kind := secretOf(rv.Type(), tag); kind != noSecret {
		v.decodeSecret(rv, kind)
		return
	}
	if v.decodeCustom(rv) {
		return
	}
	switch rv.Kind() {
	case reflect.Pointer:
		if rv.IsNil() {
			rv.Set(reflect.New(rv.Type().Elem()))
		}
		v.decode(rv.Elem(), key, tag)
	case reflect.Struct:
		v.decodeStruct(rv)
	case reflect.Map:
		v.decodeMap(rv)
	case reflect.Slice:
		v.decodeList(rv, key, tag)
	case reflect.Interface:
		if err := deref(v.node).Decode(rv.Addr().Interface()); err != nil {
			v.Problem("%v", err)
		}
	default:
		v.decodeScalar(rv, key)
	}
}

// decodeCustom handles the types that read themselves.
func (v Value) decodeCustom(rv reflect.Value) bool {
	if rv.Type() == reflect.TypeFor[yaml.Node]() {
		rv.Set(reflect.ValueOf(*deref(v.node)))
		return true
	}
	if !rv.CanAddr() {
		return false
	}
	switch p := rv.Addr(); {
	case p.Type().Implements(reflect.TypeFor[Union]()):
		v.decodeUnion(p.Interface().(Union))
	case p.Type().Implements(reflect.TypeFor[yaml.Unmarshaler]()):
		if err := p.Interface().(yaml.Unmarshaler).UnmarshalYAML(deref(v.node)); err != nil {
			v.custom(err)
		}
	case p.Type().Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		if !v.isScalar() {
			v.Problem("want a single value, not %s", v.kind())
			return true
		}
		if err := p.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(deref(v.node).Value)); err != nil {
			v.Problem("%v", err)
		}
	default:
		return false
	}
	return true
}

// custom records an error of an UnmarshalYAML.
func (v Value) custom(err error) {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		v.Validated(err)
		return
	}
	for _, line := range te.Errors {
		if head, text, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(head, "line ") {
			line = text
		}
		v.Problem("%s", line)
	}
}

func (v Value) decodeUnion(u Union) {
	u.Choose("", nil)
	var names []string
	for _, c := range u.Choices() {
		names = append(names, c.Name)
	}
	want := "write one of: " + strings.Join(names, ", ")
	if deref(v.node).Kind != yaml.MappingNode {
		v.Problem("want a mapping, not %s: %s", v.kind(), want)
		return
	}
	pairs, found := v.pairs(), 0
	for _, p := range pairs {
		i := slices.Index(names, p.key.Value)
		if i < 0 {
			v.unknown(p, names)
			continue
		}
		if found++; found > 1 {
			v.child(p).Problem("more than one kind is given: %s", want)
			return
		}
		cfg := u.Choices()[i].New()
		v.child(p).Decode(cfg)
		v.child(p).check(reflect.ValueOf(cfg).Elem())
		u.Choose(names[i], cfg)
	}
	if len(pairs) == 0 {
		v.Problem("nothing is given: %s", want)
	}
}

// check runs Validate of a struct that has it.
func (v Value) check(rv reflect.Value) {
	if c, ok := reflect.TypeAssert[Validator](rv.Addr()); ok {
		v.Validated(c.Validate())
	}
}

func (v Value) decodeStruct(rv reflect.Value) {
	if deref(v.node).Kind != yaml.MappingNode {
		v.Problem("want a mapping, not %s", v.kind())
		return
	}
	if rv.Addr().Type().Implements(reflect.TypeFor[Defaulter]()) {
		rv.SetZero()
		rv.Addr().Interface().(Defaulter).SetDefaults()
	}
	fs := fields(rv.Type())
	seen := map[string]bool{}
	for _, p := range v.pairs() {
		at := v.child(p)
		if seen[p.key.Value] {
			at.Problem("given twice")
			continue
		}
		seen[p.key.Value] = true
		i := slices.IndexFunc(fs, func(f field) bool { return f.key == p.key.Value })
		if i < 0 {
			v.unknown(p, keysOf(fs))
			continue
		}
		at.decode(rv.FieldByIndex(fs[i].index), fs[i].key, fs[i].tag)
	}
}

func keysOf(fs []field) []string {
	keys := make([]string, len(fs))
	for i, f := range fs {
		keys[i] = f.key
	}
	return keys
}

func (v Value) decodeMap(rv reflect.Value) {
	if deref(v.node).Kind != yaml.MappingNode {
		v.Problem("want a mapping, not %s", v.kind())
		return
	}
	m := reflect.MakeMap(rv.Type())
	for _, p := range v.pairs() {
		at := v.child(p)
		k := reflect.New(rv.Type().Key()).Elem()
		Value{doc: v.doc, node: p.key, path: at.path}.decode(k, "", "")
		if m.MapIndex(k).IsValid() {
			at.Problem("given twice")
			continue
		}
		el := reflect.New(rv.Type().Elem()).Elem()
		setDefaults(el)
		at.decode(el, p.key.Value, "")
		m.SetMapIndex(k, el)
	}
	rv.Set(m)
}

func (v Value) decodeList(rv reflect.Value, key string, tag reflect.StructTag) {
	if deref(v.node).Kind != yaml.SequenceNode {
		v.Problem("want a list, not %s: write [a, b] or lines that begin with a dash", v.kind())
		return
	}
	n := len(deref(v.node).Content)
	list := reflect.MakeSlice(rv.Type(), n, n)
	for i := range n {
		setDefaults(list.Index(i))
		v.item(i).decode(list.Index(i), key, tag)
	}
	rv.Set(list)
}

// setDefaults prepares an element that no key might touch.
func setDefaults(rv reflect.Value) {
	if rv.Addr().Type().Implements(reflect.TypeFor[Defaulter]()) {
		rv.Addr().Interface().(Defaulter).SetDefaults()
	}
}

func (v Value) kind() string {
	switch deref(v.node).Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "the single value " + strconv.Quote(Redact(deref(v.node).Value))
	}
}

func (v Value) decodeScalar(rv reflect.Value, key string) {
	if !v.isScalar() {
		v.Problem("want a single value, not %s", v.kind())
		return
	}
	text := deref(v.node).Value
	if rv.Type() == reflect.TypeFor[time.Duration]() {
		d, err := ParseDuration(text)
		if err != nil {
			v.Problem("%v", err)
		}
		rv.SetInt(int64(d))
		return
	}
	switch rv.Kind() {
	case reflect.String:
		rv.SetString(text)
	case reflect.Bool:
		v.decodeBool(rv, text)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.decodeInt(rv, key, text)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, rv.Type().Bits())
		if err != nil {
			v.Problem("%q is not a whole number from 0 to %d", text, uint64(1)<<rv.Type().Bits()-1)
			return
		}
		rv.SetUint(n)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			v.Problem("%q is not a number", text)
			return
		}
		rv.SetFloat(f)
	default:
		panic("BUG: no configuration can be decoded into " + rv.Type().String())
	}
}

func (v Value) decodeBool(rv reflect.Value, text string) {
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		rv.SetBool(true)
	case "false", "no", "off":
		rv.SetBool(false)
	default:
		v.Problem("%q is neither true nor false", text)
	}
}

func (v Value) decodeInt(rv reflect.Value, key, text string) {
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if sized(key) {
		if n, err = ParseSize(text); err != nil {
			v.Problem("%v", err)
			return
		}
	}
	switch {
	case err != nil:
		v.Problem("%q is not a whole number", text)
	case rv.OverflowInt(n):
		v.Problem("%s is too large: at most %d", text, int64(1)<<(rv.Type().Bits()-1)-1)
	default:
		rv.SetInt(n)
	}
}
