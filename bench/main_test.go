package main

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSetsAreJSONOfTheirSize(t *testing.T) {
	for name, want := range map[string]int{"A": 215, "B": 3100, "C": 900} {
		s, err := newSet(name, 1)
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
	if _, err := newSet("X", 1); err == nil {
		t.Error("set X exists")
	}
}

func TestSteady(t *testing.T) {
	marks := []mark{{10, time.Second}, {40, 2 * time.Second}, {70, 3 * time.Second}, {90, 4 * time.Second}}
	if a, b, ok := steady(marks, 100); !ok || a != marks[1] || b != marks[3] {
		t.Errorf("steady: %v %v %v", a, b, ok)
	}
	if _, _, ok := steady(marks[:2], 100); ok {
		t.Error("steady with one mark")
	}
}
