package pipeline

// Column is a column of values that were read back from rows. Of a column that is
// not there, Null is nil.
type Column struct {
	Null  []bool
	Ints  []int64  // of boolean, int and long columns, date, time and timestamps
	Bytes [][]byte // of the others
}

// Coordinates reads the metadata columns in which a source says where the record of
// a row was. A source's implementation is immutable.
//
// The place of a record is the position just before it, as exact as its number
// allows: a span holds the record if From <= place < To.
type Coordinates interface {
	// Columns lists the columns that tell it, schema.ColSub aside.
	Columns() []string
	// Places reads rows by those columns, in that order. The function that it returns
	// says of a row which log its record was in, in the words of the columns, and
	// where; log is "" if the row does not tell: it is no row of ours. It is called
	// by one goroutine.
	Places(cols []Column) func(row int) (log string, place Position)
	// Partition returns the partition of a stream that rows say log of, false if they
	// say it of none. p's ID does not matter.
	Partition(stream Partition, log string) (p Partition, ok bool)
	// After returns the position after the record at a place.
	After(place Position) Position
	// Number returns a place as people know the record: by its offset, or its sequence
	// number.
	Number(place Position) string
}
