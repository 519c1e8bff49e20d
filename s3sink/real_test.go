package s3sink

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
	"github.com/firehosed/firehosed/internal/retry"
	"github.com/firehosed/firehosed/pipeline"
)

// TestCommitCancelled: a commit that is given up after its swap is on the chain. Nothing
// of it is given up, and the next to ask publishes it.
func TestCommitCancelled(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	d := k.staged(p0, -1, 3)
	ctx, cancel := context.WithCancel(t.Context())
	k.bucket.SetFaults(func(c objstore.Call) objstore.Outcome {
		if c.Op == "complete" {
			cancel()
			return objstore.Fail
		}
		return objstore.Pass
	})
	if err := d.Commit(ctx, k.st, []pipeline.Claim{claimOf(p0, -1, 3)}, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v", err)
	}
	if r := w.register(); len(r.Pending) != 1 || w.uploads() != 1 {
		t.Fatalf("register %+v, %d uploads", r, w.uploads())
	}
	if at, err := w.worker().mark(p0); at != 3 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
}

// TestS3 commits to a server that speaks S3's protocol and fails in passing, in every
// operation and way.
func TestS3(t *testing.T) {
	passing := map[string]objstoretest.Fault{
		"unavailable": {Status: 503, Code: "ServiceUnavailable"}, "lost request": {Drop: true},
		"lost answer": {Drop: true, Apply: true}, "error, yet done": {Status: 500, Code: "InternalError", Apply: true},
	}
	for _, op := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject", "GetObject"} {
		for name, fault := range passing {
			t.Run(op+"/"+name, func(t *testing.T) {
				s := objstoretest.NewS3(t)
				seen := false
				s.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
					if r.Op != op || seen {
						return objstoretest.Fault{}
					}
					seen = true
					return fault
				})
				commitTo(t, "s3://"+s.Bucket+"/clicks", objstore.Config{
					AWS:       awscfg.Config{Region: "eu-north-1", Endpoint: s.Endpoint, AccessKeyID: "AK", SecretAccessKey: "SECRET"},
					PathStyle: true, PartSize: 5 << 20, Backoff: retry.Backoff{Min: 1, Max: 1},
				})
				unknown := 0 // an upload whose id was lost: Clean gives it up
				if op == "CreateMultipartUpload" && fault.Apply {
					unknown = 1
				}
				if n := s.Uploads(); n != unknown {
					t.Errorf("%d uploads are left", n)
				}
			})
		}
	}
}

// commitTo commits an object of several parts and a small one, and reads them back.
func commitTo(t *testing.T, location string, cfg objstore.Config) {
	t.Helper()
	w := newWorld(t)
	w.cfg.BufferSize = 32 << 20
	k := w.worker()
	b, err := objstore.OpenStager(t.Context(), location, cfg)
	if err != nil {
		t.Fatal(err)
	}
	k.sink.bucket = b
	d := k.begin()
	for i := range 6 {
		if err := write(t.Context(), k.table(), d, sized(p0, i, i+1, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	err = d.Commit(t.Context(), k.st, []pipeline.Claim{claimOf(p0, -1, 6)}, "")
	if err = errors.Join(err, k.put(p1, -1, 2)); err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	for o, err := range b.List(t.Context(), "data/2026", "") {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, o.Size)
	}
	if len(sizes) != 2 || sizes[0]+sizes[1] != 6<<20+6+12 {
		t.Errorf("objects of %d bytes", sizes)
	}
	a, err := k.sink.Audit(t.Context(), "t", true)
	if err != nil || a.Rows != 8 || len(a.Faults)+len(a.Removed)+len(a.Strange)+len(a.Pending) != 0 {
		t.Errorf("audit %+v, %v", a, err)
	}
}

// TestRealS3 commits to a store named by FIREHOSED_S3_ENDPOINT, _KEY, _SECRET and _BUCKET.
func TestRealS3(t *testing.T) {
	if !strings.Contains(os.Getenv("FIREHOSED_IT"), "s3") {
		t.Skip("FIREHOSED_IT does not name s3: not run against a real store")
	}
	commitTo(t, "s3://"+os.Getenv("FIREHOSED_S3_BUCKET")+"/s3sink-"+rand.Text(), objstore.Config{
		AWS: awscfg.Config{
			Region: "us-east-1", Endpoint: os.Getenv("FIREHOSED_S3_ENDPOINT"),
			AccessKeyID: os.Getenv("FIREHOSED_S3_KEY"), SecretAccessKey: os.Getenv("FIREHOSED_S3_SECRET"),
		},
		PathStyle: true, PartSize: 5 << 20,
	})
}
