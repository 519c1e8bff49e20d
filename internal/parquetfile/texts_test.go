package parquetfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
)

// textPage is a page of n bytes or a little more, of levels and texts.
func textPage(levels, n int, text func() string) []byte {
	page := make([]byte, levels)
	for i := range page {
		page[i] = byte(i * i)
	}
	for len(page) < n {
		v := text()
		page = append(binary.LittleEndian.AppendUint32(page, uint32(len(v))), v...)
	}
	return page
}

// TestTexts: whatever the texts of a page are, another zstd decoder reads back what was
// there, and the frame is about as small as the library's, mostly smaller.
func TestTexts(t *testing.T) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	codec, err := newZstd(1)
	if err != nil {
		t.Fatal(err)
	}
	theirs := codec.(zstdCodec).enc
	r := rand.New(rand.NewPCG(5, 5))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(r.IntN(20))
		}
		return string(b)
	}
	var words []string
	for range 300 {
		words = append(words, word(2+r.IntN(9)))
	}
	any := func() string { return words[r.IntN(len(words))] }
	coder := new(texts) // what it did before must not matter
	all, allTheirs := 0, 0
	for _, kind := range []struct {
		name string
		text func() string
		most float64 // of the library's size; 0: the texts are too short for it
	}{
		{"URLs of one length", func() string {
			return fmt.Sprintf("https://pbs.example.com/images/%08d/%08x_normal.jpeg", r.IntN(1e8), r.Uint32())
		}, 1},
		{"paths", func() string {
			return fmt.Sprintf("/api/v2/%s/%d/items", []string{"users", "orders", "carts"}[r.IntN(3)], r.IntN(10_000))
		}, 1.02},
		{"repositories", func() string {
			return fmt.Sprintf("https://api.example.com/repos/%s/%s/commits/%016x", any(), any(), r.Uint64())
		}, 1.02},
		{"prose", func() string {
			b := []string{any()}
			for range r.IntN(100) {
				b = append(b, any())
			}
			return strings.Join(b, " ")
		}, 1.1},
		{"names", func() string { return fmt.Sprintf("%s %s-%d", any(), any(), r.IntN(50)) }, 1.1},
		{"a few values", func() string { return words[r.IntN(4)] }, 1.25},
		{"one value", func() string { return "always the same" }, 2},
		{"nothing", func() string { return "" }, 0},
		{"one letter", func() string { return any()[:1] }, 0},
		{"runs", func() string { return strings.Repeat(any()[:1], r.IntN(2000)) }, 1.1},
		{"noise", func() string {
			b := make([]byte, r.IntN(300))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			return string(b)
		}, 1.01},
		{"large", func() string { return strings.Repeat(word(100), 1+r.IntN(maxText/100)) }, 1.1},
		{"a large one among small ones", func() string {
			if r.IntN(1000) > 0 {
				return any() + any() + any() + any()
			}
			return word(maxText)
		}, 1.5}, // short words run together: matches below seven bytes are not looked for
	} {
		for _, size := range []int{10, 100, minTexts, 3 * minTexts, blockSize - 100, blockSize, 3*blockSize + 11, 9 * blockSize} {
			for _, levels := range []int{0, 6, 5000} {
				src := textPage(levels, levels+size, kind.text)
				got, ok := coder.append([]byte("before"), bytes.Clone(src), levels)
				fresh, _ := new(texts).append([]byte("before"), src, levels)
				if ok != (kind.most > 0) || !bytes.Equal(got, fresh) {
					t.Fatalf("%s, %d bytes: %v, and a fresh one makes the same: %v", kind.name, len(src), ok, bytes.Equal(got, fresh))
				}
				if !ok {
					continue
				}
				got = got[len("before"):]
				if back, err := dec.DecodeAll(got, nil); err != nil || !bytes.Equal(back, src) {
					t.Fatalf("%s, %d bytes, %d of levels: read back %d, %v", kind.name, len(src), levels, len(back), err)
				}
				want := theirs.EncodeAll(src, nil)
				if len(src) < minTexts {
					continue
				}
				if float64(len(got)) > kind.most*float64(len(want))+400 {
					t.Errorf("%s, %d bytes, %d of levels: %d, the library has %d", kind.name, len(src), levels, len(got), len(want))
				}
				all, allTheirs = all+len(got), allTheirs+len(want)
			}
		}
	}
	if all > allTheirs {
		t.Errorf("all pages take %d bytes, the library needs %d", all, allTheirs)
	}
}

// TestTextsLeft: pages that are not made for it are left to the library.
func TestTextsLeft(t *testing.T) {
	for name, src := range map[string][]byte{
		"a text that is too long": textPage(0, 1, func() string { return strings.Repeat("x", maxText+1) }),
		"too many levels":         textPage(blockSize+1, blockSize+2, func() string { return "text" }),
		"no texts":                textPage(20, 20, nil),
	} {
		first := 0
		if name != "a text that is too long" {
			first = len(src) - 8
		}
		if name == "no texts" {
			first = len(src)
		}
		_, ok := new(texts).append(nil, src, first)
		if ok != (name == "no texts") {
			t.Errorf("%s: %v", name, ok)
		}
	}
	for level, own := range map[int]bool{1: true, 3: false} {
		codec, err := newZstd(level)
		if err != nil {
			t.Fatal(err)
		}
		c := codec.(zstdCodec)
		i := 0
		src := textPage(0, 2*minTexts, func() string { i++; return fmt.Sprintf("https://example.com/%d/index.html", i) })
		coder := new(texts)
		out, err := c.EncodeTexts(coder, nil, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if coder.src != nil {
			t.Error("the page is held on to")
		}
		if theirs := c.enc.EncodeAll(src, nil); bytes.Equal(out, theirs) == own {
			t.Errorf("level %d: by ourselves %v", level, !own)
		}
	}
}

// TestSequences: sequences of any numbers are what another decoder reads.
func TestSequences(t *testing.T) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	r := rand.New(rand.NewPCG(6, 6))
	var coder sequenceCoder
	number := func(most int) int { return r.IntN(1 + r.IntN(1+min(most, 1<<r.IntN(18)))) }
	for round := range 3000 {
		var content, lits []byte
		var seqs []sequence
		t0 := texts{reps: [3]uint32{1, 4, 8}}
		same := r.IntN(4) == 0 // codes without a choice
		n, alike := 1+number(6000), 1+number(40)
		if r.IntN(50) == 0 {
			n = 0x7f00 + r.IntN(2000) // a count of three bytes
		}
		for range n {
			add, match := number(300), 3+number(70_000)
			if same {
				add, match = 3, alike
			}
			if n > 6000 {
				add, match = 0, 3
			}
			match = max(match, 3)
			if len(seqs) == 0 {
				add = max(add, 1)
			}
			if len(content)+add+match > blockSize {
				break
			}
			for range add {
				b := byte('a' + r.IntN(30))
				content, lits = append(content, b), append(lits, b)
			}
			dist := 1 + number(len(content)-1)
			if i := r.IntN(4); i < 3 && int(t0.reps[i]) <= len(content) {
				dist = int(t0.reps[i])
			}
			seqs = append(seqs, sequence{lits: uint32(add), match: uint32(match), dist: t0.distance(uint32(dist), add == 0)})
			for range match {
				content = append(content, content[len(content)-dist])
			}
		}
		tail := "the last literals"
		content, lits = append(content, tail...), append(lits, tail...)
		out := append(appendFrameHead(nil, len(content)), 0, 0, 0)
		head := len(out) - blockHead
		out = appendLiteralSection(out, lits, &huff0.Scratch{Reuse: huff0.ReusePolicyNone})
		if len(seqs) == 0 {
			continue
		}
		out = coder.append(out, seqs)
		putBlockHead(out[head:], len(out)-head-blockHead, blockCompressed, true)
		if len(out)-head-blockHead > blockSize || len(content) > blockSize {
			continue
		}
		if got, err := dec.DecodeAll(out, nil); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("round %d: %d sequences: read back %d of %d bytes, %v", round, len(seqs), len(got), len(content), err)
		}
	}
}

// FuzzTexts: the same with texts cut out of any bytes.
func FuzzTexts(f *testing.F) {
	f.Add([]byte("https://example.com/one/x.jpeg https://example.com/two/x.jpeg"), uint16(30), uint8(7), uint16(9))
	f.Add(bytes.Repeat([]byte("abcdefghij"), 100), uint16(13), uint8(0), uint16(200))
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, levels uint8, times uint16) {
		if len(data) == 0 {
			return
		}
		i := 0
		src := textPage(int(levels), int(levels)+len(data)+int(times)*16, func() string { // the same bytes again and again, cut elsewhere
			from := i % len(data)
			to := min(from+int(cut)%(len(data)+1), len(data))
			i += int(cut) + 1 + int(data[from])&7
			return string(data[from:to])
		})
		out, ok := new(texts).append(nil, src, int(levels))
		if !ok {
			return // texts that are short on the average
		}
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		if got, err := dec.DecodeAll(out, nil); err != nil || !bytes.Equal(got, src) {
			t.Fatalf("read back %d of %d bytes, %v", len(got), len(src), err)
		}
	})
}
