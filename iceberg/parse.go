package iceberg

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	icego "github.com/apache/iceberg-go"

	"github.com/firehosed/firehosed/schema"
)

// declared returns the columns of a table's configuration, by name.
func declared(columns map[string]string) []schema.Field {
	var out []schema.Field
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		if t, err := parseType(columns[name]); err == nil { // checked by Validate
			out = append(out, schema.Field{Name: name, Type: t})
		}
	}
	return out
}

// parseType reads a type in the words of Iceberg's specification, as schema.Type's
// String writes it.
func parseType(text string) (*schema.Type, error) {
	p := &typeParser{rest: strings.TrimSpace(text)}
	t, err := p.parse(0)
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("type %q: %w", text, err)
	}
	return t, nil
}

const maxTypeDepth = 32

type typeParser struct{ rest string }

func (p *typeParser) parse(depth int) (*schema.Type, error) {
	if depth > maxTypeDepth {
		return nil, fmt.Errorf("more than %d levels", maxTypeDepth)
	}
	word := p.until("<>(),[]: ")
	switch strings.ToLower(word) {
	case "decimal":
		ns, err := p.numbers('(', ')', 2)
		if err != nil || ns[0] < 1 || ns[0] > 38 || ns[1] < 0 || ns[1] > ns[0] {
			return nil, fmt.Errorf("want decimal(precision, scale) with at most 38 digits")
		}
		return &schema.Type{Kind: schema.Decimal, Precision: ns[0], Scale: ns[1]}, nil
	case "fixed":
		ns, err := p.numbers('[', ']', 1)
		if err != nil || ns[0] < 1 {
			return nil, fmt.Errorf("want fixed[length]")
		}
		return &schema.Type{Kind: schema.Fixed, Length: ns[0]}, nil
	case "list", "map":
		return p.collection(strings.ToLower(word), depth)
	case "struct":
		return p.structure(depth)
	}
	kinds := map[string]schema.Kind{
		"boolean": schema.Bool, "int": schema.Int, "long": schema.Long, "float": schema.Float, "double": schema.Double,
		"date": schema.Date, "time": schema.Time, "timestamp": schema.Timestamp, "timestamptz": schema.TimestampTZ,
		"timestamp_ns": schema.TimestampNS, "timestamptz_ns": schema.TimestampTZNS, "string": schema.String,
		"uuid": schema.UUID, "binary": schema.Binary,
	}
	if k, ok := kinds[strings.ToLower(word)]; ok {
		return &schema.Type{Kind: k}, nil
	}
	return nil, fmt.Errorf("%q is no type: use %s, decimal(p, s), fixed[n], list<t>, map<k, v> or struct<name: t>",
		word, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
}

func (p *typeParser) collection(word string, depth int) (*schema.Type, error) {
	if !p.eat('<') {
		return nil, fmt.Errorf("want < after %s", word)
	}
	first, err := p.parse(depth + 1)
	if err != nil {
		return nil, err
	}
	t := &schema.Type{Kind: schema.List, Fields: []schema.Field{{Name: "element", Type: first}}}
	if word == "map" {
		if !p.eat(',') {
			return nil, fmt.Errorf("want map<key, value>")
		}
		val, err := p.parse(depth + 1)
		if err != nil {
			return nil, err
		}
		t = &schema.Type{Kind: schema.Map, Fields: []schema.Field{
			{Name: "key", Type: first, Required: true}, {Name: "value", Type: val},
		}}
	}
	if !p.eat('>') {
		return nil, fmt.Errorf("want > at %q", p.rest)
	}
	return t, nil
}

func (p *typeParser) structure(depth int) (*schema.Type, error) {
	if !p.eat('<') {
		return nil, fmt.Errorf("want < after struct")
	}
	t := &schema.Type{Kind: schema.Struct}
	for {
		name := strings.TrimSpace(p.until(":<>,"))
		if name == "" || !p.eat(':') {
			return nil, fmt.Errorf("want struct<name: type, ...>")
		}
		ft, err := p.parse(depth + 1)
		if err != nil {
			return nil, err
		}
		t.Fields = append(t.Fields, schema.Field{Name: name, Type: ft})
		if p.eat('>') {
			return t, nil
		}
		if !p.eat(',') {
			return nil, fmt.Errorf("want , or > at %q", p.rest)
		}
	}
}

// until takes the text before the first of some characters.
func (p *typeParser) until(stop string) string {
	p.rest = strings.TrimLeft(p.rest, " ")
	i := strings.IndexAny(p.rest, stop)
	if i < 0 {
		i = len(p.rest)
	}
	word := p.rest[:i]
	p.rest = p.rest[i:]
	return word
}

func (p *typeParser) eat(c byte) bool {
	p.rest = strings.TrimLeft(p.rest, " ")
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *typeParser) numbers(open, end byte, n int) ([]int, error) {
	if !p.eat(open) {
		return nil, fmt.Errorf("want %c", open)
	}
	var out []int
	for part := range strings.SplitSeq(p.until(string(end)), ",") {
		x, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	if !p.eat(end) || len(out) != n {
		return nil, fmt.Errorf("want %d numbers", n)
	}
	return out, nil
}

// partitionField is one entry of partition_by.
type partitionField struct {
	column    string
	name      string // of the partition field
	transform icego.Transform
}

// parseTransform reads column, day(column), bucket(16, column) and the like.
func parseTransform(text string) (partitionField, error) {
	text = strings.TrimSpace(text)
	word, args, call := strings.Cut(text, "(")
	if !call {
		if text == "" {
			return partitionField{}, fmt.Errorf("is empty: want a column or a transform of one")
		}
		return partitionField{text, text, icego.IdentityTransform{}}, nil
	}
	args, ok := strings.CutSuffix(strings.TrimSpace(args), ")")
	if !ok {
		return partitionField{}, fmt.Errorf("%q: the closing parenthesis is missing", text)
	}
	word = strings.ToLower(strings.TrimSpace(word))
	width, column, two := strings.Cut(args, ",")
	if !two {
		column = args
	}
	column = strings.TrimSpace(column)
	if column == "" {
		return partitionField{}, fmt.Errorf("%q: names no column", text)
	}
	if word == "bucket" || word == "truncate" {
		n, err := strconv.Atoi(strings.TrimSpace(width))
		if !two || err != nil || n < 1 {
			return partitionField{}, fmt.Errorf("%q: want %s(width, column)", text, word)
		}
		if word == "bucket" {
			return partitionField{column, column + "_bucket", icego.BucketTransform{NumBuckets: n}}, nil
		}
		return partitionField{column, column + "_trunc", icego.TruncateTransform{Width: n}}, nil
	}
	simple := map[string]icego.Transform{
		"identity": icego.IdentityTransform{}, "void": icego.VoidTransform{}, "year": icego.YearTransform{},
		"month": icego.MonthTransform{}, "day": icego.DayTransform{}, "hour": icego.HourTransform{},
	}
	t, ok := simple[word]
	if !ok || two {
		return partitionField{}, fmt.Errorf("%q: want a column, identity, year, month, day, hour or void of one, bucket(n, column) or truncate(n, column)", text)
	}
	name := column + "_" + word
	if word == "identity" {
		name = column
	}
	return partitionField{column, name, t}, nil
}

// spec returns the partition spec of a table that is created with sc.
func (c TableConfig) spec(sc *icego.Schema) (*icego.PartitionSpec, error) {
	if len(c.PartitionBy) == 0 {
		return icego.UnpartitionedSpec, nil
	}
	var fields []icego.PartitionField
	for i, text := range c.PartitionBy {
		p, err := parseTransform(text)
		if err != nil {
			return nil, fmt.Errorf("partition_by[%d]: %w", i, err)
		}
		f, ok := sc.FindFieldByName(p.column)
		if !ok {
			return nil, fmt.Errorf("partition_by[%d]: the table has no column %q: declare it under columns", i, p.column)
		}
		if !p.transform.CanTransform(f.Type) {
			return nil, fmt.Errorf("partition_by[%d]: %s cannot be applied to %s, which is %s", i, p.transform, p.column, f.Type)
		}
		fields = append(fields, icego.PartitionField{
			SourceIDs: []int{f.ID}, FieldID: icego.PartitionDataIDStart + i, Name: p.name, Transform: p.transform,
		})
	}
	spec := icego.NewPartitionSpec(fields...)
	return &spec, nil
}

// parseSort reads "column", "column asc" or "column desc".
func parseSort(text string) (column string, desc bool, err error) {
	column, dir, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch strings.ToLower(strings.TrimSpace(dir)) {
	case "", "asc":
	case "desc":
		desc = true
	default:
		return "", false, fmt.Errorf("%q: want a column, perhaps followed by asc or desc", text)
	}
	if column == "" {
		return "", false, fmt.Errorf("is empty: want a column")
	}
	return column, desc, nil
}
