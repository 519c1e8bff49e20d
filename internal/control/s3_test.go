package control_test

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/control/controltest"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
	"github.com/firehosed/firehosed/internal/retry"
	"github.com/firehosed/firehosed/pipeline"
)

func open(t *testing.T, location, endpoint, key, secret string) *control.Store {
	t.Helper()
	b, err := objstore.Open(t.Context(), location, objstore.Config{
		AWS:       awscfg.Config{Region: "us-east-1", Endpoint: endpoint, AccessKeyID: key, SecretAccessKey: secret},
		PathStyle: true,
		Backoff:   retry.Backoff{Min: 1, Max: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return control.New(b)
}

func fake(t *testing.T) (*objstoretest.S3, *control.Store) {
	t.Helper()
	s := objstoretest.NewS3(t)
	return s, open(t, "s3://"+s.Bucket+"/w/_firehosed/p", s.Endpoint, "AK", "SECRET")
}

func TestS3(t *testing.T) {
	controltest.Store(t, func(t *testing.T) pipeline.Store {
		_, s := fake(t)
		return s
	})
}

// TestRealS3 runs against the store that FIREHOSED_S3_ENDPOINT, _KEY, _SECRET and
// _BUCKET name.
func TestRealS3(t *testing.T) {
	if !strings.Contains(os.Getenv("FIREHOSED_IT"), "s3") {
		t.Skip("FIREHOSED_IT does not name s3: not run against a real store")
	}
	controltest.Store(t, func(t *testing.T) pipeline.Store {
		s := open(t, "s3://"+os.Getenv("FIREHOSED_S3_BUCKET")+"/control-"+rand.Text(),
			os.Getenv("FIREHOSED_S3_ENDPOINT"), os.Getenv("FIREHOSED_S3_KEY"), os.Getenv("FIREHOSED_S3_SECRET"))
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestS3Probe(t *testing.T) {
	server, s := fake(t)
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Who may not delete leaves the key behind, and that is all.
	server.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
		if r.Op == "DeleteObject" {
			return objstoretest.Fault{Status: 403, Code: "AccessDenied"}
		}
		return objstoretest.Fault{}
	})
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("without leave to delete: %v", err)
	}
	server.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
		if r.Op == "PutObject" {
			return objstoretest.Fault{Status: 501, Code: "NotImplemented"}
		}
		return objstoretest.Fault{}
	})
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "create if absent") {
		t.Errorf("without conditions: %v", err)
	}
}

// TestS3LostAnswer: the repetition of a swap recognises its own object.
func TestS3LostAnswer(t *testing.T) {
	server, s := fake(t)
	puts := 0
	server.SetFaults(func(r objstoretest.Request) objstoretest.Fault {
		if r.Op == "PutObject" {
			puts++
			return objstoretest.Fault{Drop: puts%2 == 1, Apply: true}
		}
		return objstoretest.Fault{}
	})
	for _, swap := range [][2][]byte{{nil, []byte("1")}, {[]byte("1"), []byte("2")}} {
		if err := s.Swap(t.Context(), "log/1", swap[0], swap[1]); err != nil {
			t.Fatal(err)
		}
	}
	if puts != 4 {
		t.Errorf("%d puts, want 4", puts)
	}
	server.SetFaults(nil)
	if err := s.Swap(t.Context(), "log/1", nil, []byte("x")); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("a taken key: %v, want ErrStale", err)
	}
}
