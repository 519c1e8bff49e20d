package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/internal/awscfg"
)

// nonceKey is the user metadata that tells a write of ours from any other: every
// write has a nonce, so that a repetition of a request whose answer was lost
// recognises its own object.
const nonceKey = "fh-write"

// ownerKey is the user metadata that says whose a staged object is.
const ownerKey = "fh"

// deleters bounds the removals under way at a time.
const deleters = 16

// S3 is a bucket of S3 or a compatible store.
type S3 struct {
	client *s3.Client
	cfg    Config
	bucket string
	prefix string // "" or "a/b/"
	where  string // region and endpoint, for errors
	parts  *freelist
}

var _ Stager = (*S3)(nil)

func openS3(ctx context.Context, location string, cfg Config) (*S3, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("location %q: %w", location, err)
	}
	_, rest, _ := strings.Cut(location, "://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if bucket == "" {
		return nil, fmt.Errorf("location %q: no bucket; want s3://bucket/prefix", location)
	}
	if prefix != "" {
		if err := checkKey(prefix); err != nil {
			return nil, fmt.Errorf("location %q: %w", location, err)
		}
		prefix += "/"
	}
	ac, err := awscfg.Load(ctx, cfg.AWS, awscfg.Options{HTTP: cfg.HTTP, Backoff: cfg.Backoff})
	if err != nil {
		return nil, fmt.Errorf("location %q: %w", location, err)
	}
	cfg = cfg.withDefaults()
	client := s3.NewFromConfig(ac, func(o *s3.Options) {
		o.UsePathStyle = cfg.PathStyle
		o.DisableLogOutputChecksumValidationSkipped = true
		// Checksums of what is sent are ours, computed once per part.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		if cfg.DisableChecksums {
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
		if cfg.ExpectedBucketOwner != "" {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Expected-Bucket-Owner", cfg.ExpectedBucketOwner))
		}
	})
	b := &S3{client: client, cfg: cfg, bucket: bucket, prefix: prefix, where: "region " + ac.Region}
	if cfg.AWS.Endpoint != "" {
		b.where += ", endpoint " + cfg.AWS.Endpoint
	}
	b.parts = newFreelist(int(cfg.PartSize), 4*(cfg.PartUploads+1))
	return b, nil
}

// As returns the same bucket as others see it: with their credentials, which are
// asked for with every request. Both share their buffers and connections.
func (b *S3) As(creds aws.CredentialsProvider) *S3 {
	other := *b
	other.client = s3.New(b.client.Options(), func(o *s3.Options) { o.Credentials = creds })
	return &other
}

// Location implements Bucket.
func (b *S3) Location(key string) string { return "s3://" + b.bucket + "/" + b.prefix + key }

// full returns the key in the S3 bucket.
func (b *S3) full(ctx context.Context, key string) (*string, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if n := len(b.prefix) + len(key); n > MaxKey {
		return nil, fmt.Errorf("object key %q: %d bytes with the prefix %q, at most %d are allowed", key, n, b.prefix, MaxKey)
	}
	return aws.String(b.prefix + key), context.Cause(ctx)
}

// Get implements Bucket.
func (b *S3) Get(ctx context.Context, key string) (data []byte, etag string, err error) {
	full, err := b.full(ctx, key)
	if err != nil {
		return nil, "", err
	}
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: full}
	err = b.repeat(ctx, func() error {
		out, err := b.client.GetObject(ctx, in)
		if err != nil {
			return permanent{b.explain("get", key, err)}
		}
		defer out.Body.Close()
		if size := aws.ToInt64(out.ContentLength); size > MaxGet {
			return permanent{tooLarge(b.Location(key), size)}
		}
		data, err = readBody(out.Body, out.ContentLength)
		etag = aws.ToString(out.ETag)
		return b.wrap("get", key, err)
	})
	if err != nil {
		return nil, "", err
	}
	return data, etag, nil
}

// readBody reads a body to its end. A store that tells no size is held to MaxGet.
func readBody(r io.Reader, size *int64) ([]byte, error) {
	if size == nil {
		data, err := io.ReadAll(io.LimitReader(r, MaxGet+1))
		if err == nil && len(data) > MaxGet {
			err = permanent{fmt.Errorf("more than %d bytes", MaxGet)}
		}
		return data, err
	}
	data := make([]byte, *size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, unexpected(err)
	}
	// The checksum is compared when the end is read.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return data, nil
}

// permanent marks an error that repeat returns at once.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// repeat calls do until it succeeds or says that repeating is no use. The SDK
// repeats requests; this is for answers that broke off or do not match their
// checksum.
func (b *S3) repeat(ctx context.Context, do func() error) error {
	for attempt := 0; ; attempt++ {
		err := do()
		var p permanent
		if errors.As(err, &p) {
			return p.error
		}
		if err == nil || attempt+1 == awscfg.Attempts || b.cfg.Backoff.Wait(ctx, attempt) != nil {
			return err
		}
	}
}

// Range implements Bucket.
func (b *S3) Range(ctx context.Context, key string, off, n int64) (data []byte, err error) {
	full, err := b.full(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := checkRange(b.Location(key), off, n); err != nil {
		return nil, err
	}
	if n == 0 {
		_, err := b.Stat(ctx, key)
		return []byte{}, err
	}
	short := fmt.Errorf("read %d bytes at %d of %s: %w", n, off, b.Location(key), io.ErrUnexpectedEOF)
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: full, Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))}
	err = b.repeat(ctx, func() error {
		out, err := b.client.GetObject(ctx, in)
		if code(err) == "InvalidRange" || status(err) == http.StatusRequestedRangeNotSatisfiable {
			return permanent{short}
		}
		if err != nil {
			return permanent{b.explain("read", key, err)}
		}
		defer out.Body.Close()
		if size := aws.ToInt64(out.ContentLength); size < n {
			return permanent{short}
		} else if size > n {
			return permanent{fmt.Errorf("read %d bytes at %d of %s: the store answers with %d bytes: it ignores ranges", n, off, b.Location(key), size)}
		}
		data, err = readBody(out.Body, &n)
		return b.wrap("read", key, err)
	})
	return data, err
}

// Stat implements Bucket.
func (b *S3) Stat(ctx context.Context, key string) (Object, error) {
	o, _, err := b.head(ctx, key)
	return o, err
}

func (b *S3) head(ctx context.Context, key string) (Object, *s3.HeadObjectOutput, error) {
	full, err := b.full(ctx, key)
	if err != nil {
		return Object{}, nil, err
	}
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: full})
	if err != nil {
		return Object{}, nil, b.explain("stat", key, err)
	}
	return Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ModTime: aws.ToTime(out.LastModified), Owner: out.Metadata[ownerKey],
	}, out, nil
}

// Put implements Bucket.
func (b *S3) Put(ctx context.Context, key string, data []byte, cond Cond) (string, error) {
	full, err := b.full(ctx, key)
	if err != nil {
		return "", err
	}
	p := put{key: key, full: full, data: data, nonce: rand.Text()}
	if cond == Always {
		out, err := b.client.PutObject(ctx, b.putInput(p, cond))
		return b.stored(p, out, err)
	}
	return b.putIf(ctx, p, cond)
}

// put is an object that goes in one request.
type put struct {
	key   string
	full  *string
	data  []byte
	nonce string
}

func (b *S3) putInput(p put, cond Cond) *s3.PutObjectInput {
	in := &s3.PutObjectInput{
		Bucket:        &b.bucket,
		Key:           p.full,
		Body:          bytes.NewReader(p.data),
		ContentLength: aws.Int64(int64(len(p.data))),
		Metadata:      map[string]string{nonceKey: p.nonce},
	}
	if !b.cfg.DisableChecksums {
		in.ChecksumCRC32C = aws.String(encodeCRC(crc32c(p.data)))
	}
	if sse := b.cfg.SSE; sse.Algorithm != "" {
		in.ServerSideEncryption = types.ServerSideEncryption(sse.Algorithm)
		in.SSEKMSKeyId, in.BucketKeyEnabled = sse.optional()
	}
	switch cond {
	case Always:
	case IfAbsent:
		in.IfNoneMatch = aws.String("*")
	default:
		in.IfMatch = aws.String(string(cond))
	}
	return in
}

// stored checks the answer to a put.
func (b *S3) stored(p put, out *s3.PutObjectOutput, err error) (string, error) {
	if err != nil {
		return "", b.explain("put", p.key, err)
	}
	if err := b.cfg.SSE.confirmed(string(out.ServerSideEncryption), out.SSEKMSKeyId); err != nil {
		return "", b.wrap("put", p.key, err)
	}
	if out.ChecksumCRC32C != nil && !b.cfg.DisableChecksums && *out.ChecksumCRC32C != encodeCRC(crc32c(p.data)) {
		return "", b.wrap("put", p.key, fmt.Errorf("the store has the CRC32C %s, sent was %s", *out.ChecksumCRC32C, encodeCRC(crc32c(p.data))))
	}
	return aws.ToString(out.ETag), nil
}

// putIf sends a conditional put. The SDK must not repeat it: after a lost answer
// the condition is broken by our own object, which looks like someone else's.
func (b *S3) putIf(ctx context.Context, p put, cond Cond) (string, error) {
	once := func(o *s3.Options) { o.Retryer = aws.NopRetryer{} }
	retryer := b.client.Options().Retryer
	unsure := false // an attempt may have been carried out
	for attempt := 0; ; attempt++ {
		out, err := b.client.PutObject(ctx, b.putInput(p, cond), once)
		if err == nil {
			return b.stored(p, out, nil)
		}
		switch {
		case status(err) == http.StatusPreconditionFailed, status(err) == http.StatusNotFound && code(err) == "NoSuchKey":
			if unsure {
				return b.resolve(ctx, p)
			}
			return "", b.wrap("put", p.key, ErrPrecondition)
		case status(err) == http.StatusConflict: // ConditionalRequestConflict: not carried out
		case !retryer.IsErrorRetryable(err):
			return "", b.explain("put", p.key, err)
		default:
			unsure = true
		}
		if attempt+1 == awscfg.Attempts || b.cfg.Backoff.Wait(ctx, attempt) != nil {
			return "", b.explain("put", p.key, err)
		}
	}
}

// resolve tells whether the object that breaks our condition is ours.
func (b *S3) resolve(ctx context.Context, p put) (string, error) {
	_, out, err := b.head(ctx, p.key)
	switch {
	case err == nil && out.Metadata[nonceKey] == p.nonce:
		return aws.ToString(out.ETag), nil
	case err == nil:
		err = errors.New("an answer was lost, and another object is there now: it is not known whether ours was there before it")
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("an answer was lost, and no object is there now: it is not known whether ours was")
	}
	return "", b.wrap("put", p.key, err)
}

// Delete implements Bucket.
func (b *S3) Delete(ctx context.Context, keys ...string) error {
	errs := make([]error, len(keys))
	var g errgroup.Group
	g.SetLimit(deleters)
	for i, key := range keys {
		g.Go(func() error {
			full, err := b.full(ctx, key)
			if err == nil {
				_, err = b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: full})
				err = b.explain("delete", key, err)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				errs[i] = err
			}
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	return errors.Join(errs...)
}

// List implements Bucket.
func (b *S3) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: aws.String(b.prefix + prefix)}
		if after != "" {
			in.StartAfter = aws.String(b.prefix + after)
		}
		for {
			if ctx.Err() != nil {
				yield(Object{}, b.wrap("list", prefix, context.Cause(ctx)))
				return
			}
			out, err := b.client.ListObjectsV2(ctx, in)
			if err != nil {
				yield(Object{}, b.explain("list", prefix, err))
				return
			}
			for _, o := range out.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), b.prefix)
				if key == "" || strings.HasSuffix(key, "/") || key <= after {
					continue // a console's folder
				}
				if !yield(Object{Key: key, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextContinuationToken) == "" {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// Now implements Bucket. It is the date of the answer to a small request.
func (b *S3) Now(ctx context.Context) (time.Time, error) {
	out, err := b.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: aws.String(b.prefix), MaxKeys: aws.Int32(1)})
	if err != nil {
		return time.Time{}, b.explain("list", "", err)
	}
	now, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok {
		return time.Time{}, b.wrap("list", "", errors.New("the store's answer has no date"))
	}
	return now, nil
}

// optional returns what is sent besides the algorithm.
func (s SSE) optional() (key *string, bucketKey *bool) {
	if s.KMSKey != "" {
		key = aws.String(s.KMSKey)
	}
	if s.BucketKey {
		bucketKey = aws.Bool(true)
	}
	return key, bucketKey
}

// confirmed compares the encryption that a store confirms with what was asked.
func (s SSE) confirmed(algorithm string, key *string) error {
	if s.Algorithm == "" {
		return nil
	}
	if algorithm != s.Algorithm {
		return fmt.Errorf("sse: asked for %s, the store confirms %q: it does not encrypt as configured, use another one or drop sse", s.Algorithm, algorithm)
	}
	want, got := s.KMSKey, aws.ToString(key)
	if want == "" || strings.HasPrefix(want, "alias/") || strings.Contains(want, ":alias/") {
		return nil // answered with the key's ARN
	}
	if got != want && !strings.HasSuffix(got, ":key/"+want) {
		return fmt.Errorf("sse: asked for key %s, the store confirms %q", want, got)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc32c(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

func encodeCRC(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}
