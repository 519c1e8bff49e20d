package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

func TestReadFromAnExactOffset(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 50)...) // one batch: the start is in its middle
	b.produce("t", 0, numbered(50, 50)...)
	s := b.source(b.config("t"))
	p := b.partition(s, "t", 0)
	for _, from := range []int64{0, 1, 49, 50, 51, 99} {
		at := cursor(from, -1)
		if from == 0 {
			at = pipeline.Cursor{}
		}
		r, err := s.Open(ctx(t), p, pipeline.Start{At: at})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbered(int(from), 100-int(from)), readTo(t, r, at, 100)); diff != "" {
			t.Errorf("from %d: %s", from, diff)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	cl := b.client(kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.MaxBufferedRecords(100_000))
	for i := range 10_000 {
		cl.Produce(ctx(t), &kgo.Record{Topic: "t", Value: fmt.Appendf(nil, "%d", i)}, nil)
	}
	if err := cl.Flush(ctx(t)); err != nil {
		t.Fatal(err)
	}
	s := b.source(b.config("t"))
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, held := 0, []*pipeline.Batch(nil)
	for n < 10_000 {
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Values) > maxRecords || b.Bytes() > maxBatchBytes+1<<20 {
			t.Errorf("batch of %d records, %d bytes", len(b.Values), b.Bytes())
		}
		held, n = append(held, b), n+len(b.Values)
	}
	i := 0
	for _, b := range held { // windows stay good until the release of their own batch
		for _, v := range b.Values {
			if string(v) != fmt.Sprint(i) {
				t.Fatalf("record %d is %q", i, v)
			}
			i++
		}
		b.Release()
		b.Release() // a second time does nothing
	}
	r.Close()
	s.Close()
	if used := s.ledger.Used(); used != 0 {
		t.Errorf("%d bytes are still charged after everything was released", used)
	}
}

func TestCodecs(t *testing.T) {
	b := newBroker(t)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		topic := fmt.Sprint("t", i)
		b.create(topic, 1)
		cl := b.client(kgo.ProducerBatchCompression(codec))
		var want []string
		for i := range 500 {
			v := strings.Repeat(fmt.Sprint(i), 50)
			want = append(want, v)
			cl.Produce(ctx(t), &kgo.Record{Topic: topic, Value: []byte(v)}, nil)
		}
		if err := cl.Flush(ctx(t)); err != nil {
			t.Fatal(err)
		}
		s := b.source(b.config(topic))
		r, err := s.Open(ctx(t), b.partition(s, topic, 0), pipeline.Start{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readTo(t, r, pipeline.Cursor{}, 500)); diff != "" {
			t.Errorf("codec %v: %s", codec, diff)
		}
		r.Close()
		s.Close()
	}
}

func TestMetadataColumns(t *testing.T) {
	b := newBroker(t)
	b.create("t", 2)
	cl := b.client()
	at := time.UnixMilli(1_700_000_000_123)
	err := cl.ProduceSync(ctx(t),
		&kgo.Record{Topic: "t", Partition: 1, Value: []byte("a"), Key: []byte("k"), Timestamp: at, Headers: []kgo.RecordHeader{
			{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}, {Key: "é", Value: []byte{}},
		}},
		&kgo.Record{Topic: "t", Partition: 1, Value: nil, Timestamp: at.Add(time.Second)},
	).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.config("t")
	cfg.Metadata = []string{MetaKey, MetaHeaders, MetaTimestamp, MetaIngestedAt}
	s := b.source(cfg)
	p := b.partition(s, "t", 1)
	r, err := s.Open(ctx(t), p, pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Next(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	meta := got.Meta
	meta.Retain() // what columns hold outlives the batch
	defer meta.Release()
	if got.Values[1] != nil {
		t.Error("a tombstone is not nil")
	}
	if diff := cmp.Diff([]int64{at.UnixMicro(), at.Add(time.Second).UnixMicro()}, got.Times); diff != "" {
		t.Error(diff)
	}
	got.Release()
	row := func(i int) string {
		var cols []string
		for j, f := range meta.Schema().Fields() {
			if f.Name == schema.ColIngestedAt {
				continue
			}
			c := meta.Column(j)
			v := c.ValueStr(i)
			if d, ok := c.(*array.Dictionary); ok {
				v = d.Dictionary().ValueStr(d.GetValueIndex(i))
			}
			cols = append(cols, f.Name+"="+v)
		}
		return strings.Join(cols, " ")
	}
	want := []string{
		"_fh_topic=t _fh_topic_id=" + p.Incarnation + ` _fh_partition=1 _fh_offset=0 _fh_timestamp=2023-11-14T22:13:20.123Z _fh_key=aw== _fh_headers=[{"key":"h","value":"MQ=="},{"key":"h","value":null},{"key":"é","value":""}]`,
		"_fh_topic=t _fh_topic_id=" + p.Incarnation + ` _fh_partition=1 _fh_offset=1 _fh_timestamp=2023-11-14T22:13:21.123Z _fh_key=(null) _fh_headers=[]`,
	}
	if diff := cmp.Diff(want, []string{row(0), row(1)}); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, f := range MetaSchema(cfg).Fields {
		if f.Name != schema.ColSub {
			names = append(names, f.Name)
		}
	}
	var have []string
	for _, f := range meta.Schema().Fields() {
		have = append(have, f.Name)
	}
	if diff := cmp.Diff(names, have); diff != "" {
		t.Error(diff)
	}
}

// A transaction that was aborted, control records and a compacted log are holes
// inside spans; the position reaches the end all the same.
func TestHolesAreInsideSpans(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	cl := b.client(kgo.TransactionalID("x"))
	txn := func(end kgo.TransactionEndTry, values ...string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := cl.ProduceSync(ctx(t), &kgo.Record{Topic: "t", Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(ctx(t), end); err != nil {
			t.Fatal(err)
		}
	}
	txn(kgo.TryCommit, "a", "b") // 0 1, control 2
	txn(kgo.TryAbort, "X", "Y")  // 3 4, control 5
	txn(kgo.TryCommit, "c")      // 6, control 7
	txn(kgo.TryAbort, "Z")       // 8, control 9: the log ends with a hole
	s := b.source(b.config("t"))
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if diff := cmp.Diff([]string{"a", "b", "c"}, readTo(t, r, pipeline.Cursor{}, 10)); diff != "" {
		t.Error(diff)
	}
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx(t), &kgo.Record{Topic: "t", Value: []byte("open")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx(t), 100*time.Millisecond)
	defer cancel()
	if got, err := r.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a transaction that is open was read: %v, %v", got, err)
	}
	if err := cl.EndTransaction(ctx(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"open"}, readTo(t, r, cursor(10, 0), 12)); diff != "" {
		t.Error(diff)
	}
}

func TestCompactedLog(t *testing.T) {
	b := newBroker(t)
	if err := b.CreateTopic("t", 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	cl := b.client()
	for i := range 20 {
		if err := cl.ProduceSync(ctx(t), &kgo.Record{Topic: "t", Key: fmt.Append(nil, min(i, 1)*(1+i%4)), Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.Compact()
	s := b.source(b.config("t"))
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := readTo(t, r, pipeline.Cursor{}, 20)
	if len(got) >= 20 || got[0] != "0" || !slices.Contains(got, "19") {
		t.Errorf("after compaction %v was read", got)
	}
}

func TestLocate(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	cl := b.client()
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for i := range 10 {
		if err := cl.ProduceSync(ctx(t), &kgo.Record{Topic: "t", Value: []byte("v"), Timestamp: at.Add(time.Duration(i) * time.Minute)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.DeleteRecords("t", 0, 3); err != nil {
		t.Fatal(err)
	}
	s := b.source(b.config("t"))
	p := b.partition(s, "t", 0)
	f := func(when time.Time, want int64) {
		t.Helper()
		got, err := s.Locate(ctx(t), p, when)
		if err != nil || got.At != position(want) {
			t.Errorf("Locate(%v) = %v, %v; want %d", when, got, err, want)
		}
	}
	f(time.Time{}, 3)
	f(at, 3)
	f(at.Add(5*time.Minute), 5)
	f(at.Add(5*time.Minute+time.Nanosecond), 6)
	f(at.Add(30*time.Minute), 10) // later than all, but not to come
	f(time.Now().Add(time.Hour), 10)
	start := b.config("t")
	start.Start = "latest"
	latest, err := start.StartTime()
	if err != nil {
		t.Fatal(err)
	}
	f(latest, 10)
}

func TestHaltsAtOpen(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	if err := b.DeleteRecords("t", 0, 4); err != nil {
		t.Fatal(err)
	}
	s := b.source(b.config("t"))
	p := b.partition(s, "t", 0)
	open := func(st pipeline.Start) error {
		r, err := s.Open(ctx(t), p, st)
		if err == nil {
			r.Close()
		}
		return err
	}
	h := halt(t, open(pipeline.Start{At: cursor(3, 0)}), pipeline.HaltOvertaken)
	if want := fmt.Sprintf("firehosed offsets accept-gap %v 3 4", p); h.Remedy != want {
		t.Errorf("remedy %q, want %q", h.Remedy, want)
	}
	halt(t, open(pipeline.Start{}), pipeline.HaltOvertaken) // the start of the log was not located: records are missing
	halt(t, open(pipeline.Start{At: cursor(11, 0)}), pipeline.HaltTruncated)
	halt(t, open(pipeline.Start{At: cursor(10, 0), High: position(12)}), pipeline.HaltTruncated)
	if err := open(pipeline.Start{At: cursor(10, 0), High: position(10)}); err != nil {
		t.Errorf("at the end: %v", err)
	}
	if err := open(pipeline.Start{At: cursor(4, -1)}); err != nil {
		t.Errorf("at the start: %v", err)
	}
	other := p
	other.Stream = "another"
	if _, err := s.Open(ctx(t), other, pipeline.Start{}); err == nil || !strings.Contains(err.Error(), "another Kafka cluster") {
		t.Errorf("partition of another cluster: %v", err)
	}
}

// Another leader without our records wrote what follows: only its epochs tell.
func TestDivergedLogHalts(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	b.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		r := req.(*kmsg.OffsetForLeaderEpochRequest)
		resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = r.Topics[0].Topic
		rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		rp.LeaderEpoch, rp.EndOffset = 2, 6
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	s := b.source(b.config("t"))
	p := b.partition(s, "t", 0)
	_, err := s.Open(ctx(t), p, pipeline.Start{At: cursor(8, 2)})
	h := halt(t, err, pipeline.HaltTruncated)
	if want := fmt.Sprintf("firehosed offsets accept-incarnation %v --from 6", p); !strings.HasPrefix(h.Remedy, want) {
		t.Errorf("remedy %q, want %q", h.Remedy, want)
	}
	r, err := s.Open(ctx(t), p, pipeline.Start{At: cursor(6, 2)})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}

// nextErr reads until there is an error.
func nextErr(t *testing.T, r pipeline.Reader) error {
	t.Helper()
	for {
		b, err := r.Next(ctx(t))
		if err != nil {
			return err
		}
		b.Release()
	}
}

func TestOvertakenWhileReading(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	s := b.source(b.config("t"))
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readTo(t, r, pipeline.Cursor{}, 10)
	hold := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition})
	b.produce("t", 0, numbered(10, 10)...)
	if err := b.DeleteRecords("t", 0, 15); err != nil {
		t.Fatal(err)
	}
	hold.Remove()
	h := halt(t, nextErr(t, r), pipeline.HaltOvertaken)
	if !strings.Contains(h.Detail, "offsets 10 to 14") {
		t.Errorf("detail %q", h.Detail)
	}
}

func TestRecreatedWhileReading(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	s := b.source(b.config("t"))
	old := b.partition(s, "t", 0)
	r, err := s.Open(ctx(t), old, pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readTo(t, r, pipeline.Cursor{}, 10)
	if err := b.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	b.create("t", 1)
	b.produce("t", 0, numbered(1000, 30)...)
	halt(t, nextErr(t, r), pipeline.HaltRecreated)
	now := b.partition(s, "t", 0)
	if now.Incarnation == old.Incarnation || s.Name(old) != "t" || s.Name(now) != "t" {
		t.Errorf("%v %q, %v %q", old, s.Name(old), now, s.Name(now))
	}
	_, err = s.Open(ctx(t), old, pipeline.Start{At: cursor(10, 0)})
	h := halt(t, err, pipeline.HaltRecreated)
	if !strings.Contains(h.Remedy, now.StreamKey()) {
		t.Errorf("remedy %q does not name %q", h.Remedy, now.StreamKey())
	}
}

// bomb appends one record of 4 MiB that compresses to nearly nothing.
func (b *broker) bomb(topic string) {
	b.t.Helper()
	cl := b.client(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(8<<20), kgo.BrokerMaxWriteBytes(64<<20))
	if err := cl.ProduceSync(ctx(b.t), &kgo.Record{Topic: topic, Value: bytes.Repeat([]byte("bomb"), 1<<20)}).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

func TestUnreadableBatchHalts(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, "good")
	b.bomb("t")
	b.produce("t", 0, "after")
	cfg := b.config("t")
	cfg.MaxBatchBytes = 1 << 20
	s := b.source(cfg)
	p := b.partition(s, "t", 0)
	r, err := s.Open(ctx(t), p, pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if diff := cmp.Diff([]string{"good"}, readTo(t, r, pipeline.Cursor{}, 1)); diff != "" {
		t.Error(diff)
	}
	h := halt(t, nextErr(t, r), pipeline.HaltUnreadable)
	if want := fmt.Sprintf("firehosed offsets skip %v 1 2", p); h.Remedy != want {
		t.Errorf("remedy %q, want %q", h.Remedy, want)
	}
	if err := nextErr(t, r); !errors.As(err, &h) {
		t.Errorf("the second time: %v", err)
	}
}

// Brokers without topic ids: the name stands for the incarnation.
func TestBrokersWithoutTopicIDs(t *testing.T) {
	b := newBroker(t, kfake.MaxVersions(kversion.V2_7_0()))
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	s, g := b.source(b.config("t")), newGroup(t)
	p := b.partition(s, "t", 0)
	if p.Incarnation != "name~t" {
		t.Fatalf("incarnation %q", p.Incarnation)
	}
	st := pipeline.Stamp{Pipeline: "x", Rev: 1}
	g.onGone = func(ctx context.Context, ls []pipeline.Lane) { _ = ls[0].Ack(ctx, cursor(4, 0), st) }
	stop := g.run(s)
	g.until("read", func() bool { return g.total() == 10 })
	_ = stop()
	h, err := s.Hint(ctx(t), p)
	if want := (pipeline.Hint{At: cursor(4, 0), Stamp: st}); err != nil || h != want {
		t.Errorf("hint %v, %v", h, err)
	}
}

// A broker that names a replica close by is asked no more, until that one fails.
func TestFetchFromTheClosestReplica(t *testing.T) {
	b := newBroker(t, kfake.NumBrokers(2))
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	from := b.LeaderFor("t", 0)
	to := 1 - from
	b.SetFollowers("t", 0, []int32{to})
	var asked sync.Map
	b.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		asked.Store(b.CurrentNode(), true)
		r := req.(*kmsg.FetchRequest)
		if b.CurrentNode() != from || r.Rack != "r1" {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = r.Topics[0].Topic, r.Topics[0].TopicID
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.PreferredReadReplica = to
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	cfg := b.config("t")
	cfg.Rack = "r1"
	s := b.source(cfg)
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readTo(t, r, pipeline.Cursor{}, 10)
	if _, ok := asked.Load(to); !ok {
		t.Error("the replica was not asked")
	}
}

// Leaders move, and nothing is lost or read twice.
func TestLeadersMove(t *testing.T) {
	b := newBroker(t, kfake.NumBrokers(3))
	b.create("t", 2)
	s := b.source(b.config("t"))
	var rs []pipeline.Reader
	for i := range int32(2) {
		r, err := s.Open(ctx(t), b.partition(s, "t", i), pipeline.Start{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rs = append(rs, r)
	}
	at := make([]pipeline.Cursor, 2)
	for round := range 6 {
		for i := range int32(2) {
			if err := b.MoveTopicPartition("t", i, int32(round+int(i))%3); err != nil {
				t.Fatal(err)
			}
			b.produce("t", i, numbered(10*round, 10)...)
		}
		for i, r := range rs {
			if diff := cmp.Diff(numbered(10*round, 10), readTo(t, r, at[i], int64(10*round+10))); diff != "" {
				t.Fatal(diff)
			}
			at[i] = cursor(int64(10*round+10), r.(*reader).epoch)
		}
	}
}
