// Command docgen writes the reference in docs/reference from the code: the JSON
// Schema of the configuration file, the page of its keys, and the pages of the
// commands and of the exit codes. Run it in the root of the repository:
//
//	go run ./internal/docgen
//
// A test fails when the committed files are not what it would write.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// folder is where the reference is, from the root of the repository.
const folder = "docs/reference"

func write(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(root, folder, name), files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
