package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write what the decoder does into testdata")

// A file in testdata/corpus is cases. A case is what goes in, a line "----", and
// what comes out:
//
//	case 32 int first, then a fraction
//	opt max_columns=3
//	table a: long, b: struct<c: string>     the table before; default: none
//	require b.c                             a part of it that is required
//	declare a: decimal(10, 2)
//	pin a: long                             required columns
//	rec {"a":1}                             a record as it stands
//	quo "\xff{}"                            a record as a Go string
//	rep 3 "[" "1" "]"                       a record: begin n times, middle, end n times
//	mid 3 "{\"a\":" "1" "}"                 a record: begin, middle n times, end
//	nil                                     a record without a value
//	----
//	want a: double                          the schema after evolution, if that changes it
//	row 0.0 {"a":1}                         columns, then what was rescued
//	reject 1.0 syntax /a ... "bytes"
//	skip blank 1
type corpusCase struct {
	in      string
	table   *Schema
	pinned  *Schema
	opt     Options
	units   [][]byte
	outcome string
}

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			for i, part := range strings.Split("\n"+strings.TrimSpace(string(text)), "\ncase ") {
				if i == 0 {
					out.WriteString(strings.TrimPrefix(part, "\n"))
					continue
				}
				c := parseCase(t, part)
				got := c.run(t)
				fmt.Fprintf(&out, "\ncase %s\n----\n%s", c.in, got)
				if got != c.outcome && !*rewrite {
					t.Errorf("case %s\n%s", c.in, cmp.Diff(c.outcome, got))
				}
			}
			if *rewrite {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func parseCase(t *testing.T, part string) *corpusCase {
	t.Helper()
	in, outcome, _ := strings.Cut(part, "\n----\n")
	c := &corpusCase{in: strings.TrimSpace(in), outcome: strings.TrimRight(outcome, "\n") + "\n"}
	columns := func(s string) *Schema {
		typ, err := ParseType("struct<" + s + ">")
		if err != nil {
			t.Fatalf("case %s: %v", c.in, err)
		}
		return &Schema{Fields: typ.Fields}
	}
	for _, line := range strings.Split(c.in, "\n")[1:] {
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "opt":
			key, v, _ := strings.Cut(arg, "=")
			n, _ := strconv.Atoi(v)
			switch key {
			case "max_record_bytes":
				c.opt.MaxRecordBytes = n
			case "max_columns":
				c.opt.MaxColumns = n
			case "max_depth":
				c.opt.MaxDepth = n
			case "skip_empty":
				c.opt.SkipEmpty = true
			case "reject_tombstones":
				c.opt.RejectTombstones = true
			default:
				t.Fatalf("case %s: no option %q", c.in, key)
			}
		case "table":
			c.table = numbered(columns(arg))
		case "require":
			fields := c.table.Fields
			for name := range strings.SplitSeq(arg, ".") {
				i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
				if !strings.Contains(arg, ".") || strings.HasSuffix(arg, "."+name) {
					fields[i].Required = true
				}
				fields = fields[i].Type.Fields
			}
		case "declare":
			c.opt.Declared = columns(arg)
		case "pin":
			c.pinned = columns(arg)
			for i := range c.pinned.Fields {
				c.pinned.Fields[i].Required = true
			}
		case "rec":
			c.units = append(c.units, []byte(arg))
		case "quo", "rep", "mid":
			c.units = append(c.units, generated(t, verb, arg))
		case "nil":
			c.units = append(c.units, nil)
		default:
			t.Fatalf("case %s: no verb %q", c.in, verb)
		}
	}
	return c
}

// generated makes a record of Go strings.
func generated(t *testing.T, verb, arg string) []byte {
	t.Helper()
	n := 1
	if verb != "quo" {
		count, rest, _ := strings.Cut(arg, " ")
		n, _ = strconv.Atoi(count)
		arg = rest
	}
	var parts []string
	for arg = strings.TrimSpace(arg); arg != ""; arg = strings.TrimSpace(arg) {
		q, err := strconv.QuotedPrefix(arg)
		if err != nil {
			t.Fatalf("%s: %v", arg, err)
		}
		s, _ := strconv.Unquote(q)
		parts = append(parts, s)
		arg = arg[len(q):]
	}
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	switch verb {
	case "quo":
		return []byte(parts[0])
	case "mid":
		var b strings.Builder
		b.WriteString(parts[0])
		for i := range n {
			b.WriteString(counted(parts[1], i))
		}
		b.WriteString(parts[2])
		return []byte(b.String())
	}
	var b strings.Builder
	for i := range n {
		b.WriteString(counted(parts[0], i))
	}
	b.WriteString(parts[1])
	for range n {
		b.WriteString(parts[2])
	}
	return []byte(b.String())
}

func counted(s string, i int) string {
	if !strings.Contains(s, "%d") {
		return s
	}
	return strings.ReplaceAll(s, "%d", strconv.Itoa(i))
}

// run decodes until the schema does not change and tells what came out.
func (c *corpusCase) run(t *testing.T) string {
	t.Helper()
	r := newRig(t, c.opt)
	defer r.mem.AssertSize(t, 0)
	s := c.table
	o := r.d.Decode(c.units, s, c.pinned)
	var out strings.Builder
	if o.Want != nil {
		fmt.Fprintf(&out, "want %s\n", short(strings.TrimSuffix(strings.TrimPrefix(show(o.Want), "struct<"), ">")))
		for _, f := range o.Want.Fields {
			if f.Doc != "" {
				fmt.Fprintf(&out, "doc %s: %s\n", f.Name, short(f.Doc))
			}
		}
		s = numbered(o.Want)
		o.Data.Release()
		o = r.d.Decode(c.units, s, c.pinned)
		if o.Want != nil {
			t.Errorf("case %s: more is wanted: %s", c.in, show(o.Want))
		}
	}
	data := o.Data
	defer data.Release()
	for row := range o.Unit {
		out.WriteString(strings.TrimSpace(fmt.Sprintf("row %d.%d %s", o.Unit[row], o.Sub[row], short(rowText(o, s, row)))) + "\n")
	}
	for _, rej := range o.Rejects {
		fmt.Fprintf(&out, "reject %d.%d %s %s (%s) %s\n", rej.Unit, rej.Sub, rej.Code, short(rej.Path), rej.Message, short(strconv.Quote(string(rej.Payload))))
	}
	for _, rule := range []string{SkipTombstone, SkipBlank, SkipEmpty} {
		if n := o.Skipped[rule]; n > 0 {
			fmt.Fprintf(&out, "skip %s %d\n", rule, n)
		}
	}
	if c.opt.MaxRecordBytes == 0 && c.opt.Declared == nil && c.pinned == nil && len(bytes.Join(c.units, nil)) < 4*carefulBytes {
		checkRows(t, o, s, c.units)
		checkUnits(t, o, c.units)
	}
	c.sameForAll(t, r, verdicts(o))
	return out.String()
}

// sameForAll checks that what is a row does not depend on the table.
func (c *corpusCase) sameForAll(t *testing.T, r *rig, want string) {
	t.Helper()
	for _, s := range shapes(t) {
		o := r.d.Decode(c.units, s, c.pinned)
		o.Data.Release()
		if got := verdicts(o); got != want {
			t.Errorf("case %s\nis for the table %s:\n%s\nnot\n%s", c.in, show(s), short(got), short(want))
		}
	}
}

// rowText shows the cells that are not null, in the order of the schema, and what
// was rescued.
func rowText(o *Decoded, s *Schema, row int) string {
	var b strings.Builder
	for i, f := range o.Data.Schema().Fields() {
		if f.Name == Rescued || o.Data.Column(i).IsNull(row) {
			continue
		}
		v, err := json.Marshal(cell(o.Data.Column(i), s.Column(f.Name).Type, row))
		if err != nil {
			v = fmt.Appendf(nil, "%v", cell(o.Data.Column(i), s.Column(f.Name).Type, row))
		}
		fmt.Fprintf(&b, "%s=%s ", f.Name, v)
	}
	if text := rescuedText(o.Data, row); text != "" {
		b.WriteString("rescued " + text)
	}
	return strings.TrimSpace(b.String())
}

// short cuts the middle of long text out.
func short(s string) string {
	if len(s) <= 400 {
		return s
	}
	return fmt.Sprintf("%s...%d bytes...%s", s[:80], len(s)-120, s[len(s)-40:])
}
