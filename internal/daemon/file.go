package daemon

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/firehosed/firehosed/internal/admin"
	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/transform"
)

// File is the configuration file.
type File struct {
	// MemoryBudget bounds the memory that rows on their way take: fetched records,
	// buffers and files being written, over all pipelines. The resident memory of the
	// process stays within 150 MiB more. Unless GOMEMLIMIT is set, the garbage collector
	// is told so: a small budget costs more CPU time, not more memory. Default 256MiB,
	// at least 32MiB.
	MemoryBudget int64 `yaml:"memory_budget"`

	// ShutdownTimeout bounds how long a worker that is asked to stop commits what it
	// has read. What does not get in is read again by the next one. Default 25s,
	// which fits the 30s that container schedulers grant.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`

	// Admin is the HTTP interface for health, metrics and operators.
	Admin admin.Config `yaml:"admin"`

	// Log is what is written to standard error.
	Log telemetry.LogConfig `yaml:"log"`

	// Pipelines are what this process runs, by name. The name, of lower-case letters,
	// digits, _ and -, is the key of all durable state: a pipeline that is renamed is
	// another one.
	Pipelines map[string]Pipeline `yaml:"pipelines"`

	path string // where it was read from
}

// DefaultFile returns the defaults.
func DefaultFile() File {
	return File{MemoryBudget: 256 << 20, ShutdownTimeout: 25 * time.Second, Admin: admin.DefaultConfig(), Log: telemetry.DefaultLogConfig()}
}

// Pipeline moves the records of one source into the tables of its sinks.
type Pipeline struct {
	// Source is where records come from.
	Source Source `yaml:"source"`

	// Routes say which table a record goes to. The first that matches wins; a record
	// that none matches goes to the table <pipeline>.<topic>.
	Routes []Route `yaml:"routes"`

	// Unpack opens records that hold others, before they are routed.
	Unpack transform.UnpackConfig `yaml:"unpack"`

	// JSON says how the values of records are read. The sink s3 keeps those of the formats
	// raw and json_lines as they came.
	JSON JSON `yaml:"json"`

	// DeadLetters is the table for what cannot become rows, as it came and with the
	// reason. Default <pipeline>_dlq, in the namespace that tables without a dot have.
	DeadLetters string `yaml:"dead_letters"`

	// LetGoAfter is how long a table that cannot commit may hold up others. After
	// that its rows leave memory and are read again once it works. Default 2m, at
	// least 1s.
	LetGoAfter time.Duration `yaml:"let_go_after"`

	// MaxRows ends a delivery early once a table has that many rows that are not yet
	// committed. Default 0: no limit.
	MaxRows int64 `yaml:"max_rows"`

	// MaintenanceInterval is how often a worker looks after tables that it writes to:
	// merges manifests, expires snapshots, removes files that nothing refers to. 0: never.
	// Default 5m, at least 10s.
	MaintenanceInterval time.Duration `yaml:"maintenance_interval"`

	// Sink is where rows go.
	Sink Sink `yaml:"sink"`

	// Also are more sinks for the same records, by name. Their tables are called
	// <sink>:<table>. The pipeline's control prefix is that of Sink.
	Also map[string]Outlet `yaml:"also"`
}

// SetDefaults implements config.Defaulter.
func (p *Pipeline) SetDefaults() {
	*p = Pipeline{JSON: defaultJSON(), LetGoAfter: 2 * time.Minute, MaintenanceInterval: 5 * time.Minute}
}

// Route sends records to a table. It matches by topic, by a field of the record,
// or by both; without either it matches everything.
type Route struct {
	// Topic is the name of the topic; * stands for any characters. Default: any.
	Topic string `yaml:"topic"`

	// Field is a JSON pointer to a member of the record whose text or number names
	// the table, in place of {value} in Table. A record without it is a dead letter.
	Field string `yaml:"field"`

	// Table is the table's name, namespace first: shop.orders. {topic} stands for
	// the name of the topic, {value} for that of the field.
	Table string `yaml:"table"`

	// MaxTables bounds how many tables the values of Field may make. A value beyond is
	// a dead letter, now and after every restart. Default 100, at most 1000.
	MaxTables int `yaml:"max_tables"`
}

// JSON says how the values of records are read as JSON.
type JSON struct {
	// MaxRecordBytes is the size of the largest record that becomes rows. A larger one
	// is a dead letter without its bytes. Default 10MiB, at most 1GiB.
	MaxRecordBytes int64 `yaml:"max_record_bytes"`

	// MaxDepth is how deep objects and lists that get columns may be nested; what lies
	// deeper is kept in _fh_rescued. Default 32, at most 100.
	MaxDepth int `yaml:"max_depth"`

	// MaxNameBytes is the length of the longest column name; members with longer ones
	// are kept in _fh_rescued. Default 255.
	MaxNameBytes int64 `yaml:"max_name_bytes"`

	// MaxKeysPerRecord bounds the members of all objects of a record; one with more is
	// a dead letter. Default 100000, at least 20000.
	MaxKeysPerRecord int `yaml:"max_keys_per_record"`

	// MaxNumberBytes is the length of the longest number; a record with a longer one
	// is a dead letter. Default 64KiB, at least 64KiB.
	MaxNumberBytes int64 `yaml:"max_number_bytes"`

	// MaxColumns is how many leaf columns a table may get; values for more are kept in
	// _fh_rescued. Default 1000.
	MaxColumns int `yaml:"max_columns"`

	// Empty says what becomes of records of 0 bytes: dead_letter or skip. Default
	// dead_letter.
	Empty string `yaml:"empty"`

	// Tombstones says what becomes of records without a value: skip or dead_letter.
	// Default skip.
	Tombstones string `yaml:"tombstones"`
}

// What may become of records that are nothing.
const (
	skip       = "skip"
	deadLetter = "dead_letter"
)

func defaultJSON() JSON {
	return JSON{
		MaxRecordBytes: 10 << 20, MaxDepth: 32, MaxNameBytes: 255, MaxKeysPerRecord: 100_000, MaxNumberBytes: 64 << 10,
		MaxColumns: 1000, Empty: deadLetter, Tombstones: skip,
	}
}

// Source is the choice among sources.
type Source struct{ component }

// Choices implements config.Union.
func (*Source) Choices() []config.Choice {
	var cs []config.Choice
	for _, k := range sources() {
		cs = append(cs, config.Choice{Name: k.name, New: k.config})
	}
	return cs
}

// Sink is the choice among sinks.
type Sink struct{ component }

// Choices implements config.Union.
func (*Sink) Choices() []config.Choice {
	var cs []config.Choice
	for _, k := range sinks() {
		cs = append(cs, config.Choice{Name: k.name, New: k.config})
	}
	return cs
}

// component is the chosen kind and a pointer to its configuration.
type component struct {
	kind  string
	cfg   any
	given bool // if not in order, that was reported
}

// Chosen implements config.Union.
func (c *component) Chosen() (string, any) { return c.kind, c.cfg }

// Choose implements config.Union.
func (c *component) Choose(kind string, cfg any) { c.kind, c.cfg, c.given = kind, cfg, true }

// load reads a configuration file. The error is a config.Problems with all that is
// wrong with it, or says why it cannot be read.
func load(path string, lookup func(string) (string, bool)) (*File, *config.Document, error) {
	doc, err := config.Load(path, lookup)
	if err != nil {
		return nil, nil, &exitError{ExitUsage, err}
	}
	f := DefaultFile()
	f.path = path
	root := doc.Root()
	root.Decode(&f)
	root.Validated(f.Validate())
	return &f, doc, doc.Err()
}

// Validate returns every problem of the file that its components do not find
// themselves.
func (f *File) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.MemoryBudget < 32<<20 {
		bad("memory_budget: %s is below the minimum of 32MiB", config.FormatSize(f.MemoryBudget))
	}
	if f.ShutdownTimeout < time.Second || f.ShutdownTimeout > time.Hour {
		bad("shutdown_timeout: %s is not between 1s and 1h", config.FormatDuration(f.ShutdownTimeout))
	}
	errs = append(errs, below("admin", f.Admin.Validate()), below("log", f.Log.Validate()))
	if len(f.Pipelines) == 0 {
		bad("pipelines: none is given: a file has at least one, as in pipelines: {shop: {source: {kafka: ...}, sink: {iceberg: ...}}}")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Pipelines)) {
		if !pipeline.ValidName(name) {
			bad("pipelines.%s: a pipeline's name has 1 to 64 lower-case letters, digits, _ and -", name)
		}
		p := f.Pipelines[name]
		errs = append(errs, below("pipelines."+name, p.validate(name)))
	}
	return errors.Join(errs...)
}

// below puts a key path before every error of a join.
func below(path string, err error) error {
	var errs []error
	for _, e := range unjoin(err) {
		errs = append(errs, fmt.Errorf("%s.%w", path, e))
	}
	return errors.Join(errs...)
}

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	many, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(many.Unwrap()...).Error() { // the latter: several %w in one text
		return []error{err}
	}
	var errs []error
	for _, e := range many.Unwrap() {
		errs = append(errs, unjoin(e)...)
	}
	return errs
}

func (p *Pipeline) validate(name string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !p.Source.given {
		bad("source: is missing: write, for example, source: {kafka: {brokers: [localhost:9092], topics: [orders]}} or source: {kinesis: {streams: [orders]}}")
	}
	if !p.Sink.given {
		bad("sink: is missing: write, for example, sink: {iceberg: {warehouse: ./lake}}")
	}
	if p.DeadLetters != "" && !tableName.MatchString(p.DeadLetters) {
		bad("dead_letters: %q is no name for a table", p.DeadLetters)
	}
	if p.LetGoAfter < time.Second {
		bad("let_go_after: %s is below the minimum of 1s", config.FormatDuration(p.LetGoAfter))
	}
	if p.MaxRows < 0 {
		bad("max_rows: %d is below 0", p.MaxRows)
	}
	if p.MaintenanceInterval != 0 && p.MaintenanceInterval < 10*time.Second {
		bad("maintenance_interval: %s is below the minimum of 10s; 0 turns it off", config.FormatDuration(p.MaintenanceInterval))
	}
	for i := range p.Routes {
		errs = append(errs, below(fmt.Sprintf("routes[%d]", i), p.Routes[i].validate()))
	}
	errs = append(errs, below("json", p.JSON.validate()), below("unpack", p.Unpack.Validate()), p.validateOutlets())
	if err := errors.Join(errs...); err != nil {
		return err // what follows would follow from it
	}
	return p.validateTables(name)
}

// tableName is what a route may call a table, placeholders filled in.
var tableName = regexp.MustCompile(`^[^./:\\\s\x00-\x1f"'` + "`" + `][^/:\\\x00-\x1f"'` + "`" + `]{0,254}$`)

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

func (r *Route) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Field != "" && !strings.HasPrefix(r.Field, "/") {
		bad("field: %q is no JSON pointer: it begins with a slash, as in /event/type", r.Field)
	}
	value := false
	for _, p := range placeholder.FindAllString(r.Table, -1) {
		switch p {
		case "{value}":
			value = true
		case "{topic}":
		default:
			bad("table: %s stands for nothing: use {topic} or {value}", p)
		}
	}
	switch {
	case r.Table == "":
		bad("table: is missing")
	case !tableName.MatchString(placeholder.ReplaceAllString(r.Table, "x")):
		bad("table: %q is no name for a table", r.Table)
	case value && r.Field == "":
		bad("field: is missing: it says what {value} stands for")
	case !value && r.Field != "":
		bad(`table: %q does not use the field: write {value} where its value belongs`, r.Table)
	}
	if r.MaxTables != 0 && r.Field == "" {
		bad("max_tables: only a route with a field makes tables by itself: remove it")
	}
	if r.MaxTables < 0 || r.MaxTables > 1000 {
		bad("max_tables: %d is not between 1 and 1000", r.MaxTables)
	}
	return errors.Join(errs...)
}

func (j *JSON) validate() error {
	var errs []error
	within := func(key string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %d is not between %d and %d", key, v, low, high))
		}
	}
	within("max_record_bytes", j.MaxRecordBytes, 1, 1<<30)
	within("max_depth", int64(j.MaxDepth), 1, 100)
	within("max_name_bytes", j.MaxNameBytes, 1, 255)
	within("max_keys_per_record", int64(j.MaxKeysPerRecord), 20_000, 10_000_000)
	within("max_number_bytes", j.MaxNumberBytes, 64<<10, 16<<20)
	within("max_columns", int64(j.MaxColumns), 1, 10_000)
	for _, f := range []struct{ key, v string }{{"empty", j.Empty}, {"tombstones", j.Tombstones}} {
		if f.v != skip && f.v != deadLetter {
			errs = append(errs, fmt.Errorf("%s: %q is neither %s nor %s", f.key, f.v, skip, deadLetter))
		}
	}
	return errors.Join(errs...)
}
