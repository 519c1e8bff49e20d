package parquetfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestLiterals: a frame of literals is what another zstd decoder reads back, whatever is
// in it, and takes no more than a few bytes above the plain text.
func TestLiterals(t *testing.T) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	r := rand.New(rand.NewPCG(4, 4))
	text := func(n, kinds int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(1+r.IntN(kinds)) * 255 / kinds)
		}
		return b
	}
	for _, n := range []int{0, 1, 5, 6, tinyPage - 1, tinyPage, 1000, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 7, 1 << 20} {
		for _, kinds := range []int{1, 2, 3, 16, 64, 255} {
			src := text(n, kinds)
			out := appendLiterals([]byte("before"), src)
			got, err := dec.DecodeAll(out[len("before"):], nil)
			if err != nil || !bytes.Equal(got, src) {
				t.Errorf("%d bytes of %d kinds: read back %d, %v", n, kinds, len(got), err)
			}
			if limit := n + 16 + 3*(n/blockSize+1); len(out) > limit {
				t.Errorf("%d bytes of %d kinds take %d", n, kinds, len(out))
			}
		}
	}
}

// TestUnmatched: pages in which little comes twice are coded without matches and take
// less for it, all in all; the others are left to zstd.
func TestUnmatched(t *testing.T) {
	codec, err := newZstd(1)
	if err != nil {
		t.Fatal(err)
	}
	c := codec.(zstdCodec)
	r := rand.New(rand.NewPCG(4, 4))
	events, err := os.ReadFile("../../schema/testdata/github-events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	text := func(value func() string) func([]byte) []byte {
		return func(b []byte) []byte {
			v := value()
			return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
		}
	}
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	word := func(value func() uint64) func([]byte) []byte {
		return func(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, value()) }
	}
	with, without := 0, 0
	for _, p := range []struct {
		name      string
		value     func([]byte) []byte
		unmatched bool
	}{
		{"hexadecimal", text(func() string { return fmt.Sprintf("%016x", r.Uint64()) }), true},
		{"sha256", text(func() string { return hex.EncodeToString(random(32)) }), true},
		{"uuid", text(func() string {
			b := random(16)
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		}), true},
		{"base64", text(func() string { return base64.StdEncoding.EncodeToString(random(18)) }), true},
		{"prefixed", text(func() string { return fmt.Sprintf("trace-%016x", r.Uint64()) }), false},
		{"doubles", word(func() uint64 { return math.Float64bits(r.NormFloat64()) }), true},
		{"doubles of three digits", word(func() uint64 { return math.Float64bits(math.Round(1e6*r.Float64()) / 1000) }), false},
		{"integers", word(func() uint64 { return r.Uint64N(100_000) }), false},
		{"sequence", word(func() func() uint64 { i := uint64(1 << 40); return func() uint64 { i++; return i } }()), false},
		{"paths", text(func() string {
			return fmt.Sprintf("/api/v2/%s/%d/items", []string{"users", "orders"}[r.IntN(2)], r.IntN(10_000))
		}), false},
		{"one value", text(func() string { return "value" }), false},
		{"JSON", text(func() string { i := r.IntN(len(events) - 300); return string(events[i : i+r.IntN(300)]) }), false},
	} {
		var src []byte
		for len(src) < DefaultPageBytes {
			src = p.value(src)
		}
		out, err := c.Encode(nil, src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(nil, out); err != nil || !bytes.Equal(got, src) {
			t.Errorf("%s: read back %d bytes, %v", p.name, len(got), err)
		}
		matched := c.enc.EncodeAll(src, nil)
		t.Logf("%s: %d bytes, %d with matches", p.name, len(out), len(matched))
		if unmatched(src, fewOfLarge) != p.unmatched || len(out) > len(matched)*5/4 {
			t.Errorf("%s: unmatched %v, %d bytes; zstd makes %d", p.name, unmatched(src, fewOfLarge), len(out), len(matched))
		}
		if p.unmatched {
			with, without = with+len(matched), without+len(out)
		}
	}
	if without > with {
		t.Errorf("all pages without matches take %d bytes; zstd makes %d", without, with)
	}
}

// TestSmallPages: what small pages mostly are, levels and numbers of a dictionary packed by
// bits, is coded without a search for matches, which finds few; a page that consists of them
// is still searched.
func TestSmallPages(t *testing.T) {
	codec, err := newZstd(1)
	if err != nil {
		t.Fatal(err)
	}
	c := codec.(zstdCodec)
	r := rand.New(rand.NewPCG(1, 2))
	packed := func(n, width int, value func() uint8) []byte {
		v := make([]uint8, n)
		for i := range v {
			v[i] = value()
		}
		return appendHybrid(nil, v, width)
	}
	some := func() uint8 { return uint8(r.IntN(10) / 9) }
	for _, p := range []struct {
		name     string
		src      []byte
		searched bool
	}{
		{"levels", packed(30_000, 1, some), false},
		{"levels of structs", packed(15_000, 2, func() uint8 { return 2 + some() }), false},
		{"few rows", packed(4_000, 1, some), false},
		{"numbers", packed(8_000, 8, func() uint8 { return uint8(r.IntN(16) * r.IntN(16)) }), false},
		{"a pattern", bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, 1000), true},
		{"a large page", packed(200_000, 8, func() uint8 { return uint8(r.IntN(8) * r.IntN(8) / 2) }), false},
	} {
		out, err := c.Encode(nil, p.src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(nil, out); err != nil || !bytes.Equal(got, p.src) {
			t.Errorf("%s: read back %d bytes, %v", p.name, len(got), err)
		}
		matched := c.enc.EncodeAll(p.src, nil)
		t.Logf("%s: %d bytes become %d, %d with matches", p.name, len(p.src), len(out), len(matched))
		if searched := bytes.Equal(out, matched); searched != p.searched {
			t.Errorf("%s: searched for matches: %v", p.name, searched)
		}
		if len(out) > len(matched)*9/8 {
			t.Errorf("%s: %d bytes, zstd makes %d", p.name, len(out), len(matched))
		}
	}
}
