package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/pipeline"
)

// offline returns a reader that fetches nothing: tests hand it what was fetched.
func offline(t testing.TB) *reader {
	t.Helper()
	mem := &pool{}
	cl, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"), kgo.WithPools(mem), kgo.MaxDecompressBatchBytes(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	cfg := DefaultConfig()
	cfg.Metadata = []string{MetaTimestamp}
	p := &plane{ledger: newLedger(1 << 30), pool: mem, cfg: cfg, patience: time.Hour}
	p.unpack, _ = cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	p.mu.closed = true // there are no brokers to wake
	p.ratio.Store(100)
	part := pipeline.Partition{Kind: Kind, Stream: "c", Incarnation: "i", ID: "0"}
	return newReader(p, part, place{&topic{name: "t", parts: map[int32]leader{0: {0, 7}}}, 0}, pipeline.Cursor{}, 0)
}

// fetched acts as if a broker had answered with these batches.
func (r *reader) fetched(high int64, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction, batches ...[]byte) {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.PreferredReadReplica = -1
	rp.HighWatermark, rp.LastStableOffset, rp.AbortedTransactions = high, high, aborted
	rp.RecordBatches = slices.Concat(batches...)
	b := newBlock(r.p.ledger, int64(len(rp.RecordBatches)))
	r.p.ledger.Charge(b.size)
	r.p.deliver(r, r.mu.next, &rp, b)
	b.drop()
}

func recs(values ...string) (rs []kmsg.Record) {
	for _, v := range values {
		rs = append(rs, kmsg.Record{Value: []byte(v)})
	}
	return rs
}

// control is a batch that ends a transaction of producer 5.
func control(at int64, commit byte) []byte {
	return encode(at, inTxn|controlBatch, kmsg.Record{Key: []byte{0, 0, 0, commit}, Value: []byte{0, 0, 0, 0, 0, 0}})
}

func abortedAt(offsets ...int64) (as []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	for _, o := range offsets {
		a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
		a.ProducerID, a.FirstOffset = 5, o
		as = append(as, a)
	}
	return as
}

// Transactions are told apart by the list that comes with every response, also
// where one began before the response or goes on in the next.
func TestAbortedTransactions(t *testing.T) {
	r := offline(t)
	r.fetched(20, abortedAt(4, 0), // in any order
		encode(0, inTxn, recs("X", "X")...), control(2, 0),
		encode(3, 0, recs("plain")...),
		encode(4, inTxn, recs("X")...), encode(5, 0, recs("between")...), encode(6, inTxn, recs("X")...))
	r.fetched(20, abortedAt(4), // the same one, told again
		encode(7, inTxn, recs("X")...), control(8, 0),
		encode(9, inTxn, recs("a", "b")...), control(11, 1), encode(12, 0, recs("c")...))
	if diff := cmp.Diff([]string{"plain", "between", "a", "b", "c"}, readTo(t, r, pipeline.Cursor{}, 13)); diff != "" {
		t.Error(diff)
	}
	r.fetched(20, abortedAt(13), encode(13, inTxn, recs("X")...), control(14, 0))
	b, err := r.Next(ctx(t))
	if err != nil || len(b.Values) != 0 || b.Meta.NumRows() != 0 {
		t.Fatalf("%v %v", b, err)
	}
	if want := (pipeline.Cursor{At: position(15), Epoch: 8}); b.Span.To != want || b.Cursor(0) != want {
		t.Errorf("an empty batch ends at %v, want %v", b.Span.To, want)
	}
	b.Release()
	_ = r.Close()
	if used := r.p.ledger.Used(); used != 0 {
		t.Errorf("%d bytes are still charged", used)
	}
}

// Holes that compaction leaves, at the end of a batch too, move the position.
func TestBatchesWithHoles(t *testing.T) {
	r := offline(t)
	hole := encode(0, 0, recs("a", "b")...)
	binary.BigEndian.PutUint32(hole[atLastDelta:], 9)
	empty := encode(10, 0)
	binary.BigEndian.PutUint32(empty[atLastDelta:], 4)
	r.fetched(20, nil, seal(hole), seal(empty))
	b, err := r.Next(ctx(t))
	if err != nil || len(b.Values) != 2 || b.Span.To.At != position(15) {
		t.Fatalf("%v %v", b, err)
	}
	b.Release()
}

func TestDamagedBatchHaltsWithCoordinates(t *testing.T) {
	r := offline(t)
	bad := encode(2, 0, recs("c", "d", "e")...)
	bad[len(bad)-2] ^= 1
	binary.BigEndian.PutUint32(bad[atLastDelta:], 1<<30) // what it says of itself is damaged too
	r.fetched(20, nil, encode(0, 0, recs("a", "b")...), bad, encode(5, 0, recs("f")...))
	if diff := cmp.Diff([]string{"a", "b"}, readTo(t, r, pipeline.Cursor{}, 2)); diff != "" {
		t.Error(diff)
	}
	h := halt(t, nextErr(t, r), pipeline.HaltUnreadable)
	if want := fmt.Sprintf("firehosed offsets skip %v 2 5", r.part); h.Remedy != want || !strings.Contains(h.Detail, "checksum") {
		t.Errorf("%v, want %q", h, want)
	}
	r = offline(t)
	r.fetched(20, nil, []byte("this is no batch of records at all, is it?"))
	halt(t, nextErr(t, r), pipeline.HaltUnreadable)
}

// Messages of the format before Kafka 0.11 are still in old logs.
func TestOldMessages(t *testing.T) {
	message := func(offset int64, value string) []byte {
		m := kmsg.MessageV1{Offset: offset, Magic: 1, Timestamp: 1500, Key: []byte("k"), Value: []byte(value)}
		m.MessageSize = int32(len(m.AppendTo(nil)) - entryHeader)
		e := m.AppendTo(nil)
		binary.BigEndian.PutUint32(e[entryHeader:], crc32.ChecksumIEEE(e[atMagic:]))
		return e
	}
	r := offline(t)
	r.fetched(20, nil, message(0, "a"), message(3, "b"), encode(4, 0, recs("c")...))
	b, err := r.Next(ctx(t))
	if err != nil || len(b.Values) != 3 || b.Span.To != (pipeline.Cursor{At: position(5), Epoch: 8}) {
		t.Fatalf("%v %v", b, err)
	}
	if string(b.Values[1]) != "b" || b.Times[1] != 1_500_000 || b.Cursor(1).At != position(3) || b.Cursor(2) != (pipeline.Cursor{At: position(4)}) {
		t.Errorf("%q %v %v %v", b.Values, b.Times, b.Cursor(1), b.Cursor(2))
	}
	b.Release()
}

// A record without a time counts as 1970, and has none in its column.
func TestRecordsWithoutTime(t *testing.T) {
	r := offline(t)
	rs := recs("a", "b")
	rs[0].TimestampDelta64 = -1001 // the batch is at 1000
	r.fetched(20, nil, encode(0, 0, rs...))
	b, err := r.Next(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	col := b.Meta.Column(4)
	if b.Times[0] != 0 || b.Times[1] != 1_000_000 || !col.IsNull(0) || col.IsNull(1) {
		t.Errorf("times %v, column %v", b.Times, col)
	}
}
