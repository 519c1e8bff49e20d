package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/internal/daemon"
)

// asProgram makes the test binary the program under test.
const asProgram = "FIREHOSED_TEST_MAIN"

func TestMain(m *testing.M) {
	if _, program := os.LookupEnv(asProgram); program {
		main()
	}
	os.Exit(m.Run())
}

// TestSecondSignal: the first signal lets a worker finish what it began, which here
// takes long because the broker has fallen silent; the second ends it at once.
func TestSecondSignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			addr, hush := broker(t)
			cmd, log := start(t, addr)
			log.until(t, "reading partitions")
			hush()
			signalled(t, cmd, sig)
			log.until(t, `"stopping"`)
			signalled(t, cmd, sig)
			rest := log.rest(t)
			err := cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != daemon.ExitInterrupted {
				t.Errorf("ended with %v, want exit code %d", err, daemon.ExitInterrupted)
			}
			if want := "firehosed: stopped at once; uncommitted records are read again\n"; !strings.Contains(rest, want) { // a line of the log may come just after it
				t.Errorf("the last words are not %q:\n%s", want, rest)
			}
		})
	}
}

// broker starts a broker with a topic; after hush it answers nothing any more.
func broker(t *testing.T) (addr string, hush func()) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	t.Cleanup(func() { close(released); c.Close() })
	return c.ListenAddrs()[0], func() {
		c.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			<-released
			return nil, errors.New("hushed"), true
		})
	}
}

func start(t *testing.T, addr string) (*exec.Cmd, *lines) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "firehosed.yaml")
	text := fmt.Sprintf("admin: {listen: \"off\"}\npipelines: {shop: {source: {kafka: {brokers: [%q], topics: [orders]}}, sink: {iceberg: {warehouse: %q}}}}\n", addr, t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of a test that hangs
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], "run", "-c", file, "--log-format", "json")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, &lines{r: bufio.NewReader(stderr)}
}

func signalled(t *testing.T, cmd *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// lines is what a process says.
type lines struct {
	r    *bufio.Reader
	said strings.Builder
}

func (l *lines) until(t *testing.T, what string) {
	t.Helper()
	for {
		line, err := l.r.ReadString('\n')
		l.said.WriteString(line)
		if strings.Contains(line, what) {
			return
		}
		if err != nil {
			t.Fatalf("ended before %s: %v\n%s", what, err, l.said.String())
		}
	}
}

func (l *lines) rest(t *testing.T) string {
	t.Helper()
	text, err := io.ReadAll(l.r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
