package parquetfile

import "github.com/firehosed/firehosed/schema"

// element is an element of the schema in a Parquet footer.
type element struct {
	typ       int32 // physical; noType for a group
	length    int32 // of fixed values
	rep       int32
	name      string
	kids      int
	id        int // 0: none
	converted int32
	logical   int   // number in the union of logical types; 0: none
	unit      int   // of times
	utc       bool  // of times
	precision int32 // of decimals
	scale     int32
}

// noType is the physical type of a group, and the converted type where there is none.
const noType = -1

// Repetition types.
const (
	required = 0
	optional = 1
	repeated = 2
	noRep    = -1 // of the root
)

// Logical types by their number in the union, units of time likewise, and the
// converted types that older readers know.
const (
	logicalString    = 1
	logicalMap       = 2
	logicalList      = 3
	logicalDecimal   = 5
	logicalDate      = 6
	logicalTime      = 7
	logicalTimestamp = 8
	logicalUUID      = 14

	unitMicros = 2
	unitNanos  = 3

	convertedUTF8            = 0
	convertedMap             = 1
	convertedList            = 3
	convertedDecimal         = 5
	convertedDate            = 6
	convertedTimeMicros      = 8
	convertedTimestampMicros = 10
)

// describe encodes the schema of a file, and gives leaves their path in it.
func (p *plan) describe() {
	var t compact
	t.reset()
	p.element(&t, &element{typ: noType, rep: noRep, name: "table", kids: len(p.fields), converted: noType})
	for _, f := range p.fields {
		p.describeField(&t, f, f.name, nil)
	}
	p.schema = t.b
}

func (p *plan) element(t *compact, e *element) {
	p.elements++
	t.element(e)
}

func (p *plan) describeField(t *compact, f *field, name string, above []string) {
	e := element{typ: noType, rep: required, name: name, id: f.id, converted: noType}
	if f.optional {
		e.rep = optional
	}
	path := append(above[:len(above):len(above)], name)
	switch f.typ.Kind {
	case schema.Struct:
		e.kids = len(f.kids)
		p.element(t, &e)
		for _, kid := range f.kids {
			p.describeField(t, kid, kid.name, path)
		}
	case schema.List:
		e.kids, e.converted, e.logical = 1, convertedList, logicalList
		p.element(t, &e)
		p.element(t, &element{typ: noType, rep: repeated, name: "list", kids: 1, converted: noType})
		p.describeField(t, f.kids[0], "element", append(path, "list"))
	case schema.Map:
		e.kids, e.converted, e.logical = 1, convertedMap, logicalMap
		p.element(t, &e)
		p.element(t, &element{typ: noType, rep: repeated, name: "key_value", kids: 2, converted: noType})
		p.describeField(t, f.kids[0], "key", append(path, "key_value"))
		p.describeField(t, f.kids[1], "value", append(path, "key_value"))
	default:
		f.names = path
		e.leaf(f.typ)
		p.element(t, &e)
	}
}

// leaf sets what an element says about a type that holds values.
func (e *element) leaf(typ *schema.Type) {
	phys, width := physicalOf(typ)
	e.typ = phys.parquet()
	if phys == physFixed {
		e.length = int32(width)
	}
	switch typ.Kind {
	case schema.String:
		e.converted, e.logical = convertedUTF8, logicalString
	case schema.UUID:
		e.logical = logicalUUID
	case schema.Decimal:
		e.converted, e.logical = convertedDecimal, logicalDecimal
		e.precision, e.scale = int32(typ.Precision), int32(typ.Scale)
	case schema.Date:
		e.converted, e.logical = convertedDate, logicalDate
	case schema.Time:
		e.converted, e.logical, e.unit = convertedTimeMicros, logicalTime, unitMicros
	case schema.Timestamp, schema.TimestampTZ:
		e.converted, e.logical, e.unit = convertedTimestampMicros, logicalTimestamp, unitMicros
	case schema.TimestampNS, schema.TimestampTZNS: // older readers have no name for it
		e.logical, e.unit = logicalTimestamp, unitNanos
	}
	e.utc = typ.Kind == schema.TimestampTZ || typ.Kind == schema.TimestampTZNS
}

// parquet returns Parquet's number of a physical type.
func (p physical) parquet() int32 {
	return [...]int32{physBool: 0, physInt32: 1, physInt64: 2, physFloat: 4, physDouble: 5, physBytes: 6, physFixed: 7}[p]
}

func (t *compact) element(e *element) {
	t.open()
	if e.typ != noType {
		t.i32(1, e.typ)
	}
	if e.length > 0 {
		t.i32(2, e.length)
	}
	if e.rep != noRep {
		t.i32(3, e.rep)
	}
	t.bytes(4, []byte(e.name))
	if e.typ == noType {
		t.i32(5, int32(e.kids))
	}
	if e.converted != noType {
		t.i32(6, e.converted)
	}
	if e.logical == logicalDecimal {
		t.i32(7, e.scale)
		t.i32(8, e.precision)
	}
	if e.id > 0 {
		t.i32(9, int32(e.id))
	}
	if e.logical > 0 {
		t.field(10, typeStruct)
		t.logical(e)
	}
	t.close()
}

// logical is a union: a struct with one field, which is a struct too.
func (t *compact) logical(e *element) {
	t.open()
	t.field(e.logical, typeStruct)
	t.open()
	switch e.logical {
	case logicalDecimal:
		t.i32(1, e.scale)
		t.i32(2, e.precision)
	case logicalTime, logicalTimestamp:
		t.bool(1, e.utc)
		t.field(2, typeStruct)
		t.open()
		t.field(e.unit, typeStruct)
		t.open()
		t.close()
		t.close()
	}
	t.close()
	t.close()
}
