package objstore_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
	"github.com/firehosed/firehosed/internal/retry"
)

func config(endpoint string) objstore.Config {
	return objstore.Config{
		AWS:       awscfg.Config{Region: "eu-north-1", Endpoint: endpoint, AccessKeyID: "AK", SecretAccessKey: "SECRET"},
		PathStyle: true,
		Backoff:   retry.Backoff{Min: 1, Max: 1},
	}
}

func openS3(t *testing.T, s *objstoretest.S3) objstore.Bucket {
	t.Helper()
	return open(t, "s3://"+s.Bucket+"/warehouse", config(s.Endpoint))
}

func open(t *testing.T, location string, cfg objstore.Config) objstore.Bucket {
	t.Helper()
	b, err := objstore.Open(t.Context(), location, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestS3(t *testing.T) {
	objstoretest.Bucket(t, func(t *testing.T) objstore.Bucket { return openS3(t, objstoretest.NewS3(t)) })
}

// TestRealS3 runs against a store named by FIREHOSED_S3_ENDPOINT, _KEY, _SECRET
// and _BUCKET, in a folder of its own for every test.
func TestRealS3(t *testing.T) {
	if !strings.Contains(os.Getenv("FIREHOSED_IT"), "s3") {
		t.Skip("FIREHOSED_IT does not name s3: not run against a real store")
	}
	cfg := config(os.Getenv("FIREHOSED_S3_ENDPOINT"))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	cfg.HTTP = &http.Client{Transport: transport}
	cfg.AWS.Region = "us-east-1"
	cfg.AWS.AccessKeyID, cfg.AWS.SecretAccessKey = os.Getenv("FIREHOSED_S3_KEY"), os.Getenv("FIREHOSED_S3_SECRET")
	objstoretest.Bucket(t, func(t *testing.T) objstore.Bucket {
		return open(t, "s3://"+os.Getenv("FIREHOSED_S3_BUCKET")+"/test-"+rand.Text(), cfg)
	})
}

// on makes the n-th request of an operation fail.
func on(op string, n int, f objstoretest.Fault) func(objstoretest.Request) objstoretest.Fault {
	seen := 0
	return func(r objstoretest.Request) objstoretest.Fault {
		if r.Op == op {
			if seen++; seen == n {
				return f
			}
		}
		return objstoretest.Fault{}
	}
}

// passing are faults that a call survives.
var passing = map[string]objstoretest.Fault{
	"unavailable":     {Status: 503, Code: "ServiceUnavailable"},
	"internal error":  {Status: 500, Code: "InternalError"},
	"lost request":    {Drop: true},
	"lost answer":     {Drop: true, Apply: true},
	"error, yet done": {Status: 500, Code: "InternalError", Apply: true},
	"hung":            {Hang: true},
	"hung, yet done":  {Hang: true, Apply: true},
}

func TestS3Retries(t *testing.T) {
	for name, fault := range passing {
		t.Run(name, func(t *testing.T) {
			s := objstoretest.NewS3(t)
			cfg := config(s.Endpoint)
			cfg.HTTP = &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 50 * time.Millisecond}}
			b := open(t, "s3://lake", cfg)
			s.SetFaults(on("PutObject", 1, fault))
			if _, err := b.Put(t.Context(), "a", []byte("1"), objstore.Always); err != nil {
				t.Errorf("put: %v", err)
			}
			s.SetFaults(on("PutObject", 1, fault))
			etag, err := b.Put(t.Context(), "c", []byte("1"), objstore.IfAbsent)
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			s.SetFaults(on("PutObject", 1, fault))
			if _, err := b.Put(t.Context(), "c", []byte("2"), objstore.IfMatch(etag)); err != nil {
				t.Errorf("swap: %v", err)
			}
			s.SetFaults(on("GetObject", 1, fault))
			if data, _, err := b.Get(t.Context(), "c"); err != nil || string(data) != "2" {
				t.Errorf("get: %q, %v", data, err)
			}
			s.SetFaults(on("HeadObject", 1, fault))
			if o, err := b.Stat(t.Context(), "c"); err != nil || o.Size != 1 {
				t.Errorf("stat: %+v, %v", o, err)
			}
			s.SetFaults(on("DeleteObject", 1, fault))
			if err := b.Delete(t.Context(), "a"); err != nil {
				t.Errorf("delete: %v", err)
			}
			s.SetFaults(on("ListObjectsV2", 1, fault))
			for o, err := range b.List(t.Context(), "", "") {
				if err != nil || o.Key != "c" {
					t.Errorf("list: %+v, %v", o, err)
				}
			}
		})
	}
}

func TestS3UploadRetries(t *testing.T) {
	faults := map[string]objstoretest.Fault{"damaged": {Corrupt: true}}
	for _, name := range []string{"unavailable", "lost request", "lost answer", "error, yet done"} {
		faults[name] = passing[name]
	}
	data := bytes.Repeat([]byte("firehosed "), 600_000) // two parts
	for _, op := range []string{"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		for name, fault := range faults {
			if op == "CompleteMultipartUpload" && fault.Corrupt {
				continue // its body is XML
			}
			t.Run(op+"/"+name, func(t *testing.T) {
				s := objstoretest.NewS3(t)
				cfg := config(s.Endpoint)
				cfg.PartSize = 5 << 20
				b := open(t, "s3://lake", cfg)
				s.SetFaults(on(op, 1, fault))
				want := data
				if op == "PutObject" {
					want = data[:1000]
				}
				w, err := b.Create(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(want); err != nil {
					t.Fatal(err)
				}
				if size, err := w.Close(t.Context()); err != nil || size != int64(len(want)) {
					t.Fatalf("Close = %d, %v", size, err)
				}
				got, _, err := b.Get(t.Context(), "k")
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("the object differs: %v", err)
				}
			})
		}
	}
}

// TestS3UploadFails: the error reaches the caller, and Abort leaves nothing.
func TestS3UploadFails(t *testing.T) {
	for _, op := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		s := objstoretest.NewS3(t)
		b := openS3(t, s)
		s.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
			if r.Op == op {
				return objstoretest.Fault{Status: 403, Code: "AccessDenied"}
			}
			return objstoretest.Fault{}
		})
		w, err := b.Create(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err = w.Write(make([]byte, 3<<20)); err != nil {
				break
			}
		}
		if err == nil {
			_, err = w.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "access denied: the credentials need s3:PutObject") {
			t.Errorf("%s fails: %v", op, err)
		}
		if err := w.Abort(t.Context()); err != nil {
			t.Errorf("%s fails: Abort = %v", op, err)
		}
		if _, err := b.Stat(t.Context(), "k"); !errors.Is(err, fs.ErrNotExist) || s.Uploads() != 0 {
			t.Errorf("%s fails: Stat = %v, %d uploads are left", op, err, s.Uploads())
		}
	}
}

// TestS3Throttled: the client slows down, and the put succeeds.
func TestS3Throttled(t *testing.T) {
	s := objstoretest.NewS3(t)
	b := openS3(t, s)
	s.SetFaults(on("PutObject", 1, objstoretest.Fault{Status: 503, Code: "SlowDown"}))
	if _, err := b.Put(t.Context(), "k", []byte("1"), objstore.Always); err != nil {
		t.Error(err)
	}
}

// TestS3Conflict: 409 says that nothing was done.
func TestS3Conflict(t *testing.T) {
	s := objstoretest.NewS3(t)
	b := openS3(t, s)
	s.SetFaults(on("PutObject", 1, objstoretest.Fault{Status: 409, Code: "ConditionalRequestConflict"}))
	if _, err := b.Put(t.Context(), "k", []byte("1"), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	s.SetFaults(on("PutObject", 1, objstoretest.Fault{Status: 409, Code: "ConditionalRequestConflict"}))
	if _, err := b.Put(t.Context(), "k", []byte("1"), objstore.IfAbsent); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("a taken key after a conflict: %v, want ErrPrecondition", err)
	}
}

// TestS3Unknown: our put was carried out and its answer lost, and someone else
// replaced the object before we asked again. Nobody can tell us then.
func TestS3Unknown(t *testing.T) {
	s := objstoretest.NewS3(t)
	theirs := openS3(t, s)
	var once sync.Once
	puts := 0
	s.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
		if r.Op == "PutObject" {
			if puts++; puts == 1 {
				return objstoretest.Fault{Drop: true, Apply: true}
			}
		}
		return objstoretest.Fault{}
	})
	// The other's swap comes when we have failed once: before our second put.
	cfg := config(s.Endpoint)
	cfg.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil && r.Method == http.MethodPut {
			once.Do(func() {
				if _, err := theirs.Put(t.Context(), "k", []byte("theirs"), objstore.Always); err != nil {
					t.Error(err)
				}
			})
		}
		return res, err
	})}
	ours := open(t, "s3://lake/warehouse", cfg)
	_, err := ours.Put(t.Context(), "k", []byte("ours"), objstore.IfAbsent)
	if err == nil || errors.Is(err, objstore.ErrPrecondition) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("Put = %v, want an error that decides nothing", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestS3Damage: what is damaged on the way is noticed, in both directions.
func TestS3Damage(t *testing.T) {
	s := objstoretest.NewS3(t)
	b := openS3(t, s)
	always := func(op string, f objstoretest.Fault) {
		s.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
			if r.Op == op {
				return f
			}
			return objstoretest.Fault{}
		})
	}
	always("PutObject", objstoretest.Fault{Corrupt: true})
	if _, err := b.Put(t.Context(), "k", []byte("12345"), objstore.Always); err == nil {
		t.Error("a damaged upload is stored")
	}
	s.SetFaults(nil)
	if _, err := b.Put(t.Context(), "k", []byte("12345"), objstore.Always); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]objstoretest.Fault{"damaged": {Corrupt: true}, "cut": {Truncate: true}} {
		always("GetObject", f)
		if data, _, err := b.Get(t.Context(), "k"); err == nil {
			t.Errorf("%s: Get = %q", name, data)
		}
		s.SetFaults(on("GetObject", 1, f))
		if data, _, err := b.Get(t.Context(), "k"); err != nil || string(data) != "12345" {
			t.Errorf("%s once: Get = %q, %v", name, data, err)
		}
	}
	s.SetFaults(on("GetObject", 1, objstoretest.Fault{Truncate: true}))
	if data, err := b.Range(t.Context(), "k", 1, 3); err != nil || string(data) != "234" {
		t.Errorf("cut once: Range = %q, %v", data, err)
	}
	always("GetObject", objstoretest.Fault{Truncate: true})
	if data, err := b.Range(t.Context(), "k", 1, 3); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: Range = %q, %v", data, err)
	}
}

func TestS3Encryption(t *testing.T) {
	const key = "arn:aws:kms:eu-north-1:1:key/7"
	headers := map[string]string{
		"X-Amz-Server-Side-Encryption":                    "aws:kms",
		"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id":     key,
		"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "true",
	}
	write := func(b objstore.Bucket) (errs [3]error) {
		_, errs[0] = b.Put(t.Context(), "a", []byte("x"), objstore.Always)
		_, errs[1] = b.Put(t.Context(), "b", []byte("x"), objstore.IfAbsent)
		w, err := b.Create(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.Write(make([]byte, 9<<20)); err == nil {
			_, err = w.Close(t.Context())
		}
		errs[2] = errors.Join(err, w.Abort(t.Context()))
		return errs
	}
	f := func(sse objstore.SSE, silent bool, want string) {
		t.Helper()
		s := objstoretest.NewS3(t)
		s.Demand(headers, silent)
		cfg := config(s.Endpoint)
		cfg.SSE = sse
		for i, err := range write(open(t, "s3://lake", cfg)) {
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("write %d with %+v: %v, want %q", i, sse, err, want)
			}
		}
		if n := s.Uploads(); n != 0 {
			t.Errorf("%d uploads are left", n)
		}
	}
	right := objstore.SSE{Algorithm: "aws:kms", KMSKey: key, BucketKey: true}
	f(right, false, "")
	f(right, true, `asked for aws:kms, the store confirms ""`)
	f(objstore.SSE{}, false, "access denied")
	f(objstore.SSE{Algorithm: "AES256"}, false, "access denied")
}

func TestS3Errors(t *testing.T) {
	s := objstoretest.NewS3(t)
	f := func(location string, cfg objstore.Config, fault objstoretest.Fault, want ...string) {
		t.Helper()
		b := open(t, location, cfg)
		s.SetFaults(func(objstoretest.Request) objstoretest.Fault { return fault })
		_, err := b.Put(t.Context(), "k", nil, objstore.IfAbsent)
		for _, w := range append(want, "put "+location+"/k", cfg.AWS.Endpoint, "eu-north-1") {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v\nlacks %q", err, w)
			}
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
	cfg := config(s.Endpoint)
	f("s3://sea/x", cfg, objstoretest.Fault{}, `bucket "sea" does not exist here: create it`)
	f("s3://lake", cfg, objstoretest.Fault{Status: 403, Code: "AccessDenied"}, "access denied", "s3:PutObject")
	f("s3://lake", cfg, objstoretest.Fault{Status: 403, Code: "InvalidAccessKeyId"}, "does not accept the credentials")
	f("s3://lake", cfg, objstoretest.Fault{Status: 403, Code: "SignatureDoesNotMatch"}, "does not accept the credentials")
	f("s3://lake", cfg, objstoretest.Fault{Status: 301, Code: "PermanentRedirect", Header: map[string]string{"X-Amz-Bucket-Region": "us-west-9"}}, "in another region, us-west-9: set region")
	f("s3://lake", cfg, objstoretest.Fault{Status: 501, Code: "NotImplemented"}, "disable_checksums")
	cfg.SSE = objstore.SSE{Algorithm: "aws:kms", KMSKey: "k"}
	f("s3://lake", cfg, objstoretest.Fault{Status: 403, Code: "AccessDenied"}, "kms:GenerateDataKey")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	cfg = config(s.Endpoint)
	cfg.AWS.AccessKeyID, cfg.AWS.SecretAccessKey = "", ""
	f("s3://lake", cfg, objstoretest.Fault{}, "no credentials: set access_key_id")
	cfg = config("http://127.0.0.1:1")
	f("s3://lake", cfg, objstoretest.Fault{}, "the store cannot be reached: check endpoint")
	cfg = config(strings.Replace(s.Endpoint, "http:", "https:", 1))
	f("s3://lake", cfg, objstoretest.Fault{}, "plain HTTP")
}

func TestOpen(t *testing.T) {
	f := func(location string, cfg objstore.Config, want string) {
		t.Helper()
		_, err := objstore.Open(t.Context(), location, cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v, want %q", location, err, want)
		}
	}
	good := config("http://127.0.0.1:1")
	f("", good, "empty")
	f("gs://b/x", good, "want s3://bucket/prefix")
	f("s3:///x", good, "no bucket")
	f("s3://b/../x", good, "..")
	f("file://host/x", good, "file:///absolute/path")
	f("file:///a%20b", good, "choose another folder")
	bad := good
	bad.AWS.SecretAccessKey = ""
	bad.PartSize = 1
	bad.SSE.KMSKey = "k"
	f("s3://b", bad, "secret_access_key: only one")
	f("s3://b", bad, "part_size: 1 is outside")
	f("s3://b", bad, "sse.algorithm aws:kms")
}
