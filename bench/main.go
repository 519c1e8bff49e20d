package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/firehosed/firehosed/bench/data"
	"github.com/twmb/franz-go/pkg/kgo"
)

type options struct {
	sets, sinks, source, freshness, brokers, binary, codec, memory, profile string
	mb, rate, runs                                                          int
	replay                                                                  bool
	interval                                                                time.Duration
	seed                                                                    uint64
}

func main() {
	var o options
	flag.StringVar(&o.sets, "sets", "A,B,C", "data `SETS` to measure throughput on; empty: none")
	flag.StringVar(&o.sinks, "sinks", "iceberg", "`SINKS` to measure throughput into, by turns: "+strings.Join(sinkNames(), ", "))
	flag.StringVar(&o.source, "source", kafkaSource, "`SOURCE` to read from while throughput is measured: kafka, kinesis (polled), or kinesis-fan-out; the service of Kinesis is in this process")
	flag.IntVar(&o.runs, "runs", 1, "how often every sink has its turn")
	flag.IntVar(&o.mb, "mb", 500, "`MB` of JSON in each backlog")
	flag.DurationVar(&o.interval, "interval", 2*time.Second, "commit interval while throughput is measured")
	flag.StringVar(&o.codec, "codec", "zstd", "compression of data files")
	flag.StringVar(&o.memory, "memory", "256MiB", "memory budget of the worker")
	flag.StringVar(&o.freshness, "freshness", "", "commit `INTERVALS` to measure freshness at, for example 1s,60s; empty: none")
	flag.IntVar(&o.rate, "rate", 2000, "records a second while freshness is measured")
	flag.StringVar(&o.brokers, "brokers", "", "`ADDRESSES` of a real broker; empty: one in this process")
	flag.StringVar(&o.profile, "profile", "", "`FOLDER` for a CPU profile of each throughput run; the shares of the phases are printed then, and profiling takes a few percent")
	flag.StringVar(&o.binary, "binary", "", "firehosed to measure; empty: built from this tree")
	flag.Uint64Var(&o.seed, "seed", 1, "of the data")
	flag.BoolVar(&o.replay, "replay", false, "instead, replay recorded fetches in the worker's own process, with one processor and with two")
	if len(os.Args) > 1 && os.Args[1] == replayArg {
		if err := replay(context.Background(), os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.replay {
		for name := range strings.SplitSeq(o.sets, ",") {
			if err := cores(ctx, o, name); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
		return nil
	}
	if o.binary == "" {
		dir, err := os.MkdirTemp("", "firehosed-bench-bin-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.binary = filepath.Join(dir, "firehosed")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "./cmd/firehosed")
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build firehosed: %w\n%s", err, out)
		}
	}
	if o.sets != "" {
		fmt.Printf("%-4s %-10s %9s %6s %8s | %s\n", "set", "sink", "records", "MB", "seconds", "per CPU second of the worker: MB, records; steady: MB, records | peak MB")
		for name := range strings.SplitSeq(o.sets, ",") {
			if err := compare(ctx, o, name); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	if o.freshness == "" {
		return nil
	}
	fmt.Printf("\nfreshness: from appended to acknowledged, when the snapshot is visible; %d records a second of set B\n", o.rate)
	for text := range strings.SplitSeq(o.freshness, ",") {
		interval, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("-freshness: %w", err)
		}
		if err := fresh(ctx, o, interval); err != nil {
			return fmt.Errorf("freshness at %v: %w", interval, err)
		}
	}
	return nil
}

// compare measures every sink on a set, by turns, and prints how they stand to the first.
func compare(ctx context.Context, o options, name string) error {
	names := strings.Split(o.sinks, ",")
	got := make([][]float64, len(names))
	for range o.runs {
		for i, sink := range names {
			mb, err := throughput(ctx, o, name, sink)
			if err != nil {
				return fmt.Errorf("sink %s: %w", sink, err)
			}
			got[i] = append(got[i], mb)
		}
	}
	if o.runs < 2 {
		return nil
	}
	for i, sink := range names {
		ratios := make([]float64, o.runs)
		for r := range ratios {
			ratios[r] = got[i][r] / got[0][r]
		}
		slices.Sort(got[i])
		slices.Sort(ratios)
		fmt.Printf("%-4s %-10s median %.1f MB per CPU second (%.1f to %.1f); to %s in the same turn %.2f (%.2f to %.2f)\n", name, sink,
			got[i][o.runs/2], got[i][0], got[i][o.runs-1], names[0], ratios[o.runs/2], ratios[0], ratios[o.runs-1])
	}
	return nil
}

// throughput drains a backlog into a sink and prints a line. It returns the MB of JSON per CPU second in the steady part,
// or, if there is none, in all.
func throughput(ctx context.Context, o options, name, sink string) (float64, error) {
	s, err := data.New(name, o.seed)
	if err != nil {
		return 0, err
	}
	w, err := newWorld(ctx, o.brokers, "bench")
	if err != nil {
		return 0, err
	}
	defer w.close()
	if o.source != kafkaSource {
		w.serveKinesis()
	}
	records, size, err := w.fill(ctx, s, o.mb)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	p, err := w.start(o, sink)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	var prof *profiler
	if o.profile != "" {
		prof = profileOf(ctx, p.admin)
	}
	var marks []mark // one whenever a commit moved the group's offsets, or made rows visible
	var sum int64
	for sum < records {
		time.Sleep(20 * time.Millisecond)
		if err := p.alive(); err != nil {
			return 0, err
		}
		before := sum
		if w.stream != nil {
			time.Sleep(180 * time.Millisecond) // it is the worker itself that is asked
			sum = p.committed(ctx)
		} else {
			sum, _ = w.acked(ctx)
		}
		if sum > before && sum < records {
			at, _ := p.cpu()
			marks = append(marks, mark{sum, at})
		}
	}
	cpu, peak := p.cpu()
	mean := float64(size) / float64(records) / (1 << 20)
	var speed float64
	rate := func(n int64, d time.Duration) string {
		speed = float64(n) * mean / d.Seconds()
		return fmt.Sprintf("%6.1f %9.0f", speed, float64(n)/d.Seconds())
	}
	all, after := rate(records, cpu), "     -         -"
	if a, b, ok := steady(marks, records); ok {
		after = rate(b.records-a.records, b.cpu-a.cpu)
	}
	fmt.Printf("%-4s %-10s %9d %6d %8.1f | %s; %s | %d\n", name, sink, records, size>>20, time.Since(began).Seconds(), all, after, peak>>20)
	if o.runs == 1 {
		files, err := sizes(w.dir)
		if err != nil {
			return 0, err
		}
		fmt.Printf("     files: %s\n", files)
	}
	return speed, report(ctx, prof, filepath.Join(o.profile, name+"-"+sink))
}

// sizes says how many data files are below a folder, and how large they are.
func sizes(dir string) (string, error) {
	var all []int64
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !dataFile.MatchString(path) {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all = append(all, info.Size())
		}
		return err
	})
	if err != nil || len(all) == 0 {
		return "none", err
	}
	slices.Sort(all)
	at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))]) / (1 << 20) }
	return fmt.Sprintf("%d; MB: smallest %.2f, 10%% %.2f, median %.2f, 90%% %.2f, largest %.2f", len(all), at(0), at(.1), at(.5), at(.9), at(1)), nil
}

var dataFile = regexp.MustCompile(`\.(parquet|gz|zst)$`)

// report prints the shares of the phases and keeps the profiles: FILE.pprof and FILE.allocs.pprof.
func report(ctx context.Context, p *profiler, file string) error {
	if p == nil {
		return nil
	}
	all, err := p.end()
	if err != nil || all == nil {
		return err
	}
	fmt.Printf("     CPU: %s\n", shares(all))
	allocs, err := fetchProfile(ctx, p.addr, "allocs")
	if err != nil {
		return err
	}
	return errors.Join(keep(all, file+".pprof"), keep(allocs, file+".allocs.pprof"))
}

// mark is how much CPU time the worker had taken when its offsets stood at records.
type mark struct {
	records int64
	cpu     time.Duration
}

// leastMarks is how many commits show a steady part: what is under way at the first and
// the last of them differs by about one.
const leastMarks = 5

// steady returns the marks that the middle of a run lies between: from 30 % on, and before the last. At both the worker
// has about as much under way that is paid for and not acknowledged.
func steady(marks []mark, records int64) (a, b mark, ok bool) {
	i := slices.IndexFunc(marks, func(m mark) bool { return m.records*10 >= records*3 })
	if i < 0 || len(marks)-i < leastMarks {
		return a, b, false
	}
	return marks[i], marks[len(marks)-1], true
}

// fresh appends at a steady rate for some intervals and prints how long records took to become visible.
func fresh(ctx context.Context, o options, interval time.Duration) error {
	s, err := data.New("B", o.seed)
	if err != nil {
		return err
	}
	w, err := newWorld(ctx, o.brokers, "fresh")
	if err != nil {
		return err
	}
	defer w.close()
	o.interval = interval
	p, err := w.start(o, "iceberg")
	if err != nil {
		return err
	}
	defer p.stop()
	took := max(30*time.Second, 3*interval)
	var sent [partitions][]time.Time // by offset: when it was appended
	var seen [partitions]int64
	var ages []time.Duration
	const tick = 20 * time.Millisecond
	began, i := time.Now(), 0
	for now := range tickUntil(took+2*interval+10*time.Second, tick) {
		if err := p.alive(); err != nil {
			return err
		}
		if now.Sub(began) < took {
			var rs []*kgo.Record
			for range int(float64(o.rate) * tick.Seconds()) {
				rs = append(rs, &kgo.Record{Partition: int32(i % partitions), Value: s(nil, i)})
				i++
			}
			if err := w.client.ProduceSync(ctx, rs...).FirstErr(); err != nil {
				return err
			}
			at := time.Now()
			for _, r := range rs {
				sent[r.Partition] = append(sent[r.Partition], at)
			}
		}
		_, each := w.acked(ctx)
		at := time.Now()
		for part, upto := range each {
			for ; seen[part] < upto; seen[part]++ {
				ages = append(ages, at.Sub(sent[part][seen[part]]))
			}
		}
		if len(ages) == i && now.Sub(began) >= took {
			break
		}
	}
	if len(ages) < i {
		return errors.New("the worker fell behind: lower -rate")
	}
	slices.Sort(ages)
	at := func(q float64) time.Duration {
		return ages[int(math.Ceil(q*float64(len(ages))))-1].Round(time.Millisecond)
	}
	fmt.Printf("  commit interval %v: p50 %v, p99 %v, longest %v\n", interval, at(.5), at(.99), at(1))
	return nil
}

// tickUntil yields the time once a tick, as long as d.
func tickUntil(d, tick time.Duration) func(func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		t := time.NewTicker(tick)
		defer t.Stop()
		for end := time.Now().Add(d); time.Now().Before(end); {
			if !yield(<-t.C) {
				return
			}
		}
	}
}
