package schema

import (
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Slabs is an allocator that keeps what is freed for the next allocation of about
// the same size: the slabs of record batches, a megabyte or so each, come and go with
// every batch, and new memory has to be cleared and collected. It is safe for
// concurrent use. What it hands out again is not cleared; [Decoder] writes all of it.
type Slabs struct {
	limit int // bytes kept

	mu struct {
		sync.Mutex
		free [][]byte // the latest last
		kept int
	}
}

var _ memory.Allocator = (*Slabs)(nil)

// NewSlabs returns an allocator that keeps at most limit bytes.
func NewSlabs(limit int) *Slabs { return &Slabs{limit: limit} }

// Allocate implements [memory.Allocator].
func (s *Slabs) Allocate(size int) []byte {
	if b := s.take(size); b != nil {
		return b
	}
	return memory.DefaultAllocator.Allocate(size)
}

// take returns kept memory that is large enough and at most twice as large, or nil.
func (s *Slabs) take(size int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.mu.free) - 1; i >= 0; i-- {
		if b := s.mu.free[i]; cap(b) >= size && cap(b)/2 <= size {
			s.drop(i)
			return b[:size]
		}
	}
	return nil
}

func (s *Slabs) drop(i int) {
	s.mu.kept -= cap(s.mu.free[i])
	s.mu.free = append(s.mu.free[:i], s.mu.free[i+1:]...)
}

// Reallocate implements [memory.Allocator].
func (s *Slabs) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	next := s.Allocate(size)
	copy(next, b)
	s.Free(b)
	return next
}

// Free implements [memory.Allocator]. What has been kept for longest goes first.
func (s *Slabs) Free(b []byte) {
	if cap(b) == 0 || cap(b) > s.limit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.free = append(s.mu.free, b)
	s.mu.kept += cap(b)
	for s.mu.kept > s.limit {
		s.drop(0)
	}
}
