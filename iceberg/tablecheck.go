package iceberg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	icego "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// CheckTables returns every problem of what is configured for tables that would
// keep one from being created, by key. base returns the columns that a table has
// besides those that it declares, see [WithColumns]. suggest returns which of some
// names a misspelt one stands for, or "". What [Config.Validate] finds is left out.
//
// A partition column has to be there when the table is created. A column to sort by
// may come later, if it does not look like a misspelling of one that is declared.
func (c Config) CheckTables(base func(table string) *schema.Schema, suggest func(got string, names []string) string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Tables)) {
		t := c.Tables[name]
		if !tableName.MatchString(name) || t.validate() != nil {
			continue
		}
		check := tableCheck{t, c.formatVersion(name), withDeclared(base(name), t.Columns), suggest}
		for _, err := range check.all() {
			errs = append(errs, fmt.Errorf("tables.%s.%w", name, err))
		}
	}
	return errors.Join(errs...)
}

// formatVersion returns the format version that a table is created with.
func (c Config) formatVersion(table string) int {
	if v := c.Tables[table].FormatVersion; v != 0 {
		return v
	}
	return c.FormatVersion
}

// withDeclared returns the columns of base and those that are declared.
func withDeclared(base *schema.Schema, columns map[string]string) *schema.Schema {
	out := &schema.Schema{ID: -1, Fields: slices.Clone(base.Fields)}
	for _, f := range declared(columns) {
		if out.Column(f.Name) == nil {
			out.Fields = append(out.Fields, f)
		}
	}
	return out
}

// tableCheck is the configuration of one table and what it is held against.
type tableCheck struct {
	cfg     TableConfig
	version int
	columns *schema.Schema // that the table is created with
	suggest func(got string, names []string) string
}

func (c tableCheck) all() (errs []error) {
	for i, text := range c.cfg.PartitionBy {
		p, err := parseTransform(text)
		if err == nil && c.columns.Column(p.column) == nil {
			errs = append(errs, fmt.Errorf("partition_by[%d]: %w", i, c.absent(p.column)))
		}
	}
	for i, text := range c.cfg.SortBy {
		if err := c.sortable(text); err != nil {
			errs = append(errs, fmt.Errorf("sort_by[%d]: %w", i, err))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if _, _, err := c.cfg.creation(c.columns, c.version); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// sortable reports what keeps rows from being sorted by a column.
func (c tableCheck) sortable(text string) error {
	name, _, err := parseSort(text)
	if err != nil {
		return nil //nolint:nilerr // reported by Validate
	}
	switch f := c.columns.Column(name); {
	case f == nil && !isReserved(name) && c.suggest(name, c.names()) == "":
		return nil // the data may bring it
	case f == nil:
		return c.absent(name)
	case f.Type.Kind == schema.Struct || f.Type.Kind == schema.List || f.Type.Kind == schema.Map:
		return fmt.Errorf("column %q is a %s, whose values have no order", name, f.Type)
	}
	return nil
}

func (c tableCheck) names() []string {
	var names []string
	for i := range c.columns.Fields {
		names = append(names, c.columns.Fields[i].Name)
	}
	return names
}

// absent says that a table is created without a column.
func (c tableCheck) absent(column string) error {
	if s := c.suggest(column, c.names()); s != "" && isReserved(s) == isReserved(column) {
		return fmt.Errorf("the table has no column %q when it is created; did you mean %q? If not, declare it under columns", column, s)
	}
	if isReserved(column) {
		return fmt.Errorf("firehosed does not write the column %q here: columns such as %s have to be listed under metadata of the source",
			column, schema.ColTimestamp)
	}
	return fmt.Errorf("the table has no column %q when it is created: declare it under columns", column)
}

// creation returns the schema and the partition spec of a table that is created
// with these columns, or says by key why there can be no such table.
func (c TableConfig) creation(columns *schema.Schema, version int) (*icego.Schema, *icego.PartitionSpec, error) {
	sc, err := toIceberg(columns, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("columns: %w", err)
	}
	spec, err := c.spec(sc)
	if err != nil {
		return nil, nil, err
	}
	props := icego.Properties{icetable.PropertyFormatVersion: strconv.Itoa(version)}
	if _, err := icetable.NewMetadata(sc, icego.UnpartitionedSpec, icetable.UnsortedSortOrder, "file:///x", props); err != nil {
		return nil, nil, fmt.Errorf("columns: %w", oneLine(err))
	}
	if _, err := icetable.NewMetadata(sc, spec, icetable.UnsortedSortOrder, "file:///x", props); err != nil {
		return nil, nil, fmt.Errorf("partition_by: %w", oneLine(err))
	}
	return sc, spec, nil
}

// refused is the halt of a table that cannot be created as it is configured.
func (t *table) refused(err error) error {
	return &pipeline.Halt{
		Class:  pipeline.HaltRefused,
		Detail: fmt.Sprintf("table %s cannot be created: %v", t.name, err),
		Remedy: "correct what the configuration says of the table, and start again",
	}
}

// lacks returns the halt of a table that cannot hold the columns that it has to, of
// which have are there or would be.
func (t *table) lacks(want, have *schema.Schema) error {
	for i := range want.Fields {
		f := &want.Fields[i]
		if c := have.Column(f.Name); c == nil || c.Type.String() != f.Type.String() && isReserved(f.Name) {
			return &pipeline.Halt{
				Class:  pipeline.HaltRefused,
				Detail: fmt.Sprintf("table %s cannot hold the column %s %s", t.name, f.Name, f.Type),
				Remedy: "rename or drop the column that stands in its way, or choose another table",
			}
		}
	}
	return nil
}

// Refusal returns what keeps a table from being bound for, or taking, rows of these
// streams, as a *[pipeline.Halt]; nil: nothing does, it would be created if there is
// none. exists: there is a table of that name. Any other error says that it could not
// be looked at. It changes nothing.
func (s *Sink) Refusal(ctx context.Context, name string, streams []string) (exists bool, err error) {
	t, err := s.handle(name)
	if err != nil {
		return false, err
	}
	b, err := t.load(ctx)
	switch {
	case errors.Is(err, icecat.ErrNoSuchTable), errors.Is(err, icecat.ErrNoSuchNamespace):
		if _, _, err := t.cfg.creation(t.columns(), t.formatVersion()); err != nil {
			return false, t.refused(err)
		}
		return false, nil
	case err != nil:
		return false, err
	case b.reg.state.halts():
		return true, t.halt(b.reg.state, "%s", b.reg.reason)
	}
	if err := t.recent(b.md); err != nil {
		return true, err
	}
	have, err := fromIceberg(b.md.CurrentSchema())
	if err != nil {
		return true, fmt.Errorf("look at table %s: %w", name, err)
	}
	want := t.columns()
	merged, _, _ := schema.MergeWithin(have, want, s.cfg.MaxColumns)
	if err := t.lacks(want, merged); err != nil {
		return true, err
	}
	return true, t.notClaimed(b.md, b.reg.hdr, streams)
}

// recent refuses a table whose format is too old.
func (t *table) recent(md icetable.Metadata) error {
	if v := md.Version(); v < 2 {
		return &pipeline.Halt{
			Class:  pipeline.HaltRefused,
			Detail: fmt.Sprintf("table %s has format version %d; exactly-once needs sequence numbers, which begin with version 2", t.name, v),
			Remedy: "upgrade the table to format version 2",
		}
	}
	return nil
}
