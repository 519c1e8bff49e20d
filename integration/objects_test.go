package integration

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// manyRecords is from how many records on TestObjects has as many partitions as a table may have at a time: a file of the
// 566 columns of the stream is expensive, and with few records there are few rows in each.
const manyRecords = 200_000

// TestObjects moves records into objects of a bucket, in 200 partitions (20 in the short form), with two workers that are killed over and
// over: with parts staged and nothing decided, and with a commit decided and objects still invisible. Every record must be
// in one object, no object may ever change, and DuckDB must read the folders as Hive's.
func TestObjects(t *testing.T) {
	for _, c := range []struct {
		format, sink, read string
		commits            int // in what flows between two kills, at least: a commit has a file in each folder, and one of parquet costs a lot
	}{
		{
			"json_lines", "compression_format: GZIP\nmetadata_extraction_query: '{slot: .slot}'",
			`SELECT line, regexp_extract(line, '^\{"slot":(\d+),', 1) AS slot, p, '' AS place FROM read_csv('%s/*/*.gz', hive_partitioning=true, ` +
				`columns={line: 'VARCHAR'}, auto_detect=false, header=false, delim=chr(1), quote='', escape='', max_line_size=10000000)`, 8,
		},
		{
			"parquet", "codec: zstd",
			"SELECT concat_ws('|', seq, type, _fh_offset, _fh_partition) AS line, slot, p, concat_ws('|', _fh_offset, _fh_partition) AS place FROM read_parquet('%s/*/*.parquet', hive_partitioning=true)", 3, // without union_by_name, which keeps the footers of all files in memory
		},
	} {
		t.Run(c.format, func(t *testing.T) {
			need(t, "s3")
			w := newWorld(t, "sqlite", sized(*records, 20_000))
			prefix, slots := w.name, 20
			if w.total >= manyRecords {
				slots = 200
			}
			emptyLater(t, prefix)
			w.edit = func(value []byte, i int) []byte {
				if rest, ok := bytes.CutPrefix(value, []byte("{")); ok {
					return append(fmt.Appendf(nil, `{"slot":%d,`, i*7919%slots), rest...)
				}
				return value
			}
			w.place.env = []string{"AWS_ACCESS_KEY_ID=" + os.Getenv("FIREHOSED_S3_KEY"), "AWS_SECRET_ACCESS_KEY=" + os.Getenv("FIREHOSED_S3_SECRET")}
			w.sink = fmt.Sprintf(`s3:
  bucket: s3://%s/%s
  control: s3://%[1]s/%[2]s_control
  s3: {endpoint: %q, region: us-east-1, path_style: true, part_size: 5MiB}
  format: %s
  prefix: "data/p=!{partitionKeyFromQuery:slot}/"
  error_output_prefix: "failed/!{firehose:error-output-type}/"
  buffer_interval: 60s
  spill_folder: %q
%s`, os.Getenv("FIREHOSED_S3_BUCKET"), prefix, os.Getenv("FIREHOSED_S3_ENDPOINT"), c.format, w.dir, indent(c.sink, 2))
			n := sized(*kills, 4)
			w.configure("", fmt.Sprintf("max_rows: %d\nroutes: [{table: events}]", w.total/(c.commits*(n+1))))
			seen := watchObjects(t, prefix+"/")
			staging, deciding, peak := w.killInCommits(n)
			seen.stop()
			t.Logf("%d objects; of %d kills, %d with parts staged and nothing decided, %d between the decision and the last object; %.0f s; peak memory %d MiB",
				len(seen.all), n, staging, deciding, w.sum.RunSeconds, peak)
			if limit := 256 + *overhead; peak > limit { // the budget's default
				t.Errorf("peak memory %d MiB, want at most %d", peak, limit)
			}
			if want := n / 4; staging < want || deciding < want {
				t.Errorf("want at least %d of each", want)
			}
			out, err := w.run("verify", "-c", w.config, "--values")
			t.Logf("firehosed verify:\n%s", out)
			if err != nil {
				t.Errorf("firehosed verify: %v", err)
			}
			w.wantObjects(c.format, c.read, slots, fmt.Sprintf("s3://%s/%s", os.Getenv("FIREHOSED_S3_BUCKET"), prefix))
		})
	}
}

// killInCommits lets the stream flow in pieces and kills one of two workers in each, by turns at one and the other moment
// of a commit, and then lets it end. It returns how many died at each, and the most memory that one had.
func (w *world) killInCommits(n int) (staging, deciding int, peak int64) {
	w.t.Helper()
	crew := []*worker{w.start(), w.start()}
	for step := range n {
		w.until("one reads", func() bool { return crew[0].reading() || crew[1].reading() }, crew...)
		event := staged
		if deciding < staging {
			event = decided
		}
		for _, p := range crew {
			p.arm(event)
		}
		w.allow(w.total * (step + 1) / (n + 1))
		victim := 0
		for dead := false; !dead; time.Sleep(poll / 5) {
			for i, p := range crew {
				if p.alive() != nil {
					victim, dead = i, true
				}
			}
		}
		p := crew[victim]
		crew[1-victim].arm("")
		w.kill(p)
		peak = max(peak, p.most)
		switch {
		case p.diedAt(staged):
			staging++
		case p.diedAt(decided):
			deciding++
		}
		crew[victim] = w.start()
		if other := crew[1-victim]; other.alive() != nil { // it was armed, too
			w.kill(other)
			crew[1-victim] = w.start()
		}
	}
	w.finish(crew...)
	for _, p := range crew {
		peak = max(peak, p.most)
	}
	return staging, deciding, peak
}

// watched is what a reader of a bucket has seen who lists it all the time.
type watched struct {
	all  map[string]string // by key, what may not change
	end  context.CancelFunc
	done chan struct{}
}

func (s *watched) stop() {
	s.end()
	<-s.done
}

// watchObjects lists a prefix five times a second and complains when an object changes or goes away.
func watchObjects(t *testing.T, prefix string) *watched {
	ctx, end := context.WithCancel(t.Context())
	s := &watched{all: map[string]string{}, end: end, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for last := false; !last; {
			select {
			case <-ctx.Done():
				last = true
			case <-time.After(200 * time.Millisecond):
			}
			now, err := list(context.WithoutCancel(ctx), prefix)
			if err != nil {
				t.Errorf("list: %v", err)
				return
			}
			for key, is := range now {
				if was, ok := s.all[key]; ok && was != is {
					t.Errorf("%s was %s and is %s", key, was, is)
				}
				s.all[key] = is
			}
			for key := range s.all {
				if now[key] == "" {
					t.Errorf("%s is gone", key)
				}
			}
		}
	}()
	t.Cleanup(s.stop)
	return s
}

// list returns the objects of a prefix that readers see, with what may not change of them.
func list(ctx context.Context, prefix string) (map[string]string, error) {
	all := map[string]string{}
	pages := s3.NewListObjectsV2Paginator(bucketClient(), &s3.ListObjectsV2Input{Bucket: aws.String(os.Getenv("FIREHOSED_S3_BUCKET")), Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if !strings.Contains(*o.Key, "/_firehosed/") {
				all[*o.Key] = fmt.Sprintf("%s, %d bytes", aws.ToString(o.ETag), aws.ToInt64(o.Size))
			}
		}
	}
	return all, nil
}

// content is how many texts there are, and the sum of the first 5 bytes of their MD5s.
type content struct {
	N   int
	Sum uint64
}

func (c *content) add(text string) {
	c.N++
	sum, of := md5.Sum([]byte(text)), uint64(0)
	for _, b := range sum[:5] {
		of = of<<8 | uint64(b)
	}
	c.Sum += of
}

// wantObjects has DuckDB read the objects, and compares with what the producer appended. Of Parquet, records that are
// not one good event are left to verify.
func (w *world) wantObjects(format, read string, slots int, location string) {
	w.t.Helper()
	var rows, failed content
	var odd []string // records by offset|partition
	for i := range w.total {
		value := w.value(i)
		var e struct {
			Seq  int64
			Type string
		}
		plain := json.Unmarshal(value, &e) == nil && e.Type != "" && utf8.Valid(value)
		switch at := fmt.Sprintf("%d|%d", i/partitions, i%partitions); {
		case format == "json_lines" && value == nil: // a tombstone
		case format == "json_lines" && json.Valid(value) && utf8.Valid(value) && value[0] == '{':
			rows.add(string(bytes.ReplaceAll(value, []byte("\n"), nil)))
		case format == "json_lines":
			failed.add(base64.StdEncoding.EncodeToString(value))
		case plain:
			rows.add(fmt.Sprintf("%d|%s|%s", e.Seq, e.Type, at))
		default:
			odd = append(odd, at)
		}
	}
	const script = `
import json, sys
sys.path.insert(0, "checker")
import engines
read, failed, odd = json.load(sys.stdin)
c = engines.DuckDB(engines.S3()).c
c.execute("SET enable_progress_bar = false") # it would be on standard output
c.execute("SET memory_limit = '8GB'")
def content(sql):
    n, total = c.execute(f"SELECT count(*), coalesce(sum(('0x' || substr(md5(t), 1, 10))::UBIGINT), 0)::HUGEINT FROM ({sql})").fetchone()
    return {"N": n, "Sum": int(total)}
c.execute(f"CREATE TABLE r AS {read}")
c.execute("CREATE TABLE odd (place VARCHAR)")
if odd:
    c.executemany("INSERT INTO odd VALUES (?)", [[o] for o in odd])
print(json.dumps({
    "rows": content("SELECT line AS t FROM r ANTI JOIN odd USING (place)"), "failed": content(failed) if failed else {},
    "misplaced": c.execute("SELECT count(*) FROM r WHERE p::VARCHAR != slot::VARCHAR").fetchone()[0],
    "folders": c.execute("SELECT count(DISTINCT p::VARCHAR) FROM r WHERE slot IS NOT NULL").fetchone()[0]}))`
	question := []any{fmt.Sprintf(read, location+"/data"), "", odd}
	if format == "json_lines" {
		question[1] = fmt.Sprintf("SELECT rawData AS t FROM read_ndjson('%s/failed/*/*', columns={rawData: 'VARCHAR'})", location)
	}
	asked, err := json.Marshal(question)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), os.Getenv("FIREHOSED_PYTHON"), "-c", script)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(asked), &stderr
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("DuckDB: %v\n%s", err, &stderr)
	}
	var got struct {
		Rows, Failed       content
		Misplaced, Folders int
	}
	if err := json.Unmarshal(out, &got); err != nil {
		w.t.Fatalf("DuckDB says %s: %v", out, err)
	}
	w.t.Logf("DuckDB: %s", out)
	if got.Rows != rows || got.Failed != failed || got.Misplaced != 0 || got.Folders != slots {
		w.t.Errorf("DuckDB reads %+v; the source has rows %+v and failed %+v in %d folders", got, rows, failed, slots)
	}
}
