package s3sink

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestFraming(t *testing.T) {
	f := func(framing Framing, want string, records ...string) {
		t.Helper()
		framer, err := NewFramer(framing)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, r := range records {
			if err := framer.Check([]byte(r)); err != nil {
				t.Fatal(err)
			}
			got = framer.Append(got, []byte(r))
		}
		if string(got) != want {
			t.Errorf("%+v: got %q, want %q", framing, got, want)
		}
	}
	// Firehose puts nothing between records unless asked.
	f(Framing{}, "{\"a\":1}{\"a\":2}", `{"a":1}`, `{"a":2}`)
	f(Framing{Format: "raw"}, "a\nb\xff", "a\n", "", "b\xff")
	f(Framing{Delimiter: `\n`}, "a\nb\n", "a", "b") // as API and templates write it: two characters
	f(Framing{Delimiter: "\n"}, "a\n\nb\n", "a\n", "b")
	f(Framing{Delimiter: "####"}, "a####b####", "a", "b")
	f(Framing{Delimiter: `\r\n|\t\x`}, "a\r\n|\t\\xb\r\n|\t\\x", "a", "b")
	f(Framing{Format: "json_lines"}, "{\"a\":1}\n[1, 2]\n\"x\\n\"\n", `{"a":1}`, " [1,\r\n 2]\n", `"x\n"`)
	f(Framing{Format: "json_lines"}, "{  \"a\":  [1,2],\"b\":\"\\n \"}\n", "\n{\n  \"a\":\n  [1,\n2],\r\"b\":\"\\n \"\n}\n\n")
}

func TestFramingRefuses(t *testing.T) {
	framer, err := NewFramer(Framing{Format: FormatJSONLines})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"", " ", "{", "1 2", "{}{}", "{}\n{}", "\"a\nb\"", "NaN", "\ufeff{}"} {
		if framer.Check([]byte(r)) == nil {
			t.Errorf("%q passed as one JSON value", r)
		}
	}
	f := func(framing Framing, want string) {
		t.Helper()
		if _, err := NewFramer(framing); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got error %v, want one with %q", framing, err, want)
		}
	}
	f(Framing{Format: "csv"}, `format: "csv": choose raw, json_lines or parquet`)
	f(Framing{Format: "json_lines", Delimiter: "x"}, "delimiter: ")
	f(Framing{Delimiter: strings.Repeat("x", 65)}, "delimiter: it has 65 bytes")
}

// FuzzJSONLines: a line is one line, and the same value.
func FuzzJSONLines(f *testing.F) {
	f.Add([]byte("{\n\"a\" :\r[1,\n2e5]}\n"))
	f.Add([]byte("1\n2"))
	framer, err := NewFramer(Framing{Format: FormatJSONLines})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		if framer.Check(record) != nil {
			return
		}
		line := framer.Append(nil, record)
		if n := bytes.IndexAny(line, "\r\n"); n != len(line)-1 {
			t.Fatalf("%q becomes %q, which is not one line", record, line)
		}
		var want, got bytes.Buffer
		if err := json.Compact(&want, record); err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&got, line); err != nil || !bytes.Equal(want.Bytes(), got.Bytes()) {
			t.Fatalf("%q becomes %q: %v", record, line, err)
		}
	})
}
