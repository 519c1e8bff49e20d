package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// ErrUploadGone is returned by Complete when the upload does not exist any more and
// its object is not there either: it was given up, its parts were removed by a rule
// of the bucket, or the object was completed and then taken away.
var ErrUploadGone = errors.New("the upload is gone, and its object is not there")

// maxOwner bounds Attributes.Owner: S3 keeps 2 KiB of user metadata with an object.
const maxOwner = 1024

// Attributes are what a staged object is stored with. A local folder keeps none of
// them.
type Attributes struct {
	// Owner says whose object it is: printable ASCII, at most 1,024 bytes, one that no
	// other object has. S3 keeps it as the user metadata fh.
	Owner string

	ContentType     string            // "": the store's default
	ContentEncoding string            // "": none
	StorageClass    string            // such as STANDARD_IA; "": the store's default
	ACL             string            // a canned one, such as bucket-owner-full-control; "": none
	Tags            map[string]string // at most 10 on S3
}

// Part is a part of a staged object that the store has acknowledged.
type Part struct {
	ETag   string `json:"etag,omitempty"`
	CRC32C string `json:"crc32c,omitempty"` // base64, as S3 has it; "": checksums are off
	Size   int64  `json:"size"`
}

// Upload is a staged object: all that anybody needs to complete it.
type Upload struct {
	Key   string `json:"key"`
	ID    string `json:"upload"`
	Parts []Part `json:"parts"`
	Owner string `json:"-"` // as in Attributes
}

// Size returns the size of the object in bytes.
func (u *Upload) Size() (n int64) {
	for i := range u.Parts {
		n += u.Parts[i].Size
	}
	return n
}

// Pending is an upload that was begun, and neither completed nor given up.
type Pending struct {
	Key   string
	ID    string
	Begun time.Time // by the store's clock
}

// Stager is a bucket whose objects can be staged: their bytes are in the store,
// durable and seen by nobody, until somebody completes them. That may be another
// process than the one that staged them, and it may be tried by many at a time.
type Stager interface {
	Bucket

	// Stage starts an object that is staged piece by piece. The key must be one that
	// is used for this object alone. It makes no call. ctx holds for the staging's
	// whole life.
	Stage(ctx context.Context, key string, a Attributes) (Staging, error)
	// Complete makes a staged object visible, whole. Doing it again is no error, also
	// when the first answer was lost: if the upload is gone and the object is there
	// with our owner and size, it is done. ErrUploadGone: neither is there. After any
	// other error it may have been done, or be done later: try again.
	Complete(ctx context.Context, u Upload) error
	// AbortUpload gives a staged object up: it can never be completed any more. It is no
	// error if the upload is not there.
	AbortUpload(ctx context.Context, key, id string) error
	// Uploads yields what was begun under keys with prefix and is neither completed
	// nor given up, in no order. It stops after yielding an error.
	Uploads(ctx context.Context, prefix string) iter.Seq2[Pending, error]
}

// Staging is an object being staged. One goroutine uses it. It must be ended by
// Finish or Abort; after an error of Write or Finish it is good for Abort only.
type Staging interface {
	// Write does not keep p. It blocks while the parts on their way are at their limit. A
	// part that is full is sent at once.
	io.Writer
	// Held returns the bytes in memory: what is not acknowledged by the store.
	Held() int64
	// Finish returns when all bytes are durable and the store has compared them with
	// their checksums. An object of no bytes can be staged too.
	Finish(ctx context.Context) (Upload, error)
	// Abort gives the object up, also after Finish: nothing of it stays.
	Abort(ctx context.Context) error
}

// OpenStager is Open for those who stage objects.
func OpenStager(ctx context.Context, location string, cfg Config) (Stager, error) {
	switch scheme, _, ok := strings.Cut(location, "://"); {
	case ok && (scheme == "s3" || scheme == "s3a" || scheme == "s3n"):
		b, err := openS3(ctx, location, cfg)
		if err != nil {
			return nil, err
		}
		return b, nil
	case ok && scheme != "file":
		return nil, fmt.Errorf("location %q: want s3://bucket/prefix, file:///folder or the path of a folder", location)
	}
	b, err := OpenLocal(location)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func checkOwner(owner string) error {
	if owner == "" || len(owner) > maxOwner || strings.ContainsFunc(owner, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("owner of a staged object %q: it has 1 to %d bytes of printable ASCII", owner, maxOwner)
	}
	return nil
}
