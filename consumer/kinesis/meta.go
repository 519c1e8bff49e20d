package kinesis

import (
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// MetaSchema returns the metadata columns that rows get under cfg, as a wanted
// schema. All but _fh_sub, which the decoder counts, come in the Meta of batches.
// _fh_shard is the stream's name and the shard, orders/shardId-000000000000.
func MetaSchema(cfg Config) *schema.Schema {
	col := func(name string, kind schema.Kind) schema.Field {
		return schema.Field{Name: name, Type: &schema.Type{Kind: kind}}
	}
	fs := []schema.Field{col(schema.ColShard, schema.String), col(schema.ColSequence, schema.String), col(schema.ColSub, schema.Int)}
	if slices.Contains(cfg.Metadata, MetaTimestamp) {
		fs = append(fs, col(schema.ColTimestamp, schema.TimestampTZ))
	}
	if slices.Contains(cfg.Metadata, MetaPartitionKey) {
		fs = append(fs, col(schema.ColPartitionKey, schema.String))
	}
	if slices.Contains(cfg.Metadata, MetaIngestedAt) {
		fs = append(fs, col(schema.ColIngestedAt, schema.TimestampTZ))
	}
	return &schema.Schema{ID: -1, Fields: fs}
}

// metaMaker lays out the metadata columns of one shard. What it makes is never
// overwritten, so it may be kept after the batch is released.
type metaMaker struct {
	schema *arrow.Schema
	shard  string
}

var (
	stringDict = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	microType  = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
)

func newMetaMaker(cfg Config, p pipeline.Partition) metaMaker {
	m := metaMaker{shard: nameOf(p) + "/" + p.ID}
	var fs []arrow.Field
	for _, f := range MetaSchema(cfg).Fields {
		var t arrow.DataType = arrow.BinaryTypes.String
		switch f.Name {
		case schema.ColSub:
			continue
		case schema.ColShard:
			t = stringDict
		case schema.ColTimestamp, schema.ColIngestedAt:
			t = microType
		}
		fs = append(fs, arrow.Field{Name: f.Name, Type: t, Nullable: true})
	}
	m.schema = arrow.NewSchema(fs, nil)
	return m
}

// record lays the columns of records out.
func (m *metaMaker) record(recs []types.Record) arrow.RecordBatch {
	var cols []arrow.Array
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	now := arrow.Timestamp(time.Now().UnixMicro())
	for _, f := range m.schema.Fields() {
		switch f.Name {
		case schema.ColShard:
			cols = append(cols, oneText(m.shard, len(recs)))
		case schema.ColSequence:
			cols = append(cols, texts(recs, func(r *types.Record) *string { return r.SequenceNumber }))
		case schema.ColPartitionKey:
			cols = append(cols, texts(recs, func(r *types.Record) *string { return r.PartitionKey }))
		case schema.ColTimestamp:
			cols = append(cols, times(recs, func(r *types.Record) arrow.Timestamp {
				return arrow.Timestamp(aws.ToTime(r.ApproximateArrivalTimestamp).UnixMicro())
			}))
		case schema.ColIngestedAt:
			cols = append(cols, times(recs, func(*types.Record) arrow.Timestamp { return now }))
		}
	}
	return array.NewRecordBatch(m.schema, cols, int64(len(recs)))
}

// oneText is a column of n times the same text.
func oneText(s string, n int) arrow.Array {
	text := array.NewStringBuilder(memory.DefaultAllocator)
	defer text.Release()
	text.Append(s)
	dict := text.NewArray()
	defer dict.Release()
	index := array.NewInt32Builder(memory.DefaultAllocator)
	defer index.Release()
	index.AppendValues(make([]int32, n), nil)
	zeros := index.NewArray()
	defer zeros.Release()
	return array.NewDictionaryArray(stringDict, zeros, dict)
}

func texts(recs []types.Record, of func(*types.Record) *string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Reserve(len(recs))
	for i := range recs {
		b.Append(aws.ToString(of(&recs[i])))
	}
	return b.NewArray()
}

func times(recs []types.Record, of func(*types.Record) arrow.Timestamp) arrow.Array {
	b := array.NewTimestampBuilder(memory.DefaultAllocator, microType)
	defer b.Release()
	b.Reserve(len(recs))
	for i := range recs {
		b.Append(of(&recs[i]))
	}
	return b.NewArray()
}
