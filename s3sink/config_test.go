package s3sink

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	good := DefaultConfig()
	good.Bucket = "s3://lake/clicks"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	f := func(change func(c *Config), want string) {
		t.Helper()
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	f(func(c *Config) { c.Bucket = "" }, "bucket: it is required")
	f(func(c *Config) { c.Prefix = "!{x}" }, "prefix: ")
	f(func(c *Config) { c.Format = "csv" }, `format: "csv"`)
	f(func(c *Config) { c.CompressionFormat = "gzip" }, `compression_format: "gzip"`)
	f(func(c *Config) { c.Format, c.CompressionFormat = FormatParquet, Gzip }, `compression_format: "GZIP": parquet compresses its own pages`)
	f(func(c *Config) { c.Format, c.Delimiter = FormatParquet, "x" }, `delimiter: "x": remove it`)
	f(func(c *Config) { c.Format, c.BufferSize = FormatParquet, 32<<20 }, "must be at least 64 when data format conversion")
	f(func(c *Config) { c.Codec = "lzo" }, `codec: "lzo": choose`)
	f(func(c *Config) { c.Delta = true }, "delta: raw has no pages: write format: parquet")
	f(func(c *Config) { c.PageIndex = true }, "page_index: raw has no pages")
	f(func(c *Config) { c.Format, c.Bloom = FormatJSONLines, []string{"id"} }, "bloom_columns: json_lines has no pages")
	f(func(c *Config) { c.BufferSize = 1 }, "buffer_size: 1: it is outside 1048576 (1 MiB)")
	f(func(c *Config) { c.BufferSize = 129 << 20 }, "buffer_size: ")
	f(func(c *Config) { c.BufferInterval = -1 }, "buffer_interval: -1ns: it is outside 0s to 900s")
	f(func(c *Config) { c.BufferInterval = time.Hour }, "buffer_interval: 1h0m0s")
	f(func(c *Config) { c.MaxPartitions = 0 }, "max_partitions: 0: it is outside 1 to 5000")
	f(func(c *Config) { c.MaxColumns = 0 }, "max_columns: 0")
	f(func(c *Config) { c.MaxFileAge = 100 * time.Hour }, "max_file_age: 100h0m0s")
	f(func(c *Config) { c.StorageClass = "cold" }, `storage_class: "cold"`)
	f(func(c *Config) { c.ACL = "everybody" }, `acl: "everybody"`)
	f(func(c *Config) { c.Tags = map[string]string{"": "x"} }, `tags: ""`)
	f(func(c *Config) { c.S3.PartSize = 1 }, "part_size: 1")
	f(func(c *Config) {
		c.Prefix, c.ErrorOutputPrefix = "!{partitionKeyFromQuery:k}/", "x/!{firehose:error-output-type}/"
		c.BufferSize = 1 << 20
	}, "SizeInMBs must be at least 64 when Dynamic Partitioning")
	var rule *RuleError
	c := good
	c.Format, c.BufferSize = FormatParquet, 1<<20
	if err := c.Validate(); !errors.As(err, &rule) || rule.Key != "buffer_size" {
		t.Errorf("a rule of Firehose: %v", err)
	}
	if c.BufferSize = 0; c.bufferSize() != 128<<20 || good.bufferSize() != 5<<20 {
		t.Errorf("defaults are %d and %d", c.bufferSize(), good.bufferSize())
	}
}

// TestBucketPrefix: what the bucket's location puts before keys counts.
func TestBucketPrefix(t *testing.T) {
	w := partitioned(t)
	names := func(bucket string) (*Names, error) {
		w.cfg.Bucket = bucket
		return w.cfg.Pure().Names("t")
	}
	key := []string{strings.Repeat("ä", 330)} // 660 bytes
	n, err := names("s3://lake")
	if err != nil || n.CheckKeys(key) != nil {
		t.Errorf("without a prefix: %v, %v", err, n.CheckKeys(key))
	}
	n, err = names("s3://lake/" + strings.Repeat("x", 300) + "/")
	if err != nil || n.CheckKeys(key) == nil || !strings.Contains(n.CheckKeys(key).Error(), "S3 allows 723") {
		t.Errorf("with a prefix of 301 bytes: %v", err)
	}
	if _, err = names("s3://lake/" + strings.Repeat("x", 990)); err == nil || !strings.Contains(err.Error(), "after the 991 of the bucket's prefix") {
		t.Errorf("with a prefix of 991 bytes: %v", err)
	}
	if _, err = names("/a/folder/" + strings.Repeat("x/", 600)); err != nil {
		t.Errorf("a folder: %v", err)
	}
}
