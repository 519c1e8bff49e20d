package kinesis

import (
	"bytes"
	"crypto/md5" // #nosec G501 -- the checksum of the format
	"encoding/binary"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

// message writes protocol buffers by hand.
type message []byte

func (m message) num(field int, n uint64) message {
	return binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3), n)
}

func (m message) text(field int, s string) message {
	return append(binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3|2), uint64(len(s))), s...)
}

// rec is a record of an aggregate; hash -1: none.
func rec(key, hash int, data string) string {
	m := message(nil).num(1, uint64(key))
	if hash >= 0 {
		m = m.num(2, uint64(hash))
	}
	return string(m.text(3, data))
}

// pack adds what goes around the message.
func pack(m message) string {
	sum := md5.Sum(m) // #nosec G401
	return string(aggregateMagic) + string(m) + string(sum[:])
}

func unpacked(t *testing.T, u *Unpack, records ...string) (*pipeline.Batch, []string) {
	t.Helper()
	b := &pipeline.Batch{}
	for _, r := range records {
		b.Values = append(b.Values, []byte(r))
	}
	if err := u.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range b.Values {
		got = append(got, string(v))
	}
	return b, got
}

func TestUnpack(t *testing.T) {
	two := message(nil).text(1, "k0").text(1, "k1").text(3, rec(0, -1, "a")).text(3, rec(1, -1, "b"))
	late := message(nil).text(3, rec(0, 0, "c")).text(1, "k0").text(2, "7") // tables behind the records
	tagged := message(nil).text(1, "k").text(3, rec(0, -1, "")+string(message(nil).text(4, "\x0a\x01x\x12\x01y"))).num(9, 1)
	f := func(what string, records, values []string, src, sub []int32, dropped map[string]int) {
		t.Helper()
		b, got := unpacked(t, &Unpack{}, records...)
		if d := cmp.Diff(values, got); d != "" {
			t.Errorf("%s: values (-want +got):\n%s", what, d)
		}
		if d := cmp.Diff([]any{src, sub, dropped}, []any{b.Src, b.Sub, b.Dropped}); d != "" {
			t.Errorf("%s: records, numbers, drops (-want +got):\n%s", what, d)
		}
	}
	f("none", []string{"x", ""}, []string{"x", ""}, nil, nil, nil)
	f("mixed", []string{"x", pack(two), "y"}, []string{"x", "a", "b", "y"}, []int32{0, 1, 1, 2}, []int32{0, 0, 1, 0}, nil)
	f("tables last, explicit hash key", []string{pack(late)}, []string{"c"}, []int32{0}, []int32{0}, nil)
	f("tags, unknown fields, empty data", []string{pack(tagged)}, []string{""}, []int32{0}, []int32{0}, nil)
	f("fields of other types", []string{pack(message(nil).num(1, 5).text(1, "k").num(3, 5).text(3, rec(0, -1, "a")+string(message(nil).text(1, "xx").num(3, 1))))},
		[]string{"a"}, []int32{0}, []int32{0}, nil)
	if b, _ := unpacked(t, &Unpack{}, "x", pack(two), "y"); cmp.Diff([][]byte{nil, []byte("k0"), []byte("k1"), nil}, b.Keys) != "" {
		t.Errorf("keys %q", b.Keys)
	}
	f("without records", []string{pack(message(nil).text(1, "k")), "x"}, []string{"x"}, []int32{1}, []int32{0}, map[string]int{DropEmpty: 1})

	// What is not an aggregate stays a record.
	bad := []byte(pack(two))
	bad[len(bad)-1]++
	plain := map[string]string{
		"checksum":            string(bad),
		"magic alone":         string(aggregateMagic),
		"too short":           string(aggregateMagic) + "0123456789",
		"cut short":           pack(two[:len(two)-1]),
		"key out of range":    pack(message(nil).text(1, "k").text(3, rec(1, -1, "a"))),
		"hash out of range":   pack(message(nil).text(1, "k").text(3, rec(0, 0, "a"))),
		"no key":              pack(message(nil).text(1, "k").text(3, string(message(nil).text(3, "a")))),
		"no data":             pack(message(nil).text(1, "k").text(3, string(message(nil).num(1, 0)))),
		"a group":             pack(message{9<<3 | 3}),
		"field zero":          pack(message{0, 0}),
		"length beyond":       pack(message{1<<3 | 2, 0xff, 0x7f}),
		"endless number":      pack(bytes.Repeat(message{0xff}, 11)),
		"data as a number":    pack(message(nil).text(1, "k").text(3, string(message(nil).num(1, 0).num(3, 5)))),
		"64 bits in 3 bytes":  pack(message{9<<3 | 1, 0, 0, 0}),
		"index beyond 64 bit": pack(message(nil).text(1, "k").text(3, string(message(nil).num(1, 1<<63).text(3, "a")))),
	}
	for what, r := range plain {
		f(what, []string{r}, []string{r}, []int32{0}, []int32{0}, nil)
	}
}

// TestUnpackAfterSuspects: records before it may be gone already.
func TestUnpackAfterSuspects(t *testing.T) {
	b := &pipeline.Batch{Values: [][]byte{[]byte(pack(message(nil).text(1, "k").text(3, rec(0, -1, "a"))))}, Src: []int32{5}}
	if err := (&Unpack{}).Process(t.Context(), b); err != nil || b.Record(0) != 5 || b.Sub[0] != 0 {
		t.Errorf("record %d, sub %v, %v", b.Record(0), b.Sub, err)
	}
	b.Values = [][]byte{[]byte(pack(nil))}
	if err := (&Unpack{}).Process(t.Context(), b); err == nil {
		t.Error("a batch that is split already was taken")
	}
}

// TestWrongShard: an aggregate with a record for another shard is left out whole,
// and an explicit hash key goes before the partition key.
func TestWrongShard(t *testing.T) {
	sum := md5.Sum([]byte("k")) // #nosec G401
	home := new(big.Int).SetBytes(sum[:])
	of := hashRange{home, home}
	u := &Unpack{ranges: func(pipeline.Partition) (hashRange, error) { return of, nil }}
	in := func(recs ...string) string {
		m := message(nil).text(1, "k").text(1, "far").text(2, "1").text(2, home.String()).text(2, "x").text(2, "-1")
		for _, r := range recs {
			m = m.text(3, r)
		}
		return pack(m)
	}
	f := func(what string, record string, dropped int, want ...string) {
		t.Helper()
		b, got := unpacked(t, u, record)
		if d := cmp.Diff(want, got); d != "" || b.Dropped[DropWrongShard] != dropped {
			t.Errorf("%s: %d dropped, want %d; (-want +got):\n%s", what, b.Dropped[DropWrongShard], dropped, d)
		}
	}
	f("at home", in(rec(0, -1, "a"), rec(0, -1, "b")), 0, "a", "b")
	f("one is not", in(rec(0, -1, "a"), rec(1, -1, "b")), 2)
	f("explicit, away", in(rec(0, 0, "a")), 1)
	f("explicit, at home", in(rec(1, 1, "a")), 0, "a")
	f("explicit, no number", in(rec(0, 2, "a"), rec(0, 3, "b")), 0, "a", "b")
	of = hashRange{big.NewInt(0), big.NewInt(1)}
	f("the last of a range", in(rec(0, 0, "a")), 0, "a")
}

func FuzzAggregate(f *testing.F) {
	f.Add([]byte(message(nil).text(1, "k0").text(2, "1").text(3, rec(0, 0, "a"))))
	f.Fuzz(func(t *testing.T, m []byte) {
		r := []byte(pack(m))
		if !isAggregate(r) {
			t.Fatal("the checksum does not hold")
		}
		a := &aggregate{}
		if a.parse(r) != nil {
			return
		}
		size := 0
		for _, r := range a.recs {
			size += len(r.data)
			a.hashOf(r)
		}
		if size > len(m) {
			t.Errorf("%d bytes of records in a message of %d", size, len(m))
		}
	})
}
