// Package parquetfile turns Arrow record batches into Parquet data files for
// Iceberg tables, and measures what Iceberg wants to know about a file.
//
// Columns are identified by Iceberg field id alone: in the record by the metadata
// of its Arrow fields ([schema.FieldIDKey]), in the file by Parquet field ids.
//
//	pool, err := parquetfile.NewPool(parquetfile.Options{}) // one for all files of a sink
//	w, err := pool.Writer(out, tableSchema)
//	err = w.Write(rec) // any number of times; rec may be released after each
//	m, err := w.Close()
//
// A writer keeps the records of a row group (keep.go), lays the values out by leaf column,
// with their Parquet levels (shred.go, column.go), and encodes them when there is enough
// for a row group (encode.go). Until then a column that is left out costs a few bytes a
// record.
//
// The files have data pages of version 1 with checksums, in each column chunk a dictionary
// (dictionary.go) or differences (delta.go) where that pays, bounds of row groups in the
// footer (footer.go), and page indexes and Bloom filters where they are asked for
// (index.go). Libraries compress them (codec.go), but for pages of texts and of bytes
// that never come twice at the fastest level of zstd (texts.go, sequences.go, zstd.go).
// docs/decisions/0004 and 0009 say why this is not left to a library.
package parquetfile
