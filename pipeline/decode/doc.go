// Package decode turns records into rows: it sends units to tables, lays JSON out
// as their columns, and lays dead letters out for a table of their own.
//
// Every lane has its own decoder and stages, as they keep memory from batch to
// batch.
package decode
