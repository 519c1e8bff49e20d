// Package schema says what columns a table has, finds them in JSON, and lays
// JSON out in them as Arrow.
//
// The rules are those of docs/design/types.md: a path gets a column when a typed
// value is first seen, types change only by Iceberg's promotions, and a value
// that does not fit its column is kept whole, as its own JSON text, in the
// column [Rescued] of its row.
//
// # Decoding
//
// A [Decoder] reads every record in one pass, guided by the schema, straight into
// columns: there are no tokens, no maps, and no garbage per record. What the
// schema does not know is skipped, kept as text, and looked at for its type, so
// that [Decoded].Want can ask for a column. The same units are then decoded once
// more with the schema that the table has by then:
//
//	o := d.Decode(units, s, nil)
//	if o.Want != nil {
//		next, changed, _ := schema.Merge(s, o.Want) // commit it: the table numbers new fields
//		if changed {
//			o.Data.Release()
//			o = d.Decode(units, next, nil)
//		}
//	}
//
// Which units are rows at all is decided by the scanner alone. The guided pass only
// has to notice that something is wrong; the scanner, which takes longer and knows
// no schema, then says what. So a reject cannot depend on a table. The tests hold
// the two against each other, and both against encoding/json.
//
// # The way of a byte
//
// A record is read where it lies: in the buffer of the fetch, which [Options].Padded says can
// be (cutter.lend). [Decoder.Decode] opens it (decoder.go), or [Decoder.Lines] where records
// are the lines of a file, whose ends it finds by reading them (lines.go); reader.object finds the field of
// a key and reads what its value mostly is (parse.go, number.go, timetext.go, text.go), and
// a byte of text is copied for the first time: into the cells of its column (node.go). At the
// end of the batch the cells are copied into the one piece of memory of a [Batch] (layout.go,
// batch.go), which goes through the lane and into the sink as it is. Its [Vectors] are where
// package internal/parquetfile goes on: it keeps the batch until a row group is full
// (keep.go), puts a column together out of all batches (column.go), makes a dictionary or a
// page of it (dictionary.go, encode.go), and compresses that (texts.go, zstd.go). Whatever is
// between the two packages hands on slices and batches, and looks at none of it.
//
// # What the rules leave open
//
// Units. White space separates values, and so does nothing at all. If a value has no
// end, the rest of its line is one unit, rejected as [CodeSyntax], or as
// [CodeTrailing] if a value came before it on the line; the next line starts
// afresh. A record in which that makes more than eight times its size to be read
// again is rejected to its end, so that time stays linear. A line that is not UTF-8
// is rejected as [CodeUTF8], whatever else is wrong with it. Values nest 10,000
// levels deep, or are [CodeDepth].
//
// Types. An integer beyond 64 bits, a number beyond a double, text with half a
// surrogate pair and an array whose elements do not go together say nothing about
// the type of a column. Text counts as a time if a [TimestampTZ] column could hold
// it: one that is finer than a microsecond makes a string column. [null] and [{}]
// have no type, and without a column they are rescued.
//
// Declared types. A decimal is filled from JSON numbers; dates ("2006-01-02"), times
// ("15:04:05.999999"), timestamps without a zone ("2006-01-02T15:04:05", "T" may be
// a space), uuids (in any case), binary and fixed (base64, padded) from JSON
// strings. A map is filled from an object: its keys are text, or integers in their
// shortest form; a value that does not fit is rescued and leaves its key with null.
//
// Names. Letters, marks, digits, "_" and "-" stay; anything else becomes "_". A name
// that is taken gets "_2", "_3" and so on, a reserved one "_" at its end and, if it
// is one of ours, loses the "_" at its start. The key is kept in the field's doc, see
// [DocForKey]. Keys of more than [Options].MaxName bytes, with NUL or half a
// surrogate pair in them, or that differ from an older one in case only, get no
// column.
//
// Rescue. If the rescued text of a row would be more than three times its record,
// as members far down have long pointers, its nested members are rescued whole.
package schema
