package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

// TestReplay: what was recorded is read to its end, and all of it is committed.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	o := options{mb: 2, seed: 1, runs: 1, source: kafkaSource, interval: time.Second, codec: "zstd", memory: "256MiB"}
	rec, list, err := record(t.Context(), o, "C", dir)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for p := range int32(partitions) {
		sum += rec.end(p)
	}
	if sum != rec.Records || sum < 1000 || rec.Size < 2<<20 {
		t.Errorf("recorded %d records of %d, %d bytes", sum, rec.Records, rec.Size)
	}
	var out bytes.Buffer
	if err := replay(t.Context(), []string{list, dir, o.interval.String(), o.codec, o.memory}, &out); err != nil {
		t.Fatal(err)
	}
	var took replayed
	if err := json.Unmarshal(out.Bytes(), &took); err != nil || took.Seconds <= 0 || took.CPU <= 0 {
		t.Errorf("took %+v, %v", took, err)
	}
}
