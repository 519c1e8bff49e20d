package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firehosed/firehosed/iceberg"
)

var (
	commits = flag.Int("commits", 1000, "commits to one table, in hundreds")
	retain  = flag.Int("retain", 50, "snapshots that the table of the commits keeps; the product's default is 500")
	tend    = flag.Int("tend", 5, "commits between two runs of maintenance; 5 is what the product's default intervals come to")
	profile = flag.String("profile", "", "folder for CPU profiles of the two windows of commits that are compared")
)

const (
	window   = 100 // commits that are measured together
	compared = 3   // windows whose median is compared, so that one that others disturbed does not count

	maxMetadata = 1_000_000 // bytes of a metadata.json with the default settings
	heapMargin  = 4 << 20   // bytes that the live heap may vary by

	maxManifests = 110 // of the head that are waiting to be merged: a hundred make a merge worth while
	filledBy     = 400 // commits: what fills a manifest that is not merged any more, at least
)

// TestCommitsStayCheap makes commits back to back through the product's sink, with maintenance as a worker does it, and
// wants a hundred of the last to cost what a hundred did when retention was reached: in processor time, in bytes of
// metadata and in memory. Other programs then read the rows. Processor time is all that this process took, maintenance
// included; the share of the test itself is logged.
func TestCommitsStayCheap(t *testing.T) {
	need(t, "readers")
	f := newFeed(t)
	total := *commits / window * window
	first := (*retain + *retain/10 + window - 1) / window * window // the window that begins here is past retention
	if *retain == 500 {
		first = 500 // as issue 3 has it: expiry sets in at 550
	}
	if total < first+2*compared*window {
		t.Fatalf("-commits %d are too few to compare: retention is reached at %d", *commits, first)
	}
	own := f.ownCost()
	var seen []measure
	for begin := 0; begin < total; begin += window {
		stop := f.profile(begin == first, begin == total-window, begin)
		m := measure{cpu: cpuTime(), commits: begin + window}
		began := time.Now()
		for i := range window {
			f.commit()
			if (begin+i+1)%*tend == 0 {
				m.done = plus(m.done, f.maintain())
			}
		}
		m.cpu, m.wall = cpuTime()-m.cpu, time.Since(began)
		stop()
		m.heap, m.files = liveHeap(), f.files()
		t.Logf("%s", m)
		seen = append(seen, m)
	}
	t.Logf("of each hundred commits, the test's own: %v", own.Round(time.Millisecond))
	in, err := f.open().Inspect(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	metadata := strings.TrimPrefix(in.Metadata, "file://")
	f.judgeCost(seen[first/window:])
	f.judgeFiles(seen, metadata)
	f.judgeTable(in, total)
	f.judgeRows(metadata, total)
}

// measure is what a hundred commits took, and what there was after them.
type measure struct {
	commits   int
	cpu, wall time.Duration
	heap      uint64
	done      iceberg.Maintenance
	files     fileCount
}

func (m measure) String() string {
	return fmt.Sprintf("%5d commits: %6.2f CPU s, %6.2f s; live heap %5.1f MiB; metadata.json %d, largest %d bytes; %d manifests, %d lists, %d data files; maintenance: %+v",
		m.commits, m.cpu.Seconds(), m.wall.Seconds(), float64(m.heap)/(1<<20), m.files.metadata, m.files.largest,
		m.files.manifests, m.files.lists, m.files.data, m.done)
}

func plus(a, b iceberg.Maintenance) iceberg.Maintenance {
	return iceberg.Maintenance{
		Manifests: a.Manifests + b.Manifests, Snapshots: a.Snapshots + b.Snapshots, Schemas: a.Schemas + b.Schemas,
		Metadata: a.Metadata + b.Metadata, Orphans: a.Orphans + b.Orphans, Vectors: a.Vectors + b.Vectors,
	}
}

// cpuTime returns the processor time of the process, all threads.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// liveHeap returns the bytes of reachable objects.
func liveHeap() uint64 {
	var m runtime.MemStats
	for range 2 { // what finalizers and pools let go of goes with the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// profile begins a CPU profile of a window that is compared, where one is wanted, and returns what ends it.
func (f *feed) profile(first, last bool, begin int) (stop func()) {
	f.t.Helper()
	if *profile == "" || !first && !last {
		return func() {}
	}
	out, err := os.Create(filepath.Join(*profile, fmt.Sprintf("commits-%d.pprof", begin)))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		f.t.Fatal(err)
	}
	return func() {
		pprof.StopCPUProfile()
		if err := out.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

// fileCount is the files of the table.
type fileCount struct {
	metadata, manifests, lists, data int
	largest                          int64 // bytes of a metadata.json
}

func (f *feed) files() (n fileCount) {
	f.t.Helper()
	root := filepath.Join(f.config.Warehouse, "default", "t")
	entries, err := os.ReadDir(filepath.Join(root, "metadata"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasSuffix(name, ".metadata.json"):
			info, err := e.Info()
			if err != nil {
				f.t.Fatal(err)
			}
			n.metadata++
			n.largest = max(n.largest, info.Size())
		case strings.HasPrefix(name, "snap-"):
			n.lists++
		default:
			n.manifests++
		}
	}
	folders, err := os.ReadDir(filepath.Join(root, "data"))
	if err != nil {
		f.t.Fatal(err)
	}
	n.data = len(folders) * partitions
	return n
}

// judgeCost compares the windows since retention was reached: the first ones with the last.
func (f *feed) judgeCost(seen []measure) {
	f.t.Helper()
	head, tail := seen[:compared], seen[len(seen)-compared:]
	first, last := head[0], tail[compared-1]
	f.t.Logf("the last hundred commits took %.2f times the processor time of commits %d to %d",
		last.cpu.Seconds()/first.cpu.Seconds(), first.commits-window, first.commits)
	was, is := median(head), median(tail)
	f.t.Logf("medians of %d windows: %.2f CPU s, at the end %.2f", compared, was.Seconds(), is.Seconds())
	if is > 2*was {
		f.t.Errorf("a hundred commits took %v of processor time at the end, from commit %d on they took %v", is, first.commits-window, was)
	}
	if last.heap > first.heap+heapMargin {
		f.t.Errorf("the live heap is %d bytes, it was %d after %d commits", last.heap, first.heap, first.commits)
	}
}

func median(windows []measure) time.Duration {
	var cpu []time.Duration
	for _, m := range windows {
		cpu = append(cpu, m.cpu)
	}
	slices.Sort(cpu)
	return cpu[len(cpu)/2]
}

// judgeFiles wants the metadata small and old files gone.
func (f *feed) judgeFiles(seen []measure, metadata string) {
	f.t.Helper()
	for _, m := range seen {
		if most := f.config.KeepMetadata + *tend + 2; m.files.metadata > most { // with the commits of maintenance itself
			f.t.Errorf("after %d commits there are %d metadata.json files, want at most %d", m.commits, m.files.metadata, most)
		}
		if m.files.largest > maxMetadata {
			f.t.Errorf("after %d commits a metadata.json has %d bytes, want at most %d", m.commits, m.files.largest, maxMetadata)
		}
	}
	data, err := os.ReadFile(metadata)
	if err != nil {
		f.t.Fatal(err)
	}
	var md struct {
		Snapshots []json.RawMessage `json:"snapshots"`
		History   []json.RawMessage `json:"snapshot-log"`
	}
	if err := json.Unmarshal(data, &md); err != nil {
		f.t.Fatal(err)
	}
	if most := *retain + *retain/10 + *tend + 1; len(md.Snapshots) > most || len(md.Snapshots) < *retain {
		f.t.Errorf("%d snapshots, want %d to %d", len(md.Snapshots), *retain, most)
	}
	if n := len(md.History); n > len(md.Snapshots) {
		f.t.Errorf("%d entries in the snapshot log", n)
	}
	var each int
	for _, list := range [][]json.RawMessage{md.Snapshots, md.History} {
		for _, s := range list {
			each += len(s) + 1
		}
	}
	defaults := iceberg.DefaultConfig().KeepSnapshots
	most := defaults + defaults/10 + *tend + 1
	whole := len(data) - each + each/len(md.Snapshots)*most
	f.t.Logf("metadata.json: %d bytes of its %d are %d snapshots; with the default settings it has at most %d", each, len(data), len(md.Snapshots), whole)
	if whole > maxMetadata {
		f.t.Errorf("with the default settings a metadata.json has %d bytes, want at most %d", whole, maxMetadata)
	}
}

// judgeTable wants every commit counted, and the marks where the rows end.
func (f *feed) judgeTable(in iceberg.Inspection, commits int) {
	f.t.Helper()
	if rows := int64(commits) * partitions * rowsPerFile; in.State != iceberg.OK || in.Seq != int64(commits) || in.Records != rows {
		f.t.Errorf("the table is %s (%s) after %d commits of ours, with %d rows, want %d of %d", in.State, in.Reason, in.Seq, in.Records, commits, rows)
	}
	for _, p := range f.parts {
		if got := in.Marks[p].At; got != f.at(f.next) {
			f.t.Errorf("partition %s stands at %v, want %v", p.ID, got, f.at(f.next))
		}
	}
}

// judgeRows wants every row there once, as others read the table, in few manifests.
func (f *feed) judgeRows(metadata string, commits int) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), os.Getenv("FIREHOSED_PYTHON"), "checker/sums.py", metadata)
	cmd.Stderr = &strings.Builder{}
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("sums.py: %v\n%s", err, cmd.Stderr)
	}
	var got struct {
		Rows      [][6]int64
		Snapshots int
		Manifests int
		Files     int `json:"data_files"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		f.t.Fatalf("sums.py: %v\n%s", err, out)
	}
	f.t.Logf("read by others: %s", out)
	if want := f.want(); !slices.Equal(got.Rows, want) {
		f.t.Errorf("rows by partition: %v, want %v", got.Rows, want)
	}
	if most := maxManifests + commits/filledBy; got.Files != commits*partitions || got.Manifests > most {
		f.t.Errorf("%d data files in %d manifests, want %d in at most %d", got.Files, got.Manifests, commits*partitions, most)
	}
}
