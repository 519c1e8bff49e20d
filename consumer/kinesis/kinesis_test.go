package kinesis

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
)

// TestMain leaves one thread to Go code: where two threads run timers of one bubble, the
// race detector itself crashes (golang/go#78156: TestFanOutWorkers, one run in 25). What it
// finds does not depend on threads, and tests of one bubble at a time lose no time by it.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	goleak.VerifyTestMain(m)
}

// world is a service and a store, in a bubble of their own time.
type world struct {
	*testing.T
	*kinesistest.Server
	store pipeline.Store
}

const arn = "arn:aws:kinesis:us-east-1:000000000000:stream/a"

// bubble runs f with a stream "a" of n shards.
func bubble(t *testing.T, n int, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, kinesistest.New(), control.Memory()}
		defer w.Close()
		w.Create("a", n)
		time.Sleep(time.Second)
		f(w)
	})
}

func (w *world) config() Config {
	cfg := DefaultConfig()
	cfg.Streams = []string{"a"}
	return cfg
}

func (w *world) source(cfg Config, opts ...Option) *Source {
	w.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FIREHOSED_LOG") != "" {
		log = slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := New(cfg, w.store, append([]Option{WithLogger(log), withClient(w.Client())}, opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = s.Close() })
	return s
}

// part returns the partition of a shard of stream "a".
func (w *world) part(s *Source, shard string) pipeline.Partition {
	w.Helper()
	ps, err := s.Partitions(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	i := slices.IndexFunc(ps, func(p pipeline.Partition) bool { return p.ID == shard })
	if i < 0 {
		w.Fatalf("shard %q is not among %v", shard, ps)
	}
	return ps[i]
}

func (w *world) open(s *Source, p pipeline.Partition, at pipeline.Position) pipeline.Reader {
	w.Helper()
	r, err := s.Open(w.Context(), p, pipeline.Start{At: pipeline.Cursor{At: at}})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = r.Close() })
	return r
}

// next reads n records, checks that spans chain from *at on, and moves it.
func (w *world) next(r pipeline.Reader, at *pipeline.Position, n int) (vs []string) {
	w.Helper()
	for len(vs) < n {
		b, err := r.Next(w.Context())
		if err != nil {
			w.Fatalf("after %d of %d records: %v", len(vs), n, err)
		}
		if b.Span.From.At != *at {
			w.Errorf("span begins at %q, want %q", b.Span.From.At, *at)
		}
		for _, v := range b.Values {
			vs = append(vs, string(v))
		}
		*at = b.Span.To.At
		b.Release()
	}
	return vs
}

func (w *world) wants(what string, got, want any) {
	w.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// halt returns the class of a halt and its remedy's words.
func halt(err error) (string, []string) {
	h := (*pipeline.Halt)(nil)
	if !errors.As(err, &h) {
		return fmt.Sprint(err), nil
	}
	return h.Class, strings.Fields(strings.ReplaceAll(h.Remedy, `"`, ""))
}

func numbered(from, n int) (vs []string) {
	for i := range n {
		vs = append(vs, fmt.Sprint("v", from+i))
	}
	return vs
}

// fill appends numbered records to a shard and returns their sequence numbers.
func (w *world) fill(shard string, from, n int) (seqs []string) {
	for _, v := range numbered(from, n) {
		seqs = append(seqs, w.PutTo("a", shard, "key of "+v, []byte(v)))
	}
	return seqs
}

func eof(t *world, r pipeline.Reader) {
	t.Helper()
	if b, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %v, %v", b, err)
	}
}
