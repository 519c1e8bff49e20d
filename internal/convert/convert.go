package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/schema"
)

// Options say what is converted.
type Options struct {
	Inputs  []string // files of JSON lines, plain, gzip or zstd; [Stdio] is Stdin
	Output  string   // the Parquet file; [Stdio] is Stdout
	Rejects string   // a file for lines that are no rows; "": there may be none

	// Schema has the columns of the file, in their order and without ids. Nil: they
	// are found in the values.
	Schema *schema.Schema

	Stdin    io.Reader
	Stdout   io.Writer
	Progress func(Figures) // is called after each batch; may be nil
}

// Figures tell what was done.
type Figures struct {
	Rows         int64          `json:"rows"`
	Rejects      int64          `json:"rejects"`       // values that are no rows
	RescuedRows  int64          `json:"rescued_rows"`  // rows with a value that has no column, or does not fit it
	InputBytes   int64          `json:"input_bytes"`   // as stored
	JSONBytes    int64          `json:"json_bytes"`    // decompressed
	ParquetBytes int64          `json:"parquet_bytes"` //
	Schema       *schema.Schema `json:"-"`             // of the file
	Second       bool           `json:"second_pass"`   // the input was read twice: a column came late
}

// RejectsError says that there are lines that are no rows, and nowhere to put them.
type RejectsError struct {
	Count int64
	First []string // what is wrong with the first ones, and where they are
}

func (e *RejectsError) Error() string {
	what := fmt.Sprintf("%d values are no rows", e.Count)
	if e.Count == 1 {
		what = "a value is no row"
	}
	if n := e.Count - int64(len(e.First)); n > 0 {
		what += fmt.Sprintf("; the first %d", len(e.First))
	}
	return what + ":\n  " + strings.Join(e.First, "\n  ") + "\nnothing was written; --rejects FILE keeps such lines apart and converts the others"
}

// What a row group holds unless something else is asked for. Less than a table's files have,
// where columns are few: what is touched for the first time costs a converter more than
// anything else, and a file has many row groups. Of many columns each has little in a row
// group, and every piece of a column has a cost of its own.
const (
	narrowBytes = 32 << 20
	wideBytes   = 64 << 20
	wideColumns = 64
)

const (
	batchRows   = 1024
	learnLines  = 64       // lines in which columns are looked for before the others are decoded
	holdBytes   = 32 << 20 // of columns held until the schema of the file is settled
	slabBytes   = 8 << 20  // of their memory that is used again, beside twice the values of a row group
	maxColumns  = 10_000   //
	shownErrors = 5        // rejects that an error tells
)

// A Converter makes files of the same kind, one after the other. It begins each with the
// memory of the one before, which has been touched and has grown to the size it takes. One
// goroutine uses it.
type Converter struct {
	file parquetfile.Options
	pool *parquetfile.Pool
	size int64 // RowGroupBytes of pool
	mem  *schema.Slabs
	buf  []byte // of the last input

	given *schema.Schema // what the last conversion was given, if anything
	full  *schema.Schema // the same as the file has it
	dec   *schema.Decoder
}

// New returns a converter to files with these options. Unless they say otherwise row groups
// hold 32 MiB of values, or 64 MiB of more than 64 columns.
func New(o parquetfile.Options) (*Converter, error) {
	c := &Converter{file: o, mem: schema.NewSlabs(slabBytes + 2*int(cmp.Or(o.RowGroupBytes, wideBytes)))}
	if err := c.pooled(nil); err != nil {
		return nil, err
	}
	return c, nil
}

// pooled makes the pool that of files with these columns.
func (c *Converter) pooled(fields []schema.Field) error {
	o := c.file
	if o.RowGroupBytes == 0 {
		o.RowGroupBytes = narrowBytes
		if schema.Leaves(fields) > wideColumns {
			o.RowGroupBytes = wideBytes
		}
	}
	if c.pool != nil && c.size == o.RowGroupBytes {
		return nil
	}
	pool, err := parquetfile.NewPool(o)
	if err != nil {
		return err
	}
	c.pool, c.size = pool, o.RowGroupBytes
	return nil
}

// Run converts. An error leaves no output behind, except on a stream.
func (c *Converter) Run(ctx context.Context, opt Options) (Figures, error) {
	if err := opt.check(); err != nil {
		return Figures{}, err
	}
	first := &pass{Converter: c, opt: &opt}
	if opt.Schema != nil {
		if opt.Schema != c.given {
			c.given, c.full = opt.Schema, withRescued(opt.Schema)
			c.dec = c.decoder(schema.Leaves(c.full.Fields))
		}
		first.fixed, first.schema, first.dec = true, c.full, c.dec
	} else {
		first.dec = c.decoder(maxColumns)
	}
	fig, err := first.convert(ctx)
	if err == nil && first.late {
		s := withRescued(first.schema)
		again := &pass{Converter: c, opt: &opt, fixed: true, schema: s, dec: c.decoder(schema.Leaves(s.Fields))}
		fig, err = again.convert(ctx)
		fig.Second = true
	}
	return fig, err
}

// decoder returns one that looks for no more columns than these.
func (c *Converter) decoder(columns int) *schema.Decoder {
	return schema.NewDecoder(schema.Options{MaxRecordBytes: maxLine, MaxColumns: columns, SkipEmpty: true, Padded: true, Mem: c.mem})
}

// check finds what cannot work before anything is read.
func (o *Options) check() error {
	if o.Rejects == Stdio {
		return errors.New("rejects go to a file: standard output is not one")
	}
	written := map[string]os.FileInfo{} // what is there already of what is written
	for _, name := range []string{o.Output, o.Rejects} {
		if info, err := os.Stat(name); err == nil && name != Stdio {
			written[name] = info
		}
	}
	for name, info := range written {
		if info.IsDir() {
			return fmt.Errorf("%s is a folder: name the file to write", name)
		}
	}
	if filepath.Clean(o.Output) == filepath.Clean(o.Rejects) && o.Rejects != "" {
		return fmt.Errorf("%s is both the output and the file of rejects", o.Output)
	}
	for i, name := range o.Inputs {
		if name == Stdio {
			if slices.Contains(o.Inputs[:i], Stdio) {
				return errors.New("standard input is named twice")
			}
			continue
		}
		in, err := os.Stat(name)
		switch {
		case err != nil:
			return err
		case in.IsDir():
			return fmt.Errorf("%s is a folder: name the files in it", name)
		}
		for to, info := range written {
			if os.SameFile(in, info) {
				return fmt.Errorf("%s is both read and written (%s)", name, to)
			}
		}
	}
	return nil
}

// twice tells whether all of the input can be read again.
func (o *Options) twice() bool {
	for _, name := range o.Inputs {
		if name == Stdio {
			return false
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// withRescued returns s with ids, and with the column for what does not fit the others as
// its last.
func withRescued(s *schema.Schema) *schema.Schema {
	own := schema.Field{Name: schema.Rescued, Type: &schema.Type{Kind: schema.String}}
	var fields []schema.Field
	for i := range s.Fields {
		if s.Fields[i].Name == schema.Rescued {
			own = s.Fields[i]
		} else {
			fields = append(fields, s.Fields[i])
		}
	}
	return schema.Numbered(s, &schema.Schema{Fields: append(fields, own)})
}

// pass is one over the input.
type pass struct {
	*Converter
	opt    *Options
	dec    *schema.Decoder
	schema *schema.Schema // nil: no column is known yet; fixed: as the file has it
	fixed  bool           // it stays as it is
	late   bool           // it grew after the file was begun: nothing is written any more
	held   []arrow.RecordBatch
	size   int64 // bytes of them
	out    *output
	writer *parquetfile.Writer
	rej    *rejects
	fig    Figures
}

func (c *pass) convert(ctx context.Context) (fig Figures, err error) {
	defer c.drop()
	defer func() {
		if err == nil {
			return
		}
		if c.writer != nil {
			c.writer.Abort()
		}
		if c.out != nil {
			c.out.abort()
		}
		c.rej.abort()
	}()
	if c.rej, err = newRejects(c.opt.Rejects); err != nil {
		return c.fig, err
	}
	if c.fixed {
		if err := c.begin(); err != nil {
			return c.fig, err
		}
	}
	for _, name := range c.opt.Inputs {
		if err := c.input(ctx, name); err != nil {
			return c.fig, err
		}
	}
	if c.late {
		c.rej.abort()
		return c.fig, nil
	}
	return c.fig, c.finish()
}

// begin opens the file, and writes what was held.
func (c *pass) begin() error {
	if c.schema == nil {
		if c.fig.Rows == 0 {
			return errors.New("there is no row to take columns from: --schema FILE gives them")
		}
		c.schema = &schema.Schema{} // rows without a value
	}
	if !c.fixed {
		c.schema = withRescued(c.schema)
	}
	if err := parquetfile.CheckBloom(c.file.Bloom, c.schema); err != nil {
		return err
	}
	c.fixed = c.fixed || !c.opt.twice()
	err := c.pooled(c.schema.Fields)
	if err != nil {
		return err
	}
	if c.out, err = create(c.opt.Output, c.opt.Stdout); err != nil {
		return err
	}
	if c.writer, err = c.pool.Writer(c.out, c.schema); err != nil {
		return err
	}
	for len(c.held) > 0 { // each goes as soon as it is written: the writer has its values then
		rec := c.held[0]
		c.held = c.held[1:]
		err := c.writer.Write(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// drop forgets what is held.
func (c *pass) drop() {
	for _, rec := range c.held {
		rec.Release()
	}
	c.held = nil
}

func (c *pass) input(ctx context.Context, name string) (err error) {
	in, err := openInput(name, c.opt.Stdin)
	if err != nil {
		return err
	}
	defer in.close()
	l := lines{in: in, view: newView(in, windowBytes), buf: c.buf, next: 1}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if len(l.buf) < 2*blockBytes {
			c.buf = l.buf
		}
		if reason := recover(); reason != nil {
			err = l.recovered(reason)
			c.given = nil // its decoder stopped in the middle
		}
		l.close()
	}()
	read, stored := c.fig.JSONBytes, c.fig.InputBytes
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return errors.New("interrupted: nothing was written")
		}
		if more, err = c.batch(&l); err != nil {
			return err
		}
		c.fig.JSONBytes, c.fig.InputBytes = read+l.read, stored+in.stored.n
		if c.opt.Progress != nil {
			c.opt.Progress(c.fig)
		}
	}
	return nil
}

// learn finds columns in some lines: without any column a decoder has to look at everything
// in every line twice.
func (c *pass) learn(text []byte) {
	c.dec.Begin(nil, nil)
	c.dec.Lines(text, learnLines)
	o := c.dec.End()
	defer o.Data.Release()
	c.grow(o.Want)
}

// grow gives the schema the columns that are wanted, and tells whether it has more now.
func (c *pass) grow(want *schema.Schema) bool {
	if want == nil {
		return false
	}
	next, changed, _ := schema.MergeWithin(c.schema, want, maxColumns)
	if changed {
		c.schema = schema.Numbered(c.schema, next)
	}
	return changed
}

// batch converts some lines, and reports whether there were any.
func (c *pass) batch(l *lines) (ok bool, err error) {
	l.begin(!c.fixed)
	first := l.next
	o, err := c.decode(l)
	if o == nil {
		return false, err
	}
	if !c.fixed && c.grow(o.Want) {
		o.Data.Release()
		c.dec.Begin(c.schema, nil)
		c.dec.Lines(l.kept(), batchRows)
		o = c.dec.End()
		if c.writer != nil { // it is too late for this file
			c.late = true
			c.writer.Abort()
			c.out.abort()
			c.writer, c.out = nil, nil
		}
	}
	defer o.Data.Release()
	return true, c.take(o, l.in.name, first)
}

// decode decodes a batch of lines, as they are read. It returns nil if there are none.
func (c *pass) decode(l *lines) (*schema.Decoded, error) {
	text, err := l.more()
	if len(text) == 0 {
		return nil, err
	}
	if c.schema == nil && !c.fixed {
		c.learn(text)
	}
	c.dec.Begin(c.schema, nil)
	for size, rows := 0, 0; len(text) > 0 && rows < batchRows && size < blockBytes; text, err = l.more() {
		n, lines := c.dec.Lines(text, batchRows-rows)
		l.took(n, lines)
		size, rows = size+n, rows+lines
	}
	o := c.dec.End()
	if err != nil {
		o.Data.Release()
		return nil, err
	}
	return o, nil
}

// take writes a batch, whose first line has that number, or holds it.
func (c *pass) take(o *schema.Decoded, name string, first int64) error {
	for i := range o.Rejects {
		r := &o.Rejects[i]
		if err := c.rej.add(name, first+int64(r.Unit), r); err != nil {
			return err
		}
	}
	c.fig.Rows += o.Data.NumRows()
	c.fig.Rejects += int64(len(o.Rejects))
	c.fig.RescuedRows += int64(o.RescuedRows)
	switch {
	case c.late:
		return nil
	case c.writer != nil:
		return c.writer.Write(o.Data)
	}
	o.Data.Retain()
	c.held = append(c.held, o.Data)
	c.size += int64(o.Data.Size())
	if c.size < holdBytes {
		return nil
	}
	return c.begin()
}

// finish completes the file, unless there are rejects and no place for them.
func (c *pass) finish() error {
	if err := c.rej.err(); err != nil {
		return err
	}
	if c.writer == nil {
		if err := c.begin(); err != nil {
			return err
		}
	}
	_, err := c.writer.Close()
	c.writer = nil
	if err != nil {
		return err
	}
	if err := c.rej.commit(); err != nil {
		return err
	}
	c.fig.ParquetBytes, c.fig.Schema = c.out.n, c.schema
	out := c.out
	c.out = nil
	return out.commit()
}
