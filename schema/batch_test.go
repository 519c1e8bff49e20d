package schema

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// everything has a column of every kind.
const everything = `struct<b: boolean, i: int, l: long, f: float, d: double, m: decimal(20, 3), t: time, dt: date, z: timestamptz,
	s: string, bin: binary, u: uuid, x: fixed[2], o: struct<a: long, gone: struct<k: string>, n: list<string>>,
	li: list<list<int>>, mp: map<string, struct<v: double>>, never: list<long>>`

func everythingSchema(t *testing.T) *Schema {
	t.Helper()
	typ, err := ParseType(everything)
	if err != nil {
		t.Fatal(err)
	}
	return Numbered(nil, &Schema{Fields: typ.Fields})
}

// everythingRows have values of everything, and of little.
var everythingRows = []string{
	`{"b":true,"i":1,"l":-2,"f":1.5,"d":2.5,"m":12.345,"t":"10:11:12","dt":"2026-01-02","z":"2026-01-02T03:04:05Z","s":"text","bin":"AQI=","u":"00112233-4455-6677-8899-aabbccddeeff","x":"AQI=","o":{"a":1,"n":["x",null]},"li":[[1,2],[],null],"mp":{"k":{"v":1},"q":null}}`,
	`{}`,
	`{"b":false,"s":"","o":{},"li":[],"mp":{}}`,
	`{"s":"é","o":{"n":[]},"li":[[3]],"what":"is rescued"}`,
}

// TestBatch: the vectors of a batch say the same as its arrays, and as those of a record batch
// of arrays; what is retained outlives the batch.
func TestBatch(t *testing.T) {
	s := everythingSchema(t)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	d := NewDecoder(Options{Mem: mem})
	var units [][]byte
	for i := range 50 {
		units = append(units, []byte(everythingRows[i*7%len(everythingRows)]))
	}
	o := d.Decode(units, s, nil)
	if len(o.Rejects) > 0 {
		t.Fatal(o.Rejects)
	}
	b := o.Data
	if b.Size() == 0 || b.NumRows() != 50 || o.RescuedRows == 0 {
		t.Fatalf("%d bytes, %d rows, %d with rescued values", b.Size(), b.NumRows(), o.RescuedRows)
	}
	plain := b.plain()
	defer plain.Release()
	same(t, "", Vectors(b), Vectors(plain))
	text, err := b.MarshalJSON()
	if want, _ := plain.MarshalJSON(); err != nil || string(text) != string(want) {
		t.Errorf("as JSON %s, %v", text, err)
	}

	// A slice has other places in the same memory.
	slice := b.NewSlice(3, 41)
	defer slice.Release()
	for i, v := range Vectors(slice) {
		for row := range v.Len {
			if was := &Vectors(plain)[i]; v.IsValid(row) != was.IsValid(row+3) || was.Nulls < was.Len && was.Ends != nil && v.Ends[row+1] != was.Ends[row+4] {
				t.Fatalf("column %s, row %d of the slice", b.ColumnName(i), row)
			}
		}
	}

	// More columns behind, of which one is a dictionary.
	bld := array.NewDictionaryBuilder(mem, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String})
	defer bld.Release()
	for i := range 50 {
		if err := bld.(*array.BinaryDictionaryBuilder).AppendString(fmt.Sprint("key", i%3)); err != nil {
			t.Fatal(err)
		}
	}
	col := bld.NewArray()
	with := b.With(arrow.NewSchema(append(b.Schema().Fields(), arrow.Field{Name: "more", Type: col.DataType()}), nil), []arrow.Array{col})
	col.Release()
	b.Release()
	last := int(with.NumCols()) - 1
	if v := Vectors(with)[last]; !v.Dictionary || v.Kids[0].Len != 3 {
		t.Errorf("the dictionary is %+v", v)
	}
	same(t, "", Vectors(with)[:last], Vectors(plain))
	if with.Column(last) != col || with.Column(0) != b.Column(0) {
		t.Error("the columns are others")
	}
	kept := with.Column(with.Schema().FieldIndices("s")[0])
	kept.Retain()
	with.Release()
	if got := kept.(*array.String).Value(0); got != "text" {
		t.Errorf("after the batch is gone its text is %q", got)
	}
	kept.Release()
}

// same compares vectors, but for where they lie.
func same(t *testing.T, path string, a, b []Vector) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d and %d columns", path, len(a), len(b))
	}
	for i := range a {
		v, w := &a[i], &b[i]
		at := fmt.Sprintf("%s/%d", path, i)
		if v.Len != w.Len || v.Nulls != w.Nulls || v.Offset != w.Offset || v.Dictionary != w.Dictionary ||
			string(v.Valid) != string(w.Valid) || fmt.Sprint(cellsOf(v)) != fmt.Sprint(cellsOf(w)) {
			t.Fatalf("column %s: %+v and %+v", at, v, w)
		}
		if packed := v.Nulls > 0 && v.Nulls < v.Len && v.Kids == nil; v.Packed != packed || w.Packed {
			t.Fatalf("column %s: packed is %v, and %v of an array", at, v.Packed, w.Packed)
		}
		same(t, at, v.Kids, w.Kids)
	}
}

// cellsOf returns what a vector has, in order; of lists where they end.
func cellsOf(v *Vector) (list []string) {
	if v.Nulls == v.Len || v.Ends == nil && v.Kids != nil {
		return nil
	}
	n, k := v.Len, 0
	if v.Packed {
		n -= v.Nulls
	}
	for row := range v.Len {
		at := row
		if v.Packed {
			at = k
		}
		if !v.IsValid(row) {
			continue
		}
		k++
		switch {
		case v.Ends != nil && v.Kids != nil:
			list = append(list, fmt.Sprint(v.Ends[at], v.Ends[at+1]))
		case v.Ends != nil:
			list = append(list, string(v.Data[v.Ends[at]:v.Ends[at+1]]))
		case len(v.Data) < n: // bits
			list = append(list, fmt.Sprint(v.Data[at>>3]>>(at&7)&1))
		default:
			width := len(v.Data) / n
			list = append(list, string(v.Data[at*width:(at+1)*width]))
		}
	}
	return list
}

// TestBatchReleasedTwice: a release too many is told, and does not touch another batch.
func TestBatchReleasedTwice(t *testing.T) {
	b := NewDecoder(Options{}).Decode([][]byte{[]byte(`{}`)}, nil, nil).Data
	b.Release()
	other := NewDecoder(Options{}).Decode([][]byte{[]byte(`{"a":1}`)}, nil, nil).Data
	defer other.Release()
	defer func() {
		if recover() == nil {
			t.Error("a second release is taken")
		}
		if n := other.refs.Load(); n != 1 {
			t.Errorf("another batch has %d references", n)
		}
	}()
	b.Release()
}
