package schema

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// maker makes records of a grammar: few keys and many types, so that they clash,
// and now and then something that is no JSON.
type maker struct {
	*rand.Rand
	wild bool // anything goes; else a key mostly has values of one type
}

var keysOfMaker = []string{"a", "b", "c", "d", "e", "A", "a.b", "a_b", "x/y", "~", "", "_fh_offset", "_file", "é", `\u0061`, `q\"q`, `\ud800`, "loooooooooooooooong"}

func (m *maker) pick(list ...string) string { return list[m.IntN(len(list))] }

func (m *maker) space() string {
	if m.IntN(12) == 0 {
		return m.pick(" ", "\t", "\r", "\n ", "  ")
	}
	return ""
}

func (m *maker) number() string {
	switch m.IntN(8) {
	case 0:
		return m.pick("0", "-0", "0.0", "-0.0", "1e0", "1E+2", "-1e-7", "1e400", "1e-400", "4.9e-324", "9007199254740993", "9223372036854775807",
			"-9223372036854775808", "9223372036854775808", "0.1000000000000000055511151231257827", "123456789012345678.9", "1.0", "2147483648", "16777217", "0.30")
	case 1:
		return strconv.FormatFloat(m.NormFloat64()*1e3, 'g', -1, 64)
	case 2:
		return strconv.FormatInt(int64(m.Uint64()), 10)
	case 3:
		return fmt.Sprintf("%d.%0*de%d", m.IntN(100), m.IntN(20)+1, m.IntN(1000), m.IntN(40)-20)
	}
	return strconv.Itoa(m.IntN(2000) - 1000)
}

func (m *maker) text() string {
	switch m.IntN(7) {
	case 0:
		return m.pick("2026-11-23T12:00:00Z", "2026-11-23T12:00:00.5+05:30", "2026-11-23T12:00:00.123456789Z", "2026-02-30T00:00:00Z", "2026-11-23", "12:34:56",
			"2026-11-23 12:00:00", "123e4567-e89b-12d3-a456-426614174000", "YWJj", "YQ==", "YQ")
	case 1:
		return m.pick(`\ud83d\ude00`, `\ud800`, `\udc00x`, `\u0000`, `a\nb`, `\"`, `\\`, `\/`, "日本語", "é", `\u00e9`)
	}
	return strings.Repeat(m.pick("x", "yz", "0123456789"), m.IntN(5))
}

func (m *maker) value(depth, kind int) string {
	if m.wild && m.IntN(3) == 0 {
		kind = m.IntN(7)
	}
	switch {
	case m.IntN(10) == 0:
		return "null"
	case kind == 0:
		return m.pick("true", "false")
	case kind == 1:
		return m.number()
	case kind == 2:
		return `"` + m.text() + `"`
	case kind <= 4 && depth > 0:
		return m.object(depth-1, kind)
	case depth > 0:
		var b strings.Builder
		b.WriteString("[" + m.space())
		for i := range m.IntN(4) {
			if i > 0 {
				b.WriteString(m.space() + "," + m.space())
			}
			b.WriteString(m.value(depth-1, kind*7%5))
		}
		return b.String() + m.space() + "]"
	}
	return m.pick("{}", "[]", "null", "1", `"x"`)
}

func (m *maker) object(depth, salt int) string {
	var b strings.Builder
	b.WriteString("{" + m.space())
	first := true
	for i, k := range keysOfMaker {
		if m.IntN(4) != 0 {
			continue
		}
		if !first {
			b.WriteString(m.space() + "," + m.space())
		}
		first = false
		b.WriteString(`"` + k + `"` + m.space() + ":" + m.space() + m.value(depth, (i+salt)%7))
	}
	return b.String() + m.space() + "}"
}

func (m *maker) record() []byte {
	rec := m.object(4, 0)
	switch m.IntN(12) {
	case 0:
		rec += m.pick("", " ", "\n", "x", ",", "\n\n") + m.object(2, 0)
	case 1:
		if len(rec) > 2 {
			i := m.IntN(len(rec))
			rec = rec[:i] + m.pick("", "\x00", "\n", `"`, "}", "]", ",", "\xff", "0", `\`, "e") + rec[i+m.IntN(2):]
		}
	}
	return []byte(rec)
}

// TestRandomRecords sends random records through tables that grow with them.
func TestRandomRecords(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		if !t.Run(strconv.Itoa(seed), func(t *testing.T) { randomTable(t, uint64(seed)) }) {
			return
		}
	}
}

func randomTable(t *testing.T, seed uint64) {
	t.Helper()
	m := &maker{rand.New(rand.NewPCG(seed, 7)), seed%2 == 0}
	opt := Options{}
	switch seed % 5 {
	case 3:
		opt.MaxColumns = 5 + m.IntN(20)
	case 4:
		opt.MaxDepth = 2 + m.IntN(3)
	}
	if seed%7 >= 5 {
		opt.Declared = shapes(t)[m.IntN(7)]
	}
	r := newRig(t, opt)
	defer r.mem.AssertSize(t, 0)
	var s *Schema
	if seed%6 == 5 {
		s = shapes(t)[m.IntN(7)]
	}
	var units [][]byte
	for range 4 {
		var batch [][]byte
		for range 1 + m.IntN(30) {
			batch = append(batch, m.record())
		}
		var o *Decoded
		o, s = r.evolved(batch, s)
		checkUnits(t, o, batch)
		checkRows(t, o, s, batch)
		units = append(units, batch...)
		o.Data.Release()
	}
	// All at once or one by one: with the same columns, rows are the same.
	all := rowsOf(t, r, units, s)
	var one []string
	for _, u := range units {
		one = append(one, rowsOf(t, r, [][]byte{u}, s)...)
	}
	if a, b := strings.Join(all, "\n"), strings.Join(one, "\n"); a != b {
		t.Errorf("at once:\n%s\none by one:\n%s", a, b)
	}
	checkScattered(t, units, s)
}

// rowsOf returns the rows as text.
func rowsOf(t *testing.T, r *rig, units [][]byte, s *Schema) []string {
	t.Helper()
	o := r.d.Decode(units, s, nil)
	defer o.Data.Release()
	for i, c := range o.Data.Columns() {
		if c.NullN() == c.Len() {
			t.Errorf("column %s has no value", o.Data.ColumnName(i))
		}
		if err := validate(c); err != nil {
			t.Errorf("column %s: %v", o.Data.ColumnName(i), err)
		}
	}
	var out []string
	for row := range o.Unit {
		out = append(out, rowText(o, s, row))
	}
	return out
}

// validate checks what Arrow says about an array: its null count, and the order
// of its offsets.
func validate(a arrow.Array) error {
	nulls := 0
	for i := range a.Len() {
		if a.IsNull(i) {
			nulls++
		}
	}
	if nulls != a.NullN() {
		return fmt.Errorf("%d nulls, but it says %d", nulls, a.NullN())
	}
	switch a := a.(type) {
	case *array.String:
		return ascending(a.ValueOffsets())
	case *array.List:
		if err := ascending(a.Offsets()); err != nil {
			return err
		}
		return validate(a.ListValues())
	case *array.Map:
		return ascending(a.Offsets())
	case *array.Struct:
		for i := range a.NumField() {
			if a.Field(i).Len() != a.Len() {
				return fmt.Errorf("field %d has %d rows of %d", i, a.Field(i).Len(), a.Len())
			}
			if err := validate(a.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func ascending(offsets []int32) error {
	for i := 1; i < len(offsets); i++ {
		if offsets[i] < offsets[i-1] {
			return fmt.Errorf("offset %d is %d after %d", i, offsets[i], offsets[i-1])
		}
	}
	return nil
}

// TestPinned checks that which units lack what a table required when it was bound
// does not depend on what the table has become since.
func TestPinned(t *testing.T) {
	m := &maker{rand.New(rand.NewPCG(5, 6)), true}
	tables := append(shapes(t), nil)
	for _, text := range []string{"a: boolean", "b: long, c: string", "d: double", "e: struct<a: boolean>", "x: long", "a: list<long>", "b: int"} {
		pinned := columns(t, text)
		for i := range pinned.Fields {
			pinned.Fields[i].Required = true
		}
		var units [][]byte
		for range 300 {
			units = append(units, m.record())
		}
		r := newRig(t, Options{})
		first := ""
		for _, s := range tables {
			for range 2 {
				o := r.d.Decode(units, s, pinned)
				o.Data.Release()
				if v := verdicts(o); first == "" {
					first = v
				} else if v != first {
					t.Fatalf("what is required of %s depends on the table %s:\n%s\n%s", text, show(s), first, v)
				}
				if s = nil; o.Want != nil {
					s = numbered(o.Want)
				}
			}
		}
		r.mem.AssertSize(t, 0)
	}
}

// TestRandomScalars looks members up by pointers, as encoding/json has them.
func TestRandomScalars(t *testing.T) {
	m := &maker{rand.New(rand.NewPCG(3, 4)), true}
	s := NewSplitter(Options{})
	tokens := []string{"a", "b", "c", "d", "e", "a.b", "x/y", "", "q\"q", "0", "1", "2"}
	found := 0
	for range 10_000 {
		rec := []byte(m.object(4, m.IntN(7)))
		s.Open(rec)
		u, ok := s.Next()
		if !ok || u.Reject != nil {
			continue // a key twice
		}
		at, err := parseAny(string(rec))
		if err != nil {
			t.Fatal(err)
		}
		var path []string
		for range 1 + m.IntN(3) {
			tok := tokens[m.IntN(len(tokens))]
			path = append(path, tok)
			switch c := at.(type) {
			case map[string]any:
				at = c[tok]
			case []any:
				i, err := strconv.Atoi(tok)
				if at = nil; err == nil && i < len(c) {
					at = c[i]
				}
			default:
				at = nil
			}
		}
		want, scalar := "", true
		switch v := at.(type) {
		case string:
			want = v
		case json.Number:
			want = string(v)
		case bool:
			want = strconv.FormatBool(v)
		default:
			scalar = false
		}
		got, ok := s.Scalar(path)
		if strings.Contains(string(got), "\xed") || strings.Contains(want, "\ufffd") {
			continue // half surrogates
		}
		if ok != scalar || string(got) != want {
			t.Fatalf("%q in %s is %q, %v; want %q, %v", path, rec, got, ok, want, scalar)
		}
		if ok {
			found++
		}
	}
	if found < 100 {
		t.Errorf("only %d members were found", found)
	}
}
