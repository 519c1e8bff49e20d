package objstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/internal/retry"
)

// Limits and defaults of multipart uploads.
const (
	DefaultPartSize    = 8 << 20
	DefaultPartUploads = 3
	minPartSize        = 5 << 20 // S3's own
	maxPartSize        = 512 << 20
	maxParts           = 10_000 // S3's own
)

// Config says how to reach a store. All of it is about S3 and stores that speak
// its protocol; a local folder needs none. The zero Config is good for AWS.
type Config struct {
	AWS awscfg.Config `yaml:",inline"`

	// PathStyle puts the bucket into the path (https://host/bucket/key) instead of
	// the host name. Most stores that are not AWS need it.
	PathStyle bool `yaml:"path_style"`
	// SSE is how the store encrypts what is written. Default: as the bucket says.
	SSE SSE `yaml:"sse"`
	// DisableChecksums leaves out CRC32C checksums, for stores that refuse requests
	// with them. Damage on the way is then found by TLS alone.
	DisableChecksums bool `yaml:"disable_checksums"`
	// PartSize is the size in bytes of the parts that large objects are uploaded in:
	// 5 MiB to 512 MiB. Default 8 MiB. An object has at most 10,000 parts.
	PartSize int64 `yaml:"part_size"`
	// PartUploads is how many parts of one object are on their way at a time. Each
	// object being written holds PartUploads + 1 parts in memory. Default 3.
	PartUploads int `yaml:"part_uploads"`

	// ExpectedBucketOwner is the AWS account, 12 digits, that must own the bucket:
	// requests to a bucket of another account are refused. Default: anybody's.
	ExpectedBucketOwner string `yaml:"expected_bucket_owner"`

	// HTTP is the client to use; nil: one of its own.
	HTTP aws.HTTPClient `yaml:"-"`
	// Backoff is between attempts. Default 100 ms up to 10 s.
	Backoff retry.Backoff `yaml:"-"`
}

// SSE is server-side encryption. It is demanded with every object and every
// multipart upload, and an answer that does not confirm it is an error.
type SSE struct {
	// Algorithm is AES256 (keys of S3), aws:kms or aws:kms:dsse.
	Algorithm string `yaml:"algorithm"`
	// KMSKey is the key's ARN, id or alias. Default: the account's key for S3.
	KMSKey string `yaml:"kms_key"`
	// BucketKey lets S3 ask KMS once per bucket and not per object.
	BucketKey bool `yaml:"bucket_key"`
}

// Validate returns every problem, by key.
func (c Config) Validate() error {
	errs := []error{c.AWS.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch c.SSE.Algorithm {
	case "aws:kms", "aws:kms:dsse":
	case "", "AES256":
		if c.SSE.KMSKey != "" || c.SSE.BucketKey {
			bad("sse.kms_key, sse.bucket_key: they need sse.algorithm aws:kms, not %q", c.SSE.Algorithm)
		}
	default:
		bad("sse.algorithm: %q; want AES256, aws:kms or aws:kms:dsse", c.SSE.Algorithm)
	}
	if c.PartSize != 0 && (c.PartSize < minPartSize || c.PartSize > maxPartSize) {
		bad("part_size: %d is outside %d (5 MiB) to %d (512 MiB)", c.PartSize, minPartSize, maxPartSize)
	}
	if c.PartUploads < 0 || c.PartUploads > 64 {
		bad("part_uploads: %d is outside 1 to 64", c.PartUploads)
	}
	if c.ExpectedBucketOwner != "" && !account.MatchString(c.ExpectedBucketOwner) {
		bad("expected_bucket_owner: %q; want the 12 digits of an AWS account", c.ExpectedBucketOwner)
	}
	return errors.Join(errs...)
}

var account = regexp.MustCompile(`^[0-9]{12}$`)

// Part returns PartSize or its default.
func (c Config) Part() int64 { return c.withDefaults().PartSize }

func (c Config) withDefaults() Config {
	if c.PartSize == 0 {
		c.PartSize = DefaultPartSize
	}
	if c.PartUploads == 0 {
		c.PartUploads = DefaultPartUploads
	}
	return c
}

// Open returns the bucket at a location: s3://bucket, s3://bucket/prefix (also
// s3a and s3n), file:///folder, or the path of a folder. It makes no call to the
// store.
func Open(ctx context.Context, location string, cfg Config) (Bucket, error) {
	b, err := OpenStager(ctx, location, cfg)
	if err != nil {
		return nil, err
	}
	return b, nil
}
