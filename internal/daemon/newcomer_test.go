package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
)

// broker starts a Kafka broker in this process with a topic "orders".
func broker(t *testing.T) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

func produce(t *testing.T, addr string, values ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, v := range values {
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// shop returns a file with one pipeline.
func shop(brokers, topic, sink string) string {
	return fmt.Sprintf("admin: {listen: 127.0.0.1:0}\nlog: {level: warn}\npipelines:\n  shop:\n    source: {kafka: {brokers: [%q], topics: [%s]}}\n    sink: {iceberg: %s}\n", brokers, topic, sink)
}

// oneLine runs the file, which must fail, and returns what is said to the user.
func oneLine(t *testing.T, text string) string {
	t.Helper()
	code, out, errs := firehosed(t, map[string]string{}, "run", "-c", write(t, text))
	var said []string
	for line := range strings.Lines(errs) {
		if strings.HasPrefix(line, "firehosed: ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if code != ExitFailed || len(said) != 1 || out != "" {
		t.Fatalf("exit code %d, want one line:\n%s%s", code, errs, out)
	}
	return said[0]
}

func wants(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s\ndoes not say %q", got, w)
		}
	}
}

func TestNewcomerNoBroker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	text := shop(addr, "orders", "{warehouse: "+t.TempDir()+"}")
	got := oneLine(t, text)
	wants(t, got, "pipelines.shop.source.kafka", addr)
	_, said, _ := strings.Cut(got, "source.kafka")
	code, out, errs := firehosed(t, nil, "status", "-c", write(t, text))
	if code != ExitFailed || !strings.Contains(out, "not readable: source: source.kafka"+said) {
		t.Errorf("status does not say it as run does, %s: %d\n%s%s", said, code, out, errs)
	}
}

func TestNewcomerWrongTopic(t *testing.T) {
	got := oneLine(t, shop(broker(t), "oders", "{warehouse: "+t.TempDir()+"}"))
	wants(t, got, "pipelines.shop.source.kafka.topics", `"oders"`, "does not exist", "create it or correct the name")
}

// noBucket returns the endpoint of a store that has no bucket of any name.
func noBucket(t *testing.T) string {
	t.Helper()
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>`)
	}))
	t.Cleanup(store.Close)
	return store.URL
}

func TestNewcomerWrongBucket(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	got := oneLine(t, shop(broker(t), "orders", fmt.Sprintf(
		"{warehouse: s3://laek/w, control: %q, catalog: {sqlite: {path: %q}}, s3: {endpoint: %q, path_style: true}}", t.TempDir(), filepath.Join(t.TempDir(), "c.db"), noBucket(t))))
	wants(t, got, "pipelines.shop.sink.iceberg.warehouse: ", `bucket "laek" does not exist`, "create it, or correct the location")
}

// TestNewcomerWrongControlBucket: where a REST catalog places the tables, the control
// prefix is the only bucket that the file names.
func TestNewcomerWrongControlBucket(t *testing.T) {
	catalog := icebergtest.NewREST(t.TempDir())
	t.Cleanup(catalog.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	got := oneLine(t, shop(broker(t), "orders", fmt.Sprintf(
		"{control: s3://laek/_firehosed/, catalog: {rest: {uri: %q, warehouse: lake}}, s3: {endpoint: %q, path_style: true}}", catalog.URL, noBucket(t))))
	wants(t, got, "pipelines.shop.sink.iceberg.control: ", `bucket "laek" does not exist`, "create it, or correct the location")
}

// TestNewcomerNoCatalog: each kind of catalog is named by its address, in one line
// also where its host has several.
func TestNewcomerNoCatalog(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	_, port, _ := net.SplitHostPort(addr)
	f := func(catalog, place string) {
		t.Helper()
		got := oneLine(t, shop(broker(t), "orders", fmt.Sprintf("{warehouse: %q, catalog: %s}", t.TempDir(), catalog)))
		wants(t, got, "pipelines.shop.sink.iceberg.catalog: nothing listens at "+place+": is the service running", "connection refused")
		if strings.Contains(got, "hunter2") {
			t.Errorf("a password is told: %s", got)
		}
	}
	dsn := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(dsn, []byte("postgres://u:hunter2@localhost:"+port+"/lake?sslmode=prefer"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(fmt.Sprintf("{postgres: {dsn: {file: %q}}}", dsn), "postgres://localhost:"+port+"/lake")
	f(fmt.Sprintf("{rest: {uri: %q}}", "http://u:hunter2@"+addr+"/catalog"), "http://u:xxxxx@"+addr+"/catalog")
}

func TestNewcomerCatalogWantsALogin(t *testing.T) {
	catalog := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error": {"message": "who are you?", "type": "NotAuthorizedException", "code": 401}}`)
	}))
	t.Cleanup(catalog.Close)
	got := oneLine(t, shop(broker(t), "orders", fmt.Sprintf("{warehouse: %q, catalog: {rest: {uri: %q}}}", t.TempDir(), catalog.URL)))
	wants(t, got, "pipelines.shop.sink.iceberg.catalog: the catalog wants a login: set credential, token or sigv4: open catalog "+catalog.URL, "who are you?")
}

func TestNewcomerPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	text := strings.Replace(shop(broker(t), "orders", "{warehouse: "+t.TempDir()+"}"), "127.0.0.1:0", ln.Addr().String(), 1)
	wants(t, oneLine(t, text), "admin.listen: "+ln.Addr().String()+" is taken by another process", "choose another port")
}

// TestNewcomerNoPermission runs as another user where this one is root, for whom no
// permission fails.
func TestNewcomerNoPermission(t *testing.T) {
	if os.Getenv("FIREHOSED_TEST_DIR") == "" && os.Getuid() == 0 {
		dir, err := os.MkdirTemp("", "firehosed-perm-") //nolint:usetesting // every user has to be able to enter it
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		self := filepath.Join(dir, "test")
		if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "lake"), 0o755), link(self)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestNewcomerNoPermission$", "-test.v")
		cmd.Env = []string{"FIREHOSED_TEST_DIR=" + dir, "TMPDIR=/tmp", "HOME=/"}
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("as user 65534: %v\n%s", err, out)
		}
		return
	}
	lake := filepath.Join(os.Getenv("FIREHOSED_TEST_DIR"), "lake")
	if os.Getenv("FIREHOSED_TEST_DIR") == "" {
		lake = t.TempDir()
		if err := os.Chmod(lake, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	got := oneLine(t, shop(broker(t), "orders", "{warehouse: "+lake+"}"))
	wants(t, got, fmt.Sprintf("pipelines.shop.sink.iceberg.warehouse: user %d may not write to %s: give that user permission", os.Getuid(), lake))
}

// link makes this test binary appear under another path.
func link(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o755)
}

// TestExplain: errors that a newcomer meets say what to do.
func TestExplain(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		got := explain(fmt.Errorf("write: %w", err), "PLACE")
		if !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("explain(%v) = %v, want %s", err, got, want)
		}
	}
	f(syscall.ENOSPC, "the disk that holds PLACE is full")
	f(syscall.EDQUOT, "the disk that holds PLACE is full")
	f(fs.ErrPermission, "may not write to PLACE: give that user permission")
	f(syscall.EROFS, "cannot be written to")
	f(syscall.ENOTDIR, "PLACE is not a folder")
	f(syscall.ECONNREFUSED, "nothing listens at PLACE")
	f(context.DeadlineExceeded, "PLACE did not answer in time")
	f(&net.DNSError{Name: "kafak", Err: "no such host"}, "the name kafak of PLACE is not known")
	if explain(nil, "x") != nil {
		t.Error("nil is explained")
	}
}

// logBuffer is a log that a test reads while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
