package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// worker is one life of a firehosed process.
type worker struct {
	cmd   *exec.Cmd
	begun chan struct{} // closed at its first line: by then it takes signals
	done  chan struct{} // closed when it is gone and its log was read
	err   error         // of the process; read it after done
	most  int64         // MiB of memory that it was seen to have had; read it after done

	mu struct {
		sync.Mutex
		armed     string            // die at the next event of this name, of a commit of rows
		reading   bool              // it has been given partitions
		committed int               // commits of rows that were answered
		stage     map[string]string // by table, the last event of a commit of rows that is not over
		tail      []string          // the last lines that are no debug event
	}
}

// start runs a worker on the world's configuration. Its log is appended to worker.log.
func (w *world) start() *worker {
	w.t.Helper()
	path, err := build()
	if err != nil {
		w.t.Fatalf("build firehosed: %v", err)
	}
	p := &worker{cmd: exec.Command(path, "run", "-c", w.config, "--log-level", "debug", "--log-format", "json")}
	p.begun, p.done = make(chan struct{}), make(chan struct{})
	p.mu.stage = map[string]string{}
	p.cmd.Env = append(os.Environ(), w.place.env...)
	p.cmd.Dir = w.dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(w.dir, "worker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatalf("start a worker: %v", err)
	}
	go func() {
		defer close(p.done)
		defer log.Close()
		p.read(stderr, log)
		p.err = p.cmd.Wait()
	}()
	w.t.Cleanup(func() {
		p.kill()
		<-p.done
	})
	return p
}

func (p *worker) read(stderr io.Reader, log io.Writer) {
	r := bufio.NewReaderSize(stderr, 64<<10)
	var looked time.Time
	for first := true; ; first = false {
		line, err := r.ReadBytes('\n')
		if first {
			close(p.begun)
		}
		if time.Since(looked) > 200*time.Millisecond {
			looked = time.Now()
			if mib, err := peakMemory(p.cmd.Process.Pid); err == nil { // else it is gone
				p.most = max(p.most, mib)
			}
		}
		if len(line) > 0 {
			p.line(line)
			_, _ = log.Write(line)
		}
		if err != nil {
			return
		}
	}
}

// line takes note of commits. If the worker is to die in one, it dies before anything else happens.
func (p *worker) line(line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.armed != "" && bytes.Contains(line, []byte(`"msg":"`+p.mu.armed+`"`)) && bytes.Contains(line, []byte(`"kind":"data"`)) {
		_ = p.cmd.Process.Kill()
		p.mu.armed = ""
	}
	var e struct{ Level, Msg, Table, Kind string }
	if err := json.Unmarshal(line, &e); err != nil || e.Level != "DEBUG" {
		p.mu.tail = append(p.mu.tail, strings.TrimSpace(string(line)))
		p.mu.tail = p.mu.tail[max(0, len(p.mu.tail)-8):]
	}
	switch {
	case e.Msg == "reading partitions" || e.Msg == "reading shards":
		p.mu.reading = true
	case e.Kind == "data" && (e.Msg == staged || e.Msg == sent || e.Msg == decided):
		p.mu.stage[e.Table] = e.Msg
	case e.Msg == "commit.done":
		if p.mu.stage[e.Table] != "" {
			p.mu.committed++
		}
		delete(p.mu.stage, e.Table)
	case strings.HasPrefix(e.Msg, "commit."): // any other answer
		delete(p.mu.stage, e.Table)
	}
}

// committed returns how many commits of rows this life saw answered.
func (p *worker) committed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.committed
}

// reading reports whether the worker was ever given partitions.
func (p *worker) reading() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.reading
}

// The events of a commit of rows that is not over.
const (
	staged  = "commit.staged"  // of objects: all parts are in the bucket, nothing decides yet
	sent    = "commit.send"    // what decides is on its way
	decided = "commit.decided" // of objects: they are about to be completed
)

// arm makes the worker die at the next such event.
func (p *worker) arm(event string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.armed = event
}

func (p *worker) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

func (p *worker) kill() { _ = p.cmd.Process.Kill() }

// killed reports, of a dead worker, whether SIGKILL was what ended it.
func (p *worker) killed() bool {
	var e *exec.ExitError
	if !errors.As(p.err, &e) {
		return false
	}
	status, ok := e.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// await waits until the worker is gone, or for so long.
func (p *worker) await(d time.Duration) {
	select {
	case <-p.done:
	case <-time.After(d):
	}
}

// diedAt reports, of a dead worker, whether it died when such an event was the last of a commit.
func (p *worker) diedAt(event string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.mu.stage {
		if at == event {
			return true
		}
	}
	return false
}

// alive returns an error if the process is gone.
func (p *worker) alive() error {
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("the worker is gone: %w\n%s", errOr(p.err), strings.Join(p.mu.tail, "\n"))
	default:
		return nil
	}
}

func errOr(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// stop asks the worker to finish and wants it to do so.
func (p *worker) stop(t *testing.T) {
	t.Helper()
	<-p.begun
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("a worker that was asked to stop: %v\n%s", p.err, strings.Join(p.mu.tail, "\n"))
		}
	case <-time.After(40 * time.Second):
		t.Error("a worker did not stop within 40 s")
		p.kill()
	}
}
