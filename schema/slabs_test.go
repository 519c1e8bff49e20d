package schema

import "testing"

func TestSlabs(t *testing.T) {
	s := NewSlabs(1000)
	a := s.Allocate(400)
	s.Free(a)
	if b := s.Allocate(300); &a[0] != &b[0] || len(b) != 300 {
		t.Error("freed memory is not used again")
	}
	if c := s.Allocate(300); &a[0] == &c[0] {
		t.Error("memory is handed out twice")
	}
	s.Free(a)
	if b := s.Allocate(100); &a[0] == &b[0] {
		t.Error("memory four times as large is used")
	}
	if b := s.Allocate(500); &a[0] == &b[0] {
		t.Error("memory that is too small is used")
	}
	for range 10 {
		s.Free(make([]byte, 300))
	}
	if s.mu.kept > 1000 || s.mu.kept < 600 || len(s.mu.free) != 3 {
		t.Errorf("%d bytes are kept in %d pieces", s.mu.kept, len(s.mu.free))
	}
	s.Free(make([]byte, 2000))
	if s.mu.kept > 1000 {
		t.Error("more is kept than the limit")
	}
	b := s.Reallocate(300, append(make([]byte, 0, 250), 7))
	if len(b) != 300 || b[0] != 7 {
		t.Errorf("reallocated: %d bytes, the first is %d", len(b), b[0])
	}
}
