package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// encode makes a record batch.
func encode(first int64, attributes int16, rs ...kmsg.Record) []byte {
	var body []byte
	for i, r := range rs {
		r.OffsetDelta = int32(i)
		r.Length = int32(len(r.AppendTo(nil)) - 1) // the length itself takes one byte while it is 0
		body = r.AppendTo(body)
	}
	b := kmsg.RecordBatch{
		FirstOffset: first, PartitionLeaderEpoch: 7, Magic: 2, Attributes: attributes, LastOffsetDelta: int32(len(rs) - 1),
		FirstTimestamp: 1000, MaxTimestamp: 2000, ProducerID: 5, NumRecords: int32(len(rs)), Records: body,
	}
	b.Length = int32(49 + len(body))
	return seal(b.AppendTo(nil))
}

// seal writes the checksum.
func seal(e []byte) []byte {
	binary.BigEndian.PutUint32(e[atChecksum:], crc32.Checksum(e[atAttributes:], castagnoli))
	return e
}

func sample() []kmsg.Record {
	return []kmsg.Record{
		{Key: []byte("k"), Value: []byte("v"), TimestampDelta64: 5, Headers: []kmsg.Header{{Key: "h", Value: []byte("x")}, {Key: "", Value: nil}}},
		{Key: nil, Value: nil},
		{Key: []byte{}, Value: []byte{}, TimestampDelta64: -3},
	}
}

// decodeAll reads every record of a batch as the reader does.
func decodeAll(e entry) (rs []record, err error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	data := []byte(e[batchHeader:])
	if int64(e.i32(atCount)) > int64(len(data)) {
		return nil, errRecord
	}
	for range e.i32(atCount) {
		var r record
		if data, err = e.readRecord(data, &r); err != nil {
			return rs, err
		}
		rs = append(rs, r)
	}
	return rs, nil
}

// sameAsClient compares with the client library's own decoder.
func sameAsClient(t *testing.T, data []byte) {
	t.Helper()
	e, rest, err := splitEntry(data)
	if e == nil || err != nil || len(rest) > 0 || e.magic() != 2 || e.attributes()&^appendTime != 0 {
		return
	}
	got, err := decodeAll(e)
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches = data
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, &rp, kgo.DefaultDecompressor(), nil)
	if err != nil || slices.ContainsFunc(got, func(r record) bool { return eachHeader(r.headers, func(_, _ []byte) {}) != nil }) {
		return // the client stops where headers do not parse; we look at them only where they are wanted
	}
	if fp.Err != nil || len(fp.Records) != len(got) {
		if len(got) > 0 && got[0].offset >= 0 && len(fp.Records) != len(got) && ascending(got) {
			t.Fatalf("read %d records, the client %d: %v", len(got), len(fp.Records), fp.Err)
		}
		return
	}
	for i, w := range fp.Records {
		g := got[i]
		const far = 9_000_000_000_000 // beyond, the client's nanoseconds overflow
		if g.offset != w.Offset || g.millis != w.Timestamp.UnixMilli() && g.millis < far && g.millis > -far {
			t.Fatalf("record %d at %d, %d; the client has %d, %d", i, g.offset, g.millis, w.Offset, w.Timestamp.UnixMilli())
		}
		if diff := cmp.Diff([][]byte{w.Key, w.Value}, [][]byte{g.key, g.value}); diff != "" {
			t.Fatal(diff)
		}
		var hs []kgo.RecordHeader
		if err := eachHeader(g.headers, func(k, v []byte) { hs = append(hs, kgo.RecordHeader{Key: string(k), Value: v}) }); err == nil {
			if diff := cmp.Diff(w.Headers, hs); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func ascending(rs []record) bool {
	for i := 1; i < len(rs); i++ {
		if rs[i].offset <= rs[i-1].offset {
			return false
		}
	}
	return true
}

func TestDecodeBatch(t *testing.T) {
	data := encode(100, 0, sample()...)
	sameAsClient(t, data)
	e, _, err := splitEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := decodeAll(e)
	if err != nil || len(rs) != 3 || e.last() != 102 || e.epoch() != 7 {
		t.Fatalf("%d records up to %d of epoch %d: %v", len(rs), e.last(), e.epoch(), err)
	}
	if rs[0].millis != 1005 || rs[2].millis != 997 || rs[1].value != nil || rs[2].value == nil {
		t.Errorf("%+v", rs)
	}
	e, _, _ = splitEntry(encode(100, appendTime, sample()...))
	if rs, _ := decodeAll(e); rs[0].millis != 2000 {
		t.Errorf("log append time: %d", rs[0].millis)
	}
}

func TestDamagedBatches(t *testing.T) {
	good := encode(0, 0, sample()...)
	f := func(what string, change func(b []byte) []byte) {
		t.Helper()
		b := change(append([]byte(nil), good...))
		e, _, err := splitEntry(b)
		if e != nil && err == nil {
			_, err = decodeAll(e)
		}
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	f("a bit flipped", func(b []byte) []byte { b[70] ^= 1; return b })
	f("negative length", func(b []byte) []byte { binary.BigEndian.PutUint32(b[atLength:], 1<<31); return b })
	f("too short for a header", func(b []byte) []byte { binary.BigEndian.PutUint32(b[atLength:], 20); return b })
	f("more records than there are", func(b []byte) []byte { binary.BigEndian.PutUint32(b[atCount:], 4); return seal(b) })
	f("more records than bytes", func(b []byte) []byte { binary.BigEndian.PutUint32(b[atCount:], 1<<30); return seal(b) })
	f("negative count", func(b []byte) []byte { binary.BigEndian.PutUint32(b[atCount:], 1<<31); return seal(b) })
	f("an offset beyond the last", func(b []byte) []byte { binary.BigEndian.PutUint32(b[atLastDelta:], 1); return seal(b) })
	if e, _, err := splitEntry(good[:len(good)-1]); e != nil || err != nil {
		t.Errorf("a batch cut short at the end of a response: %v, %v", e, err)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(encode(0, 0, sample()...))
	f.Add(encode(9, appendTime, sample()...))
	f.Add(encode(1<<40, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, _, err := splitEntry(data); e != nil && err == nil && e.magic() >= 2 {
			data = append([]byte(nil), data[:len(e)]...)
			data[atMagic] = 2
			sameAsClient(t, seal(data))
			e, _, _ = splitEntry(data)
			if rs, err := decodeAll(e); err == nil {
				for _, r := range rs {
					_ = eachHeader(r.headers, func(_, _ []byte) {})
				}
			}
		}
	})
}

// Batches with bytes changed and the checksum made good never panic, and give what
// the client library reads from them.
func TestMutatedBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seeds := [][]byte{encode(0, 0, sample()...), encode(1<<40, appendTime, sample()...), encode(7, 0, recs(strings.Repeat("x", 300), "", "y")...)}
	for range 20_000 {
		b := slices.Clone(seeds[rng.IntN(len(seeds))])
		for range 1 + rng.IntN(3) {
			at := atAttributes + rng.IntN(len(b)-atAttributes)
			b[at] = byte(rng.Uint32())
		}
		sameAsClient(t, seal(b))
	}
}
