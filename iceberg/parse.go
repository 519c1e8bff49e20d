package iceberg

import (
	"errors"
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
		if t, err := schema.ParseType(columns[name]); err == nil { // checked by Validate
			out = append(out, schema.Field{Name: name, Type: t})
		}
	}
	return out
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
			return partitionField{}, errors.New("is empty: want a column or a transform of one")
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
		f := topLevel(sc, p.column) // what lies within another column is not computed
		if f == nil {
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

func topLevel(sc *icego.Schema, column string) *icego.NestedField {
	for _, f := range sc.Fields() {
		if f.Name == column {
			return &f
		}
	}
	return nil
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
		return "", false, errors.New("is empty: want a column")
	}
	return column, desc, nil
}
