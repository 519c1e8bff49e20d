package s3sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The formats of objects: two that hold records as they came, and one of columns.
const (
	FormatRaw       = "raw"        // the bytes of records, and a delimiter after each if there is one
	FormatJSONLines = "json_lines" // one JSON value a line
	FormatParquet   = "parquet"    // rows in columns, a file an object
)

// Framing says how records lie in an object that holds them as they came.
type Framing struct {
	// Format is raw, the records' bytes whatever they are, or json_lines: every record
	// is one JSON value, its line breaks are left out, and a line feed follows, and a
	// record that is no JSON value fails. Or parquet, rows in columns. Default raw.
	Format string `yaml:"format"`

	// Delimiter follows every record of the format raw, also if the record ends in one
	// already. \n, \r and \t are a line feed, a carriage return and a tab. At most 64
	// bytes. Firehose's AppendDelimiterToRecord. Default: none, records follow one
	// another.
	Delimiter string `yaml:"delimiter"`
}

// maxDelimiter bounds what every record may grow by.
const maxDelimiter = 64

// Validate reports every problem at once, by key.
func (f Framing) Validate() error {
	var errs []error
	switch f.Format {
	case "", FormatRaw, FormatJSONLines, FormatParquet:
	default:
		errs = append(errs, fmt.Errorf("format: %q: choose raw, json_lines or parquet", f.Format))
	}
	if f.Format == FormatJSONLines && f.Delimiter != "" {
		errs = append(errs, fmt.Errorf("delimiter: %q: remove it, lines of json_lines end in a line feed", f.Delimiter))
	}
	if f.Format == FormatParquet && f.Delimiter != "" {
		errs = append(errs, fmt.Errorf("delimiter: %q: remove it, a file of columns has none", f.Delimiter))
	}
	if len(f.Delimiter) > maxDelimiter {
		errs = append(errs, fmt.Errorf("delimiter: it has %d bytes: at most %d are allowed", len(f.Delimiter), maxDelimiter))
	}
	return errors.Join(errs...)
}

// Framer puts records one after the other. It is immutable.
type Framer struct {
	lines     bool
	delimiter string
}

// NewFramer checks f and returns its framer.
func NewFramer(f Framing) (*Framer, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	d := strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(f.Delimiter)
	return &Framer{lines: f.Format == FormatJSONLines, delimiter: d}, nil
}

// Check says whether a record can be in an object: for json_lines, whether it is one
// JSON value, in UTF-8 as JSON has to be (RFC 8259, 8.1). The answer depends on the record
// alone.
func (f *Framer) Check(record []byte) error {
	if f.lines && (!json.Valid(record) || !utf8.Valid(record)) {
		return errors.New("the record is not one JSON value in UTF-8")
	}
	return nil
}

// Append appends a record that has passed [Framer.Check], and what follows it.
func (f *Framer) Append(dst, record []byte) []byte {
	if !f.lines {
		return append(append(dst, record...), f.delimiter...)
	}
	record = bytes.Trim(record, " \t\r\n")
	for { // a JSON string has no raw line breaks: all of them are white space between tokens
		i := bytes.IndexAny(record, "\r\n")
		if i < 0 {
			return append(append(dst, record...), '\n')
		}
		dst = append(dst, record[:i]...)
		record = record[i+1:]
	}
}
