package s3sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/uuid"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/parquetfile"
)

// openObject is an object being staged. Lanes that write to its prefix take turns.
type openObject struct {
	d      *delivery
	group  string
	values []string
	failed string // the error-output-type; empty: data
	index  int    // in the commit
	block  int    // bytes that are compressed at a time
	turn   turn

	// Guarded by turn.
	key    string
	layout *layout // of columnar formats
	out    objstore.Staging
	spill  *spill // nil: there is no folder for it
	digest hash.Hash
	comp   Compressor          // nil: columnar
	enc    *parquetfile.Writer // nil: not columnar
	size   int64               // bytes before compression; of columnar formats the file's
	put    int64               // bytes of output
	rows   int64
	held   int64 // as booked in the delivery
	booked int64 // output, as booked
	ended  bool
}

// begin starts the upload: the name has the time of the first record.
func (o *openObject) begin(first time.Time, l *layout) error {
	t, id := o.d.t, o.d.id
	o.key = t.names.Key(Object{Commit: id, Index: o.index, Version: o.d.version, First: first, Values: o.values, Failed: o.failed})
	failpoint.Hit("file.beforeCreate")
	out, err := t.sink.bucket.Stage(o.d.life, o.key, t.attributes(id.String(), o.compression()))
	if err != nil {
		return fmt.Errorf("stage %s: %w", o.key, err)
	}
	o.out, o.digest, o.layout = out, sha256.New(), l
	if cfg := &t.sink.cfg; cfg.SpillFolder != "" {
		o.spill = &spill{folder: cfg.SpillFolder, part: cfg.S3.Part(), out: out}
	}
	if l != nil {
		o.enc, err = t.sink.pool.Writer(o.sink(), l.schema)
	} else {
		name := uuid.NewSHA1(id, strconv.AppendInt(nil, int64(o.index), 10)) // as in the key
		o.comp, err = o.compression().NewWriter(o.sink(), name, o.block)
	}
	if err != nil {
		return fmt.Errorf("stage %s: %w", o.key, err)
	}
	return nil
}

// compression returns how the object is compressed: failed records never are.
func (o *openObject) compression() Compression {
	if o.failed != "" {
		return Uncompressed
	}
	return o.d.t.sink.cfg.CompressionFormat
}

// sink returns where output goes.
func (o *openObject) sink() io.Writer { return writerFunc(o.write) }

func (o *openObject) write(p []byte) (int, error) {
	o.digest.Write(p)
	var to io.Writer = o.out
	if o.spill != nil {
		to = o.spill
	}
	n, err := to.Write(p)
	o.put += int64(n)
	return n, err
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// frameBytes is how many framed bytes go to the compressor at a time.
const frameBytes = 64 << 10

var frames = sync.Pool{New: func() any { return new([]byte) }}

// frame writes rows of a share from the i-th on until the object has reached its size.
// It returns the next one. Records are never cut.
func (o *openObject) frame(s *share, i int, line appender) (next int, err error) {
	limit := o.d.t.sink.objectSize
	kept := frames.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in it
	buf := (*kept)[:0]
	for ; i < s.n && o.size < limit && err == nil; i++ {
		before := len(buf)
		buf = line(buf, s.row(i))
		o.size += int64(len(buf) - before)
		o.rows++
		if len(buf) >= frameBytes {
			_, err = o.comp.Write(buf)
			buf = buf[:0]
		}
	}
	if err == nil {
		_, err = o.comp.Write(buf)
	}
	if cap(buf) <= 4*frameBytes { // else a large record was in it
		*kept = buf
		frames.Put(kept)
	}
	if err != nil {
		return i, fmt.Errorf("write %s: %w", o.key, err)
	}
	o.book()
	failpoint.Hit("file.midRowGroup")
	return i, nil
}

// encode writes the rows of a share of a columnar format.
func (o *openObject) encode(rec arrow.RecordBatch, s *share) error {
	if err := o.enc.WriteRows(rec, s.rows); err != nil {
		return fmt.Errorf("encode rows into %s: %w", o.key, err)
	}
	o.rows += int64(s.n)
	o.size = o.enc.Size()
	o.book()
	failpoint.Hit("file.midRowGroup")
	return nil
}

func (o *openObject) full() bool { return o.size >= o.d.t.sink.objectSize }

// book tells the delivery how much the object holds and has put out.
func (o *openObject) book() {
	held := o.out.Held()
	if o.enc != nil {
		held += o.enc.Held()
	} else {
		held += o.comp.Held()
	}
	o.bookAs(held, max(o.put, o.size))
}

func (o *openObject) bookAs(held, output int64) {
	o.d.held.Add(held - o.held)
	o.d.output.Add(output - o.booked)
	o.held, o.booked = held, output
}

// finish stages what is left, and returns the object's entry in the manifest when the
// store has all of it.
func (o *openObject) finish(ctx context.Context) (object, error) {
	failpoint.Hit("file.beforeClose")
	var err error
	if o.enc != nil {
		_, err = o.enc.Close()
	} else {
		err = o.comp.Close()
	}
	failpoint.Hit("file.afterClose")
	if err == nil && o.spill != nil {
		err = o.spill.flush()
	}
	var u objstore.Upload
	if err == nil {
		u, err = o.out.Finish(ctx)
	}
	if err == nil {
		err = failpoint.Err("file.afterUpload")
	}
	if err == nil && u.Size() != o.put {
		err = fmt.Errorf("the store has %d bytes, %d were written", u.Size(), o.put)
	}
	if err != nil {
		return object{}, fmt.Errorf("finish %s: %w", o.key, err)
	}
	entry := object{Upload: u, Bytes: o.put, SHA256: hex.EncodeToString(o.digest.Sum(nil)), Rows: o.rows}
	o.spill.close()
	o.ended, o.comp, o.enc, o.digest = true, nil, nil, nil
	o.bookAs(0, max(o.put, o.size))
	failpoint.Hit("file.afterVerify")
	return entry, nil
}

// abort gives the object up, also one that is finished.
func (o *openObject) abort(ctx context.Context) error {
	if o.enc != nil {
		o.enc.Abort()
	}
	o.spill.close()
	o.ended = true
	o.bookAs(0, o.booked)
	if o.out == nil {
		return nil
	}
	return o.out.Abort(ctx)
}
