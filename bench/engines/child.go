package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/firehosed/firehosed/internal/convert"
	"github.com/firehosed/firehosed/schema"
)

// childArg makes this program one of the engines in Go: ENGINE IN OUT COLUMNS ROUNDS PROFILE.
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
	runtime.GOMAXPROCS(1)
	convert, ok := map[string]func(in, out string, s *schema.Schema) (int64, error){
		"firehosed": ours, "decoder+pqarrow": decoderAndPqarrow, "arrow-go": jsonReaderAndPqarrow,
	}[engine]
	if !ok {
		return fmt.Errorf("no engine is called %s", engine)
	}
	if args[5] != "" {
		f, err := os.Create(args[5])
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for range rounds {
		began := time.Now()
		user, system, _ := used()
		rows, err := convert(in, out, columns)
		if err != nil {
			return err
		}
		m := measured{Rows: rows, Seconds: time.Since(began).Seconds()}
		m.User, m.System, m.Peak = used()
		m.User, m.System = m.User-user, m.System-system
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

// ours is firehosed convert.
func ours(in, out string, s *schema.Schema) (int64, error) {
	fig, err := convert.Run(context.Background(), convert.Options{Inputs: []string{in}, Output: out, Schema: s})
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
	f, err := os.Open(in)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	as := arrowSchema(s)
	w, err := pqFile(out, as)
	if err != nil {
		return 0, err
	}
	r := array.NewJSONReader(bufio.NewReaderSize(f, 1<<20), as, array.WithChunk(1024))
	defer r.Release()
	rows := int64(0)
	for r.Next() {
		rec := r.RecordBatch()
		rows += rec.NumRows()
		if err := w.WriteBuffered(rec); err != nil {
			return 0, err
		}
	}
	if err := r.Err(); err != nil {
		return 0, err
	}
	return rows, w.Close()
}

// decoderAndPqarrow is firehosed's decoder with arrow-go's writer.
func decoderAndPqarrow(in, out string, s *schema.Schema) (int64, error) {
	f, err := os.Open(in)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	s = schema.Numbered(nil, s)
	as := arrowSchema(s)
	w, err := pqFile(out, as)
	if err != nil {
		return 0, err
	}
	dec := schema.NewDecoder(schema.Options{MaxColumns: schema.Leaves(s.Fields), Mem: schema.NewSlabs(16 << 20)})
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 64<<20)
	rows := int64(0)
	var units [][]byte
	var text []byte
	write := func() error {
		defer func() { units, text = units[:0], text[:0] }()
		o := dec.Decode(units, s, nil)
		defer o.Data.Release()
		rows += o.Data.NumRows()
		cols := make([]arrow.Array, as.NumFields())
		for i, f := range as.Fields() {
			if at := o.Data.Schema().FieldIndices(f.Name); len(at) > 0 {
				cols[i] = o.Data.Column(at[0])
			} else {
				cols[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(o.Data.NumRows()))
			}
		}
		rec := array.NewRecordBatch(as, cols, o.Data.NumRows())
		defer rec.Release()
		return w.WriteBuffered(rec)
	}
	for lines.Scan() {
		from := len(text)
		if text = append(text, lines.Bytes()...); len(text) > 4<<20 || len(units) == 1023 {
			units = append(units, text[from:])
			if err := write(); err != nil {
				return 0, err
			}
			continue
		}
		units = append(units, text[from:len(text):len(text)])
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if err := write(); err != nil {
		return 0, err
	}
	return rows, w.Close()
}
