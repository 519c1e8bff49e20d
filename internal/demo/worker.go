package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// worker is one life of the process under test: the same binary, running "run".
type worker struct {
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process is gone and its log was read
	err    error         // of the process; set before done is closed
	onSend func()        // called on every commit.send of rows, before anything else

	mu struct {
		sync.Mutex
		committed int            // commits that were answered
		inFlight  map[string]int // commits sent and not answered, by table
		tail      []string       // the last lines that are warnings, errors or no JSON
	}
}

// start runs the worker with the config. Its log goes to log as well.
func startWorker(ctx context.Context, binary, config string, log io.Writer, onSend func()) (*worker, error) {
	w := &worker{done: make(chan struct{}), onSend: onSend}
	w.mu.inFlight = map[string]int{}
	w.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, "run", "-c", config, "--log-level", "debug", "--log-format", "json")
	w.cmd.SysProcAttr = orphanless()
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	started := make(chan error)
	go func() { // one thread for the whole life: see orphanless
		unlock := lockThread()
		defer unlock()
		if err := w.cmd.Start(); err != nil {
			started <- fmt.Errorf("start the worker: %w", err)
			return
		}
		started <- nil
		w.read(stderr, log)
		w.err = w.cmd.Wait()
		close(w.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return w, nil
}

func (w *worker) read(stderr io.Reader, log io.Writer) {
	r := bufio.NewReaderSize(stderr, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			w.line(line)
			_, _ = log.Write(line) // for people; the demo does not need it
		}
		if err != nil {
			return
		}
	}
}

// line takes note of what the worker says about commits.
func (w *worker) line(line []byte) {
	send := bytes.Contains(line, []byte(`"msg":"commit.send"`))
	if send && w.onSend != nil && bytes.Contains(line, []byte(`"kind":"data"`)) {
		w.onSend()
	}
	var event struct {
		Level, Msg, Table string
	}
	if err := json.Unmarshal(line, &event); err != nil || event.Level == "WARN" || event.Level == "ERROR" {
		w.keep(strings.TrimSpace(string(line)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case send:
		w.mu.inFlight[event.Table]++
	case event.Msg == "commit.done":
		w.mu.committed++
		delete(w.mu.inFlight, event.Table)
	case strings.HasPrefix(event.Msg, "commit."): // any other answer
		delete(w.mu.inFlight, event.Table)
	}
}

func (w *worker) keep(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.tail = append(w.mu.tail, line)
	w.mu.tail = w.mu.tail[max(0, len(w.mu.tail)-5):]
}

// committed returns how many commits of this life were answered.
func (w *worker) committed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.committed
}

// midCommit reports whether the process died with a commit sent and not answered.
func (w *worker) midCommit() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.inFlight) > 0
}

// kill ends the process without warning.
func (w *worker) kill() { _ = w.cmd.Process.Kill() }

// stop asks the process to finish what it has and waits for it.
func (w *worker) stop(ctx context.Context, patience time.Duration) error {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.done:
	case <-time.After(patience):
		w.kill()
		<-w.done
		return fmt.Errorf("the worker did not stop within %v", patience)
	case <-ctx.Done():
		w.kill()
		<-w.done
		return ctx.Err()
	}
	return w.died()
}

// died says how the process ended, with its last words.
func (w *worker) died() error {
	if w.err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Errorf("the worker has ended: %w; its last words:\n  %s", w.err, strings.Join(w.mu.tail, "\n  "))
}
