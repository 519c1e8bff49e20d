// Package decode turns records into rows: it sends units to tables, lays JSON out
// as their columns, and lays dead letters out for a table of their own.
//
// Every lane has its own decoder and stages, as they keep results from batch to
// batch. The memory that JSON is laid out in is lent by a [Pool], which all lanes
// share.
package decode
