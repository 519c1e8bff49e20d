package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestTypesFromGlue: what a table of Glue says is declared when a worker starts, and
// another type there is another revision; commands of operators do not ask for it.
func TestTypesFromGlue(t *testing.T) {
	var typ atomic.Value
	typ.Store("bigint")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = fmt.Fprintf(w, `{"Table":{"StorageDescriptor":{"Columns":[{"Name":"id","Type":%q}]}}}`, typ.Load())
	}))
	addr, lake := broker(t), t.TempDir()
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	config := func(table string) string {
		return write(t, fmt.Sprintf(`
admin: {listen: 127.0.0.1:0}
pipelines:
  shop:
    source: {kafka: {brokers: [%q], topics: [orders], instance_id: w, session_timeout: 6s}}
    sink: {s3: {bucket: %q, format: parquet, buffer_interval: 0s, glue: {region: eu-west-1, endpoint: %q, tables: {%s: sales.orders}}}}
`, addr, lake, srv.URL, table))
	}
	file := config("shop.orders")
	produce(t, addr, `{"id":1}`, `{"id":"two"}`)
	for life, want := range []int64{1, 1, 2} {
		if life == 2 {
			typ.Store("string")
			produce(t, addr, `{"id":"three"}`)
		}
		l := start(t, file)
		l.wait("the revision", func() bool { return len(l.status().Pipelines) > 0 && l.status().Pipelines[0].Stamp.Rev == want })
		if life != 1 {
			l.committed("shop.orders", 1)
		}
		l.end()
	}
	srv.Close()
	if code, out, errs := firehosed(t, nil, "verify", "-c", file); code != ExitOK {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
	code, _, errs := firehosed(t, nil, "run", "-c", file)
	if want := "pipelines.shop.sink.s3.glue: nothing listens at " + srv.URL; code == ExitOK || !strings.Contains(errs, want) {
		t.Errorf("run without the catalog: %d %s, want %s", code, errs, want)
	}
	code, _, errs = firehosed(t, nil, "validate", "-c", config("shop.oders"))
	if want := `sink.s3.glue.tables["shop.oders"]: no route leads to this table; did you mean "shop.orders"?`; code != ExitUsage || !strings.Contains(errs, want) {
		t.Errorf("validate: %d %s, want %s", code, errs, want)
	}
}
