package decode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Names of the columns of a dead-letter table, besides the metadata columns.
const (
	ColCode            = "code"             // why: one of the codes of package schema, or a stage's
	ColMessage         = "message"          // the same in words
	ColPath            = "path"             // JSON pointer to where; null: nowhere in particular
	ColTarget          = "target"           // the table it was meant for; null: none
	ColPayload         = "payload"          // the unit's bytes; null: they are too many, or there was no value
	ColPayloadSize     = "payload_size"     // how many there are
	ColPayloadSHA256   = "payload_sha256"   // in hexadecimal
	ColSourceTimestamp = "source_timestamp" // of the record, as the source has it
	ColRev             = "rev"              // the revision that judged it
)

// DeadLetters lays rejected units out as rows of a dead-letter table.
type DeadLetters struct {
	Rev        int64            // the revision whose stages and decoder rejected them
	MaxPayload int              // units longer than this many bytes are kept without them; 0: 10 MiB
	Mem        memory.Allocator // nil: Go's heap
}

const defaultMaxPayload = 10 << 20

// DeadLetterSchema returns the wanted schema of a dead-letter table, with the
// metadata columns meta, which may be nil.
func DeadLetterSchema(meta *schema.Schema) *schema.Schema {
	s := &schema.Schema{ID: -1}
	for _, c := range []struct {
		name string
		kind schema.Kind
	}{
		{ColCode, schema.String},
		{ColMessage, schema.String},
		{ColPath, schema.String},
		{ColTarget, schema.String},
		{ColPayload, schema.Binary},
		{ColPayloadSize, schema.Long},
		{ColPayloadSHA256, schema.String},
		{ColSourceTimestamp, schema.TimestampTZ},
		{ColRev, schema.Long},
	} {
		s.Fields = append(s.Fields, schema.Field{Name: c.name, Type: &schema.Type{Kind: c.kind}})
	}
	if meta != nil {
		for _, f := range meta.Fields {
			if f.Name != schema.Rescued {
				s.Fields = append(s.Fields, f)
			}
		}
	}
	return s
}

// Lay lays b.Rejects out for the table of schema s, which may be nil; then all
// columns of [DeadLetterSchema] and of b.Meta are. A payload does not have to be
// text, nor the record to have a value.
func (d DeadLetters) Lay(b *pipeline.Batch, s *schema.Schema) (pipeline.Rows, error) {
	if s == nil {
		s = DeadLetterSchema(metaSchema(b))
	}
	var r pipeline.Rows
	for i := range b.Rejects {
		r.Rec = append(r.Rec, b.Rejects[i].Rec)
		r.Sub = append(r.Sub, b.Rejects[i].Sub)
	}
	out := columns{rows: int64(len(r.Rec))}
	defer out.release()
	m := newMeta(d.Mem)
	for i := range s.Fields {
		f := &s.Fields[i]
		col, err := d.column(m, b, f, r)
		if err != nil {
			return pipeline.Rows{}, fmt.Errorf("lay out dead letters: %w", err)
		}
		if col != nil {
			out.addField(f, col)
		}
	}
	r.Data = out.batch()
	return r, nil
}

// metaSchema returns the columns that a batch has for every record.
func metaSchema(b *pipeline.Batch) *schema.Schema {
	s := &schema.Schema{Fields: []schema.Field{{Name: schema.ColSub, Type: &schema.Type{Kind: schema.Int}}}}
	if b.Meta == nil {
		return s
	}
	for _, f := range b.Meta.Schema().Fields() {
		if t, ok := schema.FromArrow(f.Type); ok {
			s.Fields = append(s.Fields, schema.Field{Name: f.Name, Type: t})
		}
	}
	return s
}

// column lays out the column f, or returns nil for one that nothing fills.
func (d DeadLetters) column(m meta, b *pipeline.Batch, f *schema.Field, r pipeline.Rows) (arrow.Array, error) {
	ctx := context.Background() // nothing below waits
	text := func(of func(r *pipeline.Reject) string) (arrow.Array, error) {
		return m.shaped(ctx, f, m.strings(b.Rejects, of))
	}
	switch f.Name {
	case ColCode:
		return text(func(r *pipeline.Reject) string { return r.Code })
	case ColMessage:
		return text(func(r *pipeline.Reject) string { return r.Message })
	case ColPath:
		return text(func(r *pipeline.Reject) string { return r.Path })
	case ColTarget:
		return text(func(r *pipeline.Reject) string { return r.Table })
	case ColPayloadSHA256:
		return text(func(r *pipeline.Reject) string {
			sum := sha256.Sum256(r.Payload)
			return hex.EncodeToString(sum[:])
		})
	case ColPayload:
		return m.shaped(ctx, f, d.payloads(m, b.Rejects))
	case ColPayloadSize:
		return m.shaped(ctx, f, m.longs(b.Rejects, func(r *pipeline.Reject) int64 { return int64(len(r.Payload)) }))
	case ColRev:
		return m.shaped(ctx, f, m.longs(b.Rejects, func(*pipeline.Reject) int64 { return d.Rev }))
	case ColSourceTimestamp:
		if b.Times == nil {
			return nil, nil
		}
		return m.times(ctx, f, len(r.Rec), func(i int) int64 { return b.Times[r.Rec[i]] })
	case schema.ColSub:
		return m.ints(ctx, f, r.Sub)
	}
	return m.take(ctx, b, f, r.Rec)
}

// payloads lays the units out, without those that are too long.
func (d DeadLetters) payloads(m meta, rejects []pipeline.Reject) arrow.Array {
	limit := d.MaxPayload
	if limit == 0 {
		limit = defaultMaxPayload
	}
	bld := array.NewBinaryBuilder(m.mem, arrow.BinaryTypes.Binary)
	defer bld.Release()
	for i := range rejects {
		if p := rejects[i].Payload; p == nil || len(p) > limit {
			bld.AppendNull()
		} else {
			bld.Append(p)
		}
	}
	return bld.NewArray()
}

// strings lays out a text of every reject; an empty one is null.
func (m meta) strings(rejects []pipeline.Reject, of func(r *pipeline.Reject) string) arrow.Array {
	bld := array.NewStringBuilder(m.mem)
	defer bld.Release()
	for i := range rejects {
		if s := of(&rejects[i]); s == "" {
			bld.AppendNull()
		} else {
			bld.Append(s)
		}
	}
	return bld.NewArray()
}

func (m meta) longs(rejects []pipeline.Reject, of func(r *pipeline.Reject) int64) arrow.Array {
	bld := array.NewInt64Builder(m.mem)
	defer bld.Release()
	for i := range rejects {
		bld.Append(of(&rejects[i]))
	}
	return bld.NewArray()
}
