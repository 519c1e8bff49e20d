package kinesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// TestBatch is about what a batch says of its records.
func TestBatch(t *testing.T) {
	bubble(t, 1, func(w *world) {
		cfg := w.config()
		cfg.Metadata = []string{MetaTimestamp, MetaPartitionKey, MetaIngestedAt}
		s := w.source(cfg)
		shard := w.Shards("a")[0]
		arrived := time.Now()
		seqs := w.fill(shard, 0, 3)
		p := w.part(s, shard)
		r := w.open(s, p, "")
		b, err := r.Next(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wants("partition", p.Key(), "kinesis:arn%3Aaws%3Akinesis%3Aus-east-1%3A000000000000%3Astream%2Fa:946684800000:shardId-000000000000")
		w.wants("name", b.Name, "a")
		w.wants("span", b.Span, pipeline.Span{Partition: p, To: pipeline.Cursor{At: must(passed(seqs[2]))}})
		for i, want := range []pipeline.Position{"", must(passed(seqs[0])), must(passed(seqs[1])), must(passed(seqs[2]))} {
			w.wants(fmt.Sprint("cursor ", i), b.Cursor(i).At, want)
		}
		w.wants("time", b.Times[1], arrived.UnixMicro())
		var got []string
		for i, f := range b.Meta.Schema().Fields() {
			text := b.Meta.Column(i).ValueStr(1)
			if f.Name == schema.ColTimestamp || f.Name == schema.ColIngestedAt {
				text = b.Meta.Column(i).(*array.Timestamp).Value(1).ToTime(2).UTC().Format(time.RFC3339)
			}
			got = append(got, f.Name+"="+text)
		}
		w.wants("columns", got, []string{
			"_fh_shard=a/shardId-000000000000", "_fh_sequence=" + seqs[1], "_fh_timestamp=2000-01-01T00:00:01Z",
			"_fh_partition_key=key of v1", "_fh_ingested_at=2000-01-01T00:00:01Z",
		})
		if s.ledger.Used() == 0 {
			w.Error("a batch that is not released takes no memory")
		}
		b.Release()
		b.Release()
		w.wants("memory after release", s.ledger.Used(), int64(0))

		again := w.open(s, p, must(passed(seqs[0])))
		at := must(passed(seqs[0]))
		w.wants("from the second record on", w.next(again, &at, 2), numbered(1, 2))
	})
}

// TestEnd: a closed shard ends at END, with its last records or behind them.
func TestEnd(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.config())
		shard := w.Shards("a")[0]
		w.fill(shard, 0, 5)
		p, at := w.part(s, shard), pipeline.Position("")
		r := w.open(s, p, "")
		w.wants("open", w.next(r, &at, 5), numbered(0, 5))
		left, _ := w.Split("a", shard)
		b, err := r.Next(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wants("last span", b.Span, pipeline.Span{Partition: p, From: pipeline.Cursor{At: at}, To: pipeline.Cursor{At: pipeline.End}})
		b.Release()
		eof(w, r)
		eof(w, w.open(s, p, pipeline.End))
		at = ""
		r = w.open(s, p, "")
		w.wants("closed", w.next(r, &at, 5), numbered(0, 5))
		w.wants("to its end", at, pipeline.End)
		eof(w, r)
		w.fill(left, 5, 1)
		time.Sleep(2 * knownFor)
		at = ""
		w.wants("child", w.next(w.open(s, w.part(s, left), ""), &at, 1), numbered(5, 1))
	})
}

// TestLimits: the readers of a shard share its limits, a backlog is read at the rate
// that they allow, and an idle shard is asked once an interval.
func TestLimits(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.config())
		shard := w.Shards("a")[0]
		big := strings.Repeat("x", 1<<20)
		for range 20 {
			w.PutTo("a", shard, "k", []byte(big))
		}
		p := w.part(s, shard)
		one, two := w.open(s, p, ""), w.open(s, p, "")
		began := time.Now()
		done := make(chan int)
		for _, r := range []pipeline.Reader{one, two} {
			go func() {
				at := pipeline.Position("")
				done <- len(w.next(r, &at, 20))
			}()
		}
		w.wants("records", <-done+<-done, 40)
		w.wants("refused", w.Refused(shard), 0)
		if d := time.Since(began); d < 10*time.Second || d > 25*time.Second { // 40 MiB, of which 10 begin no wait
			w.Errorf("40 MiB took %v", d)
		}
		calls := w.Calls("GetRecords", shard)
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		if _, err := one.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("an idle shard: %v", err)
		}
		if n := w.Calls("GetRecords", shard) - calls; n < 50 || n > 61 {
			w.Errorf("an idle shard was asked %d times in a minute", n)
		}
		w.wants("memory", s.ledger.Used(), int64(0))
	})
}

// TestThrottled: one shard is refused for long, the other does not notice.
func TestThrottled(t *testing.T) {
	bubble(t, 2, func(w *world) {
		hot, cold := w.Shards("a")[0], w.Shards("a")[1]
		began := time.Now()
		w.Hook(func(c kinesistest.Call) error {
			if c.Op == "GetRecords" && c.Shard == hot && time.Since(began) < time.Minute {
				return &kinesistest.Error{Code: "ProvisionedThroughputExceededException", Message: "others read"}
			}
			return nil
		})
		s := w.source(w.config())
		w.fill(hot, 0, 3)
		w.fill(cold, 3, 3)
		done := make(chan time.Duration, 2)
		for i, shard := range []string{hot, cold} {
			r := w.open(s, w.part(s, shard), "")
			go func() {
				at := pipeline.Position("")
				w.wants(shard, w.next(r, &at, 3), numbered(3*i, 3))
				done <- time.Since(began)
			}()
		}
		if d := <-done; d > time.Second {
			w.Errorf("the other shard took %v", d)
		}
		if d := <-done; d < time.Minute || d > time.Minute+maxRefused {
			w.Errorf("the refused shard took %v", d)
		}
		if n := w.Calls("GetRecords", hot); n > 30 {
			w.Errorf("%d calls for the refused shard", n)
		}
	})
}

// TestFailures: iterators expire, answers are lost and the service breaks; nothing is
// missed or read twice.
func TestFailures(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.config())
		shard := w.Shards("a")[0]
		w.fill(shard, 0, 2)
		at := pipeline.Position("")
		r := w.open(s, w.part(s, shard), "")
		w.wants("first", w.next(r, &at, 2), numbered(0, 2))
		time.Sleep(10 * time.Minute)
		w.fill(shard, 2, 1)
		w.wants("after the iterator has expired", w.next(r, &at, 1), numbered(2, 1))
		w.Hook(func(c kinesistest.Call) error {
			switch c.N % 4 {
			case 0:
				return kinesistest.ErrLostReply
			case 1:
				return &kinesistest.Error{Code: "InternalFailure", Status: 500}
			case 2:
				return &kinesistest.Error{Code: "ExpiredIteratorException"}
			}
			return nil
		})
		w.fill(shard, 3, 2500)
		w.wants("through failures", w.next(r, &at, 2500), numbered(3, 2500))
		w.Hook(func(kinesistest.Call) error { return &kinesistest.Error{Code: "AccessDeniedException"} })
		_, err := r.Next(w.Context())
		if err == nil || !strings.Contains(err.Error(), "streams: the credentials found may not read; allow kinesis:DescribeStreamSummary") {
			w.Errorf("without rights: %v", err)
		}
		w.wants("memory", s.ledger.Used(), int64(0))
	})
}

// TestCancelled: a Next that is given up consumes nothing.
func TestCancelled(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.config())
		shard := w.Shards("a")[0]
		r := w.open(s, w.part(s, shard), "")
		at := pipeline.Position("")
		for i := range 20 {
			ctx, cancel := context.WithTimeout(w.Context(), time.Duration(i)*130*time.Millisecond)
			if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				w.Fatal(err)
			}
			cancel()
		}
		w.fill(shard, 0, 3)
		w.wants("then", w.next(r, &at, 3), numbered(0, 3))
		done := make(chan error)
		go func() {
			_, err := r.Next(w.Context())
			done <- err
		}()
		synctest.Wait()
		_ = r.Close()
		if err := <-done; !errors.Is(err, errReaderClosed) {
			w.Errorf("a reader that was closed: %v", err)
		}
	})
}

// TestOvertaken: what retention removed unread halts the shard, and the end of the
// gap that the halt names is a place to go on from.
func TestOvertaken(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.config())
		shard := w.Shards("a")[0]
		seqs := w.fill(shard, 0, 6)
		p := w.part(s, shard)
		f := func(what string, at pipeline.Position, class string, rest ...string) {
			w.Helper()
			r := w.open(s, p, at)
			if class == "" {
				w.wants(what, w.next(r, &at, len(rest)), rest)
				return
			}
			_, err := r.Next(w.Context())
			got, remedy := halt(err)
			w.wants(what, got, class)
			if len(remedy) != 6 {
				w.Fatalf("%s: remedy %q", what, remedy)
			}
			to, err := ParsePosition(remedy[5])
			if err != nil || to <= at {
				w.Errorf("%s: the gap ends at %q, %v", what, remedy[5], err)
			}
			w.wants(what+", behind the gap", w.next(w.open(s, p, to), &to, len(rest)), rest)
		}
		w.Trim("a", shard, seqs[3])
		f("behind a trimmed record", must(passed(seqs[1])), pipeline.HaltOvertaken, numbered(3, 3)...)
		f("behind the last trimmed record", must(passed(seqs[2])), pipeline.HaltOvertaken, numbered(3, 3)...) // nobody can tell
		f("before a trimmed record", must(before(seqs[2])), pipeline.HaltOvertaken, numbered(3, 3)...)
		f("behind the first", must(passed(seqs[3])), "", numbered(4, 2)...)
		f("before the first", must(before(seqs[3])), "", numbered(3, 3)...)
		f("the start, of which nothing is known", "", "", numbered(3, 3)...)
		f("a time within retention", fromTime(time.Now().Add(-time.Hour)), "", numbered(3, 3)...)
		f("a time before", fromTime(time.Now().Add(-25*time.Hour)), pipeline.HaltOvertaken, numbered(3, 3)...)

		time.Sleep(23 * time.Hour)
		w.fill(shard, 6, 1)
		time.Sleep(2 * time.Hour)
		f("silent since, but unknown", must(passed(seqs[5])), pipeline.HaltOvertaken, numbered(6, 1)...)
		time.Sleep(24 * time.Hour)
		at := must(passed(seqs[5]))
		_, err := w.open(s, p, at).Next(w.Context())
		class, remedy := halt(err)
		w.wants("all is gone", class, pipeline.HaltOvertaken)
		w.fill(shard, 7, 1)
		to, _ := ParsePosition(remedy[5])
		w.wants("a record after the gap", w.next(w.open(s, p, to), &to, 1), numbered(7, 1))
	})
}

// TestSilence: a shard that was silent for longer than its retention is not
// overtaken, as its lease, or the reader itself, knows.
func TestSilence(t *testing.T) {
	bubble(t, 1, func(w *world) {
		cfg := w.config()
		cfg.PollInterval = time.Minute
		s := w.source(cfg)
		shard := w.Shards("a")[0]
		seqs := w.fill(shard, 0, 3)
		p, at := w.part(s, shard), pipeline.Position("")
		r := w.open(s, p, "")
		w.wants("first", w.next(r, &at, 3), numbered(0, 3))
		idle := func(r pipeline.Reader, d time.Duration) {
			ctx, cancel := context.WithTimeout(w.Context(), d)
			defer cancel()
			if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				w.Fatal(err)
			}
		}
		idle(r, 25*time.Hour) // the records are gone
		time.Sleep(6 * time.Minute)
		w.fill(shard, 3, 1) // and the iterator
		w.wants("the reader", w.next(r, &at, 1), numbered(3, 1))
		idle(r, 90*time.Second)

		known := r.(*reader).silent()
		w.wants("what the reader knows", known.at, at)
		l := lease{At: string(must(passed(seqs[2])))}
		l.caught(known)
		w.wants("behind the acknowledged position", l.CaughtUpAt, int64(0))
		l.At = string(at)
		l.caught(known)
		if age := time.Since(time.UnixMilli(l.CaughtUpAt)); age < 0 || age > time.Minute+time.Second {
			w.Errorf("known as of %v ago", age)
		}
		if err := s.leases.swap(w.Context(), p, lease{}, &l); err != nil {
			w.Fatal(err)
		}
		time.Sleep(23*time.Hour + 30*time.Minute)
		last := w.fill(shard, 4, 1)
		time.Sleep(20 * time.Minute)
		w.Trim("a", shard, last[0])
		w.wants("another reader, with the lease", w.next(w.open(s, p, at), &at, 1), numbered(4, 1))
		time.Sleep(time.Hour) // what came since may have gone too
		_, err := w.open(s, p, must(passed(seqs[2]))).Next(w.Context())
		class, _ := halt(err)
		w.wants("before the lease", class, pipeline.HaltOvertaken)
	})
}

// TestGone is about streams and shards that are not there any more.
func TestGone(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.config())
		shard := w.Shards("a")[0]
		seqs := w.fill(shard, 0, 2)
		p, at := w.part(s, shard), must(passed(seqs[0]))
		r := w.open(s, p, "")
		first := pipeline.Position("")
		w.next(r, &first, 2)
		w.Split("a", shard)
		time.Sleep(25 * time.Hour)
		_, err := r.Next(w.Context())
		class, remedy := halt(err)
		w.wants("a reader of a shard that was removed", class, pipeline.HaltOvertaken)
		w.wants("its gap", remedy[4:], []string{string(first), "~"})
		_, err = s.Open(w.Context(), p, pipeline.Start{At: pipeline.Cursor{At: at}})
		class, _ = halt(err)
		w.wants("opening it", class, pipeline.HaltOvertaken)
		eof(w, w.open(s, p, pipeline.End))

		child := w.part(s, w.Shards("a")[0])
		r = w.open(s, child, "")
		w.Delete("a")
		time.Sleep(time.Minute)
		if _, err = r.Next(w.Context()); err == nil || !strings.Contains(err.Error(), `stream "a" does not exist`) {
			w.Errorf("a stream that was deleted: %v", err)
		}
		w.Create("a", 1)
		time.Sleep(time.Minute)
		_, err = s.Open(w.Context(), child, pipeline.Start{})
		class, _ = halt(err)
		w.wants("a stream that was made again", class, pipeline.HaltRecreated)
		if now := w.part(s, shard); now.StreamKey() == child.StreamKey() {
			w.Errorf("the new stream has the key of the old one: %v", now)
		}
	})
}

// TestLocate: every first position is concrete.
func TestLocate(t *testing.T) {
	bubble(t, 3, func(w *world) {
		s := w.source(w.config())
		full, empty, closed := w.Shards("a")[0], w.Shards("a")[1], w.Shards("a")[2]
		seqs := w.fill(full, 0, 2)
		w.fill(closed, 0, 1)
		time.Sleep(time.Minute)
		later := time.Now()
		seqs = append(seqs, w.fill(full, 2, 2)...)
		w.Split("a", closed)
		time.Sleep(time.Minute)
		f := func(what, shard string, t time.Time, want pipeline.Position) {
			w.Helper()
			c, err := s.Locate(w.Context(), w.part(s, shard), t)
			if err != nil || c.At != want {
				w.Errorf("%s: %q, %v; want %q", what, c.At, err, want)
			}
		}
		never := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		now := time.Now()
		f("oldest", full, time.Time{}, must(before(seqs[0])))
		f("a time", full, later, must(before(seqs[2])))
		f("a time with a fraction", full, later.Add(-time.Microsecond), must(before(seqs[2])))
		f("latest", full, never, fromTime(now))
		f("oldest of an empty shard", empty, time.Time{}, fromTime(now.Add(-clockSlack)))
		f("a time just past, empty", empty, now.Add(-time.Second), fromTime(now.Add(-time.Second)))
		f("latest of a closed shard", closed, never, pipeline.End)
		f("a time behind a closed shard's records", closed, later.Add(time.Second), pipeline.End)
		w.fill(full, 4, 1)
		at := fromTime(now)
		w.wants("from latest", w.next(w.open(s, w.part(s, full), at), &at, 1), numbered(4, 1))
	})
}

// TestLargest: records of 10 MiB pass, one at a time if memory is short, and a reader
// that nobody reads from gives its memory up.
func TestLargest(t *testing.T) {
	bubble(t, 2, func(w *world) {
		cfg := w.config()
		cfg.FetchBytes = 10 << 20
		s := w.source(cfg)
		a, b := w.Shards("a")[0], w.Shards("a")[1]
		big := strings.Repeat("x", 10<<20-1)
		for range 2 {
			w.PutTo("a", a, "k", []byte(big))
		}
		for i := range 12 {
			w.PutTo("a", b, "k", fmt.Append(nil, strings.Repeat("y", 700<<10), i))
		}
		idle := w.open(s, w.part(s, b), "")
		rest := pipeline.Position("")
		if vs := w.next(idle, &rest, 1); !strings.HasSuffix(vs[0], "0") { // the others wait in memory
			w.Fatal("not the first record")
		}
		if s.ledger.Used() < 5<<20 {
			w.Fatalf("%d bytes are held", s.ledger.Used())
		}
		at := pipeline.Position("")
		for i, v := range w.next(w.open(s, w.part(s, a), ""), &at, 2) {
			if v != big {
				w.Errorf("record %d has %d bytes", i, len(v))
			}
		}
		w.wants("memory", s.ledger.Used(), int64(0))
		got := w.next(idle, &rest, 10)
		if !strings.HasSuffix(got[len(got)-1], "11") {
			w.Errorf("%d records, not up to the last", len(got))
		}
	})
}
