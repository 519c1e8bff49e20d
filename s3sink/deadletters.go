package s3sink

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Columns of dead letters that a failed record is made of, as package decode lays them out.
const (
	colCode    = "code"
	colMessage = "message"
	colPayload = "payload"
)

// Codes of dead letters that are no failed conversion.
const (
	codePartitionKeys = "DynamicPartitioning.MetadataExtractionFailed"
	codeDecompression = "decompression"
)

// WithDeadLetters says which tables hold dead letters, those of earlier revisions among
// them: their rows are delivered as failed records, under the error prefix. Default: none, so that dead letters need another sink.
func WithDeadLetters(is func(table string) bool) Option { return func(s *Sink) { s.dead = is } }

// deadSchema is that of dead letters.
func deadSchema() *schema.Schema {
	s := &schema.Schema{}
	for i, c := range []struct {
		name string
		kind schema.Kind
	}{{colCode, schema.String}, {colMessage, schema.String}, {colPayload, schema.Binary}} {
		s.Fields = append(s.Fields, schema.Field{ID: i + 1, Name: c.name, Type: &schema.Type{Kind: c.kind}})
	}
	return s
}

// deadLetters are rows of the table of dead letters.
type deadLetters struct {
	code, message *array.String
	payload       *array.Binary
}

func asDeadLetters(rec arrow.RecordBatch) (l deadLetters, err error) {
	var ok [3]bool
	l.code, ok[0] = column(rec, colCode).(*array.String)
	l.message, ok[1] = column(rec, colMessage).(*array.String)
	l.payload, ok[2] = column(rec, colPayload).(*array.Binary)
	if !ok[0] || !ok[1] || !ok[2] {
		return l, fmt.Errorf("dead letters lack one of the columns %s, %s, %s", colCode, colMessage, colPayload)
	}
	return l, nil
}

// errorType says in which of Firehose's categories a row is.
func (t *table) errorType(code string) string {
	switch {
	case code == codeDecompression:
		return ErrorDecompression
	case code != codePartitionKeys && t.sink.cfg.columnar():
		return ErrorFormatConversion
	}
	return ErrorProcessing
}

// deadShares sorts rows by their category.
func (t *table) deadShares(l deadLetters) (out []share) {
	at := map[string]int{}
	for row := range l.code.Len() {
		kind := t.errorType(l.code.Value(row))
		i, ok := at[kind]
		if !ok {
			i = len(out)
			at[kind] = i
			out = append(out, share{group: kind, failed: kind})
		}
		out[i].rows = append(out[i].rows, int32(row))
		out[i].n++
	}
	return out
}

// line returns what appends a row as its failed record. The time at which it was given up
// is that of writing it down: bytes of objects need not be the same on every reading.
func (s *Sink) line(l deadLetters, b *pipeline.Batch, r *pipeline.Rows, kind string) (appender, error) {
	places, err := s.places(b)
	if err != nil {
		return nil, err
	}
	now := s.now()
	return func(dst []byte, row int) []byte {
		rec := int(r.Rec[row])
		f := FailedRecord{
			Raw: l.payload.Value(row), Code: l.code.Value(row), Message: l.message.Value(row), Attempts: 1, Arrived: now, Ended: now,
			Sequence: s.number(places(rec)),
		}
		if b.Times != nil {
			f.Arrived = time.UnixMicro(b.Times[rec])
		}
		if r.Sub != nil {
			f.Sub = r.Sub[row]
		}
		return f.Append(dst, kind)
	}, nil
}
