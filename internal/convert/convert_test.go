package convert

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/schema"
)

// inFolder makes files in a new folder, and works there.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// rows reads a Parquet file with arrow-go, a JSON object for each row.
func rows(t *testing.T, data []byte) []string {
	t.Helper()
	pf, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer pf.Close()
	r, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := r.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Release()
	var out []string
	tr := array.NewTableReader(tab, 0)
	defer tr.Release()
	for tr.Next() {
		var b bytes.Buffer
		if err := array.RecordToJSON(tr.RecordBatch(), &b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			out = append(out, withoutNulls(t, line))
		}
	}
	return out
}

func withoutNulls(t *testing.T, line string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for k, v := range m {
		if v == nil {
			delete(m, k)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// left returns the names of the files in the folder.
func left(t *testing.T) (names []string) {
	t.Helper()
	all, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func columns(s *schema.Schema) string {
	var b strings.Builder
	for i := range s.Fields {
		fmt.Fprintf(&b, "%s %s; ", s.Fields[i].Name, s.Fields[i].Type)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

// converter returns one with the default options.
func converter(t *testing.T) *Converter {
	t.Helper()
	c, err := New(parquetfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func run(t *testing.T, opt Options) (Figures, error) {
	t.Helper()
	return converter(t).Run(t.Context(), opt)
}

func TestConvert(t *testing.T) {
	const first, second = "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2}{\"a\":3}\r\n", "{\"c\":[true],\"a\":4}"
	var zipped, zstded bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	_, _ = gz.Write([]byte(first))
	_ = gz.Close()
	zw, _ := zstd.NewWriter(&zstded)
	_, _ = zw.Write([]byte(second))
	_ = zw.Close()
	inFolder(t, map[string]string{"1.ndjson": first, "2.ndjson": second, "1.gz": zipped.String(), "2.zst": zstded.String()})
	want := []string{`{"a":1,"b":"x"}`, `{"a":2}`, `{"a":3}`, `{"a":4,"c":[true]}`}
	for _, in := range [][]string{{"1.ndjson", "2.ndjson"}, {"1.gz", "2.zst"}, {"1.gz", Stdio}} {
		var stdout bytes.Buffer
		opt := Options{Inputs: in, Output: "out.parquet", Stdin: strings.NewReader(second), Stdout: &stdout}
		fig, err := run(t, opt)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rows(t, readFile(t, "out.parquet"))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", in, diff)
		}
		if got := columns(fig.Schema); got != "a long; b string; c list<boolean>; _fh_rescued string" || fig.Rows != 4 || fig.JSONBytes != int64(len(first)+len(second)) {
			t.Errorf("%v: %s, %+v", in, got, fig)
		}
		opt.Output, opt.Stdin = Stdio, strings.NewReader(second)
		if _, err := run(t, opt); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(stdout.Bytes(), readFile(t, "out.parquet")) {
			t.Errorf("%v: standard output differs from the file", in)
		}
	}
	if diff := cmp.Diff([]string{"1.gz", "1.ndjson", "2.ndjson", "2.zst", "out.parquet"}, left(t)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestSchema(t *testing.T) {
	inFolder(t, map[string]string{"in": `{"z":1,"n":"7","d":1.5,"x":{"y":2}}` + "\n" + `{"d":2}`})
	typ := func(s string) *schema.Type {
		typ, err := schema.ParseType(s)
		if err != nil {
			t.Fatal(err)
		}
		return typ
	}
	s := &schema.Schema{Fields: []schema.Field{{Name: "d", Type: typ("decimal(5, 2)")}, {Name: "n", Type: typ("long")}, {Name: "never", Type: typ("struct<a: date>")}}}
	fig, err := run(t, Options{Inputs: []string{"in"}, Output: "out", Schema: s})
	if err != nil {
		t.Fatal(err)
	}
	if got := columns(fig.Schema); got != "d decimal(5, 2); n long; never struct<a: date>; _fh_rescued string" {
		t.Errorf("columns %s", got)
	}
	want := []string{`{"_fh_rescued":"{\"/z\":\"1\",\"/n\":\"\\\"7\\\"\",\"/x\":\"{\\\"y\\\":2}\"}","d":"1.5"}`, `{"d":"2"}`}
	if diff := cmp.Diff(want, rows(t, readFile(t, "out"))); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if fig.RescuedRows != 1 {
		t.Errorf("%d rows with rescued values", fig.RescuedRows)
	}
}

// late is input in which columns come after more than is held.
func late() string {
	var b strings.Builder
	for i := range 5 * holdBytes / 400_000 {
		fmt.Fprintf(&b, "{\"n\":%d,\"text\":%q}\n", i, strings.Repeat("x", 99_980))
	}
	b.WriteString(`{"late":1,"n":"no number"}` + "\n" + `{"later":{"still":true}}`)
	return b.String()
}

func TestLateColumns(t *testing.T) {
	text := late()
	inFolder(t, map[string]string{"in": text})
	opt := Options{Inputs: []string{"in"}, Output: "out"}
	c, err := New(parquetfile.Options{RowGroupBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	fig, err := c.Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := columns(fig.Schema); got != "n long; text string; late long; later struct<still: boolean>; _fh_rescued string" || !fig.Second {
		t.Errorf("%s, %+v", got, fig)
	}
	all := rows(t, readFile(t, "out"))
	want := []string{`{"_fh_rescued":"{\"/n\":\"\\\"no number\\\"\"}","late":1}`, `{"later":{"still":true}}`}
	if diff := cmp.Diff(want, all[len(all)-2:]); diff != "" || int64(len(all)) != fig.Rows {
		t.Errorf("%d of %d rows, the last ones (-want +got):\n%s", len(all), fig.Rows, diff)
	}

	opt.Inputs, opt.Stdin = []string{Stdio}, strings.NewReader(text) // it is read once
	if fig, err = c.Run(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if got := columns(fig.Schema); got != "n long; text string; _fh_rescued string" || fig.Second || fig.RescuedRows != 2 {
		t.Errorf("%s, %+v", got, fig)
	}
	all = rows(t, readFile(t, "out"))
	want = []string{`{"_fh_rescued":"{\"/late\":\"1\",\"/n\":\"\\\"no number\\\"\"}"}`, `{"_fh_rescued":"{\"/later\":\"{\\\"still\\\":true}\"}"}`}
	if diff := cmp.Diff(want, all[len(all)-2:]); diff != "" {
		t.Errorf("the last rows (-want +got):\n%s", diff)
	}
}

func TestRejects(t *testing.T) {
	inFolder(t, map[string]string{"in": "{\"a\":1}\n{\"a\":2} {bad\n[3]\n{\"a\":\"\xff\"}\n{\"a\":4}\n", "out": "as it was"})
	opt := Options{Inputs: []string{"in"}, Output: "out"}
	_, err := run(t, opt)
	var rejected *RejectsError
	if !errors.As(err, &rejected) || rejected.Count != 3 || !strings.Contains(err.Error(), "in:2: trailing: ") {
		t.Fatalf("error %v", err)
	}
	if got := string(readFile(t, "out")); got != "as it was" {
		t.Errorf("the output is %q", got)
	}
	if diff := cmp.Diff([]string{"in", "out"}, left(t)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	opt.Rejects = "rejects"
	fig, err := run(t, opt)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"a":1}`, `{"a":2}`, `{"a":4}`}, rows(t, readFile(t, "out"))); diff != "" || fig.Rejects != 3 {
		t.Errorf("%d rejects, rows (-want +got):\n%s", fig.Rejects, diff)
	}
	var got []Rejected
	d := json.NewDecoder(bytes.NewReader(readFile(t, "rejects")))
	for d.More() {
		var r Rejected
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		r.Message = ""
		got = append(got, r)
	}
	want := []Rejected{
		{File: "in", Line: 2, Sub: 1, Code: "trailing", Payload: "{bad"},
		{File: "in", Line: 3, Code: "toplevel", Payload: "[3]"},
		{File: "in", Line: 4, Code: "utf8", Bytes: []byte("{\"a\":\"\xff\"}")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}
}

func TestFails(t *testing.T) {
	inFolder(t, map[string]string{"in": `{"a":1}`, "empty": "\n\n", "cut.gz": "\x1f\x8b\x08\x00", "list": "[\n{\"a\":1}\n]\n"})
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		opt  Options
		want string
	}{
		{"no input", t.Context(), Options{Inputs: []string{"nosuch"}, Output: "out"}, "nosuch"},
		{"a folder in", t.Context(), Options{Inputs: []string{"folder"}, Output: "out"}, "folder is a folder"},
		{"a folder out", t.Context(), Options{Inputs: []string{"in"}, Output: "folder"}, "folder is a folder"},
		{"no folder out", t.Context(), Options{Inputs: []string{"in"}, Output: "nosuch/out"}, "create nosuch/out"},
		{"onto itself", t.Context(), Options{Inputs: []string{"in"}, Output: "in"}, "in is both read and written"},
		{"rejects onto the input", t.Context(), Options{Inputs: []string{"in"}, Output: "out", Rejects: "./in"}, "in is both read and written"},
		{"rejects onto the output", t.Context(), Options{Inputs: []string{"in"}, Output: "out", Rejects: "./out"}, "both the output and the file of rejects"},
		{"rejects to standard output", t.Context(), Options{Inputs: []string{"in"}, Output: "out", Rejects: Stdio}, "rejects go to a file"},
		{"no rows", t.Context(), Options{Inputs: []string{"empty"}, Output: "out"}, "no row to take columns from"},
		{"a cut file", t.Context(), Options{Inputs: []string{"cut.gz"}, Output: "out"}, "read cut.gz"},
		{"twice", t.Context(), Options{Inputs: []string{Stdio, Stdio}, Output: "out"}, "named twice"},
		{"interrupted", ended, Options{Inputs: []string{"in"}, Output: "out"}, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := converter(t).Run(c.ctx, c.opt)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if diff := cmp.Diff([]string{"cut.gz", "empty", "folder", "in", "list"}, left(t)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestLines cuts text of lines of all lengths in blocks, read in pieces of any size.
func TestLines(t *testing.T) {
	var want []string
	var text bytes.Buffer
	for i := range 4000 {
		n := i * 37 % 5000
		if i == 1234 {
			n = 2*blockBytes + 17 // longer than a block
		}
		line := strings.Repeat(string(rune('a'+i%26)), n)
		want = append(want, line)
		text.WriteString(line)
		if i < 3999 {
			text.WriteByte('\n')
		}
	}
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		in, keep, window := &input{r: bytes.NewReader(text.Bytes())}, i%2 == 0, 0
		if i >= 2 {
			var err error
			if in, err = openInput(name, nil); err != nil {
				t.Fatal(err)
			}
			defer in.close()
			window = 64 << 10
		}
		l := lines{in: in, view: newView(in, window), next: 1}
		defer l.close()
		got := 0
		for batch := -1; batch != 0; {
			l.begin(keep)
			batch = 0
			var all []byte
			for batch < 100 {
				part, err := l.more()
				if err != nil {
					t.Fatal(err)
				}
				if len(part) == 0 {
					break
				}
				if cap(part)-len(part) < schema.Padding {
					t.Fatalf("%d bytes behind the lines", cap(part)-len(part))
				}
				if l.next != int64(got+1) {
					t.Fatalf("line %d is said to be line %d", got+1, l.next)
				}
				line, _, ended := bytes.Cut(part, []byte("\n"))
				if string(line) != want[got] || ended != (got < 3999) {
					t.Fatalf("line %d has %d bytes, want %d", got+1, len(line), len(want[got]))
				}
				got, batch = got+1, batch+1
				n := len(line)
				if ended {
					n++
				}
				all = append(all, part[:n]...)
				l.took(n, 1)
			}
			if keep && !bytes.Equal(l.kept(), all) {
				t.Fatalf("%d bytes of a batch that has %d", len(l.kept()), len(all))
			}
		}
		if got != len(want) || l.read != int64(text.Len()) {
			t.Errorf("%d lines of %d, %d bytes of %d", got, len(want), l.read, text.Len())
		}
	}
}

// TestView: a file that is looked at becomes the same as one that is read, and if it gets shorter
// that is told.
func TestView(t *testing.T) {
	var text bytes.Buffer
	for i := 0; text.Len() < 5*windowBytes; i++ {
		fmt.Fprintf(&text, "{\"a\":%d,\"b\":\"text %d\"}\n", i, i%1000)
		if i%1000 == 0 {
			fmt.Fprintf(&text, "{\"a\":\n")
		}
		if i == 50_000 {
			fmt.Fprintf(&text, "{\"b\":%q}\n", strings.Repeat("long", windowBytes/4))
		}
	}
	dir := t.TempDir()
	in, out, bad := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "bad")
	if err := os.WriteFile(in, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(parquetfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	typ, err := schema.ParseType("struct<a: long, b: string>")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*schema.Schema{nil, schema.Numbered(nil, &schema.Schema{Fields: typ.Fields})} {
		files := map[string]string{}
		for _, name := range []string{in, Stdio} {
			fig, err := c.Run(t.Context(), Options{Inputs: []string{name}, Stdin: bytes.NewReader(text.Bytes()), Output: out, Rejects: bad, Schema: s})
			if err != nil {
				t.Fatal(err)
			}
			if fig.JSONBytes != int64(text.Len()) || fig.InputBytes < fig.JSONBytes || fig.Rejects == 0 {
				t.Errorf("%s: %+v of %d bytes", name, fig, text.Len())
			}
			for _, name := range []string{out, bad} {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				b = bytes.ReplaceAll(b, []byte(in), []byte("standard input"))
				if files[name] == "" {
					files[name] = string(b)
				} else if files[name] != string(b) {
					t.Errorf("%s is not the same", name)
				}
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		shorter := Options{Inputs: []string{in}, Output: out, Rejects: bad, Schema: s, Progress: func(Figures) { _ = os.Truncate(in, 0) }}
		if _, err := c.Run(t.Context(), shorter); err == nil || !strings.Contains(err.Error(), "shorter") {
			t.Errorf("a file that gets shorter: %v", err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Error("there is an output of a file that got shorter")
		}
		if err := os.WriteFile(in, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run(t.Context(), Options{Inputs: []string{in}, Output: out, Rejects: bad, Schema: s}); err != nil {
			t.Errorf("the next file: %v", err)
		}
	}
}

func TestReplaces(t *testing.T) {
	inFolder(t, map[string]string{"in": `{"a":1}`, "out": "old"})
	if _, err := run(t, Options{Inputs: []string{"in"}, Output: filepath.Join(".", "out")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"a":1}`}, rows(t, readFile(t, "out"))); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
