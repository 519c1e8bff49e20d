package transform

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Codes of rejects, besides those of package schema.
const (
	CodeDecompression = "decompression"   // no gzip, or too much of it
	CodeEnvelope      = "cloudwatch_logs" // no envelope of CloudWatch Logs
)

// Names of the rules by which units are left out, besides those of package schema.
const (
	DropControlMessage = "control_message" // CloudWatch Logs asks whether somebody is there
	DropNoLogEvents    = "no_log_events"   // an envelope without messages
)

// How records are taken apart.
const (
	SplitJSON      = "json"      // JSON objects one after the other, white space between them
	SplitLines     = "lines"     // by line feeds
	SplitDelimited = "delimited" // by a delimiter
)

// maxParts is how many parts Firehose makes of a record. One with more stays whole.
const maxParts = 500

// UnpackConfig says what is in records. The steps come in the order of the fields.
type UnpackConfig struct {
	// Decompression is gzip if records are compressed, of one or more members. One that
	// is not is rejected as it came. Firehose's processor Decompression. Default: none.
	Decompression string `yaml:"decompression"`

	// CloudWatchLogs takes the messages out of the envelopes that CloudWatch Logs sends.
	// It needs Decompression. Each message is a unit; envelopes of the kind
	// CONTROL_MESSAGE are left out. Firehose's processor CloudWatchLogProcessing with
	// DataMessageExtraction. Default false.
	CloudWatchLogs bool `yaml:"cloudwatch_logs"`

	// Deaggregation takes records apart: json, lines or delimited. What stands between
	// the parts goes, and so do empty parts. A record of more than 500 parts stays
	// whole. Firehose's processor RecordDeAggregation with its SubRecordType. Default:
	// none.
	Deaggregation string `yaml:"deaggregation"`

	// Delimiter of the deaggregation delimited, in base64: IyMjIw== is ####. At most 64
	// bytes. Firehose's parameter Delimiter.
	Delimiter string `yaml:"delimiter"`

	// MaxRecordBytes bounds a record once it is decompressed; a larger one is rejected.
	// Default 10 MiB.
	MaxRecordBytes int `yaml:"max_record_bytes"`
}

const (
	defaultMaxRecord = 10 << 20
	maxDelimiter     = 64
	keepPlain        = 64 << 20 // most memory that is kept for the next batch
)

// Validate reports every problem at once, by key.
func (c UnpackConfig) Validate() error {
	var errs []error
	if c.Decompression != "" && c.Decompression != "gzip" {
		errs = append(errs, fmt.Errorf("decompression: %q: choose gzip, or leave it out", c.Decompression))
	}
	if c.CloudWatchLogs && c.Decompression == "" {
		errs = append(errs, errors.New("cloudwatch_logs: it needs decompression: gzip, CloudWatch Logs compresses its envelopes"))
	}
	switch c.Deaggregation {
	case "", SplitJSON, SplitLines:
		if c.Delimiter != "" {
			errs = append(errs, fmt.Errorf("delimiter: %q: it goes with deaggregation: delimited", c.Delimiter))
		}
	case SplitDelimited:
		if d, err := base64.StdEncoding.DecodeString(c.Delimiter); err != nil || len(d) == 0 || len(d) > maxDelimiter {
			errs = append(errs, fmt.Errorf("delimiter: %q: write 1 to %d bytes in base64, IyMjIw== for ####", c.Delimiter, maxDelimiter))
		}
	default:
		errs = append(errs, fmt.Errorf("deaggregation: %q: choose json, lines or delimited", c.Deaggregation))
	}
	if c.MaxRecordBytes < 0 {
		errs = append(errs, fmt.Errorf("max_record_bytes: %d: it must be positive", c.MaxRecordBytes))
	}
	return errors.Join(errs...)
}

// Unpack is the stage that opens records and makes a unit of everything in them. The
// units of a record are numbered from 0, rejects and what is left out alike. It is for
// decoders that make one row of a unit: these are not to be split again.
type Unpack struct {
	cfg       UnpackConfig
	delimiter []byte
	split     *schema.Splitter

	zip    *gzip.Reader
	in     bytes.Reader
	plain  []byte // what the records of a batch unpack to, one after the other
	values [][]byte
	src    []int32
	sub    []int32
	keys   [][]byte

	// of the record being unpacked
	b      *pipeline.Batch
	rec    int32
	next   int32         // number of its next unit
	key    []byte        // of the unit being unpacked, which may be a part of the record
	taken  map[unit]bool // numbers that earlier stages have given to rejects
	result []pipeline.Reject
}

type unit struct{ rec, sub int32 }

var _ pipeline.Stage = (*Unpack)(nil)

// NewUnpack checks cfg and returns a stage.
func NewUnpack(cfg UnpackConfig) (*Unpack, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxRecordBytes == 0 {
		cfg.MaxRecordBytes = defaultMaxRecord
	}
	u := &Unpack{cfg: cfg, split: schema.NewSplitter(schema.Options{MaxRecordBytes: cfg.MaxRecordBytes}), delimiter: []byte("\n")}
	if cfg.Deaggregation == SplitDelimited {
		u.delimiter, _ = base64.StdEncoding.DecodeString(cfg.Delimiter)
	}
	return u, nil
}

// Process implements [pipeline.Stage]. What it sets in b is valid until the next call.
// Records without a value pass as they are. It holds what the whole batch unpacks to.
func (u *Unpack) Process(_ context.Context, b *pipeline.Batch) error {
	u.b, u.rec, u.next = b, -1, 0
	if cap(u.plain) > keepPlain {
		u.plain = nil
	}
	u.plain, u.values, u.src, u.sub, u.keys = u.plain[:0], u.values[:0], u.src[:0], u.sub[:0], u.keys[:0]
	u.result, u.taken, u.key = nil, nil, nil
	for _, r := range b.Rejects {
		if u.taken == nil {
			u.taken = map[unit]bool{}
		}
		u.taken[unit{r.Rec, r.Sub}] = true
	}
	for i, v := range b.Values {
		if rec := b.Record(int32(i)); rec != u.rec {
			u.rec, u.next = rec, 0
		}
		if b.Keys != nil {
			u.key = b.Keys[i]
		}
		if v == nil {
			u.emit(nil)
			continue
		}
		u.open(v)
	}
	if b.Keys != nil {
		b.Keys = u.keys
	}
	b.Values, b.Src, b.Sub = u.values, u.src, u.sub
	b.Rejects = append(b.Rejects, u.result...)
	u.b, u.result = nil, nil
	return nil
}

// number returns the number of the next unit of the record.
func (u *Unpack) number() int32 {
	for u.taken[unit{u.rec, u.next}] {
		u.next++
	}
	u.next++
	return u.next - 1
}

func (u *Unpack) emit(v []byte) {
	u.values, u.src, u.sub, u.keys = append(u.values, v), append(u.src, u.rec), append(u.sub, u.number()), append(u.keys, u.key)
}

func (u *Unpack) reject(code, message, path string, payload []byte) {
	u.result = append(u.result, pipeline.Reject{Rec: u.rec, Sub: u.number(), Code: code, Message: message, Path: path, Payload: payload})
}

func (u *Unpack) drop(rule string) {
	u.number()
	u.b.Drop(rule, 1)
}

// open takes a record through the steps.
func (u *Unpack) open(rec []byte) {
	v := rec
	if u.cfg.Decompression != "" {
		var err error
		if v, err = u.decompress(rec); err != nil {
			u.reject(CodeDecompression, err.Error(), "", rec)
			return
		}
	}
	if !u.cfg.CloudWatchLogs {
		u.deaggregate(v)
		return
	}
	messages, rule, err := logMessages(v)
	switch {
	case err != nil:
		u.reject(CodeEnvelope, err.Error(), "", rec)
	case rule != "":
		u.drop(rule)
	}
	for _, m := range messages {
		u.deaggregate([]byte(m))
	}
}

// decompress returns what is in rec, all of it or an error.
func (u *Unpack) decompress(rec []byte) ([]byte, error) {
	u.in.Reset(rec)
	var err error
	if u.zip == nil {
		u.zip, err = gzip.NewReader(&u.in)
	} else {
		err = u.zip.Reset(&u.in)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // there is not even a header
	}
	start := len(u.plain)
	for err == nil {
		if len(u.plain) == cap(u.plain) {
			u.plain = append(u.plain, 0)[:len(u.plain)] // what moved keeps its old memory: windows stay good
		}
		room := u.plain[len(u.plain):min(cap(u.plain), start+u.cfg.MaxRecordBytes+1)]
		var n int
		n, err = u.zip.Read(room)
		u.plain = u.plain[:len(u.plain)+n]
		if len(u.plain)-start > u.cfg.MaxRecordBytes {
			u.plain = u.plain[:start]
			return nil, fmt.Errorf("the record decompresses to more than %d bytes", u.cfg.MaxRecordBytes)
		}
	}
	if err != io.EOF {
		u.plain = u.plain[:start]
		return nil, fmt.Errorf("the record is not whole gzip: %w", err)
	}
	return u.plain[start:len(u.plain):len(u.plain)], nil
}

// logMessages returns the messages of an envelope, or the rule that leaves it out.
func logMessages(v []byte) (messages []string, rule string, err error) {
	var e struct {
		MessageType string `json:"messageType"`
		LogEvents   []struct {
			Message *string `json:"message"`
		} `json:"logEvents"`
	}
	if err := json.Unmarshal(v, &e); err != nil {
		return nil, "", fmt.Errorf("the record is no envelope of CloudWatch Logs: %w", err)
	}
	switch e.MessageType {
	case "CONTROL_MESSAGE":
		return nil, DropControlMessage, nil
	case "DATA_MESSAGE":
	default:
		return nil, "", fmt.Errorf("the record is no envelope of CloudWatch Logs: its messageType is %.40q", e.MessageType)
	}
	for i, event := range e.LogEvents {
		if event.Message == nil {
			return nil, "", fmt.Errorf("the envelope of CloudWatch Logs has no message in logEvents[%d]", i)
		}
		messages = append(messages, *event.Message)
	}
	if len(messages) == 0 {
		rule = DropNoLogEvents
	}
	return messages, rule, nil
}

// deaggregate makes units of the parts of v.
func (u *Unpack) deaggregate(v []byte) {
	switch u.cfg.Deaggregation {
	case "":
		u.emit(v)
	case SplitJSON:
		u.splitJSON(v)
	default:
		u.splitBy(v)
	}
}

// splitJSON looks twice: only a record of at most 500 parts is taken apart.
func (u *Unpack) splitJSON(v []byte) {
	if rule := u.split.Open(v); rule != "" {
		u.drop(rule)
		return
	}
	for n := 0; ; n++ {
		if _, ok := u.split.Next(); !ok {
			break
		}
		if n == maxParts {
			u.emit(v)
			return
		}
	}
	u.split.Open(v)
	for {
		part, ok := u.split.Next()
		if !ok {
			return
		}
		if r := part.Reject; r != nil {
			u.reject(r.Code, r.Message, r.Path, r.Payload)
		} else {
			u.emit(part.Value)
		}
	}
}

func (u *Unpack) splitBy(v []byte) {
	parts := 0
	for part := range bytes.SplitSeq(v, u.delimiter) {
		if len(part) > 0 {
			parts++
		}
	}
	switch {
	case parts == 0:
		u.drop(schema.SkipBlank)
		return
	case parts > maxParts:
		u.emit(v)
		return
	}
	for part := range bytes.SplitSeq(v, u.delimiter) {
		if len(part) > 0 {
			u.emit(part)
		}
	}
}
