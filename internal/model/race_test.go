//go:build race

package model

// detecting: the race detector makes a search ten times slower and has nothing to
// find in it, a search being one goroutine.
const detecting = true
