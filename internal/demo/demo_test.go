package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The worker of these tests is the test binary itself: a toy that is exact, or
// that loses a row and repeats another, and that says the lines the demo goes by.
const toyFault = "FIREHOSED_DEMO_TOY"

func TestMain(m *testing.M) {
	if fault, toy := os.LookupEnv(toyFault); toy && len(os.Args) > 3 {
		if err := runToy(os.Args[1], os.Args[3], fault); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runToy(command, config, fault string) error {
	if command == "verify" {
		fmt.Println(`{"lost":0,"duplicated":0,"unexpected":0,"pending":0,"unverifiable":0}`)
		return nil
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	broker := regexp.MustCompile(`brokers: \["(.*)"\]`).FindSubmatch(text)[1]
	dir := filepath.Dir(config)
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	tables := toyTables(dir)
	for _, name := range []string{table, deadLetters} {
		err := tables.Coordinates(context.Background(), name, func(p int32, off int64, _ int32) error {
			from[p] = kgo.NewOffset().At(max(off+1, from[p].EpochOffset().Offset))
			return nil
		})
		if err != nil {
			return err
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(string(broker)), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for n := time.Now().UnixNano(); ; n++ {
		fetches := client.PollRecords(ctx, 100)
		if ctx.Err() != nil {
			return nil
		} else if fetches.Err() != nil {
			return fetches.Err()
		}
		if err := toyCommit(client, dir, n, fetches, fault); err != nil {
			return err
		}
	}
}

func toyCommit(client *kgo.Client, dir string, n int64, fetches kgo.Fetches, fault string) error {
	var out bytes.Buffer
	fetches.EachRecord(func(r *kgo.Record) {
		name := table
		if isBroken(int(r.Offset)*partitions + int(r.Partition)) {
			name = deadLetters
		}
		copies := 1
		if fault == "wrong" && r.Partition == 2 {
			switch r.Offset {
			case 30:
				copies = 0
			case 40:
				copies = 2
			}
		}
		for range copies {
			fmt.Fprintf(&out, "%s %d %d\n", name, r.Partition, r.Offset)
		}
	})
	fmt.Fprintln(os.Stderr, `{"level":"DEBUG","msg":"commit.send","table":"demo.events","kind":"data"}`)
	time.Sleep(20 * time.Millisecond) // a reply on its way, for the demo to kill in
	if err := os.WriteFile(filepath.Join(dir, "staged"), out.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "staged"), filepath.Join(dir, fmt.Sprintf("commit-%d", n))); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, `{"level":"DEBUG","msg":"commit.done","table":"demo.events"}`)
	acks := kadm.Offsets{}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			acks.AddOffset(topic, p.Partition, p.Records[len(p.Records)-1].Offset+1, -1)
		}
	})
	return kadm.NewClient(client).CommitAllOffsets(context.Background(), pipelineName, acks)
}

// toyTables are the files that toy workers leave in a folder.
type toyTables string

func (t toyTables) Head(ctx context.Context, name string) (string, int64, error) {
	var n int64
	err := t.Coordinates(ctx, name, func(int32, int64, int32) error { n++; return nil })
	return "file://" + string(t) + "/" + name, n, err
}

func (t toyTables) Coordinates(_ context.Context, name string, visit func(int32, int64, int32) error) error {
	files, err := filepath.Glob(filepath.Join(string(t), "commit-*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			var in string
			var p int32
			var off int64
			if _, err := fmt.Sscan(lines.Text(), &in, &p, &off); err != nil {
				return err
			}
			if in == name {
				if err := visit(p, off, 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (toyTables) Close() error { return nil }

// toyDemo runs a small demo with a toy worker and returns its last line.
func toyDemo(t *testing.T, fault string, kills int) (result, error) {
	t.Helper()
	t.Setenv(toyFault, fault)
	var out, progress bytes.Buffer
	err := Run(t.Context(), Options{
		Dir: filepath.Join(t.TempDir(), "demo"), Records: 600, Kills: kills, JSON: true, Out: &out, Err: &progress,
		Open: func(_ context.Context, config string) (Tables, error) { return toyTables(filepath.Dir(config)), nil },
	})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var r result
	if bad := json.Unmarshal([]byte(lines[len(lines)-1]), &r); bad != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, bad, out.String(), progress.String())
	}
	if t.Failed() || testing.Verbose() {
		t.Log(progress.String())
	}
	return r, err
}

func TestDemoWithAnExactWorker(t *testing.T) {
	r, err := toyDemo(t, "", 2)
	if err != nil {
		t.Fatal(err)
	}
	tr := newTruth(600)
	if r.Rows != tr.rows || r.DeadLettered != tr.dead || r.Lost+r.Duplicated+r.Unexpected != 0 {
		t.Errorf("%+v", r)
	}
	if r.Kills < 2 || r.KillsMidCommit < 1 || r.FirstRowsSeconds <= 0 || !strings.HasSuffix(r.MetadataLocation, table) {
		t.Errorf("%+v", r)
	}
}

func TestDemoFindsWhatAWorkerGotWrong(t *testing.T) {
	r, err := toyDemo(t, "wrong", 0)
	if !errors.Is(err, ErrNotExact) || r.Lost != 1 || r.Duplicated != 1 || r.Unexpected != 0 {
		t.Errorf("%v\n%+v", err, r)
	}
}

// TestDemoIsStopped: it says so, and which folder stays.
func TestDemoIsStopped(t *testing.T) {
	t.Setenv(toyFault, "")
	ctx, cancel := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "demo")
	var out bytes.Buffer
	err := Run(ctx, Options{
		Dir: dir, Records: 600, Out: &out, Err: &out,
		Open: func(_ context.Context, config string) (Tables, error) {
			cancel()
			return toyTables(filepath.Dir(config)), nil
		},
	})
	if err == nil || err.Error() != "the demo was stopped before its end; what it wrote stays in "+dir {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "firehosed.yaml")); err != nil {
		t.Error(err)
	}
}

func TestDemoRefusesNumbersBelowZero(t *testing.T) {
	for _, o := range []Options{{Records: -5}, {Kills: -1}} {
		o.Dir = t.TempDir()
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestDemoRefusesAFolderWithSomethingInIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
}
