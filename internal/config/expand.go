package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// expand replaces variables in every scalar value below n. Keys stay as they
// are, and aliases are expanded where their anchor stands.
func (d *Document) expand(n *yaml.Node, path string, lookup func(string) (string, bool)) {
	v := Value{doc: d, node: n, path: path}
	switch n.Kind {
	case yaml.ScalarNode:
		text, err := expandText(n.Value, lookup)
		if err != "" {
			v.Problem("%s", err)
			return
		}
		if text != n.Value {
			n.Value, n.Tag = text, "!!str"
		}
	case yaml.SequenceNode:
		for i := range n.Content {
			d.expand(n.Content[i], v.item(i).path, lookup)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			d.expand(n.Content[i+1], v.child(pair{n.Content[i], n.Content[i+1]}).path, lookup)
		}
	default: // an alias is expanded where its anchor stands
	}
}

// expandText returns s with its variables replaced, or what is wrong with it.
func expandText(s string, lookup func(string) (string, bool)) (text, problem string) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), ""
		}
		if i > 0 && s[i-1] == '$' { // $${ is a literal ${
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return "", `"${" without "}": write $${ for a literal ${`
		}
		name, fallback, hasFallback := strings.Cut(s[i+2:i+end], ":-")
		if !validVariable(name) {
			return "", `"${` + name + `}" does not name an environment variable: write $${ for a literal ${`
		}
		val, set := lookup(name)
		switch {
		case set && (val != "" || !hasFallback):
			b.WriteString(val)
		case hasFallback:
			b.WriteString(fallback)
		default:
			return "", "environment variable " + name + " is not set: set it, or give a default as in ${" + name + ":-value}"
		}
		s = s[i+end+1:]
	}
}

func validVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
