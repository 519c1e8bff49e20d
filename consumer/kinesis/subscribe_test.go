package kinesis

import (
	"context"
	"errors"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
)

func (w *world) fanOut() Config {
	cfg := w.config()
	cfg.FanOut = "firehosed"
	return cfg
}

// subscribed opens a reader as a lane does.
func (w *world) subscribed(s *Source, p pipeline.Partition, at pipeline.Position) *reader {
	w.Helper()
	r, err := s.open(w.Context(), p, pipeline.Start{At: pipeline.Cursor{At: at}}, func(to place) fetcher { return newSubscriber(s, p, to) })
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = r.Close() })
	return r
}

// TestSubscription: records come as they are put, over many subscriptions, through
// failures, each once, and to the end of the shard.
func TestSubscription(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.fanOut())
		shard := w.Shards("a")[0]
		seqs := w.fill(shard, 0, 3)
		p, at := w.part(s, shard), must(passed(seqs[0]))
		r := w.subscribed(s, p, at)
		w.wants("behind the first", w.next(r, &at, 2), numbered(1, 2))
		began := time.Now()
		for i := range 200 { // over an hour
			time.Sleep(20 * time.Second)
			w.fill(shard, 3+i, 1)
			before := time.Now()
			w.wants("one more", w.next(r, &at, 1), numbered(3+i, 1))
			if d := time.Since(before); d > subscribeEvery {
				w.Errorf("record %d took %v", i, d)
			}
		}
		if n, want := w.Calls("SubscribeToShard", shard), 1+int(time.Since(began)/(5*time.Minute)); n < want || n > want+1 {
			w.Errorf("%d subscriptions, want about %d", n, want)
		}
		w.wants("polls", w.Calls("GetRecords", ""), 0)

		n := 0
		w.Hook(func(c kinesistest.Call) error {
			if c.Op != "SubscribeToShard" {
				return nil
			}
			switch n++; n % 4 {
			case 1:
				return &kinesistest.Error{Code: "LimitExceededException"}
			case 2:
				return kinesistest.ErrLostReply
			case 3:
				return &kinesistest.Error{Code: "ResourceInUseException"}
			}
			return nil
		})
		for i := range 5 {
			time.Sleep(7 * time.Minute)
			w.fill(shard, 203+i, 1)
			w.wants("through failures", w.next(r, &at, 1), numbered(203+i, 1))
		}
		w.Hook(nil)
		w.fill(shard, 208, 1)
		w.Split("a", shard)
		w.wants("the last", w.next(r, &at, 1), numbered(208, 1))
		if at != pipeline.End {
			b, err := r.Next(w.Context())
			if err != nil || b.Span.To.At != pipeline.End {
				w.Errorf("the end: %v, %v", b, err)
			}
			b.Release()
		}
		eof(w, r)
		w.wants("memory", s.ledger.Used(), int64(0))
	})
}

// TestSubscriptionOvertaken: a subscription begins at a record that must be there.
func TestSubscriptionOvertaken(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.fanOut())
		shard := w.Shards("a")[0]
		seqs := w.fill(shard, 0, 4)
		p := w.part(s, shard)
		w.Trim("a", shard, seqs[2])
		_, err := w.subscribed(s, p, must(passed(seqs[0]))).Next(w.Context())
		class, _ := halt(err)
		w.wants("trimmed", class, pipeline.HaltOvertaken)

		time.Sleep(time.Minute)
		at := must(passed(seqs[2]))
		r := w.subscribed(s, p, at)
		w.wants("there", w.next(r, &at, 1), numbered(3, 1))
		ctx, cancel := context.WithTimeout(w.Context(), 30*time.Hour)
		defer cancel()
		if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) { // silent for longer than retention
			w.Fatal(err)
		}
		time.Sleep(time.Hour)
		w.fill(shard, 4, 1)
		w.wants("after the silence", w.next(r, &at, 1), numbered(4, 1))
		time.Sleep(time.Minute)
		w.fill(shard, 5, 1)
		time.Sleep(26 * time.Hour) // nobody reads, while a record comes and goes
		w.fill(shard, 6, 1)
		for err = nil; err == nil; { // the subscription may have had the one that went
			var b *pipeline.Batch
			if b, err = r.Next(w.Context()); err == nil && (len(b.Values) != 1 || string(b.Values[0]) != "v5") {
				w.Fatalf("went on with %q", b.Values)
			}
		}
		class, _ = halt(err)
		w.wants("asleep for longer than retention", class, pipeline.HaltOvertaken)
	})
}

// TestConsumer is about consumers that exist, are being made, and vanish.
func TestConsumer(t *testing.T) {
	bubble(t, 2, func(w *world) {
		s, other := w.source(w.fanOut()), w.source(w.fanOut())
		var rs []*reader
		ats := make([]pipeline.Position, 2)
		for i, src := range []*Source{s, other} { // both want it at once
			shard := w.Shards("a")[i]
			w.fill(shard, i, 1)
			r := w.subscribed(src, w.part(src, shard), "")
			rs = append(rs, r)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.wants("one", w.next(rs[0], &ats[0], 1), numbered(0, 1))
		}()
		w.wants("other", w.next(rs[1], &ats[1], 1), numbered(1, 1))
		<-done
		if n := w.Calls("RegisterStreamConsumer", ""); n < 1 || n > 2 {
			w.Errorf("%d registrations", n)
		}
		w.Forget("a", "firehosed")
		w.fill(w.Shards("a")[0], 2, 1)
		w.wants("a consumer that was removed", w.next(rs[0], &ats[0], 1), numbered(2, 1))
	})
}

// TestFanOutWorkers: the order of keys and the count of records are those of polling.
func TestFanOutWorkers(t *testing.T) {
	bubble(t, 3, func(w *world) {
		rows, p := newTable(), &producer{w, map[string]int{}, 0}
		a := w.worker(rows, w.fanOut(), nil).start()
		b := w.worker(rows, w.fanOut(), nil).start()
		for range 40 {
			p.put(20)
			time.Sleep(10 * time.Second)
			w.reshard()
		}
		w.until("all records are in", func() bool { return rows.count() == p.n })
		p.judge(rows)
		w.wants("polls", w.Calls("GetRecords", ""), 0)
		_, _ = a.end(), b.end()
	})
}

// TestSubscriptionClient: a subscription lasts longer than any other request may.
func TestSubscriptionClient(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Streams, cfg.Region = []string{"a"}, "eu-north-1"
	s, err := New(cfg, control.Memory())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	limit := func(c kinesis.HTTPClient) time.Duration { return c.(*awshttp.BuildableClient).GetTimeout() }
	if got, other := limit(s.subscriptions().HTTPClient), limit(s.client().Options().HTTPClient); got != 0 || other == 0 {
		t.Errorf("subscriptions may last %v, other requests %v", got, other)
	}
}

// TestRefusedForLong: after hours without a subscription the next begins at the last
// record, not behind a number that may have been removed.
func TestRefusedForLong(t *testing.T) {
	bubble(t, 1, func(w *world) {
		s := w.source(w.fanOut())
		shard := w.Shards("a")[0]
		w.fill(shard, 0, 2)
		at := pipeline.Position("")
		r := w.subscribed(s, w.part(s, shard), at)
		w.wants("first", w.next(r, &at, 2), numbered(0, 2))
		w.Hook(func(c kinesistest.Call) error {
			if c.Op == "SubscribeToShard" {
				return &kinesistest.Error{Code: "LimitExceededException"}
			}
			return nil
		})
		wait := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(w.Context(), d)
			defer cancel()
			if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				w.Fatal(err)
			}
		}
		wait(time.Hour)
		w.fill(shard, 2, 1)
		wait(26 * time.Hour) // it comes and goes
		w.fill(shard, 3, 1)
		w.Hook(nil)
		_, err := r.Next(w.Context())
		class, _ := halt(err)
		w.wants("then", class, pipeline.HaltOvertaken)
	})
}
