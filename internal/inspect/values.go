package inspect

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// sum is a 128-bit sum of keyed hashes. Its zero is that of nothing.
type sum struct{ hi, lo uint64 }

// hasher hashes rows: the union of their columns and what was rescued, as a set of
// (JSON pointer, value), so that it does not matter which value found a column.
// What is null, or an empty object or list, is not in it. Columns that firehosed
// fills itself are left out.
type hasher struct {
	seeds [2]maphash.Seed
	path  []byte
	buf   []byte
	sum   sum // of the row at hand
}

func newHasher() *hasher {
	return &hasher{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// rows returns the hash of every row of rec. s has the JSON keys of its columns;
// columns that it lacks go by their names.
func (h *hasher) rows(rec arrow.RecordBatch, s *schema.Schema) ([]sum, error) {
	out := make([]sum, rec.NumRows())
	for c, col := range rec.Columns() {
		name := rec.ColumnName(c)
		if strings.HasPrefix(name, schema.Reserved) && name != schema.Rescued {
			continue
		}
		f := s.Column(name)
		for i := range out {
			h.sum, h.path = out[i], h.path[:0]
			var err error
			if name == schema.Rescued {
				err = h.rescued(col, i)
			} else {
				err = h.member(col, i, name, f)
			}
			if err != nil {
				return nil, fmt.Errorf("column %s, row %d: %w", name, i, err)
			}
			out[i] = h.sum
		}
	}
	return out, nil
}

// member adds the value of a column or of a member of an object.
func (h *hasher) member(col arrow.Array, i int, name string, f *schema.Field) error {
	var t *schema.Type
	if f != nil {
		name, t = f.JSONKey(), f.Type
	}
	return h.below(name, func() error { return h.value(col, i, t) })
}

// below runs add with the path longer by a step.
func (h *hasher) below(step string, add func() error) error {
	n := len(h.path)
	h.path = append(append(h.path, '/'), pointerStep(step)...)
	err := add()
	h.path = h.path[:n]
	return err
}

// pointerStep escapes a key for a JSON pointer.
func pointerStep(key string) string {
	if !strings.ContainsAny(key, "~/") {
		return key
	}
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func (h *hasher) value(col arrow.Array, i int, t *schema.Type) error {
	if col.IsNull(i) {
		return nil
	}
	switch a := col.(type) {
	case *array.Struct:
		st := a.DataType().(*arrow.StructType) //nolint:forcetypeassert // that of the array
		for k := range a.NumField() {
			if err := h.member(a.Field(k), i, st.Field(k).Name, memberOf(t, st.Field(k).Name)); err != nil {
				return err
			}
		}
		return nil
	case *array.Map:
		return h.entries(a, i, t)
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		for k := from; k < to; k++ {
			if err := h.below(strconv.FormatInt(k-from, 10), func() error { return h.value(a.ListValues(), int(k), inner(t, 0)) }); err != nil {
				return err
			}
		}
		return nil
	case *array.Dictionary:
		return h.value(a.Dictionary(), a.GetValueIndex(i), t)
	}
	return h.scalar(col, i)
}

// entries adds a map as the object it was.
func (h *hasher) entries(a *array.Map, i int, t *schema.Type) error {
	from, to := a.ValueOffsets(i)
	for k := from; k < to; k++ {
		key, err := text(a.Keys(), int(k))
		if err != nil {
			return err
		}
		if err := h.below(key, func() error { return h.value(a.Items(), int(k), inner(t, 1)) }); err != nil {
			return err
		}
	}
	return nil
}

// memberOf returns the member of a struct type by its column name, or nil.
func memberOf(t *schema.Type, name string) *schema.Field {
	if t == nil || t.Kind != schema.Struct {
		return nil
	}
	return (&schema.Schema{Fields: t.Fields}).Column(name)
}

// inner returns the type of a list's elements (0), or of a map's keys (0) or values (1).
func inner(t *schema.Type, k int) *schema.Type {
	if t == nil || k >= len(t.Fields) {
		return nil
	}
	return t.Fields[k].Type
}

// scalar adds a value that is neither null nor nested.
func (h *hasher) scalar(col arrow.Array, i int) error {
	switch a := col.(type) {
	case *array.Boolean:
		h.leaf('b', strconv.FormatBool(a.Value(i)))
	case *array.Int32:
		h.leaf('n', canonical(strconv.FormatInt(int64(a.Value(i)), 10)))
	case *array.Int64:
		h.leaf('n', canonical(strconv.FormatInt(a.Value(i), 10)))
	case *array.Float32:
		h.leaf('n', canonical(strconv.FormatFloat(float64(a.Value(i)), 'e', -1, 32)))
	case *array.Float64:
		h.leaf('n', canonical(strconv.FormatFloat(a.Value(i), 'e', -1, 64)))
	case *array.Decimal128:
		t := a.DataType().(*arrow.Decimal128Type) //nolint:forcetypeassert // that of the array
		h.leaf('n', canonical(a.Value(i).ToString(t.Scale)))
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType).Unit //nolint:forcetypeassert // that of the array
		h.leaf('t', strconv.FormatInt(a.Value(i).ToTime(unit).UnixNano()/1000, 10))
	case *array.Date32:
		h.leaf('s', a.Value(i).FormattedString())
	case *array.Time64:
		h.leaf('s', a.Value(i).FormattedString(a.DataType().(*arrow.Time64Type).Unit)) //nolint:forcetypeassert // that of the array
	case *array.Binary:
		h.leaf('x', string(a.Value(i)))
	case *array.LargeBinary:
		h.leaf('x', string(a.Value(i)))
	case *array.FixedSizeBinary:
		h.leaf('x', string(a.Value(i)))
	case array.ExtensionArray:
		return h.scalar(a.Storage(), i)
	default:
		s, err := text(col, i)
		if err != nil {
			return err
		}
		h.words(s)
	}
	return nil
}

// text returns a value of a string column.
func text(col arrow.Array, i int) (string, error) {
	switch a := col.(type) {
	case *array.String:
		return a.Value(i), nil
	case *array.LargeString:
		return a.Value(i), nil
	}
	return "", fmt.Errorf("values of type %v are not known", col.DataType())
}

// words adds a text; one that is an instant counts as that.
func (h *hasher) words(s string) {
	if len(s) >= len("2006-01-02T15:04:05Z") && s[4] == '-' && (s[10] == 'T' || s[10] == 't') {
		if at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s)); err == nil && at.Nanosecond()%1000 == 0 {
			h.leaf('t', strconv.FormatInt(at.UnixMicro(), 10))
			return
		}
	}
	h.leaf('s', s)
}

// leaf adds one value at the path.
func (h *hasher) leaf(kind byte, val string) {
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(len(h.path)))
	h.buf = append(append(append(h.buf, h.path...), kind), val...)
	h.sum.hi += maphash.Bytes(h.seeds[0], h.buf)
	h.sum.lo += maphash.Bytes(h.seeds[1], h.buf)
}

// rescued adds what a row keeps in the rescue column.
func (h *hasher) rescued(col arrow.Array, i int) error {
	if d, ok := col.(*array.Dictionary); ok {
		if d.IsNull(i) {
			return nil
		}
		return h.rescued(d.Dictionary(), d.GetValueIndex(i))
	}
	if col.IsNull(i) {
		return nil
	}
	s, err := text(col, i)
	if err != nil {
		return err
	}
	var kept map[string]string
	if err := json.Unmarshal([]byte(s), &kept); err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	for pointer, val := range kept {
		h.path = append(h.path[:0], pointer...)
		if err := h.json(val); err != nil {
			return fmt.Errorf("%q at %s: %w", val, pointer, err)
		}
	}
	return nil
}

// json adds a value by its JSON text.
func (h *hasher) json(val string) error {
	dec := json.NewDecoder(strings.NewReader(val))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return h.tree(v)
}

func (h *hasher) tree(v any) error {
	switch v := v.(type) {
	case nil:
	case bool:
		h.leaf('b', strconv.FormatBool(v))
	case json.Number:
		h.leaf('n', canonical(v.String()))
	case string:
		h.words(v)
	case []any:
		for i, e := range v {
			if err := h.below(strconv.Itoa(i), func() error { return h.tree(e) }); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, e := range v {
			if err := h.below(k, func() error { return h.tree(e) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// sure is how many significant digits every double keeps.
const sure = 15

// canonical returns one text for all texts of a number. A text that a double column
// may hold gives the same as the double does.
func canonical(s string) string {
	neg := strings.HasPrefix(s, "-")
	digits, exp := decimal(strings.TrimPrefix(s, "-"))
	if len(digits) > sure {
		if f, err := strconv.ParseFloat(s, 64); err == nil && sameDecimal(f, digits, exp) {
			digits, exp = decimal(strconv.FormatFloat(max(f, -f), 'e', -1, 64))
		}
	}
	if digits == "" {
		return "0"
	}
	if neg {
		digits = "-" + digits
	}
	return digits + "e" + exp
}

// sameDecimal reports whether f, printed with as many digits, is that decimal.
func sameDecimal(f float64, digits, exp string) bool {
	d, e := decimal(strconv.FormatFloat(max(f, -f), 'e', len(digits)-1, 64))
	return d == digits && e == exp
}

// decimal takes a number without a sign apart: significant digits, without zeros at
// either end, and the power of ten of the last.
func decimal(s string) (digits, exp string) {
	mantissa, power, _ := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "", "0"
	}
	at, ok := new(big.Int).SetString(cmp.Or(strings.TrimPrefix(power, "+"), "0"), 10)
	if !ok {
		return s, "?" // no number: its own text
	}
	at.Add(at, big.NewInt(int64(len(digits)-len(short)-len(fraction))))
	return short, at.String()
}

// scan visits the rows of a table, with their values if those are compared.
func (v *verifier) scan(ctx context.Context, t *table, visit func(Row) error) error {
	if v.hash == nil {
		return t.pin.Rows(ctx, visit)
	}
	if t.pin.Records == nil {
		return errors.New("the values of its rows cannot be read")
	}
	return t.pin.Records(ctx, func(rec arrow.RecordBatch) error {
		values, err := v.hash.rows(rec, t.schema())
		if err != nil {
			return err
		}
		cols, err := pipeline.ReadColumns(rec, append(v.where.Columns(), schema.ColSub))
		if err != nil {
			return err
		}
		subs := cols[len(cols)-1].Ints
		at := v.where.Places(cols)
		for i := range values {
			log, place := at(i)
			if log == "" {
				continue // of another writer
			}
			if err := visit(Row{Log: log, Place: place, Sub: int32(subs[i]), value: values[i]}); err != nil {
				return err
			}
		}
		return nil
	})
}
