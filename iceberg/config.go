package iceberg

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/schema"
)

// Config says where tables live and how they are written. The zero value of a
// key is no default: start from [DefaultConfig].
type Config struct {
	// Warehouse is the folder or object-store prefix that new tables are created
	// under: a path, file:///path or s3://bucket/prefix. Required, except with a REST
	// catalog, which without it places the tables itself.
	Warehouse string `yaml:"warehouse"`

	// Control is where the pipeline keeps its control log: a path or URI that no
	// table's location contains. Default <warehouse>/_firehosed/<pipeline>/. Required
	// where a REST catalog places the tables, unless the name that it has for the
	// warehouse is itself such a URI.
	Control string `yaml:"control"`

	// Catalog is the Iceberg catalog. Default: SQLite in catalog.db in the
	// warehouse, where that is a local folder.
	Catalog CatalogConfig `yaml:"catalog"`

	// Namespace holds tables whose names have no dot. A table a.b.c is table c of
	// namespace a.b. Default "default".
	Namespace string `yaml:"namespace"`

	// Mode is what becomes of records in tables: append, a row for each, is the only one
	// so far. Change data capture, where records update and delete rows, is refused until
	// it is built. Default append.
	Mode string `yaml:"mode"`

	// CommitInterval is how long rows wait for a commit when no limit is reached
	// before. It bounds how old the newest visible row is, and sets the rate at
	// which snapshots are made. Default 60s, at least 1s.
	CommitInterval time.Duration `yaml:"commit_interval"`

	// TargetFileSize is the size of a data file, in bytes of Parquet, at which the
	// next one is begun. Default 128MiB, at least 1MiB.
	TargetFileSize int64 `yaml:"target_file_size"`

	// MaxFileAge is the age at which a data file that could not be committed is
	// written again rather than published: clean-up jobs of others may have removed
	// it. Default 12h, at most 48h.
	MaxFileAge time.Duration `yaml:"max_file_age"`

	// MaxColumns bounds the leaf columns of a table: values that would need more are
	// rescued. Default 1000.
	MaxColumns int `yaml:"max_columns"`

	// OpenFiles bounds the data files being written at once by one table, each of
	// which holds encoder buffers. More partition values than that make the
	// delivery commit early. Default 256.
	OpenFiles int `yaml:"open_files"`

	// Codec compresses data files: zstd, snappy, gzip, lz4 or none. Default zstd.
	Codec string `yaml:"codec"`

	// Delta allows the encoding DELTA_BINARY_PACKED for integers and times in data files,
	// where it takes less than half: they get smaller and are written faster. The
	// vectorized reader of Iceberg for Spark has it since 1.10, most others for longer.
	// Default false.
	Delta bool `yaml:"delta"`

	// PageIndex adds the bounds and the places of pages, by which engines skip
	// pages. Default false.
	PageIndex bool `yaml:"page_index"`

	// Bloom has the columns that get a Bloom filter for each row group, the parts of
	// nested ones joined by dots. Tables without such a column are left as they are.
	// Default: none.
	Bloom []string `yaml:"bloom_columns"`

	// Level is the zstd or gzip level, 1 to 9. Default 1, the fastest.
	Level int `yaml:"level"`

	// FormatVersion of tables that are created: 2 or 3. Default 2, which every
	// engine reads.
	FormatVersion int `yaml:"format_version"`

	// KeepSnapshots is how many snapshots of a table that firehosed created stay
	// when maintenance expires old ones. 0: none are expired. Default 500, at least 10.
	KeepSnapshots int `yaml:"keep_snapshots"`

	// KeepMetadata is how many metadata.json files of a table stay. 0: all. Default
	// 100, at least 10.
	KeepMetadata int `yaml:"keep_metadata"`

	// CommitsPerSecond bounds the commits to one table. Default 1. 0: no bound.
	CommitsPerSecond float64 `yaml:"commits_per_second"`

	// CatalogPerSecond bounds the commits of this sink to the catalog. Default 5. 0:
	// no bound.
	CatalogPerSecond float64 `yaml:"catalog_commits_per_second"`

	// S3 says how object stores are reached. Without keys and without a role, tables
	// that a REST catalog hands out credentials for are reached with these, and
	// everything else with those that every AWS tool finds.
	S3 S3Config `yaml:"s3"`

	// Tables has what is special about a table, by its name in the pipeline.
	Tables map[string]TableConfig `yaml:"tables"`
}

// S3Config is how S3 and stores that speak its protocol are reached.
type S3Config = objstore.Config

// TableConfig is what is special about one table.
type TableConfig struct {
	// Mode overrides the sink's for this table. Default: the sink's.
	Mode string `yaml:"mode"`

	// PartitionBy lists partition fields of a table that is created: a column, or a
	// transform of one: day(ts), hour(ts), month(ts), year(ts), bucket(16, id),
	// truncate(8, name), identity(column), void(column). The column has to be declared
	// under Columns, or be one that firehosed writes. Default: not partitioned.
	PartitionBy []string `yaml:"partition_by"`

	// SortBy lists columns, each with an optional "desc", that rows are sorted by
	// within a row group, and within a file that has one. It is the sort order of a
	// table that firehosed created, from when the table has the columns. Default: the
	// table's own sort order, else the order of the source.
	SortBy []string `yaml:"sort_by"`

	// Columns declares types by column name, in Iceberg's words: long, string,
	// timestamptz, decimal(12, 2), list<string>, struct<a: long, b: string>.
	Columns map[string]string `yaml:"columns"`

	// SharedTable allows two pipelines to write the same stream into the table.
	// Every row then comes twice. Default false.
	SharedTable bool `yaml:"shared_table"`

	// FormatVersion overrides the sink's for this table.
	FormatVersion int `yaml:"format_version"`

	// Location overrides where the table is created.
	Location string `yaml:"location"`
}

// CatalogConfig chooses one catalog.
type CatalogConfig struct {
	SQLite   *SQLiteConfig   `yaml:"sqlite"`
	Postgres *PostgresConfig `yaml:"postgres"`
	REST     *RESTConfig     `yaml:"rest"`
	Glue     *GlueConfig     `yaml:"glue"`
}

// SQLiteConfig is a catalog in a local file, for the processes of one machine.
type SQLiteConfig struct {
	Path string `yaml:"path"` // of the database. Default catalog.db in the warehouse
}

// PostgresConfig is a catalog in a PostgreSQL database.
type PostgresConfig struct {
	DSN string `yaml:"dsn" secret:"true"` // as libpq takes it: postgres://user:password@host/db
}

// RESTConfig is a catalog behind the Iceberg REST protocol: Polaris, Lakekeeper,
// Unity, S3 Tables, Glue's REST endpoint, ...
type RESTConfig struct {
	// URI is the base of the catalog's paths, without /v1. Required.
	URI string `yaml:"uri"`

	// Warehouse is the catalog's own name for the warehouse; of S3 Tables the ARN of
	// the table bucket. Default: the catalog's only one.
	Warehouse string `yaml:"warehouse"`

	// Credential is an OAuth2 client, as "id:secret", that tokens are asked for with.
	Credential string `yaml:"credential" secret:"true"`

	// Token is a bearer token that is sent as it is.
	Token string `yaml:"token" secret:"true"`

	// OAuthServer is the URL that tokens are asked for at. Default
	// <uri>/v1/oauth/tokens.
	OAuthServer string `yaml:"oauth2_server_uri"`

	// Scope is what the tokens that are asked for shall be good for. Default "catalog".
	Scope string `yaml:"scope"`

	// SigV4 signs requests with AWS credentials, which are found as every AWS tool
	// finds them.
	SigV4 *SigV4Config `yaml:"sigv4"`
}

// SigV4Config signs requests as AWS services want them.
type SigV4Config struct {
	// Region is the AWS region of the catalog, such as eu-central-1. Required.
	Region string `yaml:"region"`

	// Service is what requests are signed for: glue or s3tables; execute-api where a
	// catalog of one's own is behind Amazon API Gateway. Required.
	Service string `yaml:"service"`
}

// GlueConfig is the AWS Glue Data Catalog.
type GlueConfig struct {
	Region    string `yaml:"region"`     // default: from the environment
	Endpoint  string `yaml:"endpoint"`   // URL of another endpoint
	CatalogID string `yaml:"catalog_id"` // AWS account id. Default: the caller's
}

// DefaultConfig returns the defaults. Warehouse has none.
func DefaultConfig() Config {
	return Config{
		Namespace: "default", Mode: modeAppend, CommitInterval: time.Minute, TargetFileSize: 128 << 20, MaxFileAge: 12 * time.Hour,
		MaxColumns: schema.DefaultMaxColumns, OpenFiles: 256, Codec: "zstd", Level: 1, FormatVersion: 2, KeepSnapshots: 500, KeepMetadata: 100,
		CommitsPerSecond: 1, CatalogPerSecond: 5,
	}
}

// signedServices are the AWS services that a REST catalog may be behind.
var signedServices = []string{"glue", "s3tables", "execute-api"}

// tableName is what a pipeline may call a table: dots separate namespaces. A colon ends
// the name of a sink, see [pipeline.SplitTable].
var tableName = regexp.MustCompile(`^[^./:\\\s\x00-\x1f"'` + "`" + `][^/:\\\x00-\x1f"'` + "`" + `]{0,254}$`)

// Validate reports every problem at once, by key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, c.validatePlaces())
	if c.Namespace == "" {
		bad("namespace: is empty: name the namespace of tables without a dot, for example default")
	}
	errs = append(errs, checkMode(c.Mode))
	within(&errs, "commit_interval", c.CommitInterval, time.Second, 24*time.Hour)
	within(&errs, "target_file_size", c.TargetFileSize, 1<<20, 4<<30)
	within(&errs, "max_file_age", c.MaxFileAge, time.Minute, 48*time.Hour)
	within(&errs, "max_columns", c.MaxColumns, 10, 10_000)
	within(&errs, "open_files", c.OpenFiles, 1, 10_000)
	if !slices.Contains([]string{"zstd", "snappy", "gzip", "lz4", "none"}, c.Codec) {
		bad("codec: %q is not one of zstd, snappy, gzip, lz4, none", c.Codec)
	}
	within(&errs, "level", c.Level, 1, 9)
	within(&errs, "format_version", c.FormatVersion, 2, 3)
	if c.KeepSnapshots != 0 {
		within(&errs, "keep_snapshots", c.KeepSnapshots, 10, 100_000)
	}
	if c.KeepMetadata != 0 {
		within(&errs, "keep_metadata", c.KeepMetadata, 10, 100_000)
	}
	within(&errs, "commits_per_second", c.CommitsPerSecond, 0, 100)
	within(&errs, "catalog_commits_per_second", c.CatalogPerSecond, 0, 1000)
	if err := c.S3.Validate(); err != nil {
		bad("s3: %w", err)
	}
	errs = append(errs, c.Catalog.validate(c.Warehouse, c.Namespace))
	for _, name := range slices.Sorted(maps.Keys(c.Tables)) {
		if !tableName.MatchString(name) {
			bad("tables.%s: is no name for a table: use letters, digits, _ and -, and a dot after a namespace", name)
		}
		if err := c.Tables[name].validate(); err != nil {
			bad("tables.%s.%w", name, err)
		}
	}
	return errors.Join(errs...)
}

// validatePlaces checks where tables and the control log go.
func (c Config) validatePlaces() error {
	var errs []error
	for _, at := range []struct{ key, location string }{{"warehouse", c.Warehouse}, {"control", c.Control}} {
		if _, err := isLocal(at.location); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at.key, err))
		}
	}
	if err := nameable(c.Warehouse); err != nil {
		errs = append(errs, fmt.Errorf("warehouse: %w", err))
	}
	switch {
	case c.Warehouse == "" && c.Catalog.REST == nil:
		errs = append(errs, errors.New("warehouse: is required: a folder, or s3://bucket/prefix"))
	case c.Control == "" && c.home() == "" && c.Catalog.REST != nil:
		errs = append(errs, errors.New("control: is required where the catalog places the tables: a prefix of this pipeline's own, for example s3://bucket/_firehosed/"))
	}
	return errors.Join(errs...)
}

func within[T int | int64 | float64 | time.Duration](errs *[]error, key string, v, low, high T) {
	if v < low || v > high {
		*errs = append(*errs, fmt.Errorf("%s: %v is not between %v and %v", key, v, low, high))
	}
}

func (c CatalogConfig) validate(warehouse, namespace string) error {
	local, _ := isLocal(warehouse)
	n := 0
	for _, set := range []bool{c.SQLite != nil, c.Postgres != nil, c.REST != nil, c.Glue != nil} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("catalog: names more than one of sqlite, postgres, rest, glue: keep one")
	case n == 0 && !local, c.SQLite != nil && c.SQLite.Path == "" && !local:
		return errors.New("catalog: is required for a warehouse in an object store: write rest, glue or postgres, or sqlite with a path")
	case c.Postgres != nil && c.Postgres.DSN == "":
		return errors.New("catalog.postgres.dsn: is required, for example postgres://user@host/db")
	case c.REST != nil:
		return c.REST.validate()
	case c.Glue != nil && strings.Contains(namespace, "."):
		return fmt.Errorf("namespace: %q has levels, and a database of Glue has none: use a name without a dot", namespace)
	case c.Glue != nil && c.Glue.Endpoint != "" && !isURL(c.Glue.Endpoint):
		return fmt.Errorf("catalog.glue.endpoint: %q is not an http or https URL", c.Glue.Endpoint)
	}
	return nil
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

func (c *RESTConfig) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("catalog.rest."+format, args...)) }
	if !isURL(c.URI) {
		bad("uri: %q is not an http or https URL", c.URI)
	}
	if c.Token != "" && c.Credential != "" {
		bad("token: is set beside credential: keep one")
	}
	if c.OAuthServer != "" && !isURL(c.OAuthServer) {
		bad("oauth2_server_uri: %q is not an http or https URL", c.OAuthServer)
	}
	if c.Credential == "" {
		if c.OAuthServer != "" {
			bad("oauth2_server_uri: is of no use without credential: add that, or remove this")
		}
		if c.Scope != "" {
			bad("scope: is of no use without credential: add that, or remove this")
		}
	}
	if c.SigV4 == nil {
		return errors.Join(errs...)
	}
	if c.Token != "" || c.Credential != "" {
		bad("sigv4: is set beside token or credential: keep one")
	}
	if c.SigV4.Region == "" {
		bad("sigv4.region: is required: the AWS region of the catalog, for example eu-central-1")
	}
	if !slices.Contains(signedServices, c.SigV4.Service) {
		bad("sigv4.service: %q is not one of %s", c.SigV4.Service, strings.Join(signedServices, ", "))
	}
	return errors.Join(errs...)
}

const modeAppend = "append"

func checkMode(mode string) error {
	switch strings.ToLower(mode) {
	case modeAppend, "":
		return nil
	case "cdc", "upsert", "merge", "delete":
		return fmt.Errorf("mode: %q: change data capture is not built yet: every record becomes a row; write append, or leave the key out", mode)
	}
	return fmt.Errorf("mode: %q is not append, the only mode so far", mode)
}

func (c TableConfig) validate() error {
	if err := checkMode(c.Mode); err != nil {
		return err
	}
	if c.FormatVersion != 0 && c.FormatVersion != 2 && c.FormatVersion != 3 {
		return fmt.Errorf("format_version: %d is not 2 or 3", c.FormatVersion)
	}
	for i, text := range c.PartitionBy {
		if _, err := parseTransform(text); err != nil {
			return fmt.Errorf("partition_by[%d]: %w", i, err)
		}
	}
	for i, text := range c.SortBy {
		if _, _, err := parseSort(text); err != nil {
			return fmt.Errorf("sort_by[%d]: %w", i, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Columns)) {
		if isReserved(name) {
			return fmt.Errorf("columns.%s: names that begin with %s belong to firehosed", name, "_fh_")
		}
		if _, err := schema.ParseType(c.Columns[name]); err != nil {
			return fmt.Errorf("columns.%s: %w", name, err)
		}
	}
	if c.Location != "" {
		if _, err := isLocal(c.Location); err != nil {
			return fmt.Errorf("location: %w", err)
		}
		if err := nameable(c.Location); err != nil {
			return fmt.Errorf("location: %w", err)
		}
	}
	return nil
}

// nameable refuses a location that metadata cannot name: it is written there as a URI,
// and readers do not agree on what escapes mean.
func nameable(location string) error {
	if i := strings.IndexAny(location, "#?%"); i >= 0 {
		return fmt.Errorf("%q has a %q, which the metadata of tables cannot name: choose another place", location, location[i])
	}
	return nil
}

// isLocal reports whether a location is a folder, or says what else is wrong with it.
func isLocal(location string) (bool, error) {
	scheme, rest, ok := strings.Cut(location, "://")
	switch {
	case !ok:
		return true, nil
	case scheme == "file":
		if !filepath.IsAbs(rest) {
			return false, fmt.Errorf("%q is no absolute file URI: write file:///path", location)
		}
		return true, nil
	case scheme == "s3" || scheme == "s3a" || scheme == "s3n":
		return false, nil
	}
	return false, fmt.Errorf("%q: the scheme %s is not supported: use a folder or s3://bucket/prefix", location, scheme)
}

// ControlLocation returns where the pipeline's control prefix is.
func (c Config) ControlLocation(pipeline string) string {
	if c.Control != "" {
		return c.Control
	}
	return strings.TrimSuffix(c.home(), "/") + "/_firehosed/" + pipeline
}

// home returns the location that the tables are known to be under, "" where the
// catalog alone knows.
func (c Config) home() string {
	if c.Warehouse != "" || c.Catalog.REST == nil {
		return c.Warehouse
	}
	name := c.Catalog.REST.Warehouse
	if _, err := isLocal(name); err != nil || !strings.Contains(name, "://") {
		return "" // a name, not a place
	}
	return name
}
