package objstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Staging is a multipart upload that is not completed, however small its object.
type s3Staging struct {
	*s3Writer
	finished bool
}

// Stage implements Stager.
func (b *S3) Stage(ctx context.Context, key string, a Attributes) (Staging, error) {
	if err := checkOwner(a.Owner); err != nil {
		return nil, err
	}
	w, err := b.create(ctx, key)
	if err != nil {
		return nil, err
	}
	a.Tags = maps.Clone(a.Tags)
	w.staged = &a
	return &s3Staging{s3Writer: w}, nil
}

// Held implements Staging.
func (s *s3Staging) Held() int64 { return int64(cap(s.buf)) + s.sent.Load() }

// Finish implements Staging.
func (s *s3Staging) Finish(ctx context.Context) (Upload, error) {
	w := s.s3Writer
	if w.ended {
		return Upload{}, w.b.wrap("upload", w.put.key, fs.ErrClosed)
	}
	defer context.AfterFunc(ctx, w.stop)()
	if len(w.buf) > 0 || w.size == 0 { // an upload has at least one part, which may be empty
		if err := w.flush(); err != nil {
			return Upload{}, err
		}
	}
	w.wg.Wait()
	if err := w.failed(); err != nil {
		return Upload{}, err
	}
	w.end()
	s.finished = true
	return Upload{Key: w.put.key, ID: w.id, Parts: w.mu.parts, Owner: w.staged.Owner}, nil
}

// Abort implements Staging.
func (s *s3Staging) Abort(ctx context.Context) error {
	if s.finished {
		s.finished, s.ended = false, false
	}
	return s.s3Writer.Abort(ctx)
}

// apply asks for the attributes.
func (a *Attributes) apply(in *s3.CreateMultipartUploadInput) {
	in.Metadata = map[string]string{ownerKey: a.Owner}
	in.StorageClass, in.ACL = types.StorageClass(a.StorageClass), types.ObjectCannedACL(a.ACL)
	if a.ContentType != "" {
		in.ContentType = aws.String(a.ContentType)
	}
	if a.ContentEncoding != "" {
		in.ContentEncoding = aws.String(a.ContentEncoding)
	}
	if len(a.Tags) > 0 {
		tags := url.Values{}
		for k, v := range a.Tags {
			tags.Set(k, v)
		}
		in.Tagging = aws.String(tags.Encode())
	}
}

// Complete implements Stager.
func (b *S3) Complete(ctx context.Context, u Upload) error {
	return b.complete(ctx, u, func(o *s3.HeadObjectOutput) bool { return o.Metadata[ownerKey] == u.Owner })
}

// complete publishes parts. A repetition after a lost answer finds no upload, but an
// object that is ours.
func (b *S3) complete(ctx context.Context, u Upload, ours func(*s3.HeadObjectOutput) bool) error {
	full, err := b.full(ctx, u.Key)
	if err != nil {
		return err
	}
	parts := make([]types.CompletedPart, len(u.Parts))
	for i := range u.Parts {
		parts[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: &u.Parts[i].ETag}
		if sum := &u.Parts[i].CRC32C; *sum != "" {
			parts[i].ChecksumCRC32C = sum
		}
	}
	out, err := b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b.bucket, Key: full, UploadId: &u.ID, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if code(err) == "NoSuchUpload" {
		return b.wrap("upload", u.Key, b.thereAs(ctx, u, ours))
	}
	if err != nil {
		return b.explain("upload", u.Key, err)
	}
	if got := aws.ToString(out.ChecksumCRC32C); strings.Contains(got, "-") && !b.cfg.DisableChecksums {
		if want := checksum(u.Parts); want != "" && got != want {
			return b.wrap("upload", u.Key, fmt.Errorf("the store has the CRC32C %s, sent was %s", got, want))
		}
	}
	return nil
}

// thereAs says whether the object of an upload that is gone is there, and ours.
func (b *S3) thereAs(ctx context.Context, u Upload, ours func(*s3.HeadObjectOutput) bool) error {
	o, head, err := b.head(ctx, u.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrUploadGone
	case err != nil:
		return fmt.Errorf("the upload is gone: %w", err)
	case !ours(head) || o.Size != u.Size():
		return fmt.Errorf("%w: another object has its key, of %d bytes and owner %q", ErrUploadGone, o.Size, o.Owner)
	}
	return nil
}

// checksum returns the checksum of the parts' checksums, as S3 gives it; "": a part
// has none.
func checksum(parts []Part) string {
	var all []byte
	for _, p := range parts {
		sum, err := base64.StdEncoding.DecodeString(p.CRC32C)
		if err != nil || len(sum) == 0 {
			return ""
		}
		all = append(all, sum...)
	}
	return fmt.Sprintf("%s-%d", encodeCRC(crc32c(all)), len(parts))
}

// AbortUpload implements Stager.
func (b *S3) AbortUpload(ctx context.Context, key, id string) error {
	full, err := b.full(ctx, key)
	if err != nil {
		return err
	}
	_, err = b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: full, UploadId: &id})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return b.explain("abort", key, err)
}

// Uploads implements Stager.
func (b *S3) Uploads(ctx context.Context, prefix string) iter.Seq2[Pending, error] {
	return func(yield func(Pending, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &b.bucket, Prefix: aws.String(b.prefix + prefix)}
		for {
			out, err := b.client.ListMultipartUploads(ctx, in)
			if err != nil {
				yield(Pending{}, b.explain("sweep", prefix, err))
				return
			}
			for _, u := range out.Uploads {
				key := strings.TrimPrefix(aws.ToString(u.Key), b.prefix)
				if !yield(Pending{Key: key, ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) || out.NextKeyMarker == nil {
				return
			}
			in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
		}
	}
}

// Sweep implements Bucket: it aborts multipart uploads.
func (b *S3) Sweep(ctx context.Context, prefix string, before time.Time) (n int, err error) {
	for u, err := range b.Uploads(ctx, prefix) {
		if err != nil {
			return n, err
		}
		if u.Begun.IsZero() || !u.Begun.Before(before) {
			continue
		}
		if err := b.AbortUpload(ctx, u.Key, u.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
