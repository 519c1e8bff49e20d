package consumer

import (
	"io"
	"sync"
)

// Current is the reader of a lane: the one that was opened last. The zero value has
// none. Safe for concurrent use.
type Current[R interface {
	comparable
	io.Closer
}] struct {
	mu    sync.Mutex
	r     R
	ended bool
}

// Set ends the reader before, and puts r in its place; the zero R: none. False: the
// lane was given away, and r is not kept.
func (c *Current[R]) Set(r R) bool {
	var none R
	c.mu.Lock()
	old, ended := c.r, c.ended
	if c.r = r; ended {
		c.r = none
	}
	c.mu.Unlock()
	if old != none {
		_ = old.Close()
	}
	return !ended
}

// End ends the reader: the lane was given away.
func (c *Current[R]) End() {
	var none R
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.Set(none)
}

// Ended reports whether the lane was given away.
func (c *Current[R]) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Get returns the reader, the zero R if there is none.
func (c *Current[R]) Get() R {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r
}
