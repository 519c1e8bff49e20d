package kafka

import (
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/schema"
)

// MetaSchema returns the metadata columns that rows get under cfg, as a wanted
// schema. All but _fh_sub, which the decoder counts, come in the Meta of batches.
func MetaSchema(cfg Config) *schema.Schema {
	col := func(name string, kind schema.Kind) schema.Field {
		return schema.Field{Name: name, Type: &schema.Type{Kind: kind}}
	}
	fs := []schema.Field{
		col(schema.ColTopic, schema.String), col(schema.ColTopicID, schema.String),
		col(schema.ColPartition, schema.Int), col(schema.ColOffset, schema.Long), col(schema.ColSub, schema.Int),
	}
	if slices.Contains(cfg.Metadata, MetaTimestamp) {
		fs = append(fs, col(schema.ColTimestamp, schema.TimestampTZ))
	}
	if slices.Contains(cfg.Metadata, MetaKey) {
		fs = append(fs, col(schema.ColKey, schema.Binary))
	}
	if slices.Contains(cfg.Metadata, MetaHeaders) {
		fs = append(fs, schema.Field{Name: schema.ColHeaders, Type: headersType()})
	}
	if slices.Contains(cfg.Metadata, MetaIngestedAt) {
		fs = append(fs, col(schema.ColIngestedAt, schema.TimestampTZ))
	}
	return &schema.Schema{ID: -1, Fields: fs}
}

// headersType is list<struct<key: string, value: binary>>.
func headersType() *schema.Type {
	return &schema.Type{Kind: schema.List, Fields: []schema.Field{{
		Name: "element", Required: true,
		Type: &schema.Type{Kind: schema.Struct, Fields: []schema.Field{
			{Name: "key", Type: &schema.Type{Kind: schema.String}, Required: true},
			{Name: "value", Type: &schema.Type{Kind: schema.Binary}},
		}},
	}}}
}

var stringDict = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}

// metaMaker lays out the metadata columns of one partition. What it makes is never
// overwritten, so it may be kept after the batch is released.
type metaMaker struct {
	schema    *arrow.Schema
	key       bool
	headers   bool
	timestamp bool
	ingested  bool
	num       int32

	topic, id arrow.Array // dictionaries of one value
	zeros     []int32     // indexes into them
	nums      []int32     // the partition, again and again
}

func newMetaMaker(cfg Config, w place) metaMaker {
	m := metaMaker{
		key: slices.Contains(cfg.Metadata, MetaKey), headers: slices.Contains(cfg.Metadata, MetaHeaders),
		timestamp: slices.Contains(cfg.Metadata, MetaTimestamp), ingested: slices.Contains(cfg.Metadata, MetaIngestedAt),
		num: w.num, topic: oneString(w.topic.name), id: oneString(w.topic.incarnation),
	}
	var fs []arrow.Field
	for _, f := range MetaSchema(cfg).Fields {
		t := f.Type.Arrow()
		switch f.Name {
		case schema.ColSub:
			continue
		case schema.ColTopic, schema.ColTopicID:
			t = stringDict
		case schema.ColHeaders:
			t = plainHeaders
		}
		fs = append(fs, arrow.Field{Name: f.Name, Type: t, Nullable: true})
	}
	m.schema = arrow.NewSchema(fs, nil)
	return m
}

// plainHeaders is the type of the headers without field ids: the table gives those.
var plainHeaders = arrow.ListOfField(arrow.Field{Name: "element", Type: arrow.StructOf(
	arrow.Field{Name: "key", Type: arrow.BinaryTypes.String},
	arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true},
)})

func oneString(s string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(s)
	return b.NewArray()
}

// optional gathers what columns need that records do not keep.
type optional struct {
	key     *array.BinaryBuilder
	headers *array.ListBuilder
}

func (m *metaMaker) optional() (o optional) {
	if m.key {
		o.key = array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
	}
	if m.headers {
		o.headers = array.NewListBuilderWithField(memory.DefaultAllocator, plainHeaders.ElemField())
	}
	return o
}

func (o *optional) add(rec *record) error {
	if o.key != nil {
		if rec.key == nil {
			o.key.AppendNull()
		} else {
			o.key.Append(rec.key)
		}
	}
	if o.headers == nil {
		return nil
	}
	o.headers.Append(true)
	if len(rec.headers) == 0 {
		return nil
	}
	el := o.headers.ValueBuilder().(*array.StructBuilder)
	keys, values := el.FieldBuilder(0).(*array.StringBuilder), el.FieldBuilder(1).(*array.BinaryBuilder)
	return eachHeader(rec.headers, func(key, value []byte) {
		el.Append(true)
		keys.BinaryBuilder.Append(key)
		if value == nil {
			values.AppendNull()
		} else {
			values.Append(value)
		}
	})
}

// record lays the columns of a batch out. It takes over b's offsets and times.
func (m *metaMaker) record(b *batch) arrow.RecordBatch {
	n := len(b.offsets)
	for len(m.zeros) < n {
		m.zeros = append(m.zeros, 0)
		m.nums = append(m.nums, m.num)
	}
	index := ints32(m.zeros[:n:n])
	defer index.Release()
	cols := []arrow.Array{
		array.NewDictionaryArray(stringDict, index, m.topic), array.NewDictionaryArray(stringDict, index, m.id),
		ints32(m.nums[:n:n]), ints64(arrow.PrimitiveTypes.Int64, b.offsets, nil),
	}
	micro := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	if m.timestamp {
		cols = append(cols, ints64(micro, b.times, b.untimed))
	}
	if b.cols.key != nil {
		cols = append(cols, b.cols.key.NewArray())
		b.cols.key.Release()
	}
	if b.cols.headers != nil {
		cols = append(cols, b.cols.headers.NewArray())
		b.cols.headers.Release()
	}
	if m.ingested {
		now := make([]int64, n)
		for i, at := 0, time.Now().UnixMicro(); i < n; i++ {
			now[i] = at
		}
		cols = append(cols, ints64(micro, now, nil))
	}
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	return array.NewRecordBatch(m.schema, cols, int64(n))
}

func ints32(v []int32) arrow.Array {
	return fixed(arrow.PrimitiveTypes.Int32, len(v), arrow.Int32Traits.CastToBytes(v), nil, 0)
}

// ints64 wraps v; the elements at nulls are null.
func ints64(t arrow.DataType, v []int64, nulls []int) arrow.Array {
	var valid []byte
	if len(nulls) > 0 {
		valid = make([]byte, bitutil.BytesForBits(int64(len(v))))
		bitutil.SetBitsTo(valid, 0, int64(len(v)), true)
		for _, i := range nulls {
			bitutil.ClearBit(valid, i)
		}
	}
	return fixed(t, len(v), arrow.Int64Traits.CastToBytes(v), valid, len(nulls))
}

func fixed(t arrow.DataType, n int, data, valid []byte, nulls int) arrow.Array {
	bufs := []*memory.Buffer{nil, memory.NewBufferBytes(data)}
	if nulls > 0 {
		bufs[0] = memory.NewBufferBytes(valid)
	}
	d := array.NewData(t, n, bufs, nil, nulls, 0)
	defer d.Release()
	return array.MakeFromData(d)
}
