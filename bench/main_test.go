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
