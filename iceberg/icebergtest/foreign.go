package icebergtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	icego "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
	sqlcat "github.com/apache/iceberg-go/catalog/sql"
	icetable "github.com/apache/iceberg-go/table"
	_ "modernc.org/sqlite" // the driver
)

// Lake is a local warehouse with its SQLite catalog, as a program other than
// firehosed uses it: iceberg-go's own way to create, append and scan.
type Lake struct {
	dir string
	db  *sql.DB
	cat *sqlcat.Catalog
}

// OpenLake opens the catalog.db of a folder, or makes it.
func OpenLake(dir string) (*Lake, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "catalog.db")+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	cat, err := sqlcat.NewCatalog("default", db, sqlcat.SQLite, icego.Properties{})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Lake{dir, db, cat}, nil
}

// Close closes the catalog.
func (l *Lake) Close() error { return errors.Join(l.cat.Close(), l.db.Close()) }

// Create makes a table "namespace.name" of a schema in Iceberg's JSON.
func (l *Lake) Create(ctx context.Context, name, schema string, opts ...icecat.CreateTableOpt) error {
	ident := strings.Split(name, ".")
	if err := l.cat.CreateNamespace(ctx, ident[:len(ident)-1], nil); err != nil && !errors.Is(err, icecat.ErrNamespaceAlreadyExists) {
		return err
	}
	var sc icego.Schema
	if err := json.Unmarshal([]byte(schema), &sc); err != nil {
		return fmt.Errorf("schema of %s: %w", name, err)
	}
	opts = append(opts, icecat.WithLocation("file://"+filepath.Join(l.dir, "others", name)))
	_, err := l.cat.CreateTable(ctx, ident, &sc, opts...)
	return err
}

// Append adds rows, a JSON array of objects.
func (l *Lake) Append(ctx context.Context, name, rows string) error {
	tbl, err := l.cat.LoadTable(ctx, strings.Split(name, "."))
	if err != nil {
		return err
	}
	sc, err := icetable.SchemaToArrowSchema(tbl.Schema(), nil, true, false)
	if err != nil {
		return err
	}
	data, err := array.TableFromJSON(memory.DefaultAllocator, sc, []string{rows})
	if err != nil {
		return err
	}
	defer data.Release()
	_, err = tbl.AppendTable(ctx, data, data.NumRows(), nil)
	return err
}

// Table returns a table as it is now.
func (l *Lake) Table(ctx context.Context, name string) (*icetable.Table, error) {
	return l.cat.LoadTable(ctx, strings.Split(name, "."))
}

// Require makes a column of a table required, or optional again.
func (l *Lake) Require(ctx context.Context, name, column string, required bool) error {
	tbl, err := l.Table(ctx, name)
	if err != nil {
		return err
	}
	md := tbl.Metadata()
	id, fields := 0, slices.Clone(tbl.Schema().Fields())
	for _, s := range md.Schemas() {
		id = max(id, s.ID+1)
	}
	i := slices.IndexFunc(fields, func(f icego.NestedField) bool { return f.Name == column })
	if i < 0 {
		return fmt.Errorf("table %s has no column %s", name, column)
	}
	fields[i].Required = required
	_, _, err = l.cat.CommitTable(ctx, strings.Split(name, "."),
		[]icetable.Requirement{icetable.AssertTableUUID(md.TableUUID())},
		[]icetable.Update{icetable.NewAddSchemaUpdate(icego.NewSchema(id, fields...)), icetable.NewSetCurrentSchemaUpdate(-1)})
	return err
}

// Columns returns the columns of a table: "1: id: required long".
func (l *Lake) Columns(ctx context.Context, name string) (out []string, err error) {
	tbl, err := l.Table(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, f := range tbl.Schema().Fields() {
		out = append(out, f.String())
	}
	return out, nil
}

// Rows returns the values of some columns of every row, each row with a space
// between its values.
func (l *Lake) Rows(ctx context.Context, name string, columns ...string) (out []string, err error) {
	tbl, err := l.Table(ctx, name)
	if err != nil {
		return nil, err
	}
	data, err := tbl.Scan(icetable.WithSelectedFields(columns...)).ToArrowTable(ctx)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	for r := array.NewTableReader(data, 0); r.Next(); {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			vals := make([]string, len(columns))
			for j, c := range columns {
				switch col := b.Column(b.Schema().FieldIndices(c)[0]).(type) {
				case *array.Binary:
					vals[j] = string(col.Value(i))
				default:
					vals[j] = col.ValueStr(i)
				}
			}
			out = append(out, strings.Join(vals, " "))
		}
	}
	return out, nil
}

// Drop removes a table from the catalog, and leaves its files.
func (l *Lake) Drop(ctx context.Context, name string) error {
	return l.cat.DropTable(ctx, strings.Split(name, "."))
}
