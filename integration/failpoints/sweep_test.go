//go:build failpoint

package failpoints

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/failpoint"
)

// notBuilt are the points of parts that the program does not have yet.
var notBuilt = map[string]string{
	"combine.": "the combiner",
	"wal.":     "the Direct PUT log",
}

// fromCatalog is the point that lies in the catalog: TestKilledByCatalog.
const fromCatalog = "commit.afterApplyBeforeReply"

// stop is a worker's death at one hit of a point.
type stop struct {
	point string
	at    int
	also  string // what leads there: further entries of the environment
	lead  func(w *world, p *worker)
	setUp func(w *world)
}

// stops are all deaths of the sweep. The first commits of a worker bind its tables,
// the fifth and later ones bring rows.
func stops() (all []stop) {
	add := func(at int, points ...string) {
		for _, p := range points {
			all = append(all, stop{point: p, at: at})
		}
	}
	first := []string{
		"src.poll.afterFetch", "src.assign.beforeSeek", "src.assign.afterSeek", "route.afterRoute", "buf.beforeCut", "buf.afterCut",
		"schema.beforeEvolve", "schema.afterEvolveSent", "schema.afterEvolve",
		"file.beforeCreate", "file.midRowGroup", "file.beforeClose", "file.afterClose", "file.afterUpload", "file.afterVerify",
		"commit.beforeLoad", "commit.afterLoad", "commit.afterCheck", "commit.afterManifest", "commit.afterManifestList",
		"commit.beforeSend", "commit.sent", "commit.afterReply", "commit.beforeLocalAdvance", "commit.afterLocalAdvance",
		"group.beforeCommit", "group.afterCommit", "table2.beforeCommit",
	}
	add(1, first...)
	add(3, "src.poll.afterFetch", "route.afterRoute", "buf.beforeCut", "buf.afterCut", "schema.beforeEvolve", "schema.afterEvolveSent",
		"schema.afterEvolve", "file.midRowGroup", "file.afterClose", "file.afterUpload", "commit.beforeLocalAdvance",
		"commit.afterLocalAdvance", "group.beforeCommit", "group.afterCommit", "table2.beforeCommit")
	add(7, "commit.beforeLoad", "commit.afterLoad", "commit.afterCheck", "commit.afterManifest", "commit.afterManifestList",
		"commit.beforeSend", "commit.sent", "commit.afterReply")
	for at, how := range []string{"commit.sent=error@1", "commit.afterReply=error@1", "commit.sent=error@7", "commit.afterReply=error@7"} {
		point := []string{"commit.beforeResolve", "commit.afterResolve"}
		all = append(all, stop{point: point[at%2], at: 1, also: how}, stop{point: point[1-at%2], at: 1, also: how})
	}
	for _, p := range []string{"src.revoke.before", "src.revoke.after"} {
		all = append(all, stop{point: p, at: 1, lead: (*world).rival})
	}
	for _, p := range []string{"shutdown.drainStart", "shutdown.afterDrain"} {
		all = append(all, stop{point: p, at: 1, lead: (*world).terminate})
	}
	for _, p := range []string{"config.beforeBarrier", "config.afterBarrier"} {
		all = append(all, stop{point: p, at: 1, setUp: (*world).revise})
	}
	for _, p := range []string{"gc.beforeList", "gc.beforeDelete"} {
		all = append(all, stop{point: p, at: 1, setUp: (*world).maintained})
	}
	return append(all, stop{point: "gc.beforeDelete", at: 3, setUp: (*world).maintained})
}

// TestEveryPoint: there is a death at every point of the list, or a reason for none.
func TestEveryPoint(t *testing.T) {
	taken := map[string]bool{fromCatalog: true}
	for _, s := range stops() {
		taken[s.point] = true
	}
	for _, name := range failpoint.Points() {
		group, _, _ := strings.Cut(name, ".")
		if _, ok := notBuilt[group+"."]; ok == taken[name] {
			t.Errorf("%s: taken %v, belongs to a part that is not built: %v", name, taken[name], ok)
		}
		delete(taken, name)
	}
	for name := range taken {
		t.Errorf("%s is no point", name)
	}
}

// TestKilled: the worker ends at a point as SIGKILL ends it, and another goes on.
func TestKilled(t *testing.T) {
	for _, s := range stops() {
		t.Run(strings.Trim(fmt.Sprintf("%s@%d %s", s.point, s.at, s.also), " "), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if s.setUp != nil {
				s.setUp(w)
			}
			p := w.start("one", fmt.Sprintf("%s=exit@%d;%s", s.point, s.at, s.also))
			if s.lead != nil {
				s.lead(w, p)
			}
			w.feedUntil("the worker is gone", p, p.gone)
			if code := p.exitCode(); code != 137 || !p.said(s.point, s.at, "exit") {
				t.Fatalf("exit code %d, not by the point\n%s", code, p.tail())
			}
			w.finish(w.start("one", ""))
		})
	}
}

// TestZombies: the worker is stopped at a point for longer than its session, another
// takes over and commits, and then the first goes on where it was.
func TestZombies(t *testing.T) {
	for _, s := range []stop{
		{point: "src.revoke.before", at: 1, lead: (*world).rival},
		{point: "schema.beforeEvolve", at: 3},
		{point: "file.afterUpload", at: 3},
		{point: "commit.afterCheck", at: 7},
		{point: "commit.beforeSend", at: 7},
		{point: "commit.sent", at: 7},
		{point: "commit.beforeLocalAdvance", at: 2},
		{point: "group.beforeCommit", at: 2},
		{point: "gc.beforeDelete", at: 1, setUp: (*world).maintained},
	} {
		t.Run(s.point, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if s.setUp != nil {
				s.setUp(w)
			}
			gate := w.path("go")
			p := w.start("one", fmt.Sprintf("%s=block(%s)@%d", s.point, gate, s.at))
			if s.lead != nil {
				s.lead(w, p)
			}
			w.feedUntil("the worker stops at its point", p, func() bool { return p.said(s.point, s.at, "block") })
			p.freeze(w.path("lake"))
			rival := w.rivalOf(p)
			had := rival.commits()
			w.feed(batch)
			w.drain(rival)
			if rival.commits() == had {
				t.Error("the other worker committed nothing while this one was stopped")
			}
			w.open(gate)
			p.thaw()
			w.feed(batch)
			w.finish(p, rival)
		})
	}
}

// TestErrors: what fails at a point is done again, by the same worker.
func TestErrors(t *testing.T) {
	for _, s := range []stop{
		{point: "src.poll.afterFetch", at: 2},
		{point: "src.assign.beforeSeek", at: 1},
		{point: "schema.afterEvolveSent", at: 2},
		{point: "file.afterUpload", at: 3},
		{point: "commit.sent", at: 1},       // a binding that never arrives
		{point: "commit.afterReply", at: 1}, // one whose answer is lost
		{point: "commit.sent", at: 7},
		{point: "commit.afterReply", at: 7},
		{point: "group.beforeCommit", at: 2},
		{point: "config.beforeBarrier", at: 1, setUp: (*world).revise},
	} {
		t.Run(fmt.Sprintf("%s@%d", s.point, s.at), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if s.setUp != nil {
				s.setUp(w)
			}
			p := w.start("one", fmt.Sprintf("%s=error@%d", s.point, s.at))
			w.feedUntil("the point fails", p, func() bool { return p.said(s.point, s.at, "error") })
			w.feed(batch)
			w.finish(p)
		})
	}
}

// rival has a second worker join the group, so that the first has to give partitions up.
func (w *world) rival(p *worker) {
	w.feedUntil("the worker commits", p, func() bool { return p.commits() > 3 })
	w.rivalOf(p)
}

// rivalOf returns a second worker that reads partitions.
func (w *world) rivalOf(p *worker) *worker {
	if w.second == nil {
		w.second = w.start("two", "")
	}
	return w.second
}

// terminate asks the worker to stop.
func (w *world) terminate(p *worker) {
	w.feedUntil("the worker commits", p, func() bool { return p.commits() > 6 })
	p.terminate()
}

// revise has a first worker commit under one configuration, and changes it.
func (w *world) revise() {
	p := w.start("one", "")
	w.feedUntil("the worker commits", p, func() bool { return p.commits() > 6 })
	p.terminate()
	<-p.done
	w.more = "json: {max_depth: 16}"
}

// maintained has maintenance run as often as it may, and something for it to remove.
func (w *world) maintained() {
	w.sink = "keep_metadata: 10\nkeep_snapshots: 10"
	p := w.start("one", "")
	w.feedUntil("there are old metadata files", p, func() bool { return p.commits() > 45 })
	p.terminate()
	<-p.done
	w.more = "maintenance_interval: 10s"
}

// TestKilledByCatalog: the catalog has applied a commit, and the worker dies before
// the answer.
func TestKilledByCatalog(t *testing.T) {
	for _, n := range []int{1, 2, 7, 12} {
		t.Run(fmt.Sprintf("%s@%d", fromCatalog, n), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			catalog := w.rest()
			p := w.start("one", "")
			catalog.SetFault(w.killAt(p, n))
			w.feedUntil("the worker is gone", p, p.gone)
			if !slices.Contains([]int{-1, 137}, p.exitCode()) || catalog.Commits() < n {
				t.Fatalf("exit code %d after %d commits\n%s", p.exitCode(), catalog.Commits(), p.tail())
			}
			catalog.SetFault(nil)
			w.finish(w.start("one", ""))
		})
	}
}

const patience = 2 * time.Minute
