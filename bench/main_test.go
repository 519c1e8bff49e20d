package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firehosed/firehosed/bench/data"
)

func TestSetsAreJSONOfTheirSize(t *testing.T) {
	for name, want := range map[string]int{"A": 215, "B": 3100, "C": 900, "D": 4600} {
		s, err := data.New(name, 1)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		const n = 2000
		for i := range n {
			v := s(nil, i)
			if !json.Valid(v) {
				t.Fatalf("set %s, record %d: %s", name, i, v)
			}
			size += len(v)
		}
		if mean := size / n; mean < want*8/10 || mean > want*12/10 {
			t.Errorf("set %s: %d bytes a record, want about %d", name, mean, want)
		}
	}
	if _, err := data.New("X", 1); err == nil {
		t.Error("set X exists")
	}
}

func TestSteady(t *testing.T) {
	var marks []mark
	for i := range 8 {
		marks = append(marks, mark{int64(10 + 11*i), time.Duration(i) * time.Second})
	}
	if a, b, ok := steady(marks, 100); !ok || a != marks[2] || b != marks[7] {
		t.Errorf("steady: %v %v %v", a, b, ok)
	}
	if _, _, ok := steady(marks[:6], 100); ok {
		t.Error("steady with four marks")
	}
}

func TestSizes(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]int64{"a.parquet": 1 << 20, "b.gz": 3 << 20, "c.json": 9 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), n); err != nil {
			t.Fatal(err)
		}
	}
	got, err := sizes(dir)
	if want := "2; MB: smallest 1.00, 10% 1.00, median 1.00, 90% 1.00, largest 3.00"; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// TestKinesisIsDrained runs the whole of a measurement, in small, from both ways to read shards.
func TestKinesisIsDrained(t *testing.T) {
	for _, source := range []string{"kinesis", "kinesis-fan-out"} {
		o := options{
			sets: "A", sinks: "iceberg", source: source, runs: 1, mb: 1, interval: time.Second, codec: "zstd", memory: "64MiB",
			binary: os.Getenv("FIREHOSED_BINARY"), seed: 1,
		}
		if err := run(t.Context(), o); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	if err := run(t.Context(), options{sets: "A", source: "sqs", mb: 1, runs: 1, binary: "none"}); err == nil {
		t.Error("a source that is none is measured")
	}
}
