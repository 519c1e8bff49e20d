package objstore_test

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
)

func stager(t *testing.T, location string, cfg objstore.Config) objstore.Stager {
	t.Helper()
	b, err := objstore.OpenStager(t.Context(), location, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStageLocal(t *testing.T) {
	objstoretest.Stager(t, func(t *testing.T) objstore.Stager { return stager(t, t.TempDir()+"/not/yet", objstore.Config{}) })
}

func TestStageMemory(t *testing.T) {
	objstoretest.Stager(t, func(*testing.T) objstore.Stager { return objstore.NewMemory() })
}

func TestStageS3(t *testing.T) {
	objstoretest.Stager(t, func(t *testing.T) objstore.Stager {
		s := objstoretest.NewS3(t)
		return stager(t, "s3://"+s.Bucket+"/clicks", config(s.Endpoint))
	})
}

func staged(t *testing.T, b objstore.Stager, a objstore.Attributes, data string) (objstore.Upload, error) {
	t.Helper()
	s, err := b.Stage(t.Context(), "k", a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte(data)); err != nil {
		return objstore.Upload{}, errors.Join(err, s.Abort(t.Context()))
	}
	u, err := s.Finish(t.Context())
	if err != nil {
		return u, errors.Join(err, s.Abort(t.Context()))
	}
	return u, nil
}

// TestStageS3Faults: a request that fails in passing, whatever became of it, is not
// noticed by whoever stages or completes.
func TestStageS3Faults(t *testing.T) {
	for _, op := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"} {
		for name, fault := range passing {
			t.Run(op+"/"+name, func(t *testing.T) {
				s := objstoretest.NewS3(t)
				cfg := config(s.Endpoint)
				cfg.HTTP = &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 50 * time.Millisecond}}
				b := stager(t, "s3://lake", cfg)
				s.SetFaults(on(op, 1, fault))
				u, err := staged(t, b, objstore.Attributes{Owner: "p"}, "data")
				if err != nil {
					t.Fatal(err)
				}
				if op == "AbortMultipartUpload" {
					if err := b.AbortUpload(t.Context(), u.Key, u.ID); err != nil || s.Uploads() != 0 {
						t.Errorf("AbortUpload = %v, %d uploads are left", err, s.Uploads())
					}
					return
				}
				if err := b.Complete(t.Context(), u); err != nil {
					t.Fatal(err)
				}
				if data, _, err := b.Get(t.Context(), "k"); err != nil || string(data) != "data" {
					t.Errorf("Get = %q, %v", data, err)
				}
			})
		}
	}
}

// TestStageS3NotOurs: an object of our owner and another size, or of our size and
// another owner, is not what was staged.
func TestStageS3NotOurs(t *testing.T) {
	f := func(owner, data string) {
		t.Helper()
		s := objstoretest.NewS3(t)
		b := stager(t, "s3://lake", config(s.Endpoint))
		u, err := staged(t, b, objstore.Attributes{Owner: "p"}, "data")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AbortUpload(t.Context(), u.Key, u.ID); err != nil {
			t.Fatal(err)
		}
		other, err := staged(t, b, objstore.Attributes{Owner: owner}, data)
		if err == nil {
			err = b.Complete(t.Context(), other)
		}
		if err != nil {
			t.Fatal(err)
		}
		err = b.Complete(t.Context(), u)
		if !errors.Is(err, objstore.ErrUploadGone) || !strings.Contains(err.Error(), "another object") {
			t.Errorf("Complete beside %s of %q = %v, want ErrUploadGone", owner, data, err)
		}
	}
	f("q", "data")
	f("p", "datum")
}

// TestStageS3Forbidden: that the store does not say whether the object is there is not
// the same as that it is not.
func TestStageS3Forbidden(t *testing.T) {
	s := objstoretest.NewS3(t)
	b := stager(t, "s3://lake", config(s.Endpoint))
	u, err := staged(t, b, objstore.Attributes{Owner: "p"}, "data")
	if err != nil {
		t.Fatal(err)
	}
	s.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
		switch r.Op {
		case "CompleteMultipartUpload":
			return objstoretest.Fault{Status: 404, Code: "NoSuchUpload"}
		case "HeadObject":
			return objstoretest.Fault{Status: 403, Code: "AccessDenied"}
		}
		return objstoretest.Fault{}
	})
	if err := b.Complete(t.Context(), u); err == nil || errors.Is(err, objstore.ErrUploadGone) {
		t.Errorf("Complete = %v, want an error that decides nothing", err)
	}
}

func TestStageS3Attributes(t *testing.T) {
	s := objstoretest.NewS3(t)
	s.Demand(map[string]string{
		"X-Amz-Meta-Fh": "p/t/1", "Content-Type": "application/octet-stream", "Content-Encoding": "gzip", "X-Amz-Storage-Class": "STANDARD_IA",
		"X-Amz-Acl": "bucket-owner-full-control", "X-Amz-Tagging": "a=b+c&team=x%26y", "X-Amz-Expected-Bucket-Owner": "123456789012",
	}, false)
	cfg := config(s.Endpoint)
	cfg.ExpectedBucketOwner = "123456789012"
	a := objstore.Attributes{
		Owner: "p/t/1", ContentType: "application/octet-stream", ContentEncoding: "gzip", StorageClass: "STANDARD_IA",
		ACL: "bucket-owner-full-control", Tags: map[string]string{"team": "x&y", "a": "b c"},
	}
	if _, err := staged(t, stager(t, "s3://lake", cfg), a, "data"); err != nil {
		t.Error(err)
	}
	cfg.ExpectedBucketOwner = ""
	if _, err := staged(t, stager(t, "s3://lake", cfg), a, "data"); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("without the expected owner: %v", err)
	}
	cfg.ExpectedBucketOwner = "me"
	if _, err := objstore.OpenStager(t.Context(), "s3://lake", cfg); err == nil || !strings.Contains(err.Error(), `expected_bucket_owner: "me"`) {
		t.Errorf("a bad account: %v", err)
	}
}

// TestStageS3Held: what is below a part is in memory, full parts are not.
func TestStageS3Held(t *testing.T) {
	srv := objstoretest.NewS3(t)
	cfg := config(srv.Endpoint)
	cfg.PartSize = 5 << 20
	b := stager(t, "s3://lake", cfg)
	s, err := b.Stage(t.Context(), "k", objstore.Attributes{Owner: "p"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort(t.Context())
	if _, err := s.Write(make([]byte, 1000)); err != nil || s.Held() < 1000 || s.Held() > 1<<20 {
		t.Errorf("%d bytes are held of 1000, %v", s.Held(), err)
	}
	for range 20 {
		if _, err := s.Write(make([]byte, 3<<20)); err != nil {
			t.Fatal(err)
		}
		if limit := cfg.PartSize * (objstore.DefaultPartUploads + 1); s.Held() > limit {
			t.Errorf("%d bytes are held, more than %d", s.Held(), limit)
		}
	}
}

// TestStageMemoryCrash: parts that are acknowledged outlive their process, and anybody
// completes them; a late Complete of an upload that was given up finds nothing.
func TestStageMemoryCrash(t *testing.T) {
	m := objstore.NewMemory()
	u, err := staged(t, m, objstore.Attributes{Owner: "p"}, "data")
	if err != nil {
		t.Fatal(err)
	}
	m.SetFaults(at(m.Calls()+1, objstore.Late))
	if err := m.Complete(t.Context(), u); !errors.Is(err, objstore.ErrInjected) {
		t.Fatal(err)
	}
	next := m.Restart()
	if err := next.Complete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	next.Delete(t.Context(), "k")
	next.Land()
	if _, err := next.Stat(t.Context(), "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a late Complete brings an object back: %v", err)
	}
	next.RepeatComplete()
	if u, err = staged(t, next, objstore.Attributes{Owner: "p"}, "data"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := next.Complete(t.Context(), u); err != nil {
			t.Error(err)
		}
		next.Delete(t.Context(), "k")
	}
}

// TestStageLocalAcrossProcesses: another process completes what one has staged, and
// ids do not lead out of the folder.
func TestStageLocalAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	u, err := staged(t, stager(t, dir, objstore.Config{}), objstore.Attributes{Owner: "p"}, "data")
	if err != nil {
		t.Fatal(err)
	}
	if err := stager(t, dir, objstore.Config{}).Complete(t.Context(), u); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "../x", "a/b"} {
		u.ID = id
		if err := stager(t, dir, objstore.Config{}).Complete(t.Context(), u); err == nil || errors.Is(err, objstore.ErrUploadGone) {
			t.Errorf("upload %q: %v", id, err)
		}
	}
}

func TestS3Lifecycle(t *testing.T) {
	s := objstoretest.NewS3(t)
	b, ok := stager(t, "s3://lake/logs", config(s.Endpoint)).(*objstore.S3)
	if !ok {
		t.Fatal("no S3")
	}
	rule := func(id, status, filter string, days string) string {
		return "<Rule><ID>" + id + "</ID>" + filter + "<Status>" + status + "</Status>" +
			"<AbortIncompleteMultipartUpload><DaysAfterInitiation>" + days + "</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
	}
	f := func(want time.Duration, wantRule string, rules ...string) {
		t.Helper()
		doc := ""
		if len(rules) > 0 {
			doc = "<LifecycleConfiguration>" + strings.Join(rules, "") + "</LifecycleConfiguration>"
		}
		s.SetLifecycle(doc)
		got, id, err := b.AbortsUploads(t.Context(), "data/")
		if err != nil || got != want || id != wantRule {
			t.Errorf("AbortsUploads with %v = %v by %q, %v, want %v by %q", rules, got, id, err, want, wantRule)
		}
	}
	const day = 24 * time.Hour
	f(0, "")
	f(0, "", "<Rule><ID>x</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>")
	f(7*day, "a", rule("a", "Enabled", "<Filter><Prefix></Prefix></Filter>", "7"))
	f(2*day, "b", rule("a", "Enabled", "<Filter/>", "7"), rule("b", "Enabled", "<Filter><Prefix>logs/data/2026</Prefix></Filter>", "2"),
		rule("c", "Enabled", "<Filter><Prefix>other/</Prefix></Filter>", "1"), rule("d", "Disabled", "<Filter/>", "1"))
	f(3*day, "a", rule("a", "Enabled", "<Prefix>logs/</Prefix>", "3"))
	f(1*day, "a", rule("a", "Enabled", "<Filter><And><Prefix>logs/</Prefix></And></Filter>", "1"))
	s.SetFaults(func(objstoretest.Request) objstoretest.Fault {
		return objstoretest.Fault{Status: 403, Code: "AccessDenied"}
	})
	if _, _, err := b.AbortsUploads(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "s3:GetLifecycleConfiguration") {
		t.Errorf("forbidden: %v", err)
	}
}
