package pipeline

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

// TestWords: what programs read has keys of one style, and logs name a partition as
// commands take it.
func TestWords(t *testing.T) {
	st := Status{Pipeline: "web", Stamp: Stamp{"web", 1, 2, 3}, Lanes: []LaneStatus{{Halt: &Halt{Class: "X", Detail: "d", Remedy: "r"}}}}
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"stamp":{"pipeline":"web","epoch":1,"replay":2,"rev":3}`, `"halt":{"class":"X","detail":"d","remedy":"r"}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	p := Partition{Kind: "kafka", Stream: "c", Incarnation: "i d", ID: "7"}
	for _, format := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(format(&b)).Info("x", "partition", p)
		if !strings.Contains(b.String(), "kafka:c:i%20d:7") {
			t.Errorf("%s lacks %s", b.String(), p.Key())
		}
	}
}
