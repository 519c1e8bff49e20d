//go:build !unix

package daemon

// consumed is not known here.
func consumed() (user, system float64, peak int64) { return 0, 0, 0 }
