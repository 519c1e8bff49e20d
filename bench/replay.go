package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/bench/data"
	"github.com/firehosed/firehosed/internal/daemon"
)

// A recording is record batches as a producer sent them, in a file for each partition: they are not in the heap of the
// process that replays them, which is the worker as well.
type recording struct {
	Files   [partitions]string
	Records int64
	Size    int64 // of JSON
	Pieces  [partitions][]piece
}

// piece is a record batch.
type piece struct {
	First, Next int64 // offsets
	At, Size    int   // in the file
}

const (
	replayTopic = "replay"
	replaySink  = "iceberg-at-will" // commits when it is told to
)

// record has a producer write mb megabytes of a set, and keeps its batches. list is the file that tells about them.
func record(ctx context.Context, o options, name, dir string) (rec *recording, list string, err error) {
	next, err := data.New(name, o.seed)
	if err != nil {
		return nil, "", err
	}
	rec = &recording{}
	var files [partitions]*os.File
	for i := range files {
		rec.Files[i] = filepath.Join(dir, fmt.Sprintf("%s-%d.batches", name, i))
		file, err := os.Create(rec.Files[i])
		if err != nil {
			return nil, "", err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		files[i] = file
	}
	w, err := newWorld(ctx, "", replayTopic)
	if err != nil {
		return nil, "", err
	}
	defer w.close()
	w.cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.ProduceResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				pieces := &rec.Pieces[p.Partition]
				first, at := int64(0), 0
				if k := len(*pieces); k > 0 {
					last := (*pieces)[k-1]
					first, at = last.Next, last.At+last.Size
				}
				b := p.Records // a batch of version 2: the offset of the first record, ..., at 57 how many there are
				binary.BigEndian.PutUint64(b, uint64(first))
				binary.BigEndian.PutUint32(b[12:], 0)
				n, err := files[p.Partition].Write(b)
				if err != nil {
					return nil, err, true
				}
				*pieces = append(*pieces, piece{first, first + int64(binary.BigEndian.Uint32(b[57:])), at, n})
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.BaseOffset = p.Partition, first
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	if rec.Records, rec.Size, err = w.fill(ctx, next, o.mb); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return nil, "", err
	}
	list = filepath.Join(dir, "index.json")
	return rec, list, os.WriteFile(list, text, 0o600)
}

// end is the offset after the last record of a partition.
func (rec *recording) end(partition int32) int64 {
	if k := len(rec.Pieces[partition]); k > 0 {
		return rec.Pieces[partition][k-1].Next
	}
	return 0
}

// replayer answers fetches out of a recording.
type replayer struct {
	rec   *recording
	text  [partitions][]byte
	mu    sync.Mutex
	began time.Time // when the first records were asked for
	asked [partitions]int64
}

// serve has a broker with an empty topic answer as one that has what was recorded.
func (rp *replayer) serve(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return rp.fetch(r.(*kmsg.FetchRequest)), nil, true
	})
	c.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return rp.list(r.(*kmsg.ListOffsetsRequest)), nil, true
	})
}

func (rp *replayer) fetch(req *kmsg.FetchRequest) kmsg.Response {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	sum := 0
	for _, t := range req.Topics {
		rt := kmsg.FetchResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			out := kmsg.NewFetchResponseTopicPartition()
			out.Partition = p.Partition
			out.HighWatermark, out.LastStableOffset, out.LogStartOffset = rp.rec.end(p.Partition), rp.rec.end(p.Partition), 0
			pieces := rp.rec.Pieces[p.Partition]
			i, _ := slices.BinarySearchFunc(pieces, p.FetchOffset, func(b piece, offset int64) int {
				if b.Next <= offset {
					return -1
				}
				return 1
			})
			from, to := 0, 0
			for ; i < len(pieces) && (to == from && sum == 0 || to-from+pieces[i].Size <= int(p.PartitionMaxBytes) && sum+to-from < int(req.MaxBytes)); i++ {
				if to == from {
					from = pieces[i].At
				}
				to = pieces[i].At + pieces[i].Size
			}
			out.RecordBatches = rp.text[p.Partition][from:to:to]
			sum += to - from
			rp.asked[p.Partition] = max(rp.asked[p.Partition], p.FetchOffset)
			rt.Partitions = append(rt.Partitions, out)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	switch {
	case sum == 0:
		time.Sleep(time.Millisecond) // nobody waits for records of this partition
	case rp.began.IsZero():
		rp.began = time.Now()
	}
	return resp
}

func (rp *replayer) list(req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range req.Topics {
		rt := kmsg.ListOffsetsResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			out := kmsg.NewListOffsetsResponseTopicPartition()
			out.Partition, out.Timestamp, out.LeaderEpoch = p.Partition, -1, 0
			if out.Offset = 0; p.Timestamp != -2 {
				out.Offset = rp.rec.end(p.Partition)
			}
			rt.Partitions = append(rt.Partitions, out)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// all tells whether everything was fetched, and since when.
func (rp *replayer) all() (since time.Time, ok bool) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	for p := range int32(partitions) {
		if rp.asked[p] < rp.rec.end(p) {
			return rp.began, false
		}
	}
	return rp.began, true
}

// replayed is what a replay took.
type replayed struct {
	Seconds, CPU float64
}

// replayArg makes a process one that replays. What follows are the list of what was recorded, a folder, the commit interval,
// the codec and the memory budget.
const replayArg = "replay-worker"

// replay is the worker, from the first fetch to the commit that has every record, with what it reads in the same
// process.
func replay(ctx context.Context, args []string, out io.Writer) error {
	rec := &recording{}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, rec); err != nil {
		return err
	}
	rp := &replayer{rec: rec}
	for i, name := range rec.Files {
		if rp.text[i], err = mapped(name); err != nil {
			return err
		}
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.SeedTopics(partitions, replayTopic))
	if err != nil {
		return err
	}
	defer cluster.Close()
	rp.serve(cluster)
	w := &world{dir: args[1], name: replayTopic, brokers: cluster.ListenAddrs()[0]}
	interval, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	config, admin, err := w.configure(options{source: kafkaSource, interval: interval, codec: args[3], memory: args[4]}, replaySink)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan int, 1)
	var log strings.Builder
	go func() {
		done <- daemon.Main(ctx, daemon.Process{Args: []string{"run", "-c", config}, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &log, LookupEnv: os.LookupEnv})
	}()
	p := &worker{admin: admin}
	for {
		select {
		case code := <-done:
			return fmt.Errorf("the worker is gone, with exit code %d: %s", code, log.String())
		case <-time.After(5 * time.Millisecond):
		}
		since, ok := rp.all()
		if !ok {
			continue
		}
		if err := flush(ctx, admin); err != nil {
			return err
		}
		if p.committed(ctx) < rec.Records {
			continue
		}
		took := replayed{Seconds: time.Since(since).Seconds(), CPU: spent()}
		stop()
		if code := <-done; code != 0 {
			return fmt.Errorf("the worker ended with %d: %s", code, log.String())
		}
		return json.NewEncoder(out).Encode(took)
	}
}

// mapped returns what is in a file, outside of the heap.
func mapped(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	return syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED|syscall.MAP_POPULATE)
}

// spent is the CPU time of this process in seconds.
func spent() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// flush has the worker commit what it holds.
func flush(ctx context.Context, admin string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/v1/pipelines/"+replayTopic+"/flush", http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// cores replays a set with one processor and with two, by turns, and prints how many times as fast two are.
func cores(ctx context.Context, o options, name string) (err error) {
	dir, err := os.MkdirTemp("", "firehosed-replay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rec, list, err := record(ctx, o, name, dir)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var took [2][]float64
	var ratios, cpu []float64
	for turn := range o.runs {
		for n := range took {
			folder := filepath.Join(dir, fmt.Sprintf("%d-%d", turn, n))
			if err := os.Mkdir(folder, 0o700); err != nil {
				return err
			}
			cmd := exec.CommandContext(ctx, self, replayArg, list, folder, o.interval.String(), o.codec, o.memory)
			cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", n+1))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("replay: %w", err)
			}
			var r replayed
			if err := json.Unmarshal(out, &r); err != nil {
				return fmt.Errorf("replay: %w: %s", err, out)
			}
			took[n] = append(took[n], r.Seconds)
			if n == 1 {
				cpu = append(cpu, r.CPU)
			}
			if err := os.RemoveAll(folder); err != nil {
				return err
			}
		}
		ratios = append(ratios, took[0][turn]/took[1][turn])
	}
	mb := float64(rec.Size) / 1e6
	for _, all := range [][]float64{took[0], took[1], ratios, cpu} {
		slices.Sort(all)
	}
	k := o.runs / 2
	fmt.Printf("%-4s %6.0f MB: %5.2f s with one processor, %5.2f with two (%.0f and %.0f MB/s): %.2f times (%.2f to %.2f); CPU seconds of the process %.2f\n",
		name, mb, took[0][k], took[1][k], mb/took[0][k], mb/took[1][k], ratios[k], ratios[0], ratios[o.runs-1], cpu[k])
	return nil
}
