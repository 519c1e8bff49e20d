// Package inspect holds the checks that look at a source and its tables together.
//
// [Verify] reads every record that the tables must have, judges it by the revision
// in force at its position, and compares the outcome with the coordinates of the
// rows that are there (docs/design/exactly-once.md 2.12). It changes nothing, needs
// no worker, and its memory does not grow with the data.
package inspect
