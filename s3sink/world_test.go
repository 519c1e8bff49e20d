package s3sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	ctlstore "github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/pipeline/decode"
)

// world is what outlives workers: a bucket and a control prefix.
type world struct {
	testing.TB
	bucket  *objstore.Memory
	control *objstore.Memory
	cfg     Config
	now     time.Time
}

func newWorld(t testing.TB) *world {
	cfg := DefaultConfig()
	cfg.Bucket = "s3://lake"
	cfg.Framing = Framing{Format: FormatRaw, Delimiter: `\n`}
	cfg.Prefix = "data/"
	w := &world{TB: t, bucket: objstore.NewMemory(), control: objstore.NewMemory(), cfg: cfg, now: time.Date(2026, 11, 28, 15, 4, 5, 0, time.UTC)}
	w.bucket.PartSize = 8
	return w
}

// worker is a process: connections of its own, and a sink.
type worker struct {
	*world
	bucket  *objstore.Memory
	control *objstore.Memory
	sink    *Sink
	st      pipeline.Stamp
}

func (w *world) worker() *worker {
	w.Helper()
	k := &worker{world: w, bucket: w.bucket.Restart(), control: w.control.Restart(), st: pipeline.Stamp{Pipeline: "p", Rev: 1}}
	var err error
	k.sink, err = New(w.cfg, pipeline.NewControl(ctlstore.New(k.control), "p", "w"))
	if err != nil {
		w.Fatal(err)
	}
	k.sink.bucket, k.sink.settling = k.bucket, 0
	k.sink.now = func() time.Time { return w.now }
	k.sink.pause = func(ctx context.Context, attempt int) error {
		if attempt > 12 {
			return errors.New("tried for too long")
		}
		return context.Cause(ctx)
	}
	return k
}

var (
	p0 = pipeline.Partition{Kind: "kafka", Stream: "c", Incarnation: "t", ID: "0"}
	p1 = pipeline.Partition{Kind: "kafka", Stream: "c", Incarnation: "t", ID: "1"}
)

// pos is the position before record n; -1: ABSENT.
func pos(n int) pipeline.Position {
	if n < 0 {
		return ""
	}
	return pipeline.Position(fmt.Sprintf("%019d", n))
}

// posOf is the inverse of pos.
func posOf(t testing.TB, p pipeline.Position) int {
	t.Helper()
	if p == "" {
		return -1
	}
	var n int
	if _, err := fmt.Sscanf(string(p), "%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func claimOf(p pipeline.Partition, from, to int) pipeline.Claim {
	return pipeline.Claim{Span: pipeline.Span{Partition: p, From: pipeline.Cursor{At: pos(from)}, To: pipeline.Cursor{At: pos(to)}}, Floor: pos(max(from, 0))}
}

// batch is records [from, to) of a partition: each its key, partition and number.
func batch(p pipeline.Partition, from, to int, key string) *pipeline.Batch {
	b := &pipeline.Batch{Span: claimOf(p, from, to).Span}
	for i := from; i < to; i++ {
		b.Values = append(b.Values, fmt.Appendf(nil, "%s %s %d", key, p.ID, i))
		b.Times = append(b.Times, time.Date(2026, 11, 28, 15, 0, i, 0, time.UTC).UnixMicro())
	}
	b.Cursor = func(i int) pipeline.Cursor { return pipeline.Cursor{At: pos(from + i)} }
	return b
}

// firstWord is the partition key of a record of batch.
type firstWord struct{}

func (firstWord) Names() []string { return []string{"k"} }

func (firstWord) Extract(dst []string, record []byte) ([]string, error) {
	word, _, _ := strings.Cut(string(record), " ")
	return append(dst, word), nil
}

func (k *worker) table() pipeline.Table {
	k.Helper()
	t, err := k.sink.Table(k.Context(), "t", k.st)
	if err != nil {
		k.Fatal(err)
	}
	return t
}

// begin opens the table and returns an empty delivery.
func (k *worker) begin() pipeline.Delivery {
	k.Helper()
	d, err := k.table().Begin(k.Context())
	if err != nil {
		k.Fatal(err)
	}
	return d
}

func write(ctx context.Context, t pipeline.Table, d pipeline.Delivery, b *pipeline.Batch) error {
	part := pipeline.Part{Table: "t"}
	for i := range b.Values {
		part.Units = append(part.Units, int32(i))
	}
	r, err := decode.NewBytes(decode.BytesConfig{Keys: firstWord{}}).Decode(ctx, b, part, t.Schema())
	if err != nil {
		return err
	}
	defer r.Data.Release()
	return d.Write(ctx, b, r)
}

// staged returns a delivery with records [from, to) of a partition.
func (k *worker) staged(p pipeline.Partition, from, to int) pipeline.Delivery {
	k.Helper()
	d := k.begin()
	if err := write(k.Context(), k.table(), d, batch(p, max(from, 0), to, "a")); err != nil {
		k.Fatal(err)
	}
	return d
}

// put commits records [from, to) of a partition.
func (k *worker) put(p pipeline.Partition, from, to int) error {
	k.Helper()
	return k.staged(p, from, to).Commit(k.Context(), k.st, []pipeline.Claim{claimOf(p, from, to)}, "test")
}

// mark asks for the mark of a partition.
func (k *worker) mark(p pipeline.Partition) (int, error) {
	k.Helper()
	t, err := k.sink.Table(k.Context(), "t", k.st)
	if err != nil {
		return 0, err
	}
	l, err := t.Watermarks(k.Context(), []pipeline.Partition{p})
	if err != nil {
		return 0, err
	}
	return posOf(k, l.Marks[p].At.At), nil
}

// keys lists the objects with data.
func (w *world) keys() []string {
	w.Helper()
	var keys []string
	for o, err := range w.bucket.List(context.Background(), "", "") {
		if err != nil {
			w.Fatal(err)
		}
		if !strings.Contains(o.Key, "_firehosed/") {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// lines returns the records in visible objects, sorted.
func (w *world) lines() []string {
	w.Helper()
	var all []string
	for _, key := range w.keys() {
		data, _, err := w.bucket.Get(context.Background(), key)
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")...)
	}
	slices.Sort(all)
	return all
}

func (w *world) wantLines(want ...string) {
	w.Helper()
	if got := w.lines(); !slices.Equal(got, want) {
		w.Errorf("visible are %q, want %q", got, want)
	}
}

// register reads the register past all faults.
func (w *world) register() *register {
	w.Helper()
	raw, _, err := w.control.Get(context.Background(), "s3/t/register")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	r, err := decodeRegister(raw)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// uploads counts the uploads that are neither completed nor given up.
func (w *world) uploads() (n int) {
	w.Helper()
	for _, err := range w.bucket.Uploads(context.Background(), "") {
		if err != nil {
			w.Fatal(err)
		}
		n++
	}
	return n
}

// isHalt fails the test unless err is a halt of the class that says all of want.
func isHalt(t testing.TB, err error, class string, want ...string) {
	t.Helper()
	var h *pipeline.Halt
	if !errors.As(err, &h) || h.Class != class {
		t.Errorf("got %v, want a halt %s", err, class)
		return
	}
	for _, w := range want {
		if !strings.Contains(h.Error(), w) {
			t.Errorf("halt %q lacks %q", h.Error(), w)
		}
	}
	if h.Remedy == "" {
		t.Errorf("halt %q has no remedy", h.Detail)
	}
}

// fail makes the n-th call of an operation on a key with a part in it have an outcome.
func fail(op, part string, n int, o objstore.Outcome) func(objstore.Call) objstore.Outcome {
	seen := 0
	return func(c objstore.Call) objstore.Outcome {
		if c.Op == op && strings.Contains(c.Key, part) {
			if seen++; seen == n {
				return o
			}
		}
		return objstore.Pass
	}
}

// meanwhile is a pause in which something happens, once.
func meanwhile(do func()) func(context.Context, int) error {
	done := false
	return func(context.Context, int) error {
		if !done {
			done = true
			do()
		}
		return nil
	}
}
