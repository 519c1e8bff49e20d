package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds the nesting of a document, maxNodes its values with every alias
// replaced by what it stands for.
const (
	maxDepth = 64
	maxNodes = 100_000
)

// Problem is one thing that is wrong with a file, and where.
type Problem struct {
	File         string
	Line, Column int    // from 1; 0: unknown
	Path         string // key path, as pipelines.shop.source.kafka.brokers; "" at the top
	Message      string

	misspelt bool   // an unknown key
	parent   string // of that, the path of the mapping that it stands in
}

// Error returns "file:line:column: path: message".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	return b.String() + ": " + p.Message
}

// Problems is every problem of a file, in the order of the file.
type Problems []Problem

// Error returns a line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Document is a file, read and expanded, and what was found wrong with it so
// far. One goroutine uses it.
type Document struct {
	name     string
	root     *yaml.Node
	problems Problems
	secrets  func(env, file string) (string, error)
	refs     map[string]reference // secrets that were decoded, by path
}

// Load reads a file. lookup answers for environment variables, as os.LookupEnv
// does. The error is a Problems, or says why the file cannot be read.
func Load(path string, lookup func(string) (string, bool)) (*Document, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("no configuration file %s: name one with -c FILE", path)
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, text, lookup)
}

// Parse is Load for a text that was read already; name stands for the file in
// messages.
func Parse(name string, text []byte, lookup func(string) (string, bool)) (*Document, error) {
	d := &Document{name: name, secrets: secretReader(lookup), refs: map[string]reference{}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var top yaml.Node
	switch err := dec.Decode(&top); {
	case errors.Is(err, io.EOF):
		d.root = &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
		return d, nil
	case err != nil:
		return nil, Problems{syntaxProblem(name, string(text), err)}
	}
	d.root = top.Content[0]
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, Problems{{
			File: name, Line: second.Line, Column: second.Column,
			Message: "a second YAML document begins here: write one document per file",
		}}
	}
	if _, at, problem := measure(d.root, map[*yaml.Node]int{}, 0); problem != "" {
		return nil, Problems{{File: name, Line: at.Line, Column: at.Column, Message: problem}}
	}
	d.expand(d.root, "", lookup)
	return d, nil
}

// measure counts the values below n with aliases replaced. sizes holds what it
// counted already, and -1 for what it is counting.
func measure(n *yaml.Node, sizes map[*yaml.Node]int, depth int) (size int, at *yaml.Node, problem string) {
	n = deref(n)
	switch size, known := sizes[n]; {
	case size < 0:
		return 0, n, "an anchor contains its own alias"
	case known:
		return size, nil, ""
	case depth > maxDepth:
		return 0, n, fmt.Sprintf("nested more than %d levels deep", maxDepth)
	}
	sizes[n], size = -1, 1
	for _, c := range n.Content {
		below, at, problem := measure(c, sizes, depth+1)
		if problem != "" {
			return 0, at, problem
		}
		if size += below; size > maxNodes {
			return 0, n, fmt.Sprintf("more than %d values, aliases replaced", maxNodes)
		}
	}
	sizes[n] = size
	return size, nil, ""
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func syntaxProblem(name, text string, err error) Problem {
	p := Problem{File: name, Message: err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		p.Message = "not valid YAML: " + m[2]
		if strings.Contains(m[2], "cannot start any token") && strings.Contains(text, "\t") {
			p.Message = "not valid YAML: a tab stands where spaces are wanted: indent with spaces"
		}
		if strings.Contains(text, "[${") || strings.Contains(text, "{${") || strings.Contains(text, ": ${") || strings.Contains(text, ", ${") {
			p.Message += ` (inside [] and {}, a variable has to be quoted: "${NAME}")`
		}
		p.Line, p.Column = 1, 1 // the library leaves the first line out
		if n, err := strconv.Atoi(m[1]); err == nil {
			p.Line = n
		}
	}
	return p
}

// Root returns the whole document.
func (d *Document) Root() Value { return Value{doc: d, node: d.root} }

// Err returns all problems found so far as Problems, or nil.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	ps := slices.Clone(d.problems)
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.Compact(ps)
}

// Value is a place in a document.
type Value struct {
	doc  *Document
	node *yaml.Node
	path string

	absent bool   // the key is not in the file
	within string // of an absent key: the path of the mapping that lacks it
}

// Path returns the key path of the value.
func (v Value) Path() string { return v.path }

// Problem records that something is wrong with the value.
func (v Value) Problem(format string, args ...any) {
	v.doc.problems = append(v.doc.problems, Problem{
		File: v.doc.name, Line: v.node.Line, Column: v.node.Column, Path: v.path, Message: fmt.Sprintf(format, args...),
	})
}

// Validated records an error that a component's Validate returned. Each error in
// it that begins with a key path below v, as in "tables[2].name: ...", is placed
// at that key; the rest is placed at v. An error that follows from a problem found
// before is left out: that a key is missing which was misspelt, or could not be read.
func (v Value) Validated(err error) {
	before := v.doc.problems
	for _, e := range unjoin(err) {
		at, rest := v.find(e.Error())
		if at.path == v.path {
			at.Problem("%s", e.Error())
			continue
		}
		follows := func(p Problem) bool {
			return p.Path == at.path || p.misspelt && at.absent && p.parent == at.within
		}
		if !slices.ContainsFunc(before, follows) {
			at.Problem("%s", rest)
		}
	}
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	many, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(many.Unwrap()...).Error() { // the latter: several %w in one text
		return []error{err}
	}
	var all []error
	for _, e := range many.Unwrap() {
		all = append(all, unjoin(e)...)
	}
	return all
}

// find follows the key path that a message begins with as far as the file has
// those keys, and returns the place and what remains of the message.
func (v Value) find(message string) (Value, string) {
	path, text, ok := cutPath(message)
	if !ok {
		return v, message
	}
	at := v
	for path != "" {
		next, rest, ok := at.step(path)
		if !ok {
			// The key is absent, as when it is missing or a default is wrong: name it all the same.
			return Value{at.doc, at.node, join(at.path, path), true, at.path}, text
		}
		at, path = next, rest
	}
	return at, text
}

var pathPrefix = regexp.MustCompile(`^([a-zA-Z0-9_.\-/@*\[\]"]+): `)

func cutPath(message string) (path, text string, ok bool) {
	m := pathPrefix.FindStringSubmatch(message)
	if m == nil {
		return "", message, false
	}
	return m[1], message[len(m[0]):], true
}

// step goes down by the first key or index of path.
func (v Value) step(path string) (next Value, rest string, ok bool) {
	trim := func(s string) string { return strings.TrimPrefix(s, ".") }
	n := deref(v.node)
	switch n.Kind {
	case yaml.SequenceNode:
		var i, used int
		if _, err := fmt.Sscanf(path, "[%d]", &i); err != nil || i < 0 || i >= len(n.Content) {
			return v, path, false
		}
		used = strings.IndexByte(path, ']') + 1
		return v.item(i), trim(path[used:]), true
	case yaml.MappingNode:
		best := ""
		for _, p := range v.pairs() {
			k := p.key.Value
			for _, form := range []string{k, strconv.Quote(k), "[" + strconv.Quote(k) + "]", "[" + k + "]"} {
				if tail, found := strings.CutPrefix(path, form); found && len(form) > len(best) &&
					(tail == "" || tail[0] == '.' || tail[0] == '[') {
					best, next, rest, ok = form, v.child(p), trim(tail), true
				}
			}
		}
	default: // nothing is below
	}
	return next, rest, ok
}

// unknown records that a mapping has a key that there is not.
func (v Value) unknown(p pair, known []string) {
	v.doc.problems = append(v.doc.problems, Problem{
		File: v.doc.name, Line: p.key.Line, Column: p.key.Column, Path: join(v.path, keyStep(p.key.Value)),
		Message: "unknown key" + hint(p.key.Value, known), misspelt: true, parent: v.path,
	})
}

type pair struct{ key, value *yaml.Node }

// pairs returns the entries of a mapping, merged ones after its own.
func (v Value) pairs() []pair {
	var own, merged []pair
	n := deref(v.node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		if k.Tag != "!!merge" {
			own = append(own, pair{k, val})
			continue
		}
		sources := []*yaml.Node{val}
		if s := deref(val); s.Kind == yaml.SequenceNode {
			sources = s.Content
		}
		for _, s := range sources {
			if deref(s).Kind == yaml.MappingNode {
				merged = append(merged, Value{doc: v.doc, node: s, path: v.path}.pairs()...)
			}
		}
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(p pair) bool { return p.key.Value == m.key.Value }) {
			own = append(own, m)
		}
	}
	return own
}

// Get returns the value of a key of a mapping.
func (v Value) Get(key string) (Value, bool) {
	if deref(v.node).Kind != yaml.MappingNode {
		return Value{}, false
	}
	for _, p := range v.pairs() {
		if p.key.Value == key {
			return v.child(p), true
		}
	}
	return Value{}, false
}

func (v Value) child(p pair) Value {
	return Value{doc: v.doc, node: p.value, path: join(v.path, keyStep(p.key.Value))}
}

func (v Value) item(i int) Value {
	return Value{doc: v.doc, node: deref(v.node).Content[i], path: v.path + "[" + strconv.Itoa(i) + "]"}
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// keyStep is a key as it stands in a path: quoted in brackets if it has a dot in it.
func keyStep(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return "[" + strconv.Quote(key) + "]"
}

func join(path, step string) string {
	if path == "" || strings.HasPrefix(step, "[") {
		return path + step
	}
	return path + "." + step
}

func deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
