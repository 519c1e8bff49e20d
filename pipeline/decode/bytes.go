package decode

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Codes of units that [Bytes] rejects.
const (
	CodeRecord        = "record"                                       // not what the format holds
	CodePartitionKeys = "DynamicPartitioning.MetadataExtractionFailed" // Firehose's word: its partition keys cannot be extracted
)

// Extractor evaluates the partition keys of records. One goroutine uses it.
type Extractor interface {
	// Names returns the names of the keys.
	Names() []string
	// Extract appends a value for each name to dst. The error says why the record has
	// none; it depends on the record alone.
	Extract(dst []string, record []byte) ([]string, error)
}

// BytesConfig is how records are kept as they came.
type BytesConfig struct {
	// Check says whether a unit can be kept: its error depends on the unit alone. Nil:
	// every unit can.
	Check func(unit []byte) error

	// Keys gives the partition keys. Nil: there are none.
	Keys Extractor

	// CheckKeys says whether an object can be named after the values of Keys, in the
	// order of its names. Nil: after all.
	CheckKeys func(values []string) error

	// Mem is the memory of rows. Nil: Go's heap.
	Mem memory.Allocator
}

// Bytes lays units out as they are, each a row: in the column schema.ColBytes, its
// partition keys in columns of their own, and the metadata columns that the table has.
// A unit without a value is left out.
type Bytes struct {
	cfg  BytesConfig
	meta meta
	text map[string]int // the column of a key to its index

	units   []int32
	rec     []int32
	sub     []int32
	keys    []string // of all units, those of a unit one after the other
	rejects []pipeline.Reject
	dropped map[string]int
}

var _ pipeline.Decoder = (*Bytes)(nil)

// NewBytes returns a decoder.
func NewBytes(cfg BytesConfig) *Bytes {
	d := &Bytes{cfg: cfg, meta: newMeta(cfg.Mem), text: map[string]int{}, dropped: map[string]int{}}
	if cfg.Keys != nil {
		for i, name := range cfg.Keys.Names() {
			d.text[schema.ColQueryKey+name] = i
		}
	}
	return d
}

// Decode implements [pipeline.Decoder]. The error is of metadata that the table cannot
// hold, or of more than [schema.MaxBatchBytes].
func (d *Bytes) Decode(ctx context.Context, b *pipeline.Batch, part pipeline.Part, s *schema.Schema) (pipeline.Rows, error) {
	d.units, d.rec, d.sub, d.keys, d.rejects = d.units[:0], d.rec[:0], d.sub[:0], d.keys[:0], d.rejects[:0]
	clear(d.dropped)
	size := 0
	for _, u := range part.Units {
		unit := b.Values[u]
		if unit == nil {
			d.dropped[schema.SkipTombstone]++
			continue
		}
		if code, err := d.judged(unit, part.Careful); err != nil {
			d.rejects = append(d.rejects, pipeline.Reject{
				Rec: b.Record(u), Sub: subOf(b, u, 0), Code: code, Message: err.Error(), Table: part.Table, Payload: unit,
			})
			continue
		}
		d.units, d.rec, d.sub = append(d.units, u), append(d.rec, b.Record(u)), append(d.sub, subOf(b, u, 0))
		size += len(unit)
	}
	if size > schema.MaxBatchBytes {
		return pipeline.Rows{}, fmt.Errorf("lay out rows of table %q: the batch has %d bytes, the limit is %d: lower the source's largest batch",
			part.Table, size, schema.MaxBatchBytes)
	}
	data, err := d.lay(ctx, b, s, size)
	if err != nil {
		return pipeline.Rows{}, fmt.Errorf("lay out rows of table %q: %w", part.Table, err)
	}
	return pipeline.Rows{Data: data, Rec: d.rec, Sub: d.sub, Rejects: d.rejects, Dropped: d.dropped}, nil
}

// judged is judge, which may panic for a unit of a careful part: that rejects it.
func (d *Bytes) judged(unit []byte, careful bool) (code string, err error) {
	if careful {
		defer func() {
			if v := recover(); v != nil {
				text := strings.ToValidUTF8(fmt.Sprint(v), "\uFFFD")
				code, err = schema.CodePanic, fmt.Errorf("the decoder panicked: %.500s", text)
			}
		}()
	}
	return d.judge(unit)
}

// judge decides whether a unit is a row, and notes its keys.
func (d *Bytes) judge(unit []byte) (code string, err error) {
	if d.cfg.Check != nil {
		if err := d.cfg.Check(unit); err != nil {
			return CodeRecord, err
		}
	}
	if d.cfg.Keys == nil {
		return "", nil
	}
	n := len(d.keys)
	keys, err := d.cfg.Keys.Extract(d.keys, unit)
	if err == nil && d.cfg.CheckKeys != nil {
		err = d.cfg.CheckKeys(keys[n:])
	}
	if err != nil {
		return CodePartitionKeys, err
	}
	d.keys = keys
	return "", nil
}

// lay makes the columns that s has, none if it is nil.
func (d *Bytes) lay(ctx context.Context, b *pipeline.Batch, s *schema.Schema, size int) (arrow.RecordBatch, error) {
	out := columns{rows: int64(len(d.units))}
	defer out.release()
	if s == nil || len(d.units) == 0 {
		return out.batch(), nil
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		var col arrow.Array
		var err error
		key, isKey := d.text[f.Name]
		switch {
		case f.Name == schema.ColBytes:
			col = d.payloads(b, size)
		case isKey:
			col = d.values(key)
		case f.Name == schema.ColSub:
			col, err = d.meta.ints(ctx, f, d.sub)
		case f.Name == schema.ColPartitionKey:
			col, err = d.meta.keys(ctx, b, f, d.units, d.rec)
		default:
			col, err = d.meta.take(ctx, b, f, d.rec)
		}
		if err != nil {
			return nil, err
		}
		if col != nil {
			out.addField(f, col)
		}
	}
	return out.batch(), nil
}

func (d *Bytes) payloads(b *pipeline.Batch, size int) arrow.Array {
	bld := array.NewBinaryBuilder(d.meta.mem, arrow.BinaryTypes.Binary)
	defer bld.Release()
	bld.Reserve(len(d.units))
	bld.ReserveData(size)
	for _, u := range d.units {
		bld.Append(b.Values[u])
	}
	return bld.NewArray()
}

// values lays out the i-th key of every unit.
func (d *Bytes) values(i int) arrow.Array {
	bld := array.NewStringBuilder(d.meta.mem)
	defer bld.Release()
	for u := range d.units {
		bld.Append(d.keys[u*len(d.text)+i])
	}
	return bld.NewArray()
}
