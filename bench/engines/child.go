package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/firehosed/firehosed/internal/convert"
	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/schema"
)

// childArg makes this program one of the engines in Go: ENGINE IN OUT COLUMNS ROUNDS PROFILE BATCH.
const childArg = "-as-engine"

func child(args []string) error {
	engine, in, out := args[0], args[1], args[2]
	text, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	columns, err := parseColumns(text)
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	batch, err := strconv.Atoi(args[6])
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	if decoder, ok := map[string]func(*schema.Schema, int) func(text []byte) (int64, error){
		"decode": decode, "decode-inferred": decodeInferred, "arrow-go-decode": jsonReader,
	}[engine]; ok { // what is measured begins with the text in memory
		text, err := readPadded(in)
		if err != nil {
			return err
		}
		decode := decoder(columns, batch)
		return takes(rounds, args[5], time.Second, func() (int64, error) { return decode(text) })
	}
	convert, ok := map[string]func(in, out string, s *schema.Schema) (int64, error){
		"firehosed": ours, "decoder+pqarrow": decoderAndPqarrow, "arrow-go": jsonReaderAndPqarrow,
	}[engine]
	if !ok {
		return fmt.Errorf("no engine is called %s", engine)
	}
	return takes(rounds, args[5], 0, func() (int64, error) { return convert(in, out, columns) })
}

// readPadded reads a file, and leaves room behind it.
func readPadded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, info.Size(), info.Size()+schema.Padding)
	_, err = io.ReadFull(f, text)
	return text, err
}

// takes runs an engine, and writes down what each round took; with a profile if a file is named for it. After the first, a round
// is as many passes as it takes to last so long, and what is written down is their mean: on a machine with neighbours a tenth of a second
// is all slow or all fast.
func takes(rounds int, profile string, last time.Duration, engine func() (int64, error)) error {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for round := range rounds {
		began, passes := time.Now(), int64(0)
		user, system, _ := used()
		before := mallocs()
		var m measured
		for passes == 0 || round > 0 && time.Since(began) < last {
			rows, err := engine()
			if err != nil {
				return err
			}
			m.Rows, passes = rows, passes+1
		}
		m.Seconds, m.Allocations = time.Since(began).Seconds()/float64(passes), (mallocs()-before)/passes
		m.User, m.System, m.Peak = used()
		m.User, m.System = (m.User-user)/float64(passes), (m.System-system)/float64(passes)
		if err := json.NewEncoder(os.Stdout).Encode(&m); err != nil {
			return err
		}
	}
	return nil
}

// used returns the CPU seconds of the process, and the most memory that was resident: getrusage would begin with what
// the parent had.
func used() (user, system float64, peak int64) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	_, _ = fmt.Sscan(string(after), &peak)
	return float64(r.Utime.Nano()) / 1e9, float64(r.Stime.Nano()) / 1e9, peak << 10
}

// mallocs returns how often memory was allocated.
func mallocs() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Mallocs)
}

// converter is the one of this process, with the options that the command has.
var converter = sync.OnceValues(func() (*convert.Converter, error) {
	return convert.New(parquetfile.Options{Delta: true, MetricColumns: 1})
})

// ours is firehosed convert.
func ours(in, out string, s *schema.Schema) (int64, error) {
	c, err := converter()
	if err != nil {
		return 0, err
	}
	fig, err := c.Run(context.Background(), convert.Options{Inputs: []string{in}, Output: out, Schema: s})
	if err == nil && fig.RescuedRows > 0 {
		err = fmt.Errorf("%d rows have rescued values: the columns do not fit the data", fig.RescuedRows)
	}
	return fig.Rows, err
}

// pqFile is a file that arrow-go's own writer writes.
func pqFile(out string, s *arrow.Schema) (*pqarrow.FileWriter, error) {
	f, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1), parquet.WithMaxRowGroupLength(122_880))
	return pqarrow.NewFileWriter(s, f, props, pqarrow.NewArrowWriterProperties())
}

func arrowSchema(s *schema.Schema) *arrow.Schema {
	fields := make([]arrow.Field, len(s.Fields))
	for i := range s.Fields {
		fields[i] = s.Fields[i].ArrowField()
	}
	return arrow.NewSchema(fields, nil)
}

// jsonReaderAndPqarrow is what arrow-go has.
func jsonReaderAndPqarrow(in, out string, s *schema.Schema) (int64, error) {
	w, err := pqFile(out, arrowSchema(s))
	if err != nil {
		return 0, err
	}
	f, err := os.Open(in)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	rows, err := readJSON(bufio.NewReaderSize(f, 1<<20), s, batchRows, w.WriteBuffered)
	if err != nil {
		return 0, err
	}
	return rows, w.Close()
}

// jsonReader is arrow-go's reader alone.
func jsonReader(s *schema.Schema, batch int) func(text []byte) (int64, error) {
	return func(text []byte) (int64, error) {
		return readJSON(bytes.NewReader(text), s, batch, func(arrow.RecordBatch) error { return nil })
	}
}

func readJSON(in io.Reader, s *schema.Schema, batch int, each func(arrow.RecordBatch) error) (int64, error) {
	r := array.NewJSONReader(in, arrowSchema(s), array.WithChunk(batch))
	defer r.Release()
	rows := int64(0)
	for r.Next() {
		rec := r.RecordBatch()
		rows += rec.NumRows()
		if err := each(rec); err != nil {
			return 0, err
		}
	}
	return rows, r.Err()
}

// batchRows is how many records are converted at a time.
const batchRows = 1024

// decode is firehosed's decoder alone, the same in all rounds.
func decode(s *schema.Schema, batch int) func(text []byte) (int64, error) {
	l := newLayer(schema.Numbered(nil, s), batch, func(arrow.RecordBatch) error { return nil })
	return l.text
}

// decodeInferred is one without the columns, which begins anew in each round: a batch in which there are more is decoded
// once again.
func decodeInferred(_ *schema.Schema, batch int) func(text []byte) (int64, error) {
	return func(text []byte) (int64, error) {
		return newLayer(nil, batch, func(arrow.RecordBatch) error { return nil }).text(text)
	}
}

// layer lays lines out, and gives each batch away.
type layer struct {
	dec     *schema.Decoder
	schema  *schema.Schema
	infer   bool // the columns are found
	columns int
	most    int // lines of a batch
	each    func(arrow.RecordBatch) error
	rows    int64
}

// newLayer returns one for these columns, with so many lines in a batch; nil: they are found.
func newLayer(s *schema.Schema, batch int, each func(arrow.RecordBatch) error) *layer {
	l := &layer{schema: s, infer: s == nil, columns: 10_000, most: batch, each: each}
	if !l.infer {
		l.columns = schema.Leaves(s.Fields)
	}
	l.dec = schema.NewDecoder(schema.Options{MaxColumns: l.columns, Padded: true, Mem: schema.NewSlabs(16 << 20)})
	return l
}

// text lays out a text, and returns how many rows it has.
func (l *layer) text(text []byte) (int64, error) {
	before := l.rows
	_, err := l.lines(text)
	return l.rows - before, err
}

// lines lays out the whole lines of text, and returns where the rest begins.
func (l *layer) lines(text []byte) (rest int, err error) {
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	for rest < len(whole) {
		if l.schema == nil { // as firehosed convert begins
			o, _ := l.batch(whole[rest:], 64)
			l.grow(o)
		}
		o, n := l.batch(whole[rest:], l.most)
		if l.infer && o.Want != nil {
			l.grow(o)
			o, n = l.batch(whole[rest:], l.most)
		}
		rest += n
		l.rows += o.Data.NumRows()
		err := l.each(o.Data)
		if o.Data.Release(); err != nil {
			return 0, err
		}
	}
	return rest, nil
}

// batch lays out so many lines, and returns how many bytes they have.
func (l *layer) batch(text []byte, lines int) (o *schema.Decoded, n int) {
	l.dec.Begin(l.schema, nil)
	n, _ = l.dec.Lines(text, lines)
	return l.dec.End(), n
}

// grow adds the columns that were missed.
func (l *layer) grow(o *schema.Decoded) {
	o.Data.Release()
	merged, _, _ := schema.MergeWithin(l.schema, o.Want, l.columns)
	l.schema = schema.Numbered(l.schema, merged)
}

// decodeFile gives each the record batches of a file.
func decodeFile(in string, s *schema.Schema, each func(arrow.RecordBatch) error) (rows int64, err error) {
	f, err := os.Open(in)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	l := newLayer(s, batchRows, each)
	const block = 4 << 20
	text := make([]byte, 0, 2*block)
	for eof := false; !eof; {
		have := len(text)
		n, err := io.ReadFull(f, text[have:have+block])
		if text, eof = text[:have+n], err != nil; eof && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		from, err := l.lines(text)
		if err != nil {
			return 0, err
		}
		text = text[:copy(text, text[from:])]
		if cap(text)-len(text) < block+schema.Padding {
			text = append(make([]byte, 0, 2*cap(text)), text...)
		}
	}
	return l.rows, nil
}

// decoderAndPqarrow is firehosed's decoder with arrow-go's writer.
func decoderAndPqarrow(in, out string, s *schema.Schema) (int64, error) {
	s = schema.Numbered(nil, s)
	as := arrowSchema(s)
	w, err := pqFile(out, as)
	if err != nil {
		return 0, err
	}
	rows, err := decodeFile(in, s, func(data arrow.RecordBatch) error {
		cols := make([]arrow.Array, as.NumFields())
		for i, f := range as.Fields() {
			if at := data.Schema().FieldIndices(f.Name); len(at) > 0 {
				cols[i] = data.Column(at[0])
			} else {
				cols[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(data.NumRows()))
			}
		}
		rec := array.NewRecordBatch(as, cols, data.NumRows())
		defer rec.Release()
		return w.WriteBuffered(rec)
	})
	if err != nil {
		return 0, err
	}
	return rows, w.Close()
}
