//go:build failpoint

package failpoints

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the catalog's
)

var binary = flag.String("binary", "", "firehosed with the tag failpoint; default: built from this tree")

// build returns the path of the binary under test, built once.
var build = sync.OnceValues(func() (string, error) {
	if *binary != "" {
		return filepath.Abs(*binary)
	}
	dir, err := os.MkdirTemp("", "firehosed-failpoints-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "firehosed")
	if text, err := exec.Command("go", "build", "-tags", "failpoint", "-o", out, "../../cmd/firehosed").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return out, nil
})

// TestMain removes the binary that build made.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if path, err := build(); *binary == "" && err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// worker is one life of the process under test.
type worker struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it is gone and its log was read

	mu struct {
		sync.Mutex
		admin  string
		points []string // what the points said
		done   int      // commits that were answered
		log    bytes.Buffer
	}
}

var listening = regexp.MustCompile(`"msg":"admin listening","addr":"([^"]+)"`)

// start runs a worker of the world with its kill points armed.
func (w *world) start(member, arm string) *worker {
	w.t.Helper()
	path, err := build()
	if err != nil {
		w.t.Fatalf("build firehosed: %v", err)
	}
	p := &worker{t: w.t, done: make(chan struct{})}
	p.cmd = exec.Command(path, "run", "-c", w.configure(member), "--log-level", "debug", "--log-format", "json")
	p.cmd.Env = append(os.Environ(), "FIREHOSED_FAILPOINT="+arm)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatalf("start a worker: %v", err)
	}
	go func() {
		defer close(p.done)
		p.read(stderr)
		_ = p.cmd.Wait() // exitCode tells
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if w.t.Failed() {
			w.t.Logf("worker %s, %q:\n%s", member, arm, p.tail())
		}
	})
	return p
}

func (p *worker) read(r io.Reader) {
	for lines := bufio.NewReaderSize(r, 64<<10); ; {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.mu.log.WriteString(line)
		switch {
		case strings.HasPrefix(line, "failpoint "):
			p.mu.points = append(p.mu.points, strings.TrimSpace(line))
		case strings.Contains(line, `"msg":"commit.done"`):
			p.mu.done++
		default:
			if m := listening.FindStringSubmatch(line); m != nil {
				p.mu.admin = m[1]
			}
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// said reports whether a point did something at one of its hits.
func (p *worker) said(point string, hit int, action string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.mu.points {
		if line == fmt.Sprintf("failpoint %s, hit %d: %s", point, hit, action) {
			return true
		}
	}
	return false
}

func (p *worker) commits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.done
}

// tail returns the last lines of the log that are more than debug events, and what
// the points said.
func (p *worker) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, stacks, ok := strings.Cut(p.mu.log.String(), "SIGQUIT: quit"); ok {
		return stacks
	}
	var keep []string
	for line := range strings.Lines(p.mu.log.String()) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep[max(0, len(keep)-30):], "")
}

func (p *worker) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exitCode returns how the worker ended; -1: by a signal. One that is asked to stop
// and does not has to say where it hangs.
func (p *worker) exitCode() int {
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *worker) terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }
func (p *worker) thaw()      { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// freeze stops the worker where it stands, but for two places: a process that is stopped
// while it holds the lock of a local folder, or of the catalog's SQLite file in the middle of
// a transaction, keeps every other out as long as it stands. That is how such locks work, and
// the guarantee of a local warehouse is about processes that run or are gone.
func (p *worker) freeze(lake string) {
	p.t.Helper()
	for range 1000 {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		for !p.stopped() {
			time.Sleep(time.Millisecond)
		}
		if !locked(p.t, lake) && !writes(p.t, p.cmd.Process.Pid) {
			return
		}
		p.thaw()
		time.Sleep(time.Millisecond)
	}
	p.t.Fatal("the worker holds a lock whenever it is stopped")
}

// stopped reports whether the process is stopped by a signal, or gone.
func (p *worker) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "T") || strings.HasPrefix(state, "Z")
}

// locked reports whether there is a lock file in a folder or below.
func locked(t *testing.T, lake string) (held bool) {
	t.Helper()
	err := filepath.WalkDir(lake, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == ".fh-lock" {
			held = true
			return fs.SkipAll
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// writes reports whether a process holds a lock of a file that keeps others out, as a
// transaction of SQLite does that writes.
func writes(t *testing.T, pid int) bool {
	t.Helper()
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(locks)) { // 1: POSIX ADVISORY WRITE 4711 fe:00:12 120 120
		f := strings.Fields(line)
		if len(f) > 4 && f[1] == "POSIX" && f[3] == "WRITE" && f[4] == strconv.Itoa(pid) {
			return true
		}
	}
	return false
}

// TestWrites: what freeze asks for is there in a transaction, and gone after it.
func TestWrites(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "catalog.db")+"?_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if writes(t, os.Getpid()) {
		t.Error("nothing is written, and a lock is held")
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !writes(t, os.Getpid()) {
		t.Error("a transaction holds no lock")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if writes(t, os.Getpid()) {
		t.Error("the lock of the transaction is still there")
	}
}

// flush asks the worker to commit what it holds. One that stands at a point does not answer.
func (p *worker) flush() {
	p.mu.Lock()
	admin := p.mu.admin
	p.mu.Unlock()
	if admin == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/v1/pipelines/shop/flush", nil)
	if err != nil {
		return
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
	}
}
