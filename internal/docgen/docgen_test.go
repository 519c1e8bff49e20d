package main

import (
	"os"
	"path/filepath"
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
var selfEvident = []string{"uri", "region", "arn", "external_id"}

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
}
