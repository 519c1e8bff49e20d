package s3sink

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHiveTypes(t *testing.T) {
	for hive, want := range map[string]string{
		"string": "string", "INT": "int", "bigint": "long", "smallint": "int", "tinyint": "int", "boolean": "boolean", "float": "float", "double": "double",
		"char(3)": "string", "varchar(20)": "string", "binary": "binary", "date": "date", "timestamp": "timestamptz",
		"decimal": "decimal(10, 0)", "decimal(9,2)": "decimal(9, 2)", "decimal( 38 , 18 )": "decimal(38, 18)", "decimal(5)": "decimal(5, 0)",
		"array<string>":                             "list<string>",
		"map<string,bigint>":                        "map<string, long>",
		"struct<a:int,b:array<struct<c:string>>>":   "struct<a: int, b: list<struct<c: string>>>",
		"struct<`odd name`:int, int : string>":      `struct<"odd name": int, int: string>`,
		" array < map < string , decimal(4,1) > > ": "list<map<string, decimal(4, 1)>>",
	} {
		if got, err := hiveType(hive); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %s", hive, got, err, want)
		}
	}
	for hive, want := range map[string]string{
		"": "no type at", "set<string>": "set is not supported", "uniontype<int,string>": "uniontype is not supported", "array<string": `no ">"`, "array": `no "<"`,
		"map<string>": `no ","`, "struct<a>": "no field at", "struct<>": "no field at", "int int": "unexpected", "decimal(99,2)": "decimal", "decimal(9,2": "unexpected",
		"struct<a:int,a:int>": "twice", strings.Repeat("array<", 200) + "int" + strings.Repeat(">", 200): "no type at",
	} {
		if got, err := hiveType(hive); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s is %q, %v, want %s", hive, got, err, want)
		}
	}
}

// TestGlueColumns asks a catalog that speaks Glue's protocol.
func TestGlueColumns(t *testing.T) {
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ CatalogID, DatabaseName, Name string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "AWSGlue.GetTable" || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/glue/") {
			t.Errorf("request %v, %v", r.Header, err)
		}
		asked = append(asked, in.CatalogID+" "+in.DatabaseName+"."+in.Name)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		refuse := func(code, message string) {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "Message": message})
		}
		switch in.Name {
		case "orders":
			_, _ = w.Write([]byte(`{"Table":{"Name":"orders","StorageDescriptor":{"Columns":[{"Name":"id","Type":"bigint"},{"Name":"price","Type":"uniontype<double>"},
				{"Name":"items","Type":"array<struct<sku:string,n:int>>"}]},"PartitionKeys":[{"Name":"day","Type":"string"}]}}`))
		case "odd":
			_, _ = w.Write([]byte(`{"Table":{"Name":"odd","StorageDescriptor":{"Columns":[{"Name":"u","Type":"uniontype<int>"}]}}}`))
		case "view":
			_, _ = w.Write([]byte(`{"Table":{"Name":"view"}}`))
		case "secret":
			refuse("AccessDeniedException", "not authorized to perform: glue:GetTable")
		default:
			refuse("EntityNotFoundException", "Entity Not Found")
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	config := func(tables map[string]string) *Config {
		c := DefaultConfig()
		c.Bucket, c.Format = "s3://b", FormatParquet
		c.Columns = map[string]map[string]string{"shop.orders": {"price": "decimal(9, 2)", "extra": "string"}, "other": {"a": "long"}}
		c.Glue = GlueConfig{Region: "eu-west-1", Endpoint: srv.URL, CatalogID: "123456789012", Tables: tables}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		return &c
	}
	c := config(map[string]string{"shop.orders": "sales.orders"})
	declared := c.Columns
	if err := c.LookUpColumns(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]map[string]string{
		"shop.orders": {"id": "long", "price": "decimal(9, 2)", "items": "list<struct<sku: string, n: int>>", "extra": "string"}, "other": {"a": "long"},
	}, c.Columns); d != "" {
		t.Errorf("columns: %s", d)
	}
	if len(declared["shop.orders"]) != 2 || len(asked) != 1 || asked[0] != "123456789012 sales.orders" {
		t.Errorf("declared %v, asked for %v", declared, asked)
	}
	for table, want := range map[string]string{
		"sales.none": "the catalog has no table sales.none: create it", "sales.secret": "takes the permission glue:GetTable",
		"sales.odd": "column u of table sales.odd: type \"uniontype<int>\"", "sales.view": "table sales.view has no columns",
	} {
		if err := config(map[string]string{"t": table}).LookUpColumns(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "columns of table t: ") {
			t.Errorf("%s: %v, want %s", table, err, want)
		}
	}
}

func TestGlueConfig(t *testing.T) {
	f := func(format string, g GlueConfig, want string) {
		t.Helper()
		c := DefaultConfig()
		c.Bucket, c.Format, c.Glue = "s3://b", format, g
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", g, err, want)
		}
	}
	f(FormatParquet, GlueConfig{Region: "eu-west-1"}, "glue.tables: none is named")
	f(FormatParquet, GlueConfig{Tables: map[string]string{"t": "orders"}}, `glue.tables.t: "orders" is not database.table`)
	f(FormatParquet, GlueConfig{Endpoint: "glue.example", Tables: map[string]string{"t": "a.b"}}, "glue.endpoint: ")
	f(FormatJSONLines, GlueConfig{Tables: map[string]string{"t": "a.b"}}, "glue: json_lines has no columns: write format: parquet")
}
