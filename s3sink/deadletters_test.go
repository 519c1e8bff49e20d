package s3sink

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
	"github.com/firehosed/firehosed/schema"
)

// TestDeadLetters: the rows of that table are failed records under the error prefix, by
// category, neither compressed nor in columns.
func TestDeadLetters(t *testing.T) {
	w := columnar(t)
	w.cfg.Prefix, w.cfg.ErrorOutputPrefix = "data/", "failed/!{firehose:error-output-type}/"
	k := w.worker()
	k.sink.dead = "t"
	tab := k.table()
	b := batch(p0, 5, 9, "a")
	b.Rejects = []pipeline.Reject{
		{Rec: 0, Code: schema.CodeSyntax, Message: "no <JSON>", Payload: b.Values[0]},
		{Rec: 1, Sub: 3, Code: decode.CodePartitionKeys, Message: "is null", Payload: b.Values[1]},
		{Rec: 2, Code: codeDecompression, Message: "no gzip", Payload: []byte{0x1f, 0x00}},
		{Rec: 3, Code: schema.CodeTombstone, Message: "no value"},
	}
	r, err := decode.DeadLetters{Rev: 1}.Lay(b, tab.Schema())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Data.Release()
	d, err := tab.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), b, r); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 9)}, ""); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, key := range w.keys() {
		data, _, err := w.bucket.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		kind := strings.Split(key, "/")[1]
		got[kind] = split(string(data))
		if strings.Contains(key, ".") || !strings.HasPrefix(key, "failed/") {
			t.Errorf("key %s", key)
		}
	}
	if len(got) != 3 || len(got[ErrorFormatConversion]) != 2 || len(got[ErrorProcessing]) != 1 || got[ErrorDecompression][0] != "\x1f\x00" {
		t.Fatalf("%q", got)
	}
	var conv formatConversionFailed
	if err := json.Unmarshal([]byte(got[ErrorFormatConversion][0]), &conv); err != nil {
		t.Fatal(err)
	}
	if string(conv.RawData) != "a 0 5" || conv.LastErrorCode != schema.CodeSyntax || conv.LastErrorMessage != "no <JSON>" || conv.SequenceNumber != string(pos(5)) ||
		conv.ArrivalTimestamp != b.Times[0]/1000 || conv.AttemptEndingTimestamp != w.now.UnixMilli() || conv.AttemptsMade != 1 {
		t.Errorf("%+v", conv)
	}
	var proc processingFailed
	if err := json.Unmarshal([]byte(got[ErrorProcessing][0]), &proc); err != nil || proc.ErrorCode != decode.CodePartitionKeys || string(proc.RawData) != "a 0 6" {
		t.Errorf("%+v, %v", proc, err)
	}
	if a := w.audit(); a.Rows != 4 || len(a.Faults)+len(a.Removed)+len(a.Strange) != 0 {
		t.Errorf("%+v", a)
	}
}

// TestDeadLettersOfRecords: of formats that keep records as they came there is no
// conversion that fails.
func TestDeadLettersOfRecords(t *testing.T) {
	k := newWorld(t).worker()
	tab := k.table().(*table)
	for code, want := range map[string]string{
		schema.CodeSyntax: ErrorProcessing, decode.CodeRecord: ErrorProcessing, decode.CodePartitionKeys: ErrorProcessing, codeDecompression: ErrorDecompression,
	} {
		if got := tab.errorType(code); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	if codePartitionKeys != decode.CodePartitionKeys {
		t.Error("the two packages do not agree")
	}
}
