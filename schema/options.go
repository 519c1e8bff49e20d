package schema

import (
	"cmp"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Options are the rules of decoding that can be chosen. The zero value of a
// number is its default. All of them but Padded and Mem are part of a revision: they
// decide what a record becomes.
type Options struct {
	// MaxRecordBytes is the size of the largest record that becomes rows; larger
	// ones are rejected unread. Default 10 MiB, at most 512 MiB.
	MaxRecordBytes int

	// MaxDepth is how many objects and arrays may lie around a value that gets a
	// column, the record itself included. Deeper ones are rescued. Default 32.
	MaxDepth int

	// MaxName is the length of the longest column name, in bytes. Members with
	// longer keys are rescued. Default 255.
	MaxName int

	// MaxKeys is how many keys all objects of a unit may have together; a unit with
	// more is rejected. Default 100,000, at least 20,000.
	MaxKeys int

	// MaxNumberBytes is the length of the longest number; a unit with a longer one is
	// rejected. Default 64 KiB, at least 64 KiB.
	MaxNumberBytes int

	// MaxColumns is how many leaf columns a table may have before no more are
	// wanted and the rest is rescued. Default 1,000.
	MaxColumns int

	// SkipEmpty skips records of 0 bytes, as "empty", instead of rejecting them.
	SkipEmpty bool

	// RejectTombstones rejects records without a value instead of skipping them.
	RejectTombstones bool

	// Declared has the types of columns that are not to be inferred, by the keys
	// they are filled from. Nil: all are inferred. A table's own columns are never
	// changed by it.
	Declared *Schema

	// Padded lets the decoder read units where they lie, if their capacity is at least
	// [Padding] bytes more than their length: those bytes are looked at, and the first of
	// them is 0 for a while. Nobody else may use them meanwhile. Default: units are copied.
	// A [Splitter] copies them in any case.
	Padded bool

	// Mem allocates what the record batches hold. Default: Go's heap.
	Mem memory.Allocator
}

// Padding is how much room there has to be behind a unit that is read where it lies.
const Padding = pad

// MaxBatchBytes is the most that is decoded at a time: offsets within a column
// have 31 bits, and rescued text is up to three times as long as its record.
const MaxBatchBytes = 512 << 20

const (
	carefulBytes    = 64 << 10 // a shorter record cannot break MaxKeys and MaxNumberBytes
	bytesPerKey     = 4        // at least: `"":1`, and a comma or brace
	defaultMaxBytes = 10 << 20
)

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	o.MaxRecordBytes = min(cmp.Or(o.MaxRecordBytes, defaultMaxBytes), MaxBatchBytes)
	o.MaxDepth = cmp.Or(o.MaxDepth, 32)
	o.MaxName = cmp.Or(o.MaxName, 255)
	o.MaxKeys = max(cmp.Or(o.MaxKeys, 100_000), carefulBytes/bytesPerKey)
	o.MaxNumberBytes = max(o.MaxNumberBytes, carefulBytes)
	o.MaxColumns = cmp.Or(o.MaxColumns, DefaultMaxColumns)
	if o.Mem == nil {
		o.Mem = memory.DefaultAllocator
	}
	return o
}
