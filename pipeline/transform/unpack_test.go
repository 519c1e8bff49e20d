package transform

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

// out is a batch after a stage, in words: rec.sub value, or ! code.
func unpack(t testing.TB, cfg UnpackConfig, records ...[]byte) (out []string, dropped map[string]int) {
	t.Helper()
	u, err := NewUnpack(cfg)
	if err != nil {
		t.Fatal(err)
	}
	first := pipeline.Batch{Values: [][]byte{gz("noise"), []byte("noise")}}
	if err := u.Process(t.Context(), &first); err != nil { // what is left of it must not show
		t.Fatal(err)
	}
	b := pipeline.Batch{Values: records}
	if err := u.Process(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return words(&b), b.Dropped
}

func words(b *pipeline.Batch) (out []string) {
	for i, v := range b.Values {
		out = append(out, fmt.Sprintf("%d.%d %s", b.Src[i], b.Sub[i], v))
	}
	for _, r := range b.Rejects {
		out = append(out, fmt.Sprintf("%d.%d ! %s %s", r.Rec, r.Sub, r.Code, r.Payload))
	}
	return out
}

func gz(s ...string) []byte {
	var b bytes.Buffer
	for _, member := range s {
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(member))
		_ = z.Close()
	}
	return b.Bytes()
}

func lines(s string) [][]byte { return bytes.Split([]byte(s), []byte("|")) }

func TestDeaggregation(t *testing.T) {
	f := func(cfg UnpackConfig, records string, want ...string) {
		t.Helper()
		got, _ := unpack(t, cfg, lines(records)...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v %q (-want +got):\n%s", cfg, records, diff)
		}
	}
	f(UnpackConfig{}, "a|b", "0.0 a", "1.0 b")
	js := UnpackConfig{Deaggregation: "json"}
	f(js, `{"a":1}{"a":2} `+"\n"+` {"b":{}}|{}`, `0.0 {"a":1}`, `0.1 {"a":2}`, `0.2 {"b":{}}`, `1.0 {}`)
	// What is no JSON is a reject to the end of its line, and has a number like other units.
	f(js, "{\"a\":1}\n{oops\n{\"b\":2}", `0.0 {"a":1}`, `0.2 {"b":2}`, "0.1 ! syntax {oops")
	f(js, `[1]{}`, `0.1 {}`, "0.0 ! toplevel [1]")
	f(js, "", "0.0 ! empty ")
	// The example of the guide: #### in base64.
	delimited := UnpackConfig{Deaggregation: "delimited", Delimiter: "IyMjIw=="}
	f(delimited, "a####b##|####a########b####", "0.0 a", "0.1 b##", "1.0 a", "1.1 b")
	f(UnpackConfig{Deaggregation: "lines"}, "a\nb\r\n\n c\n", "0.0 a", "0.1 b\r", "0.2  c")
}

// TestAtMost500Parts: Firehose takes up to 500 records out of one, and leaves one with more alone.
func TestAtMost500Parts(t *testing.T) {
	f := func(cfg UnpackConfig, part string) {
		t.Helper()
		if got, _ := unpack(t, cfg, []byte(strings.Repeat(part, 500))); len(got) != 500 || got[499] != "0.499 "+strings.TrimSpace(part) {
			t.Errorf("%+v: 500 parts became %d", cfg, len(got))
		}
		whole := strings.Repeat(part, 501)
		if got, _ := unpack(t, cfg, []byte(whole)); len(got) != 1 || got[0] != "0.0 "+whole {
			t.Errorf("%+v: 501 parts became %d", cfg, len(got))
		}
	}
	f(UnpackConfig{Deaggregation: "json"}, "{}")
	f(UnpackConfig{Deaggregation: "lines"}, "x\n")
}

func TestBlankRecords(t *testing.T) {
	for _, how := range []UnpackConfig{{Deaggregation: "json"}, {Deaggregation: "lines"}} {
		got, dropped := unpack(t, how, []byte("\n\n"), []byte("{}\n"))
		if diff := cmp.Diff([]string{"1.0 {}"}, got); diff != "" || dropped["blank"] != 1 {
			t.Errorf("%+v: dropped %v (-want +got):\n%s", how, dropped, diff)
		}
	}
}

// sampleEvent is the envelope in the documentation of CloudWatch Logs, as Lambda gets it.
const sampleEvent = "H4sIAAAAAAAAAHWPwQqCQBCGX0Xm7EFtK+smZBEUgXoLCdMhFtKV3akI8d0bLYmibvPPN3wz00CJxmQnTO41whwWQRIctmEcB6sQbFC3CjW3XW8kxpOpP+OC22d1Wml1qZkQGtoMsScxac" +
	"zKN3plG8zlaHIta5KqWsozoTYw3/djzwhpLwivWFGHGpAFe7DL68JlBUk+l7KSN7tCOEJ4M3/qOI49vMHj+zCKdlFqLaU2ZHV2a4Ct/an0/ivdX8oYc1UVX860fQDQiMdxRQEAAA=="

func TestCloudWatchLogs(t *testing.T) {
	documented, err := base64.StdEncoding.DecodeString(sampleEvent)
	if err != nil {
		t.Fatal(err)
	}
	control := gz(`{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],` +
		`"logEvents":[{"id":"","timestamp":1510254469274,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}`)
	empty := gz(`{"messageType":"DATA_MESSAGE","logEvents":[]}`)
	other := gz(`{"messageType":"OTHER","logEvents":[]}`)
	partial := gz(`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"x"},{"id":"1"}]}`)
	text := gz("[1]")
	got, dropped := unpack(t, UnpackConfig{Decompression: "gzip", CloudWatchLogs: true}, documented, control, empty, other, partial, text, []byte("plain"))
	want := []string{
		"0.0 [ERROR] First test message", "0.1 [ERROR] Second test message",
		"3.0 ! cloudwatch_logs " + string(other), // as it was received
		"4.0 ! cloudwatch_logs " + string(partial),
		"5.0 ! cloudwatch_logs " + string(text),
		"6.0 ! decompression plain",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"control_message": 1, "no_log_events": 1}, dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}

	// Without extraction, the envelope is the record.
	got, _ = unpack(t, UnpackConfig{Decompression: "gzip"}, documented)
	var envelope struct{ Owner string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(got[0], "0.0 ")), &envelope); err != nil || envelope.Owner != "123456789123" {
		t.Errorf("got %v, %v, want the envelope", got, err)
	}

	// A message that is left out has its number too.
	blank := gz(`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"a"},{"message":"\n"},{"message":"b"}]}`)
	got, dropped = unpack(t, UnpackConfig{Decompression: "gzip", CloudWatchLogs: true, Deaggregation: "lines"}, blank)
	if diff := cmp.Diff([]string{"0.0 a", "0.2 b"}, got); diff != "" || dropped["blank"] != 1 {
		t.Errorf("dropped %v (-want +got):\n%s", dropped, diff)
	}

	// Messages may hold several records themselves.
	nested := gz(`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"{\"a\":1} {\"a\":2}"},{"message":"{\"a\":3}"}]}`)
	got, _ = unpack(t, UnpackConfig{Decompression: "gzip", CloudWatchLogs: true, Deaggregation: "json"}, nested)
	if diff := cmp.Diff([]string{`0.0 {"a":1}`, `0.1 {"a":2}`, `0.2 {"a":3}`}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecompression(t *testing.T) {
	whole := gz(strings.Repeat("x", 1000))
	cfg := UnpackConfig{Decompression: "gzip", MaxRecordBytes: 1000}
	f := func(want string, record []byte) {
		t.Helper()
		for _, around := range []string{"", "a", strings.Repeat("b", 999)} { // where the buffer ends must not matter
			got, _ := unpack(t, cfg, gz(around), record, gz(around))
			if diff := cmp.Diff([]string{"0.0 " + around, want, "2.0 " + around}, sorted(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
	f("1.0 "+strings.Repeat("x", 1000), whole)
	f("1.0 ab", gz("a", "", "b"))
	f("1.0 ", gz(""))
	for _, bad := range [][]byte{{}, []byte("{}"), whole[:len(whole)-1], whole[:9], append(bytes.Clone(whole), 0), append(bytes.Clone(whole), "garbage"...)} {
		f("1.0 ! decompression "+string(bad), bad)
	}
	corrupt := bytes.Clone(whole)
	corrupt[len(corrupt)-6] ^= 1 // the checksum
	f("1.0 ! decompression "+string(corrupt), corrupt)
	big := gz(strings.Repeat("x", 1001))
	f("1.0 ! decompression "+string(big), big)
	bomb := gz(strings.Repeat("\x00", 64<<20))
	f("1.0 ! decompression "+string(bomb), bomb)
}

// sorted puts rejects where their records are.
func sorted(out []string) []string {
	got := make([]string, 0, len(out))
	for rec := range len(out) {
		for _, w := range out {
			if strings.HasPrefix(w, fmt.Sprintf("%d.", rec)) {
				got = append(got, w)
			}
		}
	}
	return got
}

// TestUnpackAfterOthers: units keep the record that they came from, numbers are not given twice, tombstones pass.
func TestUnpackAfterOthers(t *testing.T) {
	u, err := NewUnpack(UnpackConfig{Deaggregation: "lines"})
	if err != nil {
		t.Fatal(err)
	}
	b := pipeline.Batch{
		Values: lines("a\nb|c|d"), Src: []int32{3, 3, 7}, Sub: []int32{0, 2, 0},
		Rejects: []pipeline.Reject{{Rec: 3, Sub: 1, Code: "earlier"}},
	}
	b.Values = append(b.Values, nil)
	b.Src, b.Sub = append(b.Src, 8), append(b.Sub, 0)
	if err := u.Process(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"3.0 a", "3.2 b", "3.3 c", "7.0 d", "8.0 ", "3.1 ! earlier "}, words(&b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b.Values[4] != nil {
		t.Error("a record without a value has one now")
	}
}

func TestUnpackConfig(t *testing.T) {
	f := func(cfg UnpackConfig, want string) {
		t.Helper()
		if _, err := NewUnpack(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got error %v, want one with %q", cfg, err, want)
		}
	}
	f(UnpackConfig{Decompression: "GZIP"}, `decompression: "GZIP": choose gzip`)
	f(UnpackConfig{CloudWatchLogs: true}, "cloudwatch_logs: it needs decompression")
	f(UnpackConfig{Deaggregation: "JSON"}, `deaggregation: "JSON": choose json, lines or delimited`)
	f(UnpackConfig{Deaggregation: "delimited"}, "delimiter: ")
	f(UnpackConfig{Deaggregation: "delimited", Delimiter: "####"}, `delimiter: "####": write 1 to 64 bytes in base64`)
	f(UnpackConfig{Deaggregation: "json", Delimiter: "IyMjIw=="}, "it goes with deaggregation: delimited")
	f(UnpackConfig{MaxRecordBytes: -1}, "max_record_bytes: -1")
}

// FuzzUnpack: no unit shares its number, numbers have no gaps, and parts put together are what was there.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte("{}{}\nx"), uint8(0))
	f.Add(gz(`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"x"}]}`), uint8(3))
	configs := []UnpackConfig{
		{Deaggregation: "json"}, {Deaggregation: "lines"}, {Decompression: "gzip", Deaggregation: "lines"},
		{Decompression: "gzip", CloudWatchLogs: true}, {Deaggregation: "delimited", Delimiter: "YWI="},
	}
	f.Fuzz(func(t *testing.T, record []byte, which uint8) {
		cfg := configs[int(which)%len(configs)]
		u, err := NewUnpack(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := pipeline.Batch{Values: [][]byte{record}}
		if err := u.Process(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		seen := map[int32]bool{}
		for _, s := range b.Sub {
			seen[s] = true
		}
		for _, r := range b.Rejects {
			seen[r.Sub] = true
		}
		n := len(b.Values) + len(b.Rejects)
		if len(seen) != n || n == 0 && len(b.Dropped) == 0 {
			t.Fatalf("%d units have %d numbers, dropped %v", n, len(seen), b.Dropped)
		}
		if cfg.Deaggregation == "delimited" && len(b.Values) <= maxParts {
			want := bytes.ReplaceAll(record, []byte("ab"), nil)
			if got := bytes.Join(b.Values, nil); n > 0 && !bytes.Equal(got, want) && !bytes.Equal(got, record) {
				t.Fatalf("%q became %q", record, b.Values)
			}
		}
	})
}
