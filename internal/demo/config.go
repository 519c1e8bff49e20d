package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	pipelineName = "demo"
	table        = "demo.events"
	deadLetters  = "demo_dlq" // in the namespace below
)

// configText is the worker's whole configuration.
const configText = `# Written by "firehosed demo". The broker lives in the demo's own process, so "run",
# "verify" and what "status" tells of partitions work with this file only while the demo
# does. The tables stay, and "status" goes on telling what is in them.
admin: {listen: "127.0.0.1:0"}
pipelines:
  demo:
    source:
      kafka:
        brokers: [%q]
        topics: [events]
        start: earliest
        instance_id: demo-worker     # a worker that was killed gets its partitions back at once
        session_timeout: 6s
    sink:
      iceberg:
        warehouse: %q            # its catalog is catalog.db in it: SQLite
        namespace: demo
        commit_interval: 1s
`

// newFolder makes the demo's folder: dir, which must be empty or not exist, or a
// new one in the working directory if dir is "".
func newFolder(dir string, now time.Time) (string, error) {
	if dir == "" {
		dir = "firehosed-demo-" + now.Format("20060102-150405")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("demo folder: %w", err)
	}
	switch entries, err := os.ReadDir(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("demo folder: %w", err)
	case len(entries) > 0:
		return "", fmt.Errorf("--dir %s: the folder is not empty: name one that is new, the demo counts every row it finds", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("demo folder: %w", err)
	}
	return dir, nil
}

// writeConfig writes the worker's configuration into the folder.
func writeConfig(dir, broker string) (string, error) {
	path := filepath.Join(dir, "firehosed.yaml")
	text := fmt.Sprintf(configText, broker, filepath.Join(dir, "warehouse"))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write the demo's config: %w", err)
	}
	return path, nil
}
