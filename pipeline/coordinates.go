package pipeline

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

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

// Places returns what says of a record of b, by its index, where it was; "": its
// metadata does not tell.
func Places(where Coordinates, b *Batch) (func(rec int) Position, error) {
	cols, err := ReadColumns(b.Meta, where.Columns())
	if err != nil {
		return nil, fmt.Errorf("where records of %v are: %w", b.Span.Partition, err)
	}
	at := where.Places(cols)
	return func(rec int) Position {
		_, place := at(rec)
		return place
	}, nil
}

// ReadColumns returns columns of a record batch, which may be nil, by their names. Values
// of numbers may be windows into it.
func ReadColumns(rec arrow.RecordBatch, names []string) ([]Column, error) {
	cols := make([]Column, len(names))
	for k, name := range names {
		var is []int
		if rec != nil {
			is = rec.Schema().FieldIndices(name)
		}
		if len(is) == 0 {
			return nil, fmt.Errorf("there is no column %s", name)
		}
		var err error
		if cols[k], err = readColumn(rec.Column(is[0])); err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
	}
	return cols, nil
}

// readColumn reads a column of numbers or texts.
func readColumn(col arrow.Array) (Column, error) {
	n := col.Len()
	c := Column{Null: make([]bool, n)}
	for i := range c.Null {
		c.Null[i] = col.IsNull(i)
	}
	switch a := col.(type) {
	case *array.Int32:
		c.Ints = make([]int64, n)
		for i, x := range a.Int32Values() {
			c.Ints[i] = int64(x)
		}
	case *array.Int64:
		c.Ints = a.Int64Values()
	case *array.String:
		c.Bytes = make([][]byte, n)
		for i := range n {
			c.Bytes[i] = []byte(a.Value(i))
		}
	case *array.Dictionary:
		words, err := readColumn(a.Dictionary())
		if err != nil || words.Bytes == nil {
			return c, fmt.Errorf("a dictionary of %v is not known", a.Dictionary().DataType())
		}
		c.Bytes = make([][]byte, n)
		for i := range n {
			if !c.Null[i] {
				c.Bytes[i] = words.Bytes[a.GetValueIndex(i)]
			}
		}
	default:
		return c, fmt.Errorf("values of type %v are not known", col.DataType())
	}
	return c, nil
}
