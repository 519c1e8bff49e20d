package containers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	image   = "firehosed:test"
	uid     = 65532
	records = 5000
)

// TestImage builds the image, runs it as it would run in production (read-only file system, no capabilities, no root)
// against a broker, and lets the checker read the rows back.
func TestImage(t *testing.T) {
	have := strings.Split(os.Getenv("FIREHOSED_IT"), ",")
	for _, c := range []string{"docker", "kafka", "readers"} {
		if !slices.Contains(have, c) {
			t.Skipf("FIREHOSED_IT does not name %s: start it with integration/components/up.sh docker kafka readers", c)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "../../deploy/image.sh", image).CombinedOutput(); err != nil {
		t.Fatalf("deploy/image.sh: %v\n%s", err, out)
	}
	w := newWorld(t)
	w.produce()
	c, err := testcontainers.Run(t.Context(), image,
		testcontainers.WithConfigModifier(func(c *container.Config) { c.Cmd = []string{"run", "-c", w.config()} }),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.NetworkMode = "host" // the broker is on loopback
			h.ReadonlyRootfs = true
			h.CapDrop = []string{"ALL"}
			h.SecurityOpt = []string{"no-new-privileges"}
			h.Binds = []string{w.dir + ":" + w.dir} // tables name their files: readers outside see the same paths
			h.Tmpfs = map[string]string{"/tmp": "rw,mode=1777"}
		}))
	if err != nil {
		t.Fatalf("start the container: %v", err)
	}
	testcontainers.CleanupContainer(t, c)
	w.drain(t.Context(), c)
	patience := 40 * time.Second
	if err := c.Stop(t.Context(), &patience); err != nil {
		t.Fatalf("stop the container: %v", err)
	}
	if s, err := c.State(t.Context()); err != nil || s.ExitCode != 0 {
		t.Errorf("the container ended with %+v (%v)\n%s", s, err, logs(t.Context(), c))
	}
	w.check()
}

// TestImageHasNoShell wants the image to hold the binary and nothing that could run instead.
func TestImageHasNoShell(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), "docker") {
		t.Skip("FIREHOSED_IT does not name docker: start it with integration/components/up.sh docker")
	}
	if out, err := exec.CommandContext(t.Context(), "../../deploy/image.sh", image).CombinedOutput(); err != nil {
		t.Fatalf("deploy/image.sh: %v\n%s", err, out)
	}
	user, err := exec.CommandContext(t.Context(), "docker", "image", "inspect", "-f", "{{.Config.User}}", image).Output()
	if err != nil || strings.TrimSpace(string(user)) != fmt.Sprintf("%d:%d", uid, uid) {
		t.Errorf("user of the image: %s (%v), want %d", user, err, uid)
	}
	out, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network", "none", image, "version").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("firehosed")) {
		t.Errorf("version: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", image).CombinedOutput(); err == nil {
		t.Errorf("there is a shell: %s", out)
	}
}

// world is a topic, and a folder that the container sees under its own name.
type world struct {
	t      *testing.T
	dir    string
	name   string
	client *kgo.Client
	admin  *kadm.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), name: fmt.Sprintf("image_%d", time.Now().UnixNano())}
	brokers := os.Getenv("FIREHOSED_KAFKA")
	config := fmt.Sprintf(`admin: {listen: "127.0.0.1:0"}
pipelines:
  %[1]s:
    source:
      kafka: {brokers: [%[2]q], topics: [%[1]s], start: earliest}
    sink:
      iceberg: {warehouse: %[3]q, namespace: %[1]s, commit_interval: 1s}
`, w.name, brokers, w.dir+"/warehouse")
	if err := os.WriteFile(w.config(), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(w.dir, uid, uid); err != nil {
		t.Fatalf("the folder must belong to the image's user: %v", err)
	}
	var err error
	if w.client, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.DefaultProduceTopic(w.name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	if _, err := w.admin.CreateTopic(t.Context(), 3, 1, nil, w.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.admin.DeleteTopics(context.Background(), w.name) })
	return w
}

func (w *world) config() string { return filepath.Join(w.dir, "firehosed.yaml") }

func (w *world) produce() {
	w.t.Helper()
	for i := range records {
		value := fmt.Appendf(nil, `{"id":%d,"at":"2026-01-01T00:00:%02dZ","item":{"sku":"s-%d","price":%d.5},"tags":["a","b"]}`, i, i%60, i%97, i%50)
		if i%100 == 99 {
			value = value[:len(value)/2]
		}
		w.client.Produce(w.t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				w.t.Errorf("produce: %v", err)
			}
		})
	}
	if err := w.client.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// drain waits until all records are below the group's offsets.
func (w *world) drain(ctx context.Context, c testcontainers.Container) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s, err := c.State(ctx); err != nil || !s.Running {
			w.t.Fatalf("the container is gone: %+v (%v)\n%s", s, err, logs(ctx, c))
		}
		got, err := w.admin.FetchOffsets(ctx, w.name)
		if err != nil {
			continue
		}
		var sum int64
		got.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
		if sum == records {
			return
		}
	}
	w.t.Fatalf("not done within a minute\n%s", logs(ctx, c))
}

func logs(ctx context.Context, c testcontainers.Container) string {
	r, err := c.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(r)
	return b.String()
}

// check reads the tables with engines that are not ours.
func (w *world) check() {
	w.t.Helper()
	catalog := "sqlite:" + w.dir + "/warehouse/catalog.db#" + w.name + "."
	out, err := exec.CommandContext(w.t.Context(), os.Getenv("FIREHOSED_PYTHON"), "../checker/check.py",
		"--brokers", os.Getenv("FIREHOSED_KAFKA"), "--topic", w.name,
		"--table", catalog+w.name, "--dead-letters", catalog+w.name+"_dlq").CombinedOutput()
	w.t.Logf("checker:\n%s", out)
	if err != nil {
		w.t.Errorf("checker: %v", err)
	}
}
