package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/firehosed/firehosed/bench/data"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
)

const partitions = 6

// world is a broker, a topic and a folder for one measurement.
type world struct {
	dir, name, brokers string
	cluster            *kfake.Cluster
	client             *kgo.Client
	admin              *kadm.Client
	stream             *kinesistest.Server // in place of the topic; may be nil
	web                *httptest.Server    // of the stream
}

// kafkaSource is the source that is measured unless another is named.
const kafkaSource = "kafka"

// sources are what can be measured, as YAML.
var sources = map[string]string{
	kafkaSource:       `kafka: {brokers: [{service}], topics: [{name}], start: earliest}`,
	"kinesis":         `kinesis: {streams: [{name}], region: us-east-1, endpoint: {service}}`,
	"kinesis-fan-out": `kinesis: {streams: [{name}], region: us-east-1, endpoint: {service}, fan_out_consumer: bench}`,
}

// serveKinesis makes a stream of as many shards as a topic has partitions, without the service's limits on what is read
// in a second.
func (w *world) serveKinesis() {
	w.stream = kinesistest.New()
	limits := kinesistest.DefaultLimits()
	limits.Reads, limits.ReadBytes = 0, 0
	w.stream.SetLimits(limits)
	w.stream.Create(w.name, partitions)
	w.web = httptest.NewServer(w.stream)
}

func newWorld(ctx context.Context, brokers, name string) (w *world, err error) {
	w = &world{name: fmt.Sprintf("%s_%d", name, time.Now().UnixNano()), brokers: brokers}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "firehosed-bench-"); err != nil {
		return w, err
	}
	if brokers == "" {
		if w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0)); err != nil {
			return w, err
		}
		w.brokers = w.cluster.ListenAddrs()[0]
	}
	w.client, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(w.brokers, ",")...), kgo.DefaultProduceTopic(w.name),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return w, err
	}
	w.admin = kadm.NewClient(w.client)
	_, err = w.admin.CreateTopic(ctx, partitions, 1, nil, w.name)
	return w, err
}

func (w *world) close() {
	if w.web != nil {
		w.web.Close()
		w.stream.Close()
	}
	if w.client != nil {
		if w.cluster == nil {
			_, _ = w.admin.DeleteTopics(context.Background(), w.name)
		}
		w.client.Close()
	}
	if w.cluster != nil {
		w.cluster.Close()
	}
	_ = os.RemoveAll(w.dir)
}

// fill appends records until there are mb megabytes of them.
func (w *world) fill(ctx context.Context, s data.Set, mb int) (records, size int64, err error) {
	if w.stream != nil {
		for shards := w.stream.Shards(w.name); size < int64(mb)<<20; records++ {
			v := s(nil, int(records))
			w.stream.PutTo(w.name, shards[records%partitions], strconv.FormatInt(records, 10), v)
			size += int64(len(v))
		}
		return records, size, nil
	}
	errs := make(chan error, 1)
	for size < int64(mb)<<20 {
		v := s(nil, int(records))
		w.client.Produce(ctx, &kgo.Record{Partition: int32(records % partitions), Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case errs <- err:
				default:
				}
			}
		})
		size += int64(len(v))
		records++
	}
	if err := w.client.Flush(ctx); err != nil {
		return 0, 0, err
	}
	select {
	case err := <-errs:
		return 0, 0, fmt.Errorf("append: %w", err)
	default:
		return records, size, nil
	}
}

// acked returns the sum and each of the group's offsets: below them every record is visible.
func (w *world) acked(ctx context.Context) (sum int64, each [partitions]int64) {
	got, err := w.admin.FetchOffsets(ctx, w.name)
	if err != nil {
		return 0, each
	}
	got.Each(func(o kadm.OffsetResponse) {
		each[o.Partition] = max(o.At, 0)
		sum += max(o.At, 0)
	})
	return sum, each
}

// worker is the process that is measured.
type worker struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	done  chan error
	admin string // address
}

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// sinks are what can be measured, as YAML.
var sinks = map[string]string{
	"iceberg":    "iceberg: {warehouse: {folder}, commit_interval: {interval}, codec: {codec}}",
	replaySink:   "iceberg: {warehouse: {folder}, commit_interval: {interval}, codec: {codec}, commits_per_second: 0, catalog_commits_per_second: 0}",
	"s3-parquet": "s3: {bucket: {folder}, format: parquet, buffer_interval: {interval}, codec: {codec}}",
	"s3-gzip":    "s3: {bucket: {folder}, format: json_lines, compression_format: GZIP, buffer_size: 128MiB, buffer_interval: {interval}}",
	"s3-zstd":    "s3: {bucket: {folder}, format: json_lines, compression_format: ZSTD, buffer_size: 128MiB, buffer_interval: {interval}}",
	// 200 folders of set B; they need an interval of 60s
	"s3-folders": "s3: {bucket: {folder}, format: json_lines, compression_format: GZIP, prefix: 'p=!{partitionKeyFromQuery:p}/', " +
		"error_output_prefix: failed/, metadata_extraction_query: '{p: (.seq % 200)}', buffer_interval: {interval}}",
}

func sinkNames() []string { return slices.Sorted(maps.Keys(sinks)) }

// configure writes the configuration of a worker, and returns its file and the address for operators.
func (w *world) configure(o options, sink string) (config, admin string, err error) {
	source, service := sources[o.source], w.brokers
	if source == "" {
		return "", "", fmt.Errorf("-source: %q is none of %s", o.source, strings.Join(slices.Sorted(maps.Keys(sources)), ", "))
	}
	if w.web != nil {
		service = w.web.URL
	}
	from := strings.NewReplacer("{name}", w.name, "{service}", strconv.Quote(service)).Replace(source)
	if sinks[sink] == "" {
		return "", "", fmt.Errorf("-sinks: %q is none of %s", sink, strings.Join(sinkNames(), ", "))
	}
	into := strings.NewReplacer("{folder}", strconv.Quote(w.dir+"/warehouse"), "{interval}", o.interval.String(), "{codec}", o.codec).Replace(sinks[sink])
	config = filepath.Join(w.dir, "firehosed.yaml")
	if admin, err = freeAddress(); err != nil {
		return "", "", err
	}
	text := fmt.Sprintf(`admin: {listen: %[5]q}
memory_budget: %[4]s
pipelines:
  %[1]s:
    source: {%[2]s}
    sink: {%[3]s}
`, w.name, from, into, o.memory, admin)
	return config, admin, os.WriteFile(config, []byte(text), 0o600)
}

// start runs a worker.
func (w *world) start(o options, sink string) (*worker, error) {
	config, admin, err := w.configure(o, sink)
	if err != nil {
		return nil, err
	}
	p := &worker{cmd: exec.Command(o.binary, "run", "-c", config), done: make(chan error, 1), admin: admin}
	p.cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench")
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// stop asks the worker to finish, and kills it after a while.
func (p *worker) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *worker) alive() error {
	select {
	case err := <-p.done:
		p.done <- err
		return errors.Join(fmt.Errorf("the worker is gone: %s", p.log.String()), err)
	default:
		return nil
	}
}

// committed returns how many rows are visible, dead letters among them, as the worker counts them.
func (p *worker) committed(ctx context.Context) (rows int64) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", http.NoBody)
	if err != nil {
		return 0
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0 // it does not listen yet
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "firehosed_committed_rows_total{"); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value[strings.LastIndexByte(value, ' ')+1:]), 64)
			rows += int64(n)
		}
	}
	return rows
}

// cpu returns the worker's CPU time so far, and its peak memory in bytes. Linux only.
func (p *worker) cpu() (time.Duration, int64) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 13 {
		return 0, 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	var peak int64
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &peak)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, peak << 10
}
