package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
)

// awsKeys has the AWS SDK find keys, and nothing of this machine.
func awsKeys(t *testing.T, key, secret string) {
	t.Helper()
	for name, val := range map[string]string{
		"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, val)
	}
}

// lives runs a pipeline over a sink from its first record to a proof, with a restart.
func lives(t *testing.T, sink string) {
	t.Helper()
	addr := broker(t)
	file := write(t, strings.Replace(shop(addr, "orders", sink), "level: warn", "level: debug", 1))
	produce(t, addr, `{"customer_id":1}`, `{"customer_id":2}`, `{broken`)
	l := start(t, file)
	l.committed("shop.orders", 2)
	l.committed("shop_dlq", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	produce(t, addr, `{"customer_id":3,"more":true}`)
	l = start(t, file)
	l.committed("shop.orders", 1)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	code, out, errs := firehosed(t, nil, "verify", "-c", file)
	if code != ExitOK || !strings.Contains(out, "proven: nothing lost, duplicated or unexpected") {
		t.Errorf("verify: %d %s %s", code, out, errs)
	}
}

// TestRESTCatalogThatPlacesTables: as in testdata/first.yaml, a warehouse that is a
// name, an OAuth2 client, control in a bucket; and credentials of the catalog's for
// tables that are in another store.
func TestRESTCatalogThatPlacesTables(t *testing.T) {
	awsKeys(t, "OURS", "x")
	ours, theirs := objstoretest.NewS3(t), objstoretest.NewS3(t)
	bucket, err := objstore.Open(t.Context(), "s3://lake", objstore.Config{
		PathStyle: true, AWS: awscfg.Config{Endpoint: theirs.Endpoint, AccessKeyID: "CATALOG", SecretAccessKey: "x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	catalog := icebergtest.NewWarehouse(t.TempDir(), "lake", "w1")
	t.Cleanup(catalog.Close)
	catalog.RequireClient(icebergtest.Client{ID: "id", Secret: "secret", Scope: "catalog", Lives: time.Hour})
	catalog.Store("s3://lake/tables", func(location string, data []byte) error {
		_, err := bucket.Put(t.Context(), strings.TrimPrefix(location, "s3://lake/"), data, objstore.Always)
		return err
	}, func() map[string]string {
		return map[string]string{
			"s3.access-key-id": "VENDED", "s3.secret-access-key": "x", "s3.session-token": "t",
			"s3.endpoint": theirs.Endpoint, "s3.path-style-access": "true",
		}
	})
	credential := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(credential, []byte("id:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", ours.Endpoint) // of the control prefix alone
	lives(t, `{catalog: {rest: {uri: "`+catalog.URL+`", warehouse: lake, credential: {file: "`+credential+`"}}}, control: s3://lake/_firehosed/,
      s3: {region: eu-central-1, path_style: true}, commit_interval: 1s, commits_per_second: 0}`)
	if ours.Requests() == 0 || theirs.Requests() == 0 || catalog.Refused() != 0 {
		t.Errorf("%d requests to our store, %d to theirs, %d refused by the catalog", ours.Requests(), theirs.Requests(), catalog.Refused())
	}
}

func TestGlueCatalog(t *testing.T) {
	awsKeys(t, "OURS", "x")
	dir := t.TempDir()
	catalog := icebergtest.NewGlue(dir, "123456789012")
	t.Cleanup(catalog.Close)
	catalog.Signed = icebergtest.Signed{AccessKeyID: "OURS", SecretAccessKey: "x", Region: "eu-central-1", Service: "glue"}
	lives(t, `{warehouse: "`+dir+`", catalog: {glue: {region: eu-central-1, endpoint: "`+catalog.URL+`"}}, commit_interval: 1s, commits_per_second: 0}`)
	if catalog.Commits() == 0 {
		t.Error("the catalog saw no commit")
	}
}
