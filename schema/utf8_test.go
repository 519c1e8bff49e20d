package schema

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// TestValidUTF8 holds validUTF8 against the standard library's on text of every width of
// characters, whole and broken.
func TestValidUTF8(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	valid, column := 0, newTexts()
	for range 300_000 {
		var b []byte
		parts := r.IntN(12)
		if r.IntN(3) == 0 { // long enough to be looked at block by block
			parts = 20 + r.IntN(120)
		}
		for range parts {
			switch r.IntN(8) {
			case 0:
				b = append(b, "plain text"[:r.IntN(11)]...)
			case 1:
				b = utf8.AppendRune(b, rune(r.IntN(0x110000)))
			case 2:
				b = utf8.AppendRune(b, rune(0x80+r.IntN(0x800-0x80)))
			default:
				b = utf8.AppendRune(b, rune(0x800+r.IntN(0xF800)))
			}
		}
		for range r.IntN(4) / 2 {
			if len(b) > 0 {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
		}
		if len(b) > 0 && r.IntN(8) == 0 {
			b = b[:r.IntN(len(b))]
		}
		want := utf8.Valid(b)
		if want {
			valid++
		}
		if got := validUTF8(b); got != want {
			t.Fatalf("%q is valid: %v, want %v", b, got, want)
		}
		if got := column.takes(b); got != want {
			t.Fatalf("%q as a text is valid: %v, want %v", b, got, want)
		}
	}
	if valid < 100_000 || valid > 250_000 {
		t.Errorf("%d texts were valid", valid)
	}
}

// texts is a column that reads texts one after another: in the build with vectors their UTF-8 is
// judged there, by blocks.
type texts struct {
	r reader
	f node
}

func newTexts() *texts {
	return &texts{r: reader{cut: &cutter{}}, f: node{kind: String, data: make([]byte, 0, 1<<18), ends: make([]int32, 1, 1001)}}
}

// takes tells whether b is taken as it is. What would end or escape it is replaced, by other ASCII.
func (c *texts) takes(b []byte) bool {
	text := bytes.Clone(b)
	for i, x := range text {
		if x < ' ' || x == '"' || x == '\\' {
			text[i] = 'x'
		}
	}
	if c.f.values() == 3 {
		c.f.keep(0)
		c.f.n = 0
	}
	const before = "\xE3\xF0\xE3\":" // neither this is judged, nor what is behind
	buf := padded(before + "\"" + string(text) + "\"\xE3\x81\xBF\xBF\xF0\xE3")
	c.r.cut.scan.buf, c.r.src = buf, sourceOf(buf)
	row, from := c.f.n, len(c.f.data)
	end := c.r.text(&c.f, len(before))
	return end == len(before)+len(text)+2 && c.f.n == row+1 && string(c.f.data[from:]) == string(text)
}

// TestValidUTF8Leads tries every first byte with every second one, and a third.
func TestValidUTF8Leads(t *testing.T) {
	column := newTexts()
	for a := range 256 {
		for b := range 256 {
			for _, c := range []byte{0x7f, 0x80, 0xbf, 0xc0} {
				text := []byte{byte(a), byte(b), c, 0xe3, 0x81, 0x82, 'x', 'y', 'z'}
				if got, want := validUTF8(text), utf8.Valid(text); got != want {
					t.Fatalf("%x is valid: %v, want %v", text, got, want)
				}
				if got, want := column.takes(text), utf8.Valid(text); got != want {
					t.Fatalf("%x as a text is valid: %v, want %v", text, got, want)
				}
				text = []byte{0xe3, 0x81, 0x82, byte(a), byte(b), c, 'x', 'y'}
				if got, want := validUTF8(text), utf8.Valid(text); got != want {
					t.Fatalf("%x is valid: %v, want %v", text, got, want)
				}
				if got, want := column.takes(text), utf8.Valid(text); got != want {
					t.Fatalf("%x as a text is valid: %v, want %v", text, got, want)
				}
			}
		}
	}
}
