package gen_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"unicode/utf8"

	"github.com/firehosed/firehosed/integration/gen"
)

func stream(tb testing.TB, bad int) *gen.Stream {
	tb.Helper()
	samples, err := os.ReadFile("../testdata/github-events.ndjson")
	if err != nil {
		tb.Fatal(err)
	}
	s, err := gen.New(gen.Config{Samples: samples, Seed: 7, Records: 4000, Bad: bad})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestEventsAreObjectsAndVary(t *testing.T) {
	s := stream(t, 0)
	seen, types := map[string]bool{}, map[string]bool{}
	for i := range 4000 {
		v, tomb := s.Append(nil, i)
		var e struct {
			Type string
			Seq  int
		}
		if err := json.Unmarshal(v, &e); err != nil || tomb {
			t.Fatalf("record %d: %v: %s", i, err, v)
		}
		if e.Seq != i || seen[string(v)] {
			t.Fatalf("record %d: is not its own: %s", i, v)
		}
		seen[string(v)], types[e.Type] = true, true
	}
	if len(types) < 8 {
		t.Errorf("%d event types, want at least 8", len(types))
	}
}

func TestSameSeedSameStream(t *testing.T) {
	a, b := stream(t, 100), stream(t, 100)
	for _, i := range []int{3999, 0, 17, 2500} {
		x, xt := a.Append(nil, i)
		y, yt := b.Append([]byte("before"), i)
		if !bytes.Equal(x, y[len("before"):]) || xt != yt {
			t.Errorf("record %d differs:\n%s\n%s", i, x, y)
		}
	}
}

// Behind its drift, a stream keeps the last shape.
func TestDriftEnds(t *testing.T) {
	s := stream(t, 0)
	for _, i := range []int{3999, 4000, 1 << 40} {
		v, _ := s.Append(nil, i)
		if !bytes.Contains(v, []byte(`"client":{"version"`)) || !bytes.Contains(v, []byte(`,"build":`)) || !json.Valid(v) {
			t.Errorf("record %d: %s", i, v)
		}
	}
}

func TestBadKinds(t *testing.T) {
	s := stream(t, 1000)
	var tombs, invalid, utf, empty int
	for i := range 2000 {
		v, tomb := s.Append(nil, i)
		switch {
		case tomb:
			tombs++
		case len(v) == 0:
			empty++
		case !utf8.Valid(v):
			utf++
		case !json.Valid(v):
			invalid++
		}
	}
	if tombs == 0 || invalid < 500 || utf == 0 || empty == 0 {
		t.Errorf("tombstones %d, invalid %d, not UTF-8 %d, empty %d", tombs, invalid, utf, empty)
	}
}

func TestNoSamples(t *testing.T) {
	for _, in := range []string{"", "[1]", `{"a":`} {
		if _, err := gen.New(gen.Config{Samples: []byte(in)}); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := stream(b, 2)
	var buf []byte
	n, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = s.Append(buf[:0], i)
		n += len(buf)
		i++
	}
	b.SetBytes(int64(n / i))
}
