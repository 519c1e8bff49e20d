package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/daemon"
	"github.com/firehosed/firehosed/internal/telemetry"
)

// generate returns the files of the reference by name.
func generate(root string) (map[string][]byte, error) {
	c := &comments{root: root, pkgs: map[string]map[string]string{}}
	file := daemon.DefaultFile()
	schema := config.SchemaOf(&file, c.of)
	schema.Title = "firehosed configuration"
	zeroes(schema)
	if c.err != nil {
		return nil, c.err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	metrics, err := telemetry.Reference()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"metrics.md":         []byte(metrics),
		"config.schema.json": b.Bytes(),
		"config.md":          page(schema),
		"commands.md":        []byte(daemon.CommandsPage()),
		"exit-codes.md":      []byte(daemon.ExitCodesPage()),
	}, nil
}

// zeroes takes away defaults of 0 that stand for something else: what the comment
// says is the default, or that there is none.
func zeroes(s *config.Schema) {
	for _, p := range s.Properties {
		zeroes(p.Schema)
		if zero := fmt.Sprint(p.Default) == "0"; zero && !strings.HasPrefix(saidDefault(p.Description), "0") {
			p.Default = nil
		}
	}
	if s.Items != nil {
		zeroes(s.Items)
	}
	if el, ok := s.AdditionalProperties.(*config.Schema); ok {
		zeroes(el)
	}
}

var defaultNumber = regexp.MustCompile(`\bDefault ([0-9]+(?: ?[A-Za-z]+)?)`)

// saidDefault returns the number that a comment says is the default, or "".
func saidDefault(comment string) string {
	if m := defaultNumber.FindStringSubmatch(comment); m != nil {
		return m[1]
	}
	return ""
}

const intro = `# The configuration file

<!-- Written by go run ./internal/docgen from the code. Do not edit. -->

One YAML file, read strictly: a key that is not on this page is an error, with a suggestion if it
looks misspelt. ` + "`firehosed validate`" + ` tells everything that is wrong at once; ` + "`firehosed validate --print`" + `
writes the file with all defaults. Editors complete and check it with
[config.schema.json](config.schema.json): put this line first,

` + "```yaml\n# yaml-language-server: $schema=docs/reference/config.schema.json\n```" + `

**Variables.** ` + "`${NAME}` and `${NAME:-default}`" + ` in a value stand for an environment variable, ` + "`$${`" + ` for a
literal ` + "`${`" + `. Inside ` + "`[]` and `{}`" + ` such a value has to be quoted. A missing variable is an error.

**Durations** are written ` + "`500ms`, `60s`, `5m`, `12h`, `7d`" + `, **sizes** in bytes or as ` + "`64KiB`, `256MiB`, `1GiB`" + `.

**Secrets** never stand in the file: write ` + "`{env: NAME}` or `{file: PATH}`" + `. Status, logs and
` + "`validate --print`" + ` show the reference, not what it leads to.
`

// page writes the reference of all keys: one section for each mapping.
func page(s *config.Schema) []byte {
	var b strings.Builder
	b.WriteString(intro)
	section(&b, "", s)
	return []byte(b.String())
}

func section(b *strings.Builder, path string, s *config.Schema) {
	title := "Top level"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	if s.Syntax == "one of" {
		b.WriteString("Exactly one of these keys.\n\n")
	}
	b.WriteString("| Key | Value | Default | Meaning |\n|---|---|---|---|\n")
	for _, p := range s.Properties {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.Key, syntax(p.Schema), defaultOf(p.Schema), cell(p.Description))
	}
	for _, p := range s.Properties {
		if sub, step := below(p); sub != nil {
			section(b, strings.TrimPrefix(path+"."+step, "."), sub)
		}
	}
}

// below returns the mapping that a key leads to, through a list or a map, and how
// the path to it is written.
func below(p config.Property) (sub *config.Schema, step string) {
	s, step := p.Schema, p.Key
	for {
		switch el, isMap := s.AdditionalProperties.(*config.Schema); {
		case s.Syntax == "secret":
			return nil, ""
		case len(s.Properties) > 0:
			return s, step
		case s.Items != nil:
			s, step = s.Items, step+"[]"
		case isMap:
			s, step = el, step+".<name>"
		default:
			return nil, ""
		}
	}
}

func syntax(s *config.Schema) string {
	switch el, isMap := s.AdditionalProperties.(*config.Schema); {
	case s.Items != nil:
		return "list of " + syntax(s.Items)
	case isMap:
		return "mapping of names to " + syntax(el)
	}
	return s.Syntax
}

func defaultOf(s *config.Schema) string {
	if said := saidDefault(s.Description); s.Default == nil && said != "" {
		return "`" + said + "`"
	} else if s.Default == nil {
		return ""
	}
	return fmt.Sprintf("`%v`", s.Default)
}

func cell(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s) }
