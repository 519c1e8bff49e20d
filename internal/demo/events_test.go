package demo

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestEventsAreAsTheTruthSays(t *testing.T) {
	const total = 6_000
	e, tr := newEvents(7, total), newTruth(total)
	var rows, dead, rescued int64
	keys := map[string]bool{}
	for i := range total {
		b := e.record(i)
		if isBroken(i) {
			dead++
			if isRow(b) {
				t.Errorf("record %d is meant to be broken: %s", i, b)
			}
			continue
		}
		rows++
		var v map[string]any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("record %d: %v\n%s", i, err, b)
		}
		if _, text := v["customer"].(map[string]any)["id"].(string); text {
			rescued++
		}
		for k := range v {
			keys[k] = true
		}
	}
	if rows != tr.rows || dead != tr.dead {
		t.Errorf("%d rows and %d dead letters, the truth has %d and %d", rows, dead, tr.rows, tr.dead)
	}
	if dead < int64(brokenKinds) || rescued == 0 || !keys["region"] {
		t.Errorf("too tame: %d dead letters, %d values of another type, keys %v", dead, rescued, keys)
	}
}

// isRow knows what encoding/json lets pass: invalid UTF-8, and a key twice.
func isRow(b []byte) bool {
	var v map[string]any
	return utf8.Valid(b) && json.Unmarshal(b, &v) == nil && !bytes.Equal(b, []byte(`{"id":1,"type":"page_view","id":2}`))
}

func TestEventsRepeat(t *testing.T) {
	a, b := newEvents(3, 500), newEvents(3, 500)
	for i := range 500 {
		if x, y := a.record(i), b.record(i); !bytes.Equal(x, y) {
			t.Fatalf("record %d differs:\n%s\n%s", i, x, y)
		}
	}
}
