package integration

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// overhead is what a worker may take beyond its budget: what the documentation of memory_budget promises.
var overhead = flag.Int64("overhead", 150, "MiB that a worker may take beyond its memory budget")

// TestBacklogAndOutage lets a worker with a small budget read a backlog of 20 times that budget, takes the catalog away for
// a while in the middle, and wants memory to stay near the budget, and every record in its table.
func TestBacklogAndOutage(t *testing.T) {
	const budget = 32 // MiB, the smallest there is
	w := newWorld(t, "rest", sized(*records, 220_000))
	catalog, err := newGate(t, os.Getenv("FIREHOSED_REST"))
	if err != nil {
		t.Fatal(err)
	}
	w.place.sink = strings.Replace(w.place.sink, os.Getenv("FIREHOSED_REST"), catalog.url, 1)
	w.top = fmt.Sprintf("memory_budget: %dMiB", budget)
	w.configure("only", "")
	w.allow(w.total)
	w.produced()
	p := w.start()
	w.until("the worker commits", func() bool { return p.committed() > 0 }, p)
	catalog.shut(true)
	time.Sleep(*outage)
	if err := p.alive(); err != nil {
		t.Fatalf("while the catalog was down: %v", err)
	}
	before, _ := w.lag()
	catalog.shut(false)
	began := time.Now()
	w.drain(p)
	peak := p.peak(t)
	p.stop(t)
	t.Logf("%d records; %d of them left after an outage of %v, gone in %v; peak memory %d MiB with a budget of %d",
		w.total, before, *outage, time.Since(began).Round(time.Second), peak, budget)
	if peak > budget+*overhead {
		t.Errorf("peak memory %d MiB, want at most %d", peak, budget+*overhead)
	}
	w.judge("", w.name)
}

// peak returns the most memory that the worker ever had, in MiB.
func (p *worker) peak(t *testing.T) int64 {
	t.Helper()
	mib, err := peakMemory(p.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return mib
}

func peakMemory(pid int) (mib int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &mib)
	}
	return mib >> 10, nil
}

// gate is a way to a server that can be shut: then connections break, and new ones end at once.
type gate struct {
	url    string // to use in place of the server's
	target string

	mu struct {
		sync.Mutex
		closed bool
		conns  map[net.Conn]bool
	}
}

func newGate(t *testing.T, server string) (*gate, error) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{url: u.Scheme + "://" + l.Addr().String(), target: u.Host}
	g.mu.conns = map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { g.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		g.shut(true)
		wg.Wait()
	})
	return g, nil
}

// pass moves bytes both ways until either side ends.
func (g *gate) pass(c net.Conn) {
	defer c.Close()
	if !g.enter(c) {
		return
	}
	defer g.leave(c)
	s, err := net.Dial("tcp", g.target)
	if err != nil || !g.enter(s) {
		return
	}
	defer s.Close()
	defer g.leave(s)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(s, c)
		_ = s.Close()
	})
	_, _ = io.Copy(c, s)
	_ = c.Close()
	wg.Wait()
}

func (g *gate) enter(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mu.closed {
		g.mu.conns[c] = true
	}
	return !g.mu.closed
}

func (g *gate) leave(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.mu.conns, c)
}

func (g *gate) shut(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.closed = closed
	if closed {
		for c := range g.mu.conns {
			_ = c.Close()
		}
	}
}
