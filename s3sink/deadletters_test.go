package s3sink

import (
	"encoding/json"
	"fmt"
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
	k.sink.dead = func(table string) bool { return table == "t" }
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

// TestJSONLines: a value a line, and what is no JSON is a dead letter before it comes
// here.
func TestJSONLines(t *testing.T) {
	w := newWorld(t)
	w.cfg.Framing = Framing{Format: FormatJSONLines}
	k := w.worker()
	tab := k.table()
	b := batch(p0, 0, 3, "a")
	b.Values = [][]byte{[]byte("{\"a\":\n 1}"), []byte("{"), []byte(" [2]\r\n")}
	r, err := decode.NewBytes(decode.BytesConfig{Check: k.sink.framer.Check}).Decode(t.Context(), b, pipeline.Part{Units: []int32{0, 1, 2}}, tab.Schema())
	if err != nil || len(r.Rejects) != 1 || r.Rejects[0].Rec != 1 || r.Rejects[0].Code != decode.CodeRecord {
		t.Fatalf("rejects %+v, %v", r.Rejects, err)
	}
	defer r.Data.Release()
	d := k.begin()
	if err := d.Write(t.Context(), b, r); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); err != nil {
		t.Fatal(err)
	}
	data, _, err := w.bucket.Get(t.Context(), w.keys()[0])
	if err != nil || string(data) != "{\"a\": 1}\n[2]\n" {
		t.Errorf("%q, %v", data, err)
	}
	m := w.manifest(w.register().Head)
	if want := fmt.Sprintf("%016x", rowHash(pos(0), 0, b.Values[0])+rowHash(pos(2), 0, b.Values[2])); m.Claims[0].Sum != want {
		t.Errorf("the sum %s is not of the bytes that the source has, %s", m.Claims[0].Sum, want)
	}
}
