package s3sink

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
)

// Config says where objects go and what they are. The zero value of a key is no default:
// start from [DefaultConfig].
type Config struct {
	// Bucket is where objects go: s3://bucket, s3://bucket/prefix, or a folder, as a path
	// or file:///path. Prefixes and names come after it. Required.
	Bucket string `yaml:"bucket"`

	// Control is where the pipeline keeps its registers and control log: a path or URI
	// that readers of the bucket do not look at. It needs conditional writes, which the
	// bucket itself does not. Default <bucket>/_firehosed/<pipeline>/.
	Control string `yaml:"control"`

	Naming  `yaml:",inline"`
	Framing `yaml:",inline"`

	// MetadataExtractionQuery gives the partition keys that the prefix uses as
	// !{partitionKeyFromQuery:name}: a query of jq, an object with a member for each, such
	// as {customer: .customer.id}. It is for raw and json_lines; of parquet the keys are
	// columns. A record without one of them is a dead letter. Firehose's parameter of its
	// processor MetadataExtraction. Default: none.
	MetadataExtractionQuery string `yaml:"metadata_extraction_query"`

	// CompressionFormat compresses objects of raw and json_lines: UNCOMPRESSED, GZIP,
	// ZIP, Snappy, HADOOP_SNAPPY or ZSTD. Firehose's CompressionFormat. Default
	// UNCOMPRESSED.
	CompressionFormat Compression `yaml:"compression_format"`

	// Codec compresses the pages of parquet: snappy, zstd, gzip, lz4 or none. Default
	// snappy, as in Firehose.
	Codec string `yaml:"codec"`

	// Delta allows the encoding DELTA_BINARY_PACKED for integers and times in parquet,
	// where it takes less than half: they get smaller and are written faster. The
	// vectorized reader of Iceberg for Spark has it since 1.10, most others for longer.
	// Default false.
	Delta bool `yaml:"delta"`

	// PageIndex adds the bounds and the places of pages to parquet, by which engines skip
	// pages. Default false.
	PageIndex bool `yaml:"page_index"`

	// Bloom has the columns of parquet that get a Bloom filter for each row group, the parts of
	// nested ones joined by dots. Tables without such a column are left as they are.
	// Default: none.
	Bloom []string `yaml:"bloom_columns"`

	// BufferSize is the size of an object at which it ends and the next one begins: bytes
	// before compression, of parquet bytes of the file. An object holds whole records and
	// may be a record larger. 1 MiB to 128 MiB. Firehose's SizeInMBs. Default 5 MiB, of
	// parquet and of prefixes with partition keys 128 MiB, and at least 64 MiB.
	BufferSize int64 `yaml:"buffer_size"`

	// BufferInterval is the longest that a record waits in an object that is not full. 0 to
	// 900s, with partition keys at least 60s; 0, Firehose's zero buffering, delivers about
	// once a second. Firehose's IntervalInSeconds. Default 300s.
	BufferInterval time.Duration `yaml:"buffer_interval"`

	// MaxPartitions bounds the objects that a table has open at a time, one for each value
	// of the prefix. When they are reached, all are delivered early. Each holds up to 4
	// parts of s3.part_size, with spill_folder those on their way, and a compressor. 1 to 5,000. Default 500.
	MaxPartitions int `yaml:"max_partitions"`

	// MaxColumns bounds the leaf columns of parquet: values that would need more are
	// rescued. Default 1000.
	MaxColumns int `yaml:"max_columns"`

	// Columns declares types of columns of parquet, by table and column: a value that does
	// not fit is rescued. What is not declared is inferred. Types are those of Iceberg, as
	// in orders: {customer_id: long, price: "decimal(9, 2)"}.
	Columns map[string]map[string]string `yaml:"columns"`

	// Glue takes the types of columns of parquet from tables of the AWS Glue Data Catalog.
	Glue GlueConfig `yaml:"glue"`

	// MaxFileAge is the age at which staged objects that could not be committed are
	// written again rather than published: clean-up jobs and lifecycle rules of the bucket
	// may have removed them. Default 12h, at most 48h.
	MaxFileAge time.Duration `yaml:"max_file_age"`

	// SpillFolder is a folder on a local disk for output below a part's size, so that many
	// open objects do not fill the memory; it takes up to max_partitions parts. Worth it on
	// S3 where the prefix has partition keys. Default: none, it is held in memory, and
	// memory ends objects while they are small.
	SpillFolder string `yaml:"spill_folder"`

	// StorageClass of objects, such as STANDARD_IA or INTELLIGENT_TIERING. Default: the
	// bucket's.
	StorageClass string `yaml:"storage_class"`

	// ACL is a canned ACL of objects, such as bucket-owner-full-control for the bucket of
	// another account. Default: none.
	ACL string `yaml:"acl"`

	// Tags of objects, at most 10.
	Tags map[string]string `yaml:"tags"`

	// S3 says how the store is reached, and how large parts are.
	S3 S3Config `yaml:"s3"`
}

// S3Config is how S3 and stores that speak its protocol are reached.
type S3Config = objstore.Config

// DefaultConfig returns the defaults. Bucket has none.
func DefaultConfig() Config {
	return Config{
		Framing: Framing{Format: FormatRaw}, CompressionFormat: Uncompressed, Codec: "snappy",
		BufferInterval: 300 * time.Second, MaxPartitions: MaxPartitions, MaxColumns: 1000, MaxFileAge: 12 * time.Hour,
	}
}

const (
	minBufferSize     = 1 << 20
	maxBufferSize     = 128 << 20
	defaultBufferSize = 5 << 20
	minColumnarSize   = 64 << 20
	maxInterval       = 900 * time.Second
	minInterval       = time.Second // of a commit
	maxMaxPartitions  = 5000
	maxTags           = 10
)

var (
	storageClass = regexp.MustCompile(`^[A-Z_]{1,32}$`)
	cannedACLs   = []string{
		"", "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control",
	}
	codecs = []string{"", "snappy", "zstd", "gzip", "lz4", "none"}
)

// Validate reports every problem at once, by key. What breaks a rule of Firehose is a
// [*RuleError].
func (c Config) Validate() error {
	errs := []error{c.Framing.Validate(), c.CompressionFormat.Validate(), c.S3.Validate(), c.checkSizes(), c.checkAttributes()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Bucket == "" {
		bad("bucket: it is required: write s3://bucket/prefix, or a folder")
	}
	names, err := NewNames(c.Naming, "stream", c.extension())
	if err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, names.CheckBuffering(c.bufferSize(), c.BufferInterval))
	}
	if c.columnar() && c.CompressionFormat != "" && c.CompressionFormat != Uncompressed {
		bad("compression_format: %q: parquet compresses its own pages: write UNCOMPRESSED, and codec", string(c.CompressionFormat))
	}
	errs = append(errs, c.Glue.validate()...)
	if !c.columnar() && len(c.Glue.Tables) > 0 {
		bad("glue: %s has no columns: write format: parquet, or remove it", cmp.Or(c.Format, FormatRaw))
	}
	if !c.columnar() && len(c.Columns) > 0 {
		bad("columns: %s has none: write format: parquet, or remove them", cmp.Or(c.Format, FormatRaw))
	}
	for _, page := range []struct {
		key string
		set bool
	}{{"delta", c.Delta}, {"page_index", c.PageIndex}, {"bloom_columns", len(c.Bloom) > 0}} {
		if page.set && !c.columnar() {
			bad("%s: %s has no pages: write format: parquet, or remove it", page.key, cmp.Or(c.Format, FormatRaw))
		}
	}
	if !slices.Contains(codecs, c.Codec) {
		bad("codec: %q: choose snappy, zstd, gzip, lz4 or none", c.Codec)
	}
	return errors.Join(errs...)
}

func (c Config) checkSizes() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.BufferSize != 0 && (c.BufferSize < minBufferSize || c.BufferSize > maxBufferSize) {
		bad("buffer_size: %d: it is outside %d (1 MiB) to %d (128 MiB)", c.BufferSize, minBufferSize, maxBufferSize)
	} else if c.columnar() && c.bufferSize() < minColumnarSize {
		errs = append(errs, &RuleError{
			Key: "buffer_size", Message: "BufferingHints.SizeInMBs must be at least 64 when data format conversion is enabled.", Fix: "write 64MiB or more",
		})
	}
	if c.BufferInterval < 0 || c.BufferInterval > maxInterval {
		bad("buffer_interval: %v: it is outside 0s to 900s", c.BufferInterval)
	}
	if c.MaxPartitions < 1 || c.MaxPartitions > maxMaxPartitions {
		bad("max_partitions: %d: it is outside 1 to %d", c.MaxPartitions, maxMaxPartitions)
	}
	if c.MaxColumns < 1 {
		bad("max_columns: %d: write 1 or more", c.MaxColumns)
	}
	if c.MaxFileAge < time.Minute || c.MaxFileAge > 48*time.Hour {
		bad("max_file_age: %v: it is outside 1m to 48h", c.MaxFileAge)
	}
	return errors.Join(errs...)
}

func (c Config) checkAttributes() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.StorageClass != "" && !storageClass.MatchString(c.StorageClass) {
		bad("storage_class: %q: write one as S3 does, such as STANDARD_IA", c.StorageClass)
	}
	if !slices.Contains(cannedACLs, c.ACL) {
		bad("acl: %q: choose a canned one, such as bucket-owner-full-control", c.ACL)
	}
	if len(c.Tags) > maxTags {
		bad("tags: there are %d: S3 takes at most %d", len(c.Tags), maxTags)
	}
	for k, v := range c.Tags {
		if k == "" || len(k) > 128 || len(v) > 256 {
			bad("tags: %q: a key has 1 to 128 bytes, a value at most 256", k)
		}
	}
	return errors.Join(errs...)
}

// ControlLocation returns where the control prefix of a pipeline is.
func (c Config) ControlLocation(pipeline string) string {
	if c.Control != "" {
		return c.Control
	}
	return strings.TrimSuffix(c.Bucket, "/") + "/_firehosed/" + pipeline
}

// CommitInterval returns how often a table is committed: BufferInterval, and at least a
// second.
func (c Config) CommitInterval() time.Duration { return max(c.BufferInterval, minInterval) }

// Pure is the part of a configuration that decides whether a record becomes part of an
// object: it has to be the same on every reading. A field may be added if its zero value
// means what was before.
type Pure struct {
	Format                  string `yaml:"format"`
	Naming                  Naming `yaml:"naming"`
	Extension               string `yaml:"extension"`     // that names have unless Naming has one
	BucketPrefix            int    `yaml:"bucket_prefix"` // bytes that come before every key
	MetadataExtractionQuery string `yaml:"metadata_extraction_query"`
}

// Pure returns that part.
func (c Config) Pure() Pure {
	return Pure{
		Format: cmp.Or(c.Format, FormatRaw), Naming: c.Naming, Extension: c.extension(), BucketPrefix: c.bucketPrefix(),
		MetadataExtractionQuery: c.MetadataExtractionQuery,
	}
}

// Columnar tells whether objects are files of columns.
func (p Pure) Columnar() bool { return p.Format == FormatParquet }

// Names returns the names of a table's objects: a decoder asks them whether an object can
// be named after partition keys.
func (p Pure) Names(table string) (*Names, error) {
	names, err := NewNames(p.Naming, table, p.Extension)
	if err == nil {
		names, err = names.below(p.BucketPrefix)
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", table, err)
	}
	return names, nil
}

// columnar tells whether objects are files of columns.
func (c Config) columnar() bool { return c.Format == FormatParquet }

// bufferSize returns BufferSize or its default.
func (c Config) bufferSize() int64 {
	if c.BufferSize != 0 {
		return c.BufferSize
	}
	if names, err := NewNames(c.Naming, "stream", ""); c.columnar() || err == nil && len(names.Keys()) > 0 {
		return maxBufferSize
	}
	return defaultBufferSize
}

// bucketPrefix returns the bytes that Bucket puts before every key.
func (c Config) bucketPrefix() int {
	_, rest, ok := strings.Cut(c.Bucket, "://")
	_, prefix, _ := strings.Cut(rest, "/")
	if prefix = strings.Trim(prefix, "/"); !ok || prefix == "" {
		return 0
	}
	return len(prefix) + 1
}

// extension returns how names end by default.
func (c Config) extension() string {
	if c.columnar() {
		return ".parquet"
	}
	return c.CompressionFormat.Extension()
}
