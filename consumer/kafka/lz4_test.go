package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// packed returns data as an LZ4 frame.
func packed(t testing.TB, data []byte, opts ...lz4.Option) []byte {
	t.Helper()
	var b bytes.Buffer
	w := lz4.NewWriter(&b)
	if err := w.Apply(opts...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// jsonish returns n bytes that compress about as JSON does.
func jsonish(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for len(b) < n {
		b = append(b, `{"id":`...)
		b = binary.AppendUvarint(b, r.Uint64()>>(r.Uint64()%60))
		b = append(b, `,"name":"the same again and again"}`...)
	}
	return b[:n]
}

func TestLZ4(t *testing.T) {
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	opts := map[string][]lz4.Option{
		"franz-go":  {},
		"64KiB":     {lz4.BlockSizeOption(lz4.Block64Kb)},
		"checksums": {lz4.BlockChecksumOption(true), lz4.ChecksumOption(true), lz4.BlockSizeOption(lz4.Block256Kb)},
		"sized":     {lz4.ChecksumOption(false)}, // and the size below
	}
	for name, opt := range opts {
		for what, data := range map[string][]byte{
			"none": {}, "one": []byte("x"), "json": jsonish(1<<20, 1), "zeros": make([]byte, 9<<20), "noise": noise, "odd": jsonish(70_001, 2),
		} {
			if name == "sized" {
				opt = append(opt[:1:1], lz4.SizeOption(uint64(len(data))))
			}
			src := packed(t, data, opt...)
			for _, room := range []int{0, 100, len(data), 2 * len(data)} {
				got, err := unlz4(make([]byte, 0, room), src, 64<<20)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, %s, room %d: %d bytes, want %d: %v", name, what, room, len(got), len(data), err)
				}
			}
			if got, err := unlz4(nil, src, len(data)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %s: at the limit: %v", name, what, err)
			}
			if len(data) == 0 {
				continue
			}
			if _, err := unlz4(nil, src, len(data)-1); !errors.Is(err, kgo.ErrMaxDecompress) {
				t.Errorf("%s, %s: one byte beyond the limit: %v", name, what, err)
			}
			if _, err := unlz4(nil, src[:len(src)*2/3], 64<<20); err == nil {
				t.Errorf("%s, %s: cut short, and nobody noticed", name, what)
			}
		}
	}
	two := append(packed(t, []byte("one, ")), []byte{0x51, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 'n', 'o'}...)
	if got, err := unlz4(nil, append(two, packed(t, []byte("two"))...), 100); err != nil || string(got) != "one, two" {
		t.Errorf("two frames and one to skip: %q %v", got, err)
	}
}

// Blocks of a frame may refer to those before them, as librdkafka's do.
func TestLZ4LinkedBlocks(t *testing.T) {
	first := jsonish(100, 3)
	frame := []byte{0x04, 0x22, 0x4D, 0x18, 0x40, 0x40, 0}
	frame = binary.LittleEndian.AppendUint32(frame, 100|lz4Stored)
	frame = append(frame, first...)
	block := append([]byte{1<<4 | 6, 'Z', 101, 0, 5 << 4}, "tail!"...) // a literal, 10 bytes from 101 before, five literals
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(block)))
	frame = append(append(frame, block...), 0, 0, 0, 0)
	want := string(first) + "Z" + string(first[:10]) + "tail!"
	if got, err := unlz4(nil, frame, 1000); err != nil || string(got) != want {
		t.Errorf("%q, want %q: %v", got, want, err)
	}
	frame[4] |= lz4Independent
	if _, err := unlz4(nil, frame, 1000); err == nil {
		t.Error("an independent block refers to another")
	}
}

// A batch takes the memory of what is in it, not of the largest block that could be.
func TestLZ4TakesWhatItNeeds(t *testing.T) {
	r := offline(t)
	src := packed(t, jsonish(100_000, 4))
	runtime.GC()
	runtime.GC() // nothing is pooled
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, err := r.decompress(src, kgo.CodecLz4)
	runtime.ReadMemStats(&after)
	if err != nil || len(out) != 100_000 {
		t.Fatalf("%d bytes: %v", len(out), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d bytes for a batch of %d", took, len(out))
	}
}

// Whatever comes, nothing panics and no limit is passed; what the library's reader
// accepts is the same here.
func FuzzLZ4(f *testing.F) {
	f.Add(packed(f, jsonish(3000, 5)))
	f.Add(packed(f, jsonish(200_000, 6), lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true)))
	f.Add([]byte{0x04, 0x22, 0x4D, 0x18, 0x40, 0x40, 0, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, src []byte) {
		const limit = 1 << 20
		got, err := unlz4(nil, src, limit)
		if len(got) > limit || cap(got) > 4*limit {
			t.Errorf("%d bytes, %d of memory", len(got), cap(got))
		}
		want, wantErr := io.ReadAll(io.LimitReader(lz4.NewReader(bytes.NewReader(src)), limit+1))
		if wantErr == nil && len(want) <= limit && len(want) > 0 && err == nil && !bytes.HasPrefix(got, want) {
			t.Errorf("%d bytes, the library has %d others", len(got), len(want))
		}
	})
}
