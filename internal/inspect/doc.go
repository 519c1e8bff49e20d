// Package inspect holds the checks that look at a source and its tables together.
package inspect
