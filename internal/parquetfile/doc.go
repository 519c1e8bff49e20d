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
// A writer lays the values of a row group out by leaf column, with their Parquet
// levels, and encodes them when there is enough for a row group. Until then an
// all-null column costs a few bytes a batch. What happens to the laid-out columns
// is the business of one file, encode.go; nothing else knows the Parquet library.
package parquetfile
