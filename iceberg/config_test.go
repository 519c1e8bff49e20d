package iceberg

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// testdata/config.txt has, for every change of a valid configuration, the problems
// that Validate then reports, one a line.
func TestValidate(t *testing.T) {
	changes := map[string]func(*Config){
		"nothing":           func(*Config) {},
		"no warehouse":      func(c *Config) { c.Warehouse = "" },
		"gs warehouse":      func(c *Config) { c.Warehouse = "gs://b/p" },
		"number sign":       func(c *Config) { c.Warehouse = "/home/me/c#/lake" },
		"s3, no catalog":    func(c *Config) { c.Warehouse = "s3://b/p" },
		"s3, sqlite":        func(c *Config) { c.Warehouse = "s3://b/p"; c.Catalog.SQLite = &SQLiteConfig{} },
		"s3, sqlite path":   func(c *Config) { c.Warehouse = "s3://b/p"; c.Catalog.SQLite = &SQLiteConfig{Path: "/c.db"} },
		"two catalogs":      func(c *Config) { c.Catalog = CatalogConfig{SQLite: &SQLiteConfig{}, Glue: &GlueConfig{}} },
		"rest without uri":  func(c *Config) { c.Catalog.REST = &RESTConfig{} },
		"rest, two logins":  func(c *Config) { c.Catalog.REST = &RESTConfig{URI: "http://h", Token: "t", Credential: "c"} },
		"rest, a name":      func(c *Config) { c.Warehouse, c.Catalog.REST = "", &RESTConfig{URI: "http://h", Warehouse: "lake"} },
		"rest, control":     func(c *Config) { c.Warehouse, c.Control, c.Catalog.REST = "", "s3://b/c", &RESTConfig{URI: "http://h"} },
		"rest, a URI":       func(c *Config) { c.Warehouse, c.Catalog.REST = "", &RESTConfig{URI: "http://h", Warehouse: "s3://b/p"} },
		"rest, oauth alone": func(c *Config) { c.Catalog.REST = &RESTConfig{URI: "http://h", OAuthServer: "idp", Scope: "s"} },
		"rest, sigv4":       func(c *Config) { c.Catalog.REST = &RESTConfig{URI: "h", SigV4: &SigV4Config{Service: "nonsense"}} },
		"rest, two signed": func(c *Config) {
			c.Catalog.REST = &RESTConfig{URI: "http://h", Token: "t", SigV4: &SigV4Config{"r", "glue"}}
		},
		"rest, s3tables":    func(c *Config) { c.Catalog.REST = &RESTConfig{URI: "http://h", SigV4: &SigV4Config{"r", "s3tables"}} },
		"glue namespace":    func(c *Config) { c.Namespace, c.Catalog.Glue = "a.b", &GlueConfig{} },
		"glue endpoint":     func(c *Config) { c.Catalog.Glue = &GlueConfig{Endpoint: "localhost:4566"} },
		"postgres, no dsn":  func(c *Config) { c.Catalog.Postgres = &PostgresConfig{} },
		"numbers":           func(c *Config) { c.CommitInterval, c.TargetFileSize, c.MaxFileAge, c.FormatVersion = 0, 1, 0, 1 },
		"codec":             func(c *Config) { c.Codec, c.Level = "brotli", 0 },
		"sse":               func(c *Config) { c.S3.SSE.Algorithm = "rot13" },
		"table name":        func(c *Config) { c.Tables = map[string]TableConfig{"a/b": {}} },
		"partition":         func(c *Config) { c.Tables = map[string]TableConfig{"t": {PartitionBy: []string{"a", "bucket(x, b)"}}} },
		"sort":              func(c *Config) { c.Tables = map[string]TableConfig{"t": {SortBy: []string{"a", "b sideways"}}} },
		"declared type":     func(c *Config) { c.Tables = map[string]TableConfig{"t": {Columns: map[string]string{"a": "number"}}} },
		"declared own":      func(c *Config) { c.Tables = map[string]TableConfig{"t": {Columns: map[string]string{"_fh_x": "int"}}} },
		"append":            func(c *Config) { c.Mode = "append"; c.Tables = map[string]TableConfig{"t": {Mode: "append"}} },
		"cdc":               func(c *Config) { c.Mode = "cdc"; c.Tables = map[string]TableConfig{"t": {Mode: "upsert"}} },
		"another mode":      func(c *Config) { c.Mode = "replace" },
		"location of table": func(c *Config) { c.Tables = map[string]TableConfig{"t": {Location: "hdfs://x/y"}} },
	}
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		cfg := DefaultConfig()
		cfg.Warehouse = "/warehouse"
		changes[name](&cfg)
		fmt.Fprintf(&got, "= %s\n", name)
		if err := cfg.Validate(); err != nil {
			fmt.Fprintln(&got, err)
		}
		fmt.Fprintln(&got)
	}
	if *rewrite {
		if err := os.WriteFile("testdata/config.txt", []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/config.txt")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("testdata/config.txt (-want +got), go test -rewrite writes it anew:\n%s", d)
	}
}

func TestParseTransform(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		p, err := parseTransform(text)
		got := "error"
		if err == nil {
			got = p.column + " " + p.name + " " + p.transform.String()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	f("a", "a a identity")
	f(" identity( a ) ", "a a identity")
	f("day(ts)", "ts ts_day day")
	f("Bucket(16, id)", "id id_bucket bucket[16]")
	f("truncate( 3,name)", "name name_trunc truncate[3]")
	f("void(a)", "a a_void void")
	for _, bad := range []string{"", "day()", "day(a", "week(a)", "bucket(a)", "bucket(0, a)", "truncate(-1, a)", "day(1, a)"} {
		f(bad, "error")
	}
}

func TestCommitsAreSpacedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(1, 5)
		start := time.Now()
		want := func(table string, after time.Duration) {
			t.Helper()
			if err := p.wait(t.Context(), table); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != after {
				t.Errorf("table %s after %v, want %v", table, got, after)
			}
		}
		want("a", 0)
		want("b", 200*time.Millisecond)
		want("a", time.Second)
		want("b", 1200*time.Millisecond)
		time.Sleep(time.Minute)
		want("a", time.Minute+1200*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := p.wait(ctx, "a"); err == nil {
			t.Error("a wait outlived its context")
		}
	})
}
