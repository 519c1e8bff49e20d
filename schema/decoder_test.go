package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
)

// A member far down in long names has a path much longer than itself. Many of
// them must not make a row many times as long as its record.
func TestLongPaths(t *testing.T) {
	const levels = 20
	name := strings.Repeat("n", 250)
	typ := &Type{Kind: Struct, Fields: []Field{{Name: "known", Type: &Type{Kind: Long}}}}
	for range levels {
		typ = &Type{Kind: Struct, Fields: []Field{{Name: name, Type: typ}}}
	}
	s := numbered(&Schema{Fields: append(typ.Fields, Field{Name: "id", Type: &Type{Kind: Long}}, Field{Name: Rescued, Type: &Type{Kind: String}})})
	var b strings.Builder
	b.WriteString(`{"id":7,` + strings.TrimPrefix(strings.Repeat(`{"`+name+`":`, levels), "{") + `{"known":1`)
	for i := range 3000 {
		fmt.Fprintf(&b, `,"u%d":1`, i)
	}
	b.WriteString(strings.Repeat("}", levels+1))
	units := [][]byte{[]byte(b.String()), []byte(`{"id":8}`)}

	r := newRig(t, Options{MaxColumns: 3})
	defer r.mem.AssertSize(t, 0)
	o := r.d.Decode(units, s, nil)
	defer o.Data.Release()
	checkRows(t, o, s, units)
	if text := rescuedText(o.Data, 0); len(text) > 3*b.Len() || !strings.HasPrefix(text, `{"/`+name+`":"{`) {
		t.Errorf("of a record of %d bytes %d are rescued: %.300s", b.Len(), len(text), text)
	}
	if got := rowText(o, s, 1); got != "id=8" {
		t.Errorf("the next row is %s", got)
	}
}

// A decoder serves tables in turn and gives every one its own rows.
func TestManyTables(t *testing.T) {
	r := newRig(t, Options{})
	defer r.mem.AssertSize(t, 0)
	var tables []*Schema
	for i := range 2*maxTables + 1 {
		tables = append(tables, numbered(columns(t, fmt.Sprintf("c%d: long, x: string, _fh_rescued: string", i))))
	}
	for range 3 {
		for i, s := range tables {
			rec := fmt.Appendf(nil, `{"c%d":%d,"x":"%d"}`, i, i, i)
			o := r.d.Decode([][]byte{rec}, s, nil)
			if got, want := rowText(o, s, 0), fmt.Sprintf(`c%d=%d x="%d"`, i, i, i); got != want || o.Want != nil {
				t.Errorf("got %s, want %s", got, want)
			}
			o.Data.Release()
		}
	}
}

// What was laid out stays as it is while the decoder goes on, until it is released.
func TestDataOutlivesTheCall(t *testing.T) {
	r := newRig(t, Options{})
	defer r.mem.AssertSize(t, 0)
	s := numbered(columns(t, "a: long, b: string, c: list<double>, d: boolean, e: uuid, f: decimal(10, 2)"))
	text := func(i int) []byte {
		return fmt.Appendf(nil, `{"a":%d,"b":"b%d","c":[%d],"d":true,"e":"00000000-0000-0000-0000-%012d","f":%d.5}`, i, i, i, i, i)
	}
	rec := text(1)
	first := r.d.Decode([][]byte{rec}, s, nil)
	data := first.Data
	want := rowText(first, s, 0)
	for i := range rec { // fetch memory is reused
		rec[i] = 'x'
	}
	next := r.d.Decode([][]byte{text(2)}, s, nil)
	next.Data.Release()
	if got := rowText(&Decoded{Data: data}, s, 0); got != want {
		t.Errorf("%s became %s", want, got)
	}
	data.Release()
}

// Batches that are large and then small again leave no trace in one another.
func TestLargeThenSmall(t *testing.T) {
	r := newRig(t, Options{})
	defer r.mem.AssertSize(t, 0)
	r.d.keep = 256 << 10
	var large [][]byte
	for i := range 5000 {
		large = append(large, fmt.Appendf(nil, `{"a":%d,"b":"%d","c":[{"x":%d}],"d%d":1}`, i, i, i, i%3))
	}
	o, s := r.evolved(large, nil)
	o.Data.Release()
	for range 2 {
		small := large[5:8]
		o = r.d.Decode(small, s, nil)
		checkRows(t, o, s, small)
		o.Data.Release()
		o = r.d.Decode(large, s, nil)
		if o.Want != nil || o.Data.NumRows() != int64(len(large)) {
			t.Errorf("%d rows, wanted %s", o.Data.NumRows(), show(o.Want))
		}
		checkRows(t, &Decoded{Data: o.Data, Unit: o.Unit[:50], Sub: o.Sub}, s, large)
		o.Data.Release()
	}
}

// wideTable returns a schema of n columns and a record that fills them.
func wideTable(t *testing.T, n int) (*Schema, []byte) {
	var cols, rec []string
	for i := range n {
		cols = append(cols, fmt.Sprintf("c%d: %s", i, []string{"long", "string"}[i%2]))
		rec = append(rec, fmt.Sprintf(`"c%d":%s`, i, []string{"1", `"x"`}[i%2]))
	}
	return numbered(columns(t, strings.Join(cols, ", "))), []byte("{" + strings.Join(rec, ",") + "}")
}

// A few rows take little memory, however many columns there are.
func TestFewRowsTakeLittle(t *testing.T) {
	s, rec := wideTable(t, 600)
	d := NewDecoder(Options{})
	d.Decode([][]byte{rec, rec, rec}, s, nil).Data.Release()
	if held := d.tables[0].held; held == 0 || held > 1<<20 {
		t.Errorf("3 rows of 600 columns take %d bytes", held)
	}
	if d.Held() < d.tables[0].held+600*100 {
		t.Errorf("%d bytes in all do not count the columns themselves", d.Held())
	}
}

// TestEvolvedColumnsKeepTheirMemory: a schema that has evolved begins with the memory of the columns
// that were there, and both decode what they did.
func TestEvolvedColumnsKeepTheirMemory(t *testing.T) {
	d := NewDecoder(Options{})
	fields := "a: long, t: string, b: boolean, l: list<long>, s: struct<x: string, y: double>"
	before, after := numbered(columns(t, fields)), numbered(columns(t, fields+", n: long"))
	var units [][]byte
	for i := range 300 {
		switch i % 3 {
		case 0:
			units = append(units, fmt.Appendf(nil, `{"a":%d,"t":"text %[1]d","b":true,"l":[1,%[1]d],"s":{"x":"x","y":1.5},"n":%[1]d}`, i))
		case 1:
			units = append(units, fmt.Appendf(nil, `{"a":%d,"l":[],"s":{}}`, i))
		default:
			units = append(units, []byte(`{"t":null,"l":[null,7],"s":null}`))
		}
	}
	decoded := func(s *Schema) (rows []map[string]any) {
		o := d.Decode(units, s, nil)
		defer o.Data.Release()
		for row := range o.Unit {
			rows = append(rows, cells(o.Data, s, row))
		}
		return rows
	}
	memories := func() []any {
		kids := d.tables[0].reader.root.kids
		return []any{&kids[0].words[0], &kids[1].data[0], &kids[2].data[0], &kids[3].ends[0], &kids[4].kids[1].words[0]}
	}
	first := decoded(before)
	was := memories()
	second := decoded(after)
	if held, is := d.tables[1].reader.root.held(), memories(); held != 0 || !slices.Equal(was, is) {
		t.Errorf("%d bytes were left behind, columns are at %v, were at %v", held, is, was)
	}
	third := decoded(before)
	for i := range units {
		if delete(second[i], "n"); !cmp.Equal(first[i], second[i]) || !cmp.Equal(first[i], third[i]) {
			t.Fatalf("row %d: %v, then %v, then %v", i, first[i], second[i], third[i])
		}
	}
}

// Tables that are not in use take little memory.
func TestEarlierSchemasTakeLittle(t *testing.T) {
	d := NewDecoder(Options{})
	d.keep = 2 << 20
	var tables []*Schema
	for range maxTables { // each takes the memory of the one before
		s, rec := wideTable(t, 300)
		d.Decode([][]byte{rec, rec}, s, nil).Data.Release()
		tables = append(tables, s)
	}
	_, rec := wideTable(t, 300)
	for _, s := range tables {
		d.Decode([][]byte{rec, rec}, s, nil).Data.Release()
		others := 0
		for _, t := range d.tables[1:] {
			others += t.reader.root.held()
		}
		if others > d.keep/8 || d.tables[0].held == 0 {
			t.Fatalf("%d schemas that are not in use take %d bytes, the one in use %d", len(d.tables)-1, others, d.tables[0].held)
		}
	}
}

// A steady stream makes no garbage per record.
func TestNoAllocationPerRecord(t *testing.T) {
	count := func(n int) float64 {
		d := NewDecoder(Options{Mem: memory.DefaultAllocator})
		units := telemetry(n)
		units = append(units, []byte("{\"ts\":\"\\u0041\",\"unknown\":{},\"alarm\":null}"))
		o := d.Decode(units, nil, nil)
		s := numbered(o.Want)
		o.Data.Release()
		return testing.AllocsPerRun(5, func() { d.Decode(units, s, nil).Data.Release() })
	}
	if few, many := count(100), count(1000); many > few+20 {
		t.Errorf("%v allocations for 100 records, %v for 1000", few, many)
	}
}

// padded returns text as it stands in a decoder's buffer.
func padded(text string) []byte { return append([]byte(text), make([]byte, pad)...) }

func TestNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var n numbers
	check := func(text string) {
		t.Helper()
		buf := padded(text)
		if end := scanNumber(buf, 0); end != len(text) {
			t.Fatalf("%s: the number ends at %d", text, end)
		}
		exact, _ := new(big.Rat).SetString(text)
		d := n.decimal([]byte(text))
		v, isInt := d.exactInt()
		if want := exact.IsInt() && exact.Num().IsInt64(); isInt != want || isInt && exact.Num().Int64() != v {
			t.Errorf("%s as an integer is %d, %v", text, v, isInt)
		}
		long := &node{kind: Long}
		if end := plainLong(long, sourceOf(buf), 0); end != 0 && (!isInt || int64(long.words[0]) != v || end != len(text)) {
			t.Errorf("%s is read as %d, %d bytes", text, long.words[0], end)
		}
		f, ok := n.double(buf, 0, len(text))
		want, err := strconv.ParseFloat(text, 64)
		double := &node{kind: Double}
		if end := plainDouble(double, sourceOf(buf), 0); end != 0 && (err != nil || math.Float64bits(want) != double.words[0] || end != len(text)) {
			t.Errorf("%s is read as %v, %d bytes", text, double.words[0], end)
		}
		if ok && (err != nil || math.Float64bits(want) != math.Float64bits(f)) {
			t.Errorf("%s as a double is %v, want %v", text, f, want)
		}
		if same := err == nil && sameNumber(want, text) && (want != 0 || exact.Sign() == 0); ok != same {
			t.Errorf("%s as a double: ok is %v, want %v", text, ok, same)
		}
		f32, ok := n.exactFloat(buf[:len(text)], 32)
		single, err := strconv.ParseFloat(text, 32)
		if same := err == nil && sameNumber(single, text) && (single != 0 || exact.Sign() == 0); ok != same || ok && f32 != single {
			t.Errorf("%s as a float is %v, %v, want %v, %v", text, f32, ok, single, same)
		}
		for scale := range 6 {
			dec, precision, ok := d.exactDecimal(scale)
			scaled := new(big.Rat).Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
			digits := len(strings.TrimPrefix(scaled.Num().String(), "-"))
			if want := scaled.IsInt() && digits <= 38; ok != want || ok && (dec.BigInt().Cmp(scaled.Num()) != 0 || precision != digits) {
				t.Errorf("%s with %d digits after the point is %v of %d digits, %v; want %v of %d, %v", text, scale, dec.BigInt(), precision, ok, scaled, digits, want)
			}
		}
	}
	for _, text := range []string{
		"0", "-0", "0.0", "-0.000e5", "1", "10", "1e0", "1.50", "100e-2", "1e18", "1e19", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"-9223372036854775809", "9007199254740993", "0.1", "123456789012345", "1234567890123456", "12345678901234567.5", "5e-324", "4.9406564584124654e-324",
		"1e-400", "1.7976931348623157e308", "1e22", "1e23", "0.000000000000000000000000001", "99999999999999999999999999999999999999", "999999999999999999999999999999999999999",
		"1.0000000000000000000000000000", "16777216", "16777217", "3.4028235e38", "3.5e38", "1e-46", "1234567890123456789", "12345678901234567890", "00"[:1],
	} {
		check(text)
	}
	for range 5_000 {
		check(randomNumber(r))
	}
}

func randomNumber(r *rand.Rand) string {
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte('0' + byte(r.IntN(10)))
		}
		return b.String()
	}
	text := []string{"", "-"}[r.IntN(2)]
	if n := r.IntN(22); n == 0 {
		text += "0"
	} else {
		text += strconv.Itoa(1+r.IntN(9)) + digits(n-1)
	}
	if r.IntN(2) == 0 {
		text += "." + digits(1+r.IntN(20))
	}
	switch r.IntN(4) {
	case 0:
		text += []string{"e", "E+", "e-"}[r.IntN(3)] + strconv.Itoa(r.IntN(30))
	case 1:
		if r.IntN(10) == 0 {
			text += "e-" + strconv.Itoa(290+r.IntN(60))
		}
	}
	return text
}

func TestInstants(t *testing.T) {
	var c clock
	check := func(text string) {
		t.Helper()
		buf := padded(text + `"`)
		got, end, ok := c.instant(buf, 0, TimestampTZ)
		want, err := time.Parse("2006-01-02T15:04:05.999999999Z07:00", text)
		valid := err == nil && want.Nanosecond()%1000 == 0 && !strings.Contains(text, ",") && len(text) > 19
		if ok != valid || ok && (got != want.UnixMicro() || end != len(text)) {
			t.Errorf("%s is %d, %v; want %d, %v", text, got, ok, want.UnixMicro(), valid)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		at := time.Unix(r.Int64N(4e11)-1e11, r.Int64N(1e9))
		if at.Year() > 9999 || at.Year() < 0 {
			continue
		}
		at = at.In(time.FixedZone("", (r.IntN(2*1439)-1439)*60))
		if at.Year() > 9999 || at.Year() < 0 {
			continue
		}
		check(at.Format([]string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000000Z07:00", "2006-01-02T15:04:05.000000000Z07:00"}[r.IntN(4)]))
	}
	for y := range 10_000 {
		check(fmt.Sprintf("%04d-02-29T00:00:00Z", y))
		check(fmt.Sprintf("%04d-%02d-31T23:59:59Z", y, y%12+1))
	}
	for _, text := range []string{
		"", "2026", "2026-11-23", "2026-11-23T", "2026-11-23T12:00:00", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z",
		"2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+01", "2026-01-01T00:00:00Z ", "20260101T000000Z", "2026-01-01t00:00:00Z",
	} {
		check(text)
	}
	if _, _, ok := c.instant(padded(`2026-01-01T00:00:00.0000000000001Z"`), 0, TimestampTZ); ok {
		t.Error("a fraction of 13 digits is taken")
	}
	if v, _, ok := c.instant(padded(`2026-01-01T00:00:00.1234560000000000Z"`), 0, TimestampTZ); !ok || v%1e6 != 123456 {
		t.Errorf("zeros at the end: %d, %v", v, ok)
	}
	if v, _, ok := c.instant(padded(`2200-01-01T00:00:00.000000001"`), 0, TimestampNS); !ok || v != time.Date(2200, 1, 1, 0, 0, 0, 1, time.UTC).UnixNano() {
		t.Errorf("nanoseconds: %d, %v", v, ok)
	}
	if _, _, ok := c.instant(padded(`2300-01-01T00:00:00"`), 0, TimestampNS); ok {
		t.Error("a time beyond the range of nanoseconds is taken")
	}
}

func TestSplitter(t *testing.T) {
	s := NewSplitter(Options{})
	if skip := s.Open([]byte("{\"a\":{\"b\":[1,\"x\",{\"c/d\":true,\"\":\"e\\u0041\"}],\"n\":null}} {\"a\":1}\n5")); skip != "" {
		t.Fatal(skip)
	}
	u, ok := s.Next()
	if !ok || u.Reject != nil || u.Sub != 0 {
		t.Fatalf("%+v, %v", u, ok)
	}
	f := func(pointer, want string) {
		t.Helper()
		path := strings.Split(strings.ReplaceAll(pointer, "~1", "\x00"), "/")[1:]
		for i := range path {
			path[i] = strings.ReplaceAll(path[i], "\x00", "/")
		}
		if got, ok := s.Scalar(path); string(got) != want || ok != (want != "") {
			t.Errorf("%s is %q, %v; want %q", pointer, got, ok, want)
		}
	}
	f("/a/b/0", "1")
	f("/a/b/1", "x")
	f("/a/b/2/c~1d", "true")
	f("/a/b/2/", "eA")
	f("/a/b/3", "")
	f("/a/b/01", "")
	f("/a/b/-1", "")
	f("/a/b", "")
	f("/a/n", "")
	f("/a/b/0/x", "")
	f("/x", "")
	if r := s.Refuse("route", "no", "/x"); r.Sub != 0 || string(r.Payload) != string(u.Value) {
		t.Errorf("refused %+v", r)
	}
	if u, ok = s.Next(); !ok || u.Sub != 1 || string(u.Value) != `{"a":1}` {
		t.Errorf("%+v", u)
	}
	if u, ok = s.Next(); !ok || u.Reject == nil || u.Reject.Code != CodeTopLevel || u.Sub != 2 {
		t.Errorf("%+v", u)
	}
	if _, ok = s.Next(); ok {
		t.Error("a fourth unit")
	}
	for rec, want := range map[string]string{" ": SkipBlank, "": ""} {
		if got := s.Open([]byte(rec)); got != want {
			t.Errorf("%q is skipped by %q", rec, got)
		}
	}
	if s.Open(nil) != SkipTombstone {
		t.Error("a record without a value is not skipped")
	}
}

// TestStrays: keys without a column are remembered, long ones are not: whoever sends them
// would decide how much memory a decoder holds.
func TestStrays(t *testing.T) {
	d := NewDecoder(Options{})
	s := numbered(columns(t, "a: long"))
	for i := range 20 {
		unit := fmt.Appendf(nil, `{"a":1,"short%d":null,"%s%d":null}`, i, strings.Repeat("k", 100_000), i)
		o := d.Decode([][]byte{unit, unit}, s, nil)
		if len(o.Unit) != 2 || len(o.Rejects) > 0 {
			t.Fatalf("%d rows, rejects %v", len(o.Unit), o.Rejects)
		}
		o.Data.Release()
	}
	root := &d.tables[0].reader.root
	if len(root.strays) != 20 {
		t.Errorf("%d keys are remembered", len(root.strays))
	}
	for _, f := range root.strays {
		if len(f.key) > maxStrayKey {
			t.Errorf("a key of %d bytes is remembered", len(f.key))
		}
	}
	twice := []byte(`{"short1":null,"a":1,"short1":null}`)
	o := d.Decode([][]byte{twice}, s, nil)
	defer o.Data.Release()
	if len(o.Rejects) != 1 || o.Rejects[0].Code != CodeDuplicateKey {
		t.Errorf("a key twice: %v", o.Rejects)
	}
}

// TestKnownValues: a key without a column whose value mostly says nothing of a type is known by
// its text, and what only begins like it is not taken for it.
func TestKnownValues(t *testing.T) {
	for _, c := range []struct{ often, once, rescued string }{
		{`[]`, `[1]`, `{"/k":"[1]"}`},
		{`{"urls":[]}`, `{"urls":[7]}`, `{"/k":"{\"urls\":[7]}"}`},
		{`{"urls":[]}`, `{"urls":[],"more":true}`, `{"/k":"{\"urls\":[],\"more\":true}"}`},
		{`{"urls":[]}`, `{"urls" : null}`, ""},
		{`{}`, `null`, ""},
		{`{}`, `[ ]`, ""},
		{`{}`, `{}]`, CodeSyntax},
		{`[]`, `[]]`, CodeSyntax},
		{`[]`, `[],"k":[]`, CodeDuplicateKey},
		{`{"a":[]}`, `{"a":[],"a":[]}`, CodeDuplicateKey},
		{"{\n}", "{\n}", ""}, // more than one line
	} {
		d := NewDecoder(Options{})
		s := numbered(columns(t, "a: long"))
		record := func(value string) []byte { return fmt.Appendf(nil, `{"a":1,"k":%s,"b":null}`, value) }
		units := [][]byte{record(c.often), record(c.often), record(c.often), record(c.once), record(c.often)}
		o := d.Decode(units, s, nil)
		got := ""
		if len(o.Rejects) > 0 {
			got = o.Rejects[0].Code
		} else {
			got = rescuedText(o.Data, 3)
		}
		if len(o.Unit)+len(o.Rejects) != 5 || got != c.rescued {
			t.Errorf("%s, and once %s: %d rows, %v, rescued %q, want %q", c.often, c.once, len(o.Unit), o.Rejects, got, c.rescued)
		}
		o.Data.Release()
		if f := d.tables[0].reader.root.strays[0]; strings.Contains(c.often, "\n") != (len(f.data) == 0) {
			t.Errorf("%s: %q is known", c.often, f.data)
		}
	}
}

// TestSparseColumnsAreSmall: columns take memory for the values that they have, and a bit for
// every row.
func TestSparseColumnsAreSmall(t *testing.T) {
	var s Schema
	for i := range 100 {
		s.Fields = append(s.Fields, Field{ID: i + 1, Name: fmt.Sprintf("c%d", i), Type: &Type{Kind: []Kind{Long, String, Bool, Double}[i%4]}})
	}
	const rows = 10_000
	units := make([][]byte, rows)
	for i := range units {
		units[i] = fmt.Appendf(nil, `{"c%d":%s}`, i%100, []string{"7", `"a"`, "true", "0.5"}[i%4])
	}
	d := NewDecoder(Options{})
	o := d.Decode(units, &s, nil)
	defer o.Data.Release()
	if values := rows / 100; o.RescuedRows > 0 || d.tables[0].held > 100*(4*8*values+rows/2) {
		t.Errorf("%d bytes are held, %d rows are rescued", d.tables[0].held, o.RescuedRows)
	}
}

// TestTextsGrow: texts of all lengths, with characters and escapes of all lengths anywhere, come out as
// encoding/json has them, in columns that have no room yet, that have some, and that have enough.
func TestTextsGrow(t *testing.T) {
	s := numbered(columns(t, "t: string"))
	for _, piece := range []string{"a", "é", "あ", "😀", `\/`, `\u00e9`, `\ud83d\ude00`, `あ\n`, `a\u3042`} {
		var units [][]byte
		var want []string
		for n := range 150 {
			text := `"` + strings.Repeat("x", n%17) + strings.Repeat(piece, n) + `"`
			var v string
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			units, want = append(units, []byte(`{"t":`+text+`}`)), append(want, v)
		}
		d := NewDecoder(Options{})
		for range 2 {
			o := d.Decode(units, s, nil)
			if len(o.Rejects) > 0 || o.RescuedRows > 0 {
				t.Fatalf("%s: %v, %d rows rescued", piece, o.Rejects, o.RescuedRows)
			}
			col := o.Data.Column(0).(*array.String)
			for i := range units {
				if got := col.Value(i); got != want[i] {
					t.Fatalf("%s: row %d is %q, want %q", piece, i, got, want[i])
				}
			}
			o.Data.Release()
		}
	}
}

// TestSparseWithin: what was begun of a list whose fields many elements lack is forgotten with it.
func TestSparseWithin(t *testing.T) {
	s := numbered(columns(t, "l: list<struct<a: long, b: string>>"))
	d := NewDecoder(Options{})
	good := []byte(`{"l":[{"a":1},{"b":"x"},{"a":2,"b":"y"},{},{"a":3}]}`)
	for range 3 { // the columns are sparse from the second batch on
		units := [][]byte{good, []byte(`{"l":[{"a":7},{"b":"bad"},{"b":"worse`), []byte(`{"l":[{"b":"z"},{"a":8},{"a":9x}]}`), good}
		o := d.Decode(units, s, nil)
		got := fmt.Sprint(o.Data.Column(0).(*array.List).ListValues())
		if want := "{[1 (null) 2 (null) 3 1 (null) 2 (null) 3] [(null) \"x\" \"y\" (null) (null) (null) \"x\" \"y\" (null) (null)]}"; got != want || len(o.Rejects) != 2 {
			t.Errorf("%s, %d rejects, want %s", got, len(o.Rejects), want)
		}
		o.Data.Release()
	}
}
