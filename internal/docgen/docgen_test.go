package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpToDate: what is committed is what the code says.
func TestUpToDate(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../..", folder, name))
		if err != nil {
			t.Errorf("%v: run go run ./internal/docgen", err)
			continue
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s is stale: run go run ./internal/docgen\n%s", name, d)
		}
	}
}

// selfEvident are keys that need no comment where they stand.
var selfEvident = []string{"uri", "region"}

// TestEveryKeyIsExplained: a key without a comment is not finished.
func TestEveryKeyIsExplained(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(files["config.md"])) {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		if strings.HasPrefix(line, "| `") && strings.HasSuffix(line, "|  |\n") && !slices.Contains(selfEvident, key) {
			t.Errorf("no comment: %s", strings.TrimSpace(line))
		}
	}
}

func TestSentence(t *testing.T) {
	f := func(doc, field, want string) {
		t.Helper()
		if got := sentence(doc, field); got != want {
			t.Errorf("sentence(%q, %q) = %q, want %q", doc, field, got, want)
		}
	}
	f("MaxBytes is the size\nof things. Default 1.\n", "MaxBytes", "The size of things. Default 1.")
	f("Listen says where", "Listen", "Says where.")
	f("CommitInterval bounds how long", "CommitInterval", "Bounds how long.")
	f("of the database", "Path", "Of the database.")
	f("", "Path", "")
	f("Config says where. It is read once. The zero value is no default: start from [DefaultConfig].", "Config", "Says where. It is read once.")
	f("Rows are [Sink.Rows] of it.", "Rows", "")
}

// TestCommentsAreOfTheirKey: no key has the text of another one, no page a Go name
// or a default that is none.
func TestCommentsAreOfTheirKey(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	page := string(files["config.md"])
	for _, want := range []string{
		"| `tls` | mapping |  | Says how to encrypt connections. |",
		"| `sasl` | mapping |  | Says how to authenticate. |",
		"| `max_tables` | number | `100` |",
		"| `max_rows` | number | `0` |",
		"| `part_size` | size | `8 MiB` |",
		"| `part_uploads` | number | `3` |",
		"| `format_version` | number |  | Overrides",
		"identity(column), void(column)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("config.md lacks %s", want)
		}
	}
	seen := map[string]string{} // text, section and key
	section := ""
	for line := range strings.Lines(page) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(name)
		}
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 || cells[0] == "| Key" {
			continue
		}
		if was, ok := seen[section+cells[3]]; ok && cells[3] != "|" {
			t.Errorf("%s: %s and %s have the same text", section, was, cells[0])
		}
		seen[section+cells[3]] = cells[0]
	}
	if regexp.MustCompile(`\[[A-Z][A-Za-z]+\]`).MatchString(page) {
		t.Error("config.md has a Go name in it")
	}
	if schema := string(files["config.schema.json"]); strings.Contains(schema, "DefaultConfig") || strings.Contains(schema, "AccessKeyID and") {
		t.Error("config.schema.json has a Go name in it")
	}
}
