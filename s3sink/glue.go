package s3sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"

	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/schema"
)

// GlueConfig takes types of columns from tables of the AWS Glue Data Catalog, as
// Firehose's SchemaConfiguration does. It needs glue:GetTable.
type GlueConfig struct {
	// Region of the catalog. Default: from the environment.
	Region string `yaml:"region"`

	// Endpoint is the URL of another endpoint. Default: AWS's own of the region.
	Endpoint string `yaml:"endpoint"`

	// CatalogID is the AWS account whose catalog it is. Default: the caller's.
	CatalogID string `yaml:"catalog_id"`

	// AssumeRole is a role to take on for the catalog.
	AssumeRole awscfg.Role `yaml:"assume_role"`

	// Tables of the catalog, as database.table, by the pipeline's name for the table. They
	// are read when a worker starts: columns that have another type by then are a new
	// revision of the configuration. Columns of the catalog's table that partition it are
	// left out, and what columns of the sink declares goes first.
	Tables map[string]string `yaml:"tables"`
}

var glueTable = regexp.MustCompile(`^[^.\s]+\.[^.\s]+$`)

// validate reports every problem, by key.
func (c GlueConfig) validate() (errs []error) {
	if err := c.service().Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, errors.New("glue."+line))
		}
	}
	if len(c.Tables) == 0 && (c.Region != "" || c.Endpoint != "" || c.CatalogID != "" || c.AssumeRole != (awscfg.Role{})) {
		errs = append(errs, errors.New("glue.tables: none is named: write, for example, tables: {orders: sales.orders}"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tables)) {
		if !glueTable.MatchString(c.Tables[name]) {
			errs = append(errs, fmt.Errorf("glue.tables.%s: %q is not database.table", name, c.Tables[name]))
		}
	}
	return errs
}

func (c GlueConfig) service() awscfg.Config {
	return awscfg.Config{Region: c.Region, Endpoint: c.Endpoint, AssumeRole: c.AssumeRole}
}

// LookUpColumns adds to Columns what the tables of Glue say. The error is about Glue.
func (c *Config) LookUpColumns(ctx context.Context) error {
	if len(c.Glue.Tables) == 0 {
		return nil
	}
	conf, err := awscfg.Load(ctx, c.Glue.service(), awscfg.Options{})
	if err != nil {
		return err
	}
	cl := glue.NewFromConfig(conf)
	all := maps.Clone(c.Columns)
	if all == nil {
		all = map[string]map[string]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Glue.Tables)) {
		found, err := c.Glue.columns(ctx, cl, c.Glue.Tables[name], c.Columns[name])
		if err != nil {
			return fmt.Errorf("columns of table %s: %w", name, err)
		}
		maps.Copy(found, c.Columns[name])
		all[name] = found
	}
	c.Columns = all
	return nil
}

// columns returns the types of the columns of a table, database.table, but those that are
// declared.
func (c GlueConfig) columns(ctx context.Context, cl *glue.Client, table string, declared map[string]string) (map[string]string, error) {
	database, name, _ := strings.Cut(table, ".")
	in := &glue.GetTableInput{DatabaseName: &database, Name: &name}
	if c.CatalogID != "" {
		in.CatalogId = &c.CatalogID
	}
	out, err := cl.GetTable(ctx, in)
	if missing := (*types.EntityNotFoundException)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("the catalog has no table %s: create it, or correct its name: %w", table, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s, which takes the permission glue:GetTable: %w", table, err)
	}
	if out.Table == nil || out.Table.StorageDescriptor == nil || len(out.Table.StorageDescriptor.Columns) == 0 {
		return nil, fmt.Errorf("table %s has no columns in the catalog", table)
	}
	found := map[string]string{}
	for _, col := range out.Table.StorageDescriptor.Columns {
		if declared[aws.ToString(col.Name)] != "" {
			continue
		}
		t, err := hiveType(aws.ToString(col.Type))
		if err != nil {
			return nil, fmt.Errorf("column %s of table %s: %w", aws.ToString(col.Name), table, err)
		}
		found[aws.ToString(col.Name)] = t
	}
	return found, nil
}

// hiveType returns a type of Hive, as Glue has it, in Iceberg's words. Hive's timestamps
// are points in time: their readers take them for UTC.
func hiveType(text string) (string, error) {
	p := hiveParser{rest: text}
	t, err := p.typ(0)
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err == nil {
		_, err = schema.ParseType(t.String()) // its limits
	}
	if err != nil {
		return "", fmt.Errorf("type %q: %w", text, err)
	}
	return t.String(), nil
}

// hiveKinds are the simple types.
var hiveKinds = map[string]schema.Kind{
	"boolean": schema.Bool, "tinyint": schema.Int, "smallint": schema.Int, "int": schema.Int, "integer": schema.Int, "bigint": schema.Long,
	"float": schema.Float, "double": schema.Double, "string": schema.String, "char": schema.String, "varchar": schema.String,
	"binary": schema.Binary, "date": schema.Date, "timestamp": schema.TimestampTZ, "decimal": schema.Decimal,
	"array": schema.List, "map": schema.Map, "struct": schema.Struct,
}

// hiveParser reads a type from the beginning of rest.
type hiveParser struct{ rest string }

const maxHiveDepth = 100

var (
	hiveWord    = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)\s*`)
	hiveNumbers = regexp.MustCompile(`^\(\s*(\d{1,5})\s*(?:,\s*(\d{1,5})\s*)?\)`)
)

func (p *hiveParser) typ(depth int) (*schema.Type, error) {
	m := hiveWord.FindStringSubmatch(p.rest)
	if m == nil || depth > maxHiveDepth {
		return nil, fmt.Errorf("no type at %q", p.rest)
	}
	kind, known := hiveKinds[strings.ToLower(m[1])]
	if !known {
		return nil, fmt.Errorf("%s is not supported: there are boolean, tinyint to bigint, float, double, decimal, string, char, varchar, binary, date, timestamp, array, map and struct", m[1])
	}
	p.rest = p.rest[len(m[0]):]
	t := &schema.Type{Kind: kind}
	numbers := hiveNumbers.FindStringSubmatch(p.rest)
	if numbers != nil {
		p.rest = p.rest[len(numbers[0]):]
	}
	switch kind {
	case schema.Decimal:
		t.Precision = 10
		if numbers != nil {
			t.Precision, _ = strconv.Atoi(numbers[1])
			t.Scale, _ = strconv.Atoi(numbers[2])
		}
		return t, nil
	case schema.List:
		return t, p.inside(t, depth, "element")
	case schema.Map:
		return t, p.inside(t, depth, "key", "value")
	case schema.Struct:
		return t, p.members(t, depth)
	default:
		return t, nil
	}
}

// take removes what must be next.
func (p *hiveParser) take(text string) error {
	rest, ok := strings.CutPrefix(strings.TrimSpace(p.rest), text)
	if !ok {
		return fmt.Errorf("no %q at %q", text, p.rest)
	}
	p.rest = rest
	return nil
}

// inside reads the types of a list or map.
func (p *hiveParser) inside(t *schema.Type, depth int, names ...string) error {
	before := "<"
	for i, name := range names {
		if err := p.take(before); err != nil {
			return err
		}
		part, err := p.typ(depth + 1)
		if err != nil {
			return err
		}
		t.Fields = append(t.Fields, schema.Field{Name: name, Type: part, Required: t.Kind == schema.Map && i == 0})
		before = ","
	}
	return p.take(">")
}

// members reads the fields of a struct.
func (p *hiveParser) members(t *schema.Type, depth int) error {
	for before := "<"; p.take(before) == nil; before = "," {
		name, rest, ok := strings.Cut(p.rest, ":")
		if name = strings.Trim(strings.TrimSpace(name), "`"); !ok || name == "" {
			return fmt.Errorf("no field at %q", p.rest)
		}
		p.rest = rest
		part, err := p.typ(depth + 1)
		if err != nil {
			return err
		}
		t.Fields = append(t.Fields, schema.Field{Name: name, Type: part})
	}
	return p.take(">")
}
