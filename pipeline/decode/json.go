package decode

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Config is how JSON is decoded.
type Config struct {
	schema.Options

	// Tables has the declared types of the columns of tables, by name. It takes the
	// place of Options.Declared for the tables that are in it.
	Tables map[string]*schema.Schema

	// Pool lends the memory to decode in. Nil: one of its own.
	Pool *Pool

	// Now is the clock for schema.ColIngestedAt. Nil: the system's.
	Now func() time.Time
}

// JSON lays out units that are JSON objects. It adds the metadata columns that the
// table has: from the batch's Meta by name, the unit's number, the time.
type JSON struct {
	cfg  Config
	meta meta

	values  [][]byte
	units   []int32 // by row
	rec     []int32
	sub     []int32
	rejects []pipeline.Reject
	dropped map[string]int
	joints  map[*arrow.Schema]joint // by that of the data
}

var _ pipeline.Decoder = (*JSON)(nil)

// ownBytes is what a pool that is not shared keeps.
const ownBytes = 16 << 20

// NewJSON returns a decoder.
func NewJSON(cfg Config) *JSON {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Pool == nil {
		cfg.Pool = NewPool(ownBytes, ownBytes/4, 1)
	}
	j := &JSON{cfg: cfg, dropped: map[string]int{}, joints: map[*arrow.Schema]joint{}}
	j.meta = newMeta(cfg.Mem)
	return j
}

// Decode implements [pipeline.Decoder]. The error is of metadata that the table
// cannot hold, or of more than [schema.MaxBatchBytes]. In a careful part, a unit that
// panics only for this table becomes rows that are rescued whole.
func (j *JSON) Decode(ctx context.Context, b *pipeline.Batch, part pipeline.Part, s *schema.Schema) (pipeline.Rows, error) {
	j.values = j.values[:0]
	size := 0
	for _, u := range part.Units {
		j.values = append(j.values, b.Values[u])
		size += len(b.Values[u])
	}
	if size > schema.MaxBatchBytes {
		return pipeline.Rows{}, fmt.Errorf("lay out rows of table %q: the batch has %d bytes, the limit is %d: lower the source's largest batch",
			part.Table, size, schema.MaxBatchBytes)
	}
	var data *schema.Batch
	var want *schema.Schema
	j.cfg.Pool.use(j.options(part.Table), func(d *schema.Decoder) {
		decode := d.Decode
		if part.Careful {
			decode = d.DecodeCarefully
		}
		out := decode(j.values, s, part.Pinned)
		j.take(b, part, out)
		data, want = out.Data, out.Want
	})
	defer data.Release()
	rows := pipeline.Rows{Rec: j.rec, Sub: j.sub, Rejects: j.rejects, Dropped: j.dropped, Want: want}
	var err error
	if rows.Data, err = j.withMeta(ctx, b, s, data); err != nil {
		return pipeline.Rows{}, fmt.Errorf("lay out rows of table %q: %w", part.Table, err)
	}
	return rows, nil
}

// take notes what became of the units: d belongs to a decoder that others use next.
func (j *JSON) take(b *pipeline.Batch, part pipeline.Part, d *schema.Decoded) {
	j.units, j.rec, j.sub = j.units[:0], j.rec[:0], j.sub[:0]
	for i, u := range d.Unit {
		j.units = append(j.units, part.Units[u])
		j.rec = append(j.rec, b.Record(part.Units[u]))
		j.sub = append(j.sub, subOf(b, part.Units[u], d.Sub[i]))
	}
	j.rejects = j.rejects[:0]
	for i := range d.Rejects {
		r := &d.Rejects[i]
		u := part.Units[r.Unit]
		j.rejects = append(j.rejects, pipeline.Reject{
			Rec: b.Record(u), Sub: subOf(b, u, r.Sub),
			Code: r.Code, Message: r.Message, Path: r.Path, Table: part.Table, Payload: r.Payload,
		})
	}
	clear(j.dropped)
	maps.Copy(j.dropped, d.Skipped)
}

// options returns the options for a table.
func (j *JSON) options(table string) schema.Options {
	opt := j.cfg.Options
	if declared, ok := j.cfg.Tables[table]; ok {
		opt.Declared = declared
	}
	return opt
}

// subOf returns the number of what a decoder found in unit u as its sub-th.
func subOf(b *pipeline.Batch, u, sub int32) int32 {
	if b.Sub == nil {
		return sub
	}
	return b.Sub[u] + sub
}

// withMeta returns data with the metadata columns of s added.
func (j *JSON) withMeta(ctx context.Context, b *pipeline.Batch, s *schema.Schema, data *schema.Batch) (arrow.RecordBatch, error) {
	if s == nil || data.NumRows() == 0 {
		data.Retain()
		return data, nil
	}
	var out columns
	defer out.release()
	for i := range s.Fields {
		f := &s.Fields[i]
		var col arrow.Array
		var err error
		switch {
		case !schema.IsMeta(f) || f.Name == schema.Rescued:
			continue
		case f.Name == schema.ColSub:
			col, err = j.meta.ints(ctx, f, j.sub)
		case f.Name == schema.ColIngestedAt && !inBatch(b, f.Name):
			col, err = j.meta.times(ctx, f, len(j.rec), func(int) int64 { return j.cfg.Now().UnixMicro() })
		case f.Name == schema.ColPartitionKey:
			col, err = j.meta.keys(ctx, b, f, j.units, j.rec)
		default:
			col, err = j.meta.take(ctx, b, f, j.rec)
		}
		if err != nil {
			return nil, err
		}
		if col != nil {
			out.addField(f, col)
		}
	}
	return data.With(j.joined(data.Schema(), out.fields), out.cols), nil
}

// joint is the schema of columns and of metadata behind them.
type joint struct {
	meta []arrow.Field
	both *arrow.Schema
}

// maxJoints bounds how many are remembered; evolved tables leave some behind.
const maxJoints = 64

// joined returns the schema of data's columns and of metadata behind them. It is the same as
// that of an earlier batch with the same columns: it takes more than it tells.
func (j *JSON) joined(data *arrow.Schema, meta []arrow.Field) *arrow.Schema {
	if k, ok := j.joints[data]; ok && slices.EqualFunc(k.meta, meta, arrow.Field.Equal) {
		return k.both
	}
	if len(j.joints) >= maxJoints {
		clear(j.joints)
	}
	both := arrow.NewSchema(append(data.Fields(), meta...), nil)
	j.joints[data] = joint{meta, both}
	return both
}

// columns collects the columns of a record batch. It owns them.
type columns struct {
	rows   int64
	fields []arrow.Field
	cols   []arrow.Array
}

func (c *columns) add(f arrow.Field, col arrow.Array) {
	c.fields, c.cols = append(c.fields, f), append(c.cols, col)
}

// addField adds the column of f; its type may be a dictionary of f's.
func (c *columns) addField(f *schema.Field, col arrow.Array) {
	af := f.ArrowField()
	af.Type = col.DataType()
	c.add(af, col)
}

func (c *columns) batch() arrow.RecordBatch {
	return array.NewRecordBatch(arrow.NewSchema(c.fields, nil), c.cols, c.rows)
}

func (c *columns) release() {
	for _, col := range c.cols {
		col.Release()
	}
}
