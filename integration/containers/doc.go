// Package containers tests the image with testcontainers. It is a module of
// its own because of what testcontainers brings along.
package containers
