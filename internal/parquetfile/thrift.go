package parquetfile

import "encoding/binary"

// compact writes Thrift's compact protocol, as far as Parquet needs it.
type compact struct {
	b    []byte
	last []int // id of the last field, by nesting
}

// Types of the compact protocol.
const (
	typeTrue   = 1
	typeFalse  = 2
	typeI16    = 4
	typeI32    = 5
	typeI64    = 6
	typeBinary = 8
	typeList   = 9
	typeStruct = 12
)

func (t *compact) reset() { t.b, t.last = t.b[:0], append(t.last[:0], 0) }

// field begins a field of the struct that is open. Ids ascend by less than 16.
func (t *compact) field(id int, typ byte) {
	k := len(t.last) - 1
	t.b = append(t.b, byte(id-t.last[k])<<4|typ)
	t.last[k] = id
}

func (t *compact) integer(v int64) { t.b = binary.AppendVarint(t.b, v) }

func (t *compact) i32(id int, v int32) {
	t.field(id, typeI32)
	t.integer(int64(v))
}

func (t *compact) i64(id int, v int64) {
	t.field(id, typeI64)
	t.integer(v)
}

func (t *compact) bytes(id int, v []byte) {
	t.field(id, typeBinary)
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

func (t *compact) text(v string) {
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

// list begins a list of n elements.
func (t *compact) list(id int, typ byte, n int) {
	t.field(id, typeList)
	if n < 15 {
		t.b = append(t.b, byte(n)<<4|typ)
		return
	}
	t.b = binary.AppendUvarint(append(t.b, 0xf0|typ), uint64(n))
}

// integers is a list of small numbers.
func (t *compact) integers(id int, vs ...int64) {
	t.list(id, typeI32, len(vs))
	for _, v := range vs {
		t.integer(v)
	}
}

// bool is a field that is its own value.
func (t *compact) bool(id int, v bool) {
	if v {
		t.field(id, typeTrue)
	} else {
		t.field(id, typeFalse)
	}
}

// open begins a struct that is the element of a list, or follows [compact.field].
func (t *compact) open() { t.last = append(t.last, 0) }

// close ends a struct.
func (t *compact) close() {
	t.b = append(t.b, 0)
	t.last = t.last[:len(t.last)-1]
}
