package kinesis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

const seq56 = "49590338271490256608559692538361571095921575989136588898"

func must(at pipeline.Position, err error) pipeline.Position {
	if err != nil {
		panic(err)
	}
	return at
}

// TestPositionOrder: byte order is the order of the log.
func TestPositionOrder(t *testing.T) {
	order := []pipeline.Position{
		"",
		fromTime(time.Time{}), fromTime(time.UnixMilli(999)), fromTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		must(before("1")), must(passed("1")), must(before("3")), must(passed("3")), must(passed("20")),
		must(before(seq56)), afterGap(must(before(seq56)), time.UnixMilli(5)), must(passed(seq56)),
		afterGap(must(passed(seq56)), time.UnixMilli(5)), afterGap(afterGap(must(passed(seq56)), time.UnixMilli(5)), time.UnixMilli(6)), must(passed(seq56 + "0")),
		pipeline.End,
	}
	if !slices.IsSorted(order) {
		t.Errorf("not in order: %q", order)
	}
	for i, p := range order[1:] {
		if p == order[i] {
			t.Errorf("%q twice", p)
		}
	}
}

func TestParsePosition(t *testing.T) {
	f := func(p pipeline.Position, want place) {
		t.Helper()
		got, err := parsePosition(p)
		if err != nil || got.kind != want.kind || got.seq != want.seq || !got.time.Equal(want.time) {
			t.Errorf("%q is %+v, %v; want %+v", p, got, err, want)
		}
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 5e6, time.UTC)
	f("", place{})
	f(pipeline.End, place{kind: atEnd})
	f(fromTime(noon), place{kind: atTime, time: noon})
	f(must(passed(seq56)), place{kind: afterThis, seq: seq56})
	f(must(passed("0")), place{kind: afterThis, seq: "0"})
	f(afterGap(must(passed(seq56)), noon), place{kind: atTime, time: noon})
	f(afterGap(must(before(seq56)), noon), place{kind: atTime, time: noon})
	f(afterGap("!0000000000001", noon), place{kind: atTime, time: noon})
	f(must(before(seq56)), place{kind: atRecord, seq: seq56})
	f(must(before("1000")), place{kind: atRecord, seq: "1000"})
	for _, bad := range []string{"0", seq56, "!1", "!000000000000x", "!-00000000001", strings.Repeat("x", digits), "+", "!0000000000001+", "5!0000000000001", "+!0000000000001", strings.Repeat("9", digits+1)} {
		if got, err := parsePosition(pipeline.Position(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
	for _, bad := range []string{"", "x", "-1", strings.Repeat("9", digits+1)} {
		if _, err := passed(bad); err == nil {
			t.Errorf("sequence number %q was taken", bad)
		}
	}
	if _, err := before("0"); err == nil {
		t.Error("there is a place before number 0")
	}
}

// TestWrittenPosition is about what people type.
func TestWrittenPosition(t *testing.T) {
	f := func(text string, want pipeline.Position) {
		t.Helper()
		if got, err := ParsePosition(text); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	f("", "")
	f("~", pipeline.End)
	f(seq56, must(passed(seq56)))
	f(string(must(before(seq56))), must(before(seq56)))
	f("2026-01-01T00:00:00Z", fromTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	f(string(afterGap(must(before(seq56)), time.UnixMilli(7))), afterGap(must(before(seq56)), time.UnixMilli(7)))
	for _, bad := range []string{"x", "+", "-3", "41+", "2026-01-01"} {
		if got, err := ParsePosition(bad); err == nil {
			t.Errorf("%q is taken for %q", bad, got)
		}
	}
}

// TestPacked: a vector of positions survives the table's property.
func TestPacked(t *testing.T) {
	v := pipeline.Vector{}
	for i, at := range []pipeline.Position{must(passed(seq56)), must(before(seq56)), fromTime(time.UnixMilli(1)), pipeline.End} {
		p := partition("arn:aws:kinesis:us-east-1:000000000000:stream/a", time.UnixMilli(1700000000123), "shardId-00000000000"+string(rune('0'+i)))
		v[p] = pipeline.Mark{At: pipeline.Cursor{At: at}, Floor: must(passed("7"))}
		if back, err := pipeline.ParsePartition(p.Key()); err != nil || back != p {
			t.Errorf("%q came back as %v, %v", p.Key(), back, err)
		}
	}
	src := v.Streams(nil)
	back, err := pipeline.UnpackVector(v.Pack(src), src)
	if err != nil {
		t.Fatal(err)
	}
	for p, m := range v {
		if back[p] != m {
			t.Errorf("%v: %+v came back as %+v", p, m, back[p])
		}
	}
}

func TestStamp(t *testing.T) {
	st := pipeline.Stamp{Pipeline: "shop", Epoch: 1, Replay: 2, Rev: 3}
	if got, ok := decodeStamp(encodeStamp(st)); !ok || got != st {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, bad := range []string{"", "fhd1;a;1;2", "fhd2;a;1;2;3", "fhd1;a;1;2;x", "fhd1;a;-1;2;3", "fhd1;a;1;2;3;4"} {
		if got, ok := decodeStamp(bad); ok {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}
