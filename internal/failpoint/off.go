//go:build !failpoint

package failpoint

// Enabled reports whether this is a build with the tag failpoint.
const Enabled = false

// Hit marks the point name.
func Hit(name string) {}

// Err marks the point name where an error can be returned.
func Err(name string) error { return nil }
