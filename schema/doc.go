// Package schema says what columns a table has, finds them in JSON, and lays
// JSON out in them as Arrow.
//
// The rules are those of docs/design/types.md: a path gets a column when a typed
// value is first seen, types change only by Iceberg's promotions, and a value
// that does not fit its column is kept whole, as its own JSON text, in the
// column [Rescued] of its row.
package schema
