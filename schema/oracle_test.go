package schema

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// This file is a second opinion on what a record becomes. It shares no code with
// the decoder: encoding/json reads the records, math/big compares the numbers.

// bench keeps what a test decodes with.
type rig struct {
	t   testing.TB
	mem *memory.CheckedAllocator
	d   *Decoder
}

func newRig(tb testing.TB, opt Options) *rig {
	tb.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	opt.Mem = mem
	return &rig{t: tb, mem: mem, d: NewDecoder(opt)}
}

// numbered returns s as a table would have it: every field with an id.
func numbered(s *Schema) *Schema {
	if s == nil {
		return nil
	}
	id := 0
	var number func(fs []Field) []Field
	number = func(fs []Field) []Field {
		out := slices.Clone(fs)
		for i := range out {
			id++
			out[i].ID = id
			t := *out[i].Type
			t.Fields = number(t.Fields)
			out[i].Type = &t
		}
		return out
	}
	return &Schema{ID: 1, Fields: number(s.Fields)}
}

// evolved decodes until nothing more is wanted, as a pipeline does, and returns
// the schema. It fails if one evolution is not enough.
func (r *rig) evolved(units [][]byte, s *Schema) (*Decoded, *Schema) {
	r.t.Helper()
	o := r.d.Decode(units, s, nil)
	if o.Want == nil {
		return o, s
	}
	before := verdicts(o)
	o.Data.Release()
	s = numbered(o.Want)
	o = r.d.Decode(units, s, nil)
	if o.Want != nil {
		r.t.Errorf("after evolution to %s more is wanted: %s", show(s), show(o.Want))
	}
	if after := verdicts(o); after != before {
		r.t.Errorf("verdicts depend on the schema:\n%s\n%s", before, after)
	}
	return o, s
}

func show(s *Schema) string {
	if s == nil {
		return "nothing"
	}
	return (&Type{Kind: Struct, Fields: s.Fields}).String()
}

// verdicts describes which units became rows, rejects and skips.
func verdicts(o *Decoded) string {
	var b strings.Builder
	for i := range o.Unit {
		fmt.Fprintf(&b, "row %d.%d\n", o.Unit[i], o.Sub[i])
	}
	for _, r := range o.Rejects {
		fmt.Fprintf(&b, "reject %d.%d %s %s %q %q\n", r.Unit, r.Sub, r.Code, r.Path, r.Message, r.Payload)
	}
	fmt.Fprintf(&b, "skipped %v", o.Skipped)
	return b.String()
}

// cells returns the row's columns as encoding/json would have them: objects as
// map[string]any, numbers as json.Number or float64, instants as time.Time.
func cells(data arrow.RecordBatch, s *Schema, row int) map[string]any {
	m := map[string]any{}
	for i, f := range data.Schema().Fields() {
		if f.Name != Rescued {
			m[s.Column(f.Name).JSONKey()] = cell(data.Column(i), s.Column(f.Name).Type, row)
		}
	}
	return m
}

func cell(col arrow.Array, t *Type, row int) any {
	if col.IsNull(row) {
		return nil
	}
	switch c := col.(type) {
	case *array.Boolean:
		return c.Value(row)
	case *array.Int32:
		return json.Number(strconv.Itoa(int(c.Value(row))))
	case *array.Int64:
		return json.Number(strconv.FormatInt(c.Value(row), 10))
	case *array.Float32:
		return float64(c.Value(row))
	case *array.Float64:
		return c.Value(row)
	case *array.Decimal128:
		return json.Number(c.Value(row).ToString(int32(t.Scale)))
	case *array.String:
		return c.Value(row)
	case *array.Binary:
		return base64.StdEncoding.EncodeToString(c.Value(row))
	case *array.FixedSizeBinary:
		v := c.Value(row)
		if t.Kind == UUID {
			return fmt.Sprintf("%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
		}
		return base64.StdEncoding.EncodeToString(v)
	case *array.Date32:
		return c.Value(row).ToTime().Format(time.DateOnly)
	case *array.Time64:
		return c.Value(row).ToTime(arrow.Microsecond).Format("15:04:05.999999")
	case *array.Timestamp:
		at := c.Value(row).ToTime(c.DataType().(*arrow.TimestampType).Unit)
		if t.Kind == Timestamp || t.Kind == TimestampNS {
			return at.Format("2006-01-02T15:04:05.999999999")
		}
		return at
	case *array.Struct:
		m := map[string]any{}
		for i := range t.Fields {
			m[t.Fields[i].JSONKey()] = cell(c.Field(i), t.Fields[i].Type, row)
		}
		return m
	case *array.Map:
		m := map[string]any{}
		from, to := c.ValueOffsets(row)
		for i := from; i < to; i++ {
			m[fmt.Sprint(cell(c.Keys(), t.Fields[0].Type, int(i)))] = cell(c.Items(), t.Fields[1].Type, int(i))
		}
		return m
	case *array.List:
		l := []any{}
		from, to := c.ValueOffsets(row)
		for i := from; i < to; i++ {
			l = append(l, cell(c.ListValues(), t.Fields[0].Type, int(i)))
		}
		return l
	}
	panic(fmt.Sprintf("cell of %s", col.DataType()))
}

// rescuedText returns the text of the rescue column, or "".
func rescuedText(data arrow.RecordBatch, row int) string {
	for i, f := range data.Schema().Fields() {
		if f.Name == Rescued && data.Column(i).IsValid(row) {
			return data.Column(i).(*array.String).Value(row)
		}
	}
	return ""
}

// union puts the rescued values of a row where they came from.
func union(m map[string]any, rescued string) error {
	if rescued == "" {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(rescued))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		ptr, err := d.Token()
		if err != nil {
			return err
		}
		var text string
		if err := d.Decode(&text); err != nil {
			return err
		}
		v, err := parseAny(text)
		if err != nil {
			return fmt.Errorf("rescued text %q: %w", text, err)
		}
		if err := put(m, ptr.(string), v); err != nil {
			return err
		}
	}
	return nil
}

func put(at any, pointer string, v any) error {
	tokens := strings.Split(pointer, "/")[1:]
	for i, tok := range tokens {
		tok = strings.NewReplacer("~1", "/", "~0", "~").Replace(tok)
		switch c := at.(type) {
		case map[string]any:
			if i == len(tokens)-1 {
				if c[tok] != nil {
					return fmt.Errorf("%s is rescued and in its column: %v", pointer, c[tok])
				}
				c[tok] = v
				return nil
			}
			at = c[tok]
		case []any:
			n, err := strconv.Atoi(tok)
			if err != nil || n >= len(c) || i == len(tokens)-1 {
				return fmt.Errorf("%s: bad index %q", pointer, tok)
			}
			at = c[n]
		default:
			return fmt.Errorf("%s: nothing at %q", pointer, tok)
		}
	}
	return errors.New("empty pointer")
}

func parseAny(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// blank tells whether a value equals an absent one.
func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, x := range v {
			if !blank(x) {
				return false
			}
		}
		return true
	}
	return false
}

// differ returns where a row and its record are not equal, or "".
func differ(got, want any, path string) string {
	if blank(got) && blank(want) {
		return ""
	}
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		for k := range w {
			if d := differ(g[k], w[k], path+"/"+k); d != "" {
				return d
			}
		}
		for k := range g {
			if _, ok := w[k]; !ok && !blank(g[k]) {
				return fmt.Sprintf("at %q: got %v, want nothing", path+"/"+k, g[k])
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		for i := range w {
			if d := differ(g[i], w[i], path+"/"+strconv.Itoa(i)); d != "" {
				return d
			}
		}
		return ""
	case json.Number:
		if sameNumber(got, string(w)) {
			return ""
		}
	case string:
		if at, ok := got.(time.Time); ok {
			if t, err := time.Parse(time.RFC3339Nano, w); err == nil && t.Equal(at) {
				return ""
			}
			break
		}
		if g, ok := got.(string); ok && (g == w || sameText(g, w)) {
			return ""
		}
	default:
		if reflect.DeepEqual(got, want) {
			return ""
		}
	}
	return fmt.Sprintf("at %q: got %v (%T), want %v", path, got, got, want)
}

// sameText lets a time without a zone have a space for its T, and a uuid be in
// upper case.
func sameText(got, want string) bool {
	return len(want) > 10 && want[10] == ' ' && got == strings.Replace(want, " ", "T", 1) || len(want) == 36 && strings.EqualFold(got, want)
}

func sameNumber(got any, text string) bool {
	if len(text) > 400 {
		return got == json.Number(text) // rescued as it is
	}
	want, ok := new(big.Rat).SetString(text)
	if !ok {
		return got == json.Number(text)
	}
	switch g := got.(type) {
	case json.Number:
		if g == json.Number(text) {
			return true
		}
		r, ok := new(big.Rat).SetString(string(g))
		return ok && r.Cmp(want) == 0
	case float64:
		mantissa, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(text, "-")), "e")
		digits := len(strings.TrimLeft(strings.ReplaceAll(mantissa, ".", ""), "0"))
		printed, _ := new(big.Rat).SetString(strconv.FormatFloat(g, 'e', max(digits, 1)-1, 64))
		return printed.Cmp(want) == 0
	}
	return false
}

// jsonValue is a JSON value as encoding/json found it.
type jsonValue struct {
	text []byte
	next byte // what follows; 0: nothing
}

// values splits a record as encoding/json would: the JSON values in it, up to the
// first that is not valid; whole tells that there is none.
func values(rec []byte) (vals []jsonValue, whole bool) {
	rec = bytes.TrimPrefix(rec, []byte("\xEF\xBB\xBF"))
	for {
		rec = bytes.TrimLeft(rec, " \t\r\n")
		if len(rec) == 0 {
			return vals, true
		}
		d := json.NewDecoder(bytes.NewReader(rec))
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return vals, false
		}
		v := jsonValue{text: rec[:d.InputOffset()]}
		if rec = rec[d.InputOffset():]; len(rec) > 0 {
			v.next = rec[0]
		}
		vals = append(vals, v)
	}
}

// glued tells whether a number or word runs on into what follows. For us that is
// one thing that is not valid, for encoding/json two of which the first is.
func (v jsonValue) glued() bool {
	return bytes.IndexByte([]byte("{[\""), v.text[0]) < 0 && bytes.IndexByte([]byte("\x00 \t\r\n,:{}[]\""), v.next) < 0
}

// hasDuplicate tells whether an object of a valid value has a key twice. Half
// surrogates, which encoding/json makes one, are kept apart by their text.
func hasDuplicate(v []byte) bool {
	d := json.NewDecoder(strings.NewReader(keepHalves(string(v))))
	var walk func() bool
	walk = func() bool {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		dup := false
		seen := map[string]bool{}
		if delim, ok := tok.(json.Delim); ok {
			for d.More() {
				if delim == '{' {
					k, err := d.Token()
					if err != nil {
						return dup
					}
					dup = dup || seen[k.(string)]
					seen[k.(string)] = true
				}
				dup = walk() || dup
			}
			_, _ = d.Token()
		}
		return dup
	}
	return walk()
}

// keepHalves turns escapes of half surrogates into other text that is as
// different.
func keepHalves(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			b.WriteByte(s[i])
			continue
		}
		if s[i+1] != 'u' || i+6 > len(s) {
			b.WriteString(s[i : i+2])
			i++
			continue
		}
		r, _ := strconv.ParseUint(s[i+2:i+6], 16, 32)
		low := uint64(0)
		if i+12 <= len(s) && s[i+6:i+8] == `\u` {
			low, _ = strconv.ParseUint(s[i+8:i+12], 16, 32)
		}
		switch {
		case r >= 0xD800 && r < 0xDC00 && low >= 0xDC00 && low < 0xE000:
			b.WriteString(s[i : i+12])
			i += 11
		case r >= 0xD800 && r < 0xE000:
			fmt.Fprintf(&b, "<half %x>", r)
			i += 5
		default:
			b.WriteString(s[i : i+6])
			i += 5
		}
	}
	return b.String()
}

// checkRows compares every row with what encoding/json reads from its unit, which
// is found by its number within the record.
func checkRows(tb testing.TB, o *Decoded, s *Schema, units [][]byte) {
	tb.Helper()
	splitter := NewSplitter(Options{})
	for row := range o.Unit {
		rec := units[o.Unit[row]]
		var text []byte
		splitter.Open(rec)
		for u, ok := splitter.Next(); ok; u, ok = splitter.Next() {
			if u.Sub == o.Sub[row] && u.Reject == nil {
				text = u.Value
			}
		}
		want, err := parseAny(string(text))
		if err != nil || !utf8.Valid(text) {
			tb.Fatalf("row %d was made of %.200q: %v", row, text, err)
		}
		got := cells(o.Data, s, row)
		if err := union(got, rescuedText(o.Data, row)); err != nil {
			if strings.Contains(strings.ToLower(string(text)), `\ud`) {
				continue // encoding/json cannot tell half surrogates apart
			}
			tb.Fatalf("row %d of %.200q: %v", row, text, err)
		}
		if d := differ(got, want, ""); d != "" {
			tb.Fatalf("row %d of %.2000q differs %s\nrescued %.2000s\nschema %s", row, text, d, rescuedText(o.Data, row), show(s))
		}
	}
}
