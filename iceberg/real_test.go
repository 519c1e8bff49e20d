package iceberg

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// real returns a sink over a catalog that FIREHOSED_IT names, or skips the test.
func real(t *testing.T, component string, store pipeline.Store) *Sink {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), component) {
		t.Skipf("FIREHOSED_IT does not name %s: start it with integration/components/up.sh %s", component, component)
	}
	return local(t, t.TempDir(), func(c *Config) {
		c.Namespace = fmt.Sprintf("it_%d", time.Now().UnixNano())
		c.KeepSnapshots, c.KeepMetadata = 10, 10
		c.Tables = map[string]TableConfig{"t": {PartitionBy: []string{"v"}, Columns: map[string]string{"v": "string"}}}
		switch component {
		case "rest":
			c.Catalog.REST = &RESTConfig{URI: os.Getenv("FIREHOSED_REST")}
		case "rest-s3":
			c.Catalog.REST = &RESTConfig{URI: os.Getenv("FIREHOSED_REST_S3")}
			c.Warehouse = os.Getenv("FIREHOSED_REST_S3_WAREHOUSE")
			c.S3.PathStyle = true
			c.S3.AWS.Endpoint = os.Getenv("FIREHOSED_S3_ENDPOINT")
			c.S3.AWS.AccessKeyID, c.S3.AWS.SecretAccessKey = os.Getenv("FIREHOSED_S3_KEY"), os.Getenv("FIREHOSED_S3_SECRET")
		case "postgres":
			c.Catalog.Postgres = &PostgresConfig{DSN: os.Getenv("FIREHOSED_POSTGRES")}
		}
	}, store)
}

// Real catalogs take what the sink sends, keep what it wrote, and a table there goes
// through its whole life.
func TestRealCatalogs(t *testing.T) {
	for _, component := range []string{"rest", "rest-s3", "postgres"} {
		t.Run(component, func(t *testing.T) {
			store := control.Memory()
			s := real(t, component, store)
			s.mergeFrom = 15
			tab := open(t, s, "t")
			val := func(i int) any { return []any{"", "a b/c", nil}[i%3] }
			for i := range spareSchemas + 2 {
				if _, err := tab.Evolve(t.Context(), &schema.Schema{ID: -1, Fields: []schema.Field{{Name: fmt.Sprint("x", i), Type: &schema.Type{Kind: schema.Long}}}}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 16 {
				if err := deliver(t, tab, p0, i*10-max(0, 1-i), i*10+10, val); err != nil {
					t.Fatal(err)
				}
			}
			done, err := s.Maintain(t.Context(), "t")
			if err != nil || done.Manifests == 0 || done.Snapshots == 0 || done.Schemas == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(160)) {
				t.Fatalf("%d rows", len(got))
			}
			if n := found(t, s, "t", "a b/c"); n != 53 {
				t.Fatalf("%d rows found by their partition value", n)
			}
			h, err := s.handle("t")
			if err != nil {
				t.Fatal(err)
			}
			if err := deliver(t, tab, p0, 160, 170, val); err != nil {
				t.Fatal(err)
			}
			b, err := h.load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			head := b.reg.head.SnapshotID
			if err := h.once(t.Context(), pinned(b.md, &head), []icetable.Update{headUpdate(b.md, *b.reg.head.ParentSnapshotID)}); err != nil {
				t.Fatal(err)
			}
			if err := deliver(t, tab, p0, 170, 180, val); err == nil {
				t.Fatal("a table that was rolled back took rows")
			}
			if err := s.Resume(t.Context(), "t", Replay, nil); err != nil {
				t.Fatal(err)
			}
			l, err := tab.Watermarks(t.Context(), nil)
			if err != nil || l.Marks[p0].At != at(160) || l.Stamp.Replay != 1 {
				t.Fatalf("%+v, %v", l, err)
			}
		})
	}
}
