package schema

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// shapes are table schemas that records meet: what they become may differ, but
// never whether they become something.
func shapes(tb testing.TB) []*Schema {
	tb.Helper()
	var out []*Schema
	for _, text := range []string{
		`struct<a: long, b: string, c: struct<d: list<long>, e: timestamptz>, l: list<struct<x: long, y: string>>>`,
		`struct<a: string, b: list<list<double>>, c: map<string, long>, l: map<string, list<string>>, k: boolean>`,
		`struct<a: decimal(10, 2), b: uuid, c: date, l: list<map<string, struct<x: int>>>, k: float>`,
		`struct<a: double, b: boolean, c: timestamptz, d: int, e: list<boolean>, k: string, l: float, z: double>`,
		`struct<a: boolean, b: double, c: struct<c: double>, d: string, x: long, z: list<long>>`,
		`struct<a: timestamptz, b: map<string, double>, c: long, l: list<double>>`,
		`struct<a: struct<a: struct<a: struct<a: long>>>, b: binary, c: fixed[3], k: time, l: timestamp, m: timestamp_ns, n: int, _fh_rescued: string>`,
	} {
		typ, err := ParseType(text)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, numbered(&Schema{Fields: typ.Fields}))
	}
	return out
}

var seeds = []string{
	`{"a":1,"b":"x","c":{"d":[1,2],"e":"2024-01-02T03:04:05Z"},"l":[{"x":1},{"y":"z\u0041"}]}`,
	`{"a":1.5,"b":null,"c":{"d":[1,"q"]},"l":[{"x":"bad"}]} {"k/~":1e400}` + "\n" + `{"a":`,
	"\xEF\xBB\xBF{\"a\":true}\n\n{\"a\":false}x",
	`{"a":{"a":{"a":{"a":5,"b":[]}}},"b":"YWJj","c":"YWJj","k":"12:34:56.5","l":"2024-02-29T00:00:00","m":"2024-02-29 00:00:00.000000001"}`,
	`{"a":-0.0,"b":[[1,2.5],[]],"c":{"x":1,"y":"no"},"l":{"p":["q"],"r":null},"k":true}`,
	`{"\ud800":1,"\udc00":"\ud83d\ude00","é":{},"":[null]}`,
	`{"a":12345678901234567890123,"b":1e-320,"c":0.1000000000000000055511151231257827,"A":2}`,
	`{"a":1,"\u0061":2}`, `[1,2]`, `"x" 1 true null`, `{"a":[{"b":[{"c":[1,{"d":2}]}]}]}`,
	"{\"a\":\"\x80\"}\n{\"b\":\"ok\"}", "{\"a\":1}\x00", `{"a":1e5,"b":"2024-01-02T03:04:05.123456789Z"}`,
	`{"_fh_offset":1,"_file":"x","a.b":1,"a_b":2,"a b":3}`,
	"{\"a\":1,\n\"b\":\"x\"}\n{\"a\":2}\n{\"a\":[\n1]}", "{\"a\":1}\r\n{\"a\" : 2 }\r\n\r\n{\"a\":3} \n", "{\"q\":{\"r\":\n1}}\n{\"a\":1}",
	"{\"a\":\n{\"a\":\n{\"a\":{\n}}}}",
}

func FuzzDecode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), []byte(`{"a":0}`))
	}
	tables := shapes(f)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		judgeAll(t, [][]byte{a, b, nil, a}, tables)
	})
}

// judgeAll decodes the units for many tables and holds the results against the
// oracles.
func judgeAll(tb testing.TB, units [][]byte, tables []*Schema) {
	tb.Helper()
	r := newRig(tb, Options{})
	defer r.mem.AssertSize(&judge{tb}, 0)
	o, s := r.evolved(units, nil)
	first := verdicts(o)
	checkUnits(tb, o, units)
	checkRows(tb, o, s, units)
	o.Data.Release()
	for _, table := range tables {
		o, s := r.evolved(units, table)
		if v := verdicts(o); v != first {
			tb.Errorf("verdicts depend on the table %s:\n%s\n%s", show(table), first, v)
		}
		checkRows(tb, o, s, units)
		o.Data.Release()
	}
	checkSplit(tb, units, first)
	checkPadded(tb, units, s)
	checkScattered(tb, units, s)
	for _, limit := range []int{0, 40} {
		checkLines(tb, bytes.Join(units, []byte("\n")), s, limit)
	}
}

// checkLines checks that lines become what they become as units, wherever the text is cut
// between them, and that nothing of them is needed afterwards.
func checkLines(tb testing.TB, text []byte, s *Schema, limit int) {
	tb.Helper()
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	for i, l := range lines {
		lines[i] = append([]byte{}, l...) // empty, not nil
	}
	if len(text) == 0 {
		lines = nil
	}
	opt := Options{MaxRecordBytes: limit, MaxColumns: 500}
	d := NewDecoder(opt)
	o := d.Decode(lines, s, nil)
	rows, err := o.Data.MarshalJSON()
	if err != nil {
		tb.Fatal(err)
	}
	want := verdicts(o) + show(o.Want) + string(rows)
	o.Data.Release()
	d = NewDecoder(opt)
	for _, most := range []int{1, 2, 1000} {
		d.Begin(s, nil)
		count := 0
		for rest := text; len(rest) > 0; {
			piece := append(make([]byte, 0, len(rest)+Padding), rest...)
			if cut := bytes.IndexByte(rest[len(rest)/2:], '\n'); cut >= 0 {
				piece = piece[:len(rest)/2+cut+1]
			}
			before := bytes.Clone(piece[:cap(piece)])
			n, k := d.Lines(piece, most)
			if !bytes.Equal(piece[:cap(piece)], before) {
				tb.Errorf("the text was changed:\n%q\n%q", before, piece)
			}
			if n == 0 || k < 1 || k > most {
				tb.Fatalf("%d bytes and %d lines of %q, at most %d", n, k, piece, most)
			}
			clear(piece)
			count, rest = count+k, rest[n:]
		}
		o := d.End()
		rows, err := o.Data.MarshalJSON()
		if err != nil {
			tb.Fatal(err)
		}
		if got := verdicts(o) + show(o.Want) + string(rows); got != want || count != len(lines) {
			tb.Errorf("as lines, %d at a time, %d in all\n%s\nas %d units\n%s", most, count, got, len(lines), want)
		}
		o.Data.Release()
	}
}

// checkPadded checks that units become the same where they lie, and that what is behind
// them is left as it was and has no say.
func checkPadded(tb testing.TB, units [][]byte, s *Schema) {
	tb.Helper()
	var text []byte
	for _, u := range units {
		text = append(append(text, u...), `"}],5`...)
	}
	text = append(text, make([]byte, Padding)...)
	before := bytes.Clone(text)
	padded, at := make([][]byte, len(units)), 0
	for i, u := range units {
		if u != nil {
			padded[i] = text[at : at+len(u) : at+len(u)+Padding]
		}
		at += len(u) + 5
	}
	var texts [2]string
	for i, lie := range []bool{false, true} {
		d := NewDecoder(Options{Padded: lie})
		texts[i] = outcome(tb, d.Decode(padded, s, nil))
	}
	if texts[0] != texts[1] {
		tb.Errorf("copied\n%s\nwhere it lies\n%s", texts[0], texts[1])
	}
	if !bytes.Equal(text, before) {
		tb.Errorf("the text was changed:\n%q\n%q", before, text)
	}
}

// outcome returns what became of units, and lets it go.
func outcome(tb testing.TB, o *Decoded) string {
	tb.Helper()
	defer o.Data.Release()
	rows, err := o.Data.MarshalJSON()
	if err != nil {
		tb.Fatal(err)
	}
	return verdicts(o) + string(rows)
}

// checkScattered checks that units become the same when no key is expected to follow another.
func checkScattered(tb testing.TB, units [][]byte, s *Schema) {
	tb.Helper()
	d := NewDecoder(Options{})
	var texts [2]string
	for i := range texts {
		if i == 1 {
			d.tables[0].reader.root.scatterAll()
		}
		texts[i] = outcome(tb, d.Decode(units, s, nil))
	}
	if texts[0] != texts[1] {
		tb.Errorf("in order\n%s\nscattered\n%s", texts[0], texts[1])
	}
}

// scatterAll makes the keys of all objects ones that nobody foresees.
func (n *node) scatterAll() {
	if n.kind == Struct || n.field == nil && n.parent == nil {
		n.scatter(true)
		n.moves = 0
	}
	for _, kid := range n.kids {
		kid.scatterAll()
	}
}

type judge struct{ testing.TB }

func (b *judge) Errorf(format string, args ...any) { b.TB.Errorf(format, args...) }

var _ memory.TestingT = (*judge)(nil)

// checkUnits checks that nothing of a record is lost, and that encoding/json
// agrees about what is valid.
func checkUnits(tb testing.TB, o *Decoded, units [][]byte) {
	tb.Helper()
	outcomes := map[int32][]bool{} // by unit: is the n-th a row
	at := func(unit, sub int32, row bool) {
		for int(sub) >= len(outcomes[unit]) {
			outcomes[unit] = append(outcomes[unit], false)
		}
		outcomes[unit][sub] = row
	}
	n := 0
	for i := range o.Unit {
		at(o.Unit[i], o.Sub[i], true)
		n++
	}
	for _, r := range o.Rejects {
		at(r.Unit, r.Sub, false)
		n++
	}
	skipped := 0
	for _, k := range o.Skipped {
		skipped += k
	}
	if skipped+len(outcomes) != len(units) {
		tb.Errorf("%d of %d units skipped, %d are something", skipped, len(units), len(outcomes))
	}
	for _, list := range outcomes {
		n -= len(list)
	}
	if n != 0 {
		tb.Errorf("%d outcomes have the same place, or places are left out", n)
	}
	for u, list := range outcomes {
		rec := units[u]
		if len(rec) == 0 || len(rec) > carefulBytes || bytes.IndexByte(rec, 0) >= 0 || !utf8.Valid(rec) {
			continue
		}
		vals, whole := values(rec)
		for i, v := range vals {
			if i >= len(list) {
				tb.Errorf("value %d of %.200q is lost", i, rec)
				break
			}
			if v.glued() {
				break
			}
			if row := v.text[0] == '{' && !hasDuplicate(v.text); list[i] != row {
				tb.Errorf("value %d of %.200q: row is %v, want %v", i, rec, list[i], row)
			}
		}
		if whole && len(vals) != len(list) && !slices.ContainsFunc(vals, jsonValue.glued) {
			tb.Errorf("%.200q has %d values, but became %d units", rec, len(vals), len(list))
		}
	}
}

// checkSplit checks that a splitter comes to the same verdicts.
func checkSplit(tb testing.TB, units [][]byte, want string) {
	tb.Helper()
	s := NewSplitter(Options{})
	o := Decoded{Skipped: map[string]int{}}
	for i, rec := range units {
		if skip := s.Open(rec); skip != "" {
			o.Skipped[skip]++
			continue
		}
		for u, ok := s.Next(); ok; u, ok = s.Next() {
			if u.Reject != nil {
				r := *u.Reject
				r.Unit = int32(i)
				o.Rejects = append(o.Rejects, r)
				continue
			}
			o.Unit, o.Sub = append(o.Unit, int32(i)), append(o.Sub, u.Sub)
			if !json.Valid(u.Value) {
				tb.Errorf("unit %q is no JSON", u.Value)
			}
		}
	}
	if got := verdicts(&o); got != want {
		tb.Errorf("the splitter says\n%s\nthe decoder\n%s", got, want)
	}
}
