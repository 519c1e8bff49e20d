package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

	Parquet  parquetfile.Options
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

const (
	batchRows   = 1024
	holdBytes   = 32 << 20 // of columns held until the schema of the file is settled
	slabBytes   = 16 << 20 // of their memory that is used again
	maxColumns  = 10_000   //
	shownErrors = 5        // rejects that an error tells
)

// Run converts. An error leaves no output behind, except on a stream.
func Run(ctx context.Context, opt Options) (Figures, error) {
	pool, err := parquetfile.NewPool(opt.Parquet)
	if err != nil {
		return Figures{}, err
	}
	if err := opt.check(); err != nil {
		return Figures{}, err
	}
	c := &converter{opt: &opt, pool: pool}
	if opt.Schema != nil {
		c.fixed, c.schema = true, opt.Schema
	}
	fig, err := c.convert(ctx)
	if err == nil && c.late {
		again := &converter{opt: &opt, pool: pool, fixed: true, schema: c.schema}
		fig, err = again.convert(ctx)
		fig.Second = true
	}
	return fig, err
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

// converter makes one pass over the input.
type converter struct {
	opt    *Options
	pool   *parquetfile.Pool
	schema *schema.Schema // nil: no column is known yet
	fixed  bool           // it stays as it is
	late   bool           // it grew after the file was begun: nothing is written any more
	dec    *schema.Decoder
	held   []arrow.RecordBatch
	size   int64 // bytes of them
	out    *output
	file   *parquetfile.Writer
	rej    *rejects
	fig    Figures
}

func (c *converter) convert(ctx context.Context) (fig Figures, err error) {
	columns := maxColumns
	if c.fixed {
		columns = schema.Leaves(c.schema.Fields) // no more are looked for
	}
	c.dec = schema.NewDecoder(schema.Options{MaxRecordBytes: maxLine, MaxColumns: columns, SkipEmpty: true, Mem: schema.NewSlabs(slabBytes)})
	defer c.drop()
	defer func() {
		if err == nil {
			return
		}
		if c.file != nil {
			c.file.Abort()
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
func (c *converter) begin() error {
	if c.schema == nil {
		if c.fig.Rows == 0 {
			return errors.New("there is no row to take columns from: --schema FILE gives them")
		}
		c.schema = &schema.Schema{} // rows without a value
	}
	c.schema = withRescued(c.schema)
	c.fixed = c.fixed || !c.opt.twice()
	var err error
	if c.out, err = create(c.opt.Output, c.opt.Stdout); err != nil {
		return err
	}
	if c.file, err = c.pool.Writer(c.out, c.schema); err != nil {
		return err
	}
	for len(c.held) > 0 { // each goes as soon as it is written: the writer has its values then
		rec := c.held[0]
		c.held = c.held[1:]
		err := c.file.Write(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// drop forgets what is held.
func (c *converter) drop() {
	for _, rec := range c.held {
		rec.Release()
	}
	c.held = nil
}

func (c *converter) input(ctx context.Context, name string) error {
	in, err := openInput(name, c.opt.Stdin)
	if err != nil {
		return err
	}
	defer in.close()
	l := lines{in: in, next: 1}
	var batch [][]byte
	read, stored := c.fig.JSONBytes, c.fig.InputBytes
	for {
		if err := ctx.Err(); err != nil {
			return errors.New("interrupted: nothing was written")
		}
		var first int64
		if batch, first, err = l.batch(batch, batchRows); err != nil || len(batch) == 0 {
			return err
		}
		if err := c.batch(in.name, batch, first); err != nil {
			return err
		}
		c.fig.JSONBytes, c.fig.InputBytes = read+l.read, stored+in.stored.n
		if c.opt.Progress != nil {
			c.opt.Progress(c.fig)
		}
	}
}

// batch converts lines, the first of which has the number given.
func (c *converter) batch(name string, batch [][]byte, first int64) error {
	o := c.dec.Decode(batch, c.schema, nil)
	if o.Want != nil && !c.fixed {
		next, changed, _ := schema.MergeWithin(c.schema, o.Want, maxColumns)
		if changed {
			o.Data.Release()
			c.schema = schema.Numbered(c.schema, next)
			o = c.dec.Decode(batch, c.schema, nil)
			if c.file != nil { // it is too late for this file
				c.late = true
				c.file.Abort()
				c.out.abort()
				c.file, c.out = nil, nil
			}
		}
	}
	defer o.Data.Release()
	for i := range o.Rejects {
		r := &o.Rejects[i]
		if err := c.rej.add(name, first+int64(r.Unit), r); err != nil {
			return err
		}
	}
	c.fig.Rows += o.Data.NumRows()
	c.fig.Rejects += int64(len(o.Rejects))
	if at := o.Data.Schema().FieldIndices(schema.Rescued); len(at) > 0 {
		col := o.Data.Column(at[0])
		c.fig.RescuedRows += int64(col.Len() - col.NullN())
	}
	switch {
	case c.late:
		return nil
	case c.file != nil:
		return c.file.Write(o.Data)
	}
	o.Data.Retain()
	c.held = append(c.held, o.Data)
	for _, col := range o.Data.Columns() {
		c.size += int64(col.Data().SizeInBytes())
	}
	if c.size < holdBytes {
		return nil
	}
	return c.begin()
}

// finish completes the file, unless there are rejects and no place for them.
func (c *converter) finish() error {
	if err := c.rej.err(); err != nil {
		return err
	}
	if c.file == nil {
		if err := c.begin(); err != nil {
			return err
		}
	}
	_, err := c.file.Close()
	c.file = nil
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
