// Package convert makes one Parquet file of JSON lines: the engine by itself, without
// a source, a table or a commit.
//
// Input is read in blocks, cut at line feeds (input.go). Each batch of lines becomes
// one Arrow record batch, by the rules of package schema, and goes to the Parquet
// writer in the order of the lines. The file appears under its name when it is
// complete, never before (output.go).
//
// # Columns
//
// With a schema the file has its columns, without one a column comes with the first
// value that has a type. The last column is always [schema.Rescued], for what has no
// column or does not fit it. A Parquet file has one schema, so the first batches are held until they come to some MiB; what is
// new by then needs nothing more. If a column comes still later, the rest of the input
// is looked through for more, and the file is begun anew with all of them: files can be
// read twice. Standard input cannot; there the late values are in [schema.Rescued].
package convert
