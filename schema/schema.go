package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Kind is an Iceberg type, nested ones included.
type Kind uint8

// The kinds, in Iceberg's words.
const (
	Bool Kind = iota + 1
	Int
	Long
	Float
	Double
	Decimal
	Date
	Time
	Timestamp   // microseconds, no zone
	TimestampTZ // microseconds, UTC
	TimestampNS
	TimestampTZNS
	String
	UUID
	Fixed
	Binary
	Struct
	List
	Map
)

// Type is the type of a column or of a part of one. It is immutable.
type Type struct {
	Kind             Kind
	Precision, Scale int     // Decimal: at most 38 digits
	Length           int     // Fixed: bytes
	Fields           []Field // Struct: its members; List: "element"; Map: "key", "value"
}

// Field is a named, numbered place in a schema.
type Field struct {
	ID       int    // Iceberg's field id; 0 in a schema that is only wanted
	Name     string // of the column
	Key      string // the JSON object key it is filled from; "" where it equals Name
	Type     *Type
	Required bool
	Doc      string // as the table has it; Key is kept there, see [DocForKey]
}

// JSONKey returns the object key that fills the field: Key, or else what Doc keeps,
// or else Name.
func (f *Field) JSONKey() string {
	switch {
	case f.Key != "":
		return f.Key
	case strings.HasPrefix(f.Doc, docPrefix):
		if f.Doc == emptyKeyDoc {
			return ""
		}
		if key := KeyFromDoc(f.Doc); key != "" {
			return key
		}
	}
	return f.Name
}

// Schema is the columns of a table. It is immutable. Two schemas of one table
// with the same ID are equal.
type Schema struct {
	ID     int // Iceberg's schema id; -1 in a schema that is only wanted
	Fields []Field
}

// Column returns the top-level column of that name, or nil. A nil schema has none.
func (s *Schema) Column(name string) *Field {
	if s == nil {
		return nil
	}
	if i := slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == name }); i >= 0 {
		return &s.Fields[i]
	}
	return nil
}

// Reserved is the prefix of the columns that firehosed fills itself.
const Reserved = "_fh_"

// Rescued is the column for values that fit no other.
const Rescued = Reserved + "rescued"

// Names of the metadata columns.
const (
	ColTopic        = Reserved + "topic"
	ColTopicID      = Reserved + "topic_id"
	ColPartition    = Reserved + "partition"
	ColOffset       = Reserved + "offset"
	ColShard        = Reserved + "shard"
	ColSequence     = Reserved + "sequence"
	ColSub          = Reserved + "sub"
	ColTimestamp    = Reserved + "timestamp"
	ColKey          = Reserved + "key"
	ColPartitionKey = Reserved + "partition_key"
	ColHeaders      = Reserved + "headers"
	ColIngestedAt   = Reserved + "ingested_at"
)

// Names of the columns of records that are kept as they came.
const (
	ColBytes     = Reserved + "bytes"   // of the unit
	ColQueryKey  = Reserved + "query_"  // and the name of a partition key that a query gives
	ColLambdaKey = Reserved + "lambda_" // and the name of one that a function gives
)

// FieldIDKey is the Arrow field metadata that carries the Iceberg field id. It
// is the name that Arrow's own Parquet writers use.
const FieldIDKey = "PARQUET:field_id"

// ArrowField returns f as an Arrow field, its id in the metadata.
func (f *Field) ArrowField() arrow.Field {
	return arrow.Field{
		Name: f.Name, Type: f.Type.Arrow(), Nullable: !f.Required,
		Metadata: arrow.NewMetadata([]string{FieldIDKey}, []string{strconv.Itoa(f.ID)}),
	}
}

// Arrow returns the Arrow type that columns of type t are laid out in.
func (t *Type) Arrow() arrow.DataType {
	switch t.Kind {
	case Bool:
		return arrow.FixedWidthTypes.Boolean
	case Int:
		return arrow.PrimitiveTypes.Int32
	case Long:
		return arrow.PrimitiveTypes.Int64
	case Float:
		return arrow.PrimitiveTypes.Float32
	case Double:
		return arrow.PrimitiveTypes.Float64
	case Decimal:
		return &arrow.Decimal128Type{Precision: int32(t.Precision), Scale: int32(t.Scale)}
	case Date:
		return arrow.FixedWidthTypes.Date32
	case Time:
		return arrow.FixedWidthTypes.Time64us
	case Timestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case TimestampTZ:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case TimestampNS:
		return &arrow.TimestampType{Unit: arrow.Nanosecond}
	case TimestampTZNS:
		return &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	case String:
		return arrow.BinaryTypes.String
	case UUID:
		return &arrow.FixedSizeBinaryType{ByteWidth: 16}
	case Fixed:
		return &arrow.FixedSizeBinaryType{ByteWidth: t.Length}
	case Binary:
		return arrow.BinaryTypes.Binary
	case Struct:
		fs := make([]arrow.Field, len(t.Fields))
		for i := range t.Fields {
			fs[i] = t.Fields[i].ArrowField()
		}
		return arrow.StructOf(fs...)
	case List:
		return arrow.ListOfField(t.Fields[0].ArrowField())
	case Map:
		return arrow.MapOfFields(t.Fields[0].ArrowField(), t.Fields[1].ArrowField())
	}
	panic(fmt.Sprintf("BUG: no Arrow type for kind %d", t.Kind))
}

// String returns the type in the words of Iceberg's specification.
func (t *Type) String() string {
	names := map[Kind]string{
		Bool: "boolean", Int: "int", Long: "long", Float: "float", Double: "double", Date: "date", Time: "time",
		Timestamp: "timestamp", TimestampTZ: "timestamptz", TimestampNS: "timestamp_ns", TimestampTZNS: "timestamptz_ns",
		String: "string", UUID: "uuid", Binary: "binary",
	}
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal(%d, %d)", t.Precision, t.Scale)
	case Fixed:
		return fmt.Sprintf("fixed[%d]", t.Length)
	case Struct:
		var b strings.Builder
		for i := range t.Fields {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s: %s", quoteName(t.Fields[i].Name), t.Fields[i].Type)
		}
		return "struct<" + b.String() + ">"
	case List:
		return "list<" + t.Fields[0].Type.String() + ">"
	case Map:
		return "map<" + t.Fields[0].Type.String() + ", " + t.Fields[1].Type.String() + ">"
	default:
		return names[t.Kind]
	}
}

// quoteName returns a field name as [ParseType] reads it.
func quoteName(name string) string {
	special := func(r rune) bool { return r != '_' && r < 0x80 && !isDigit(byte(r)) && (r|0x20 < 'a' || r|0x20 > 'z') }
	if name == "" || strings.ContainsFunc(name, special) {
		return strconv.Quote(name)
	}
	return name
}

// docPrefix starts the doc of a column whose JSON key is not its name.
const (
	docPrefix   = "json key "
	emptyKeyDoc = docPrefix + `""`
)

// DocForKey returns the doc that keeps a JSON key with a column of another name.
func DocForKey(key string) string { return docPrefix + strconv.Quote(key) }

// KeyFromDoc returns the JSON key that a doc keeps, or "".
func KeyFromDoc(doc string) string {
	q, ok := strings.CutPrefix(doc, docPrefix)
	if !ok {
		return ""
	}
	key, err := strconv.Unquote(q)
	if err != nil {
		return ""
	}
	return key
}
