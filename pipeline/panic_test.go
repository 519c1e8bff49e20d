package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firehosed/firehosed/schema"
)

// moody steps panic where a record says so: at "stage", "decoder" and "lay out", and
// when two records "pair", or "a" and "b", come together. The stage panics at "first"
// in a batch that is not its first.
type moody struct {
	t      *testing.T
	broken bool
	used   bool
}

func (m *moody) trip(why string) {
	if m.broken {
		m.t.Errorf("used again after a panic: %s", why)
	}
	m.broken = true
	panic(why)
}

func (m *moody) Process(_ context.Context, b *Batch) error {
	b.Parts = []Part{{Table: "t"}}
	pairs, used := 0, m.used
	m.used = true
	for i, v := range b.Values {
		switch string(v) {
		case "pair":
			if pairs++; pairs == 2 {
				m.trip("stage trips")
			}
		case "first":
			if used {
				m.trip("stage trips")
			}
		case "stage":
			m.trip("stage trips")
		case "drop":
			b.Drop("rule", 1)
			continue
		case "stale":
			return ErrStale
		case "reject", "lay out":
			b.Rejects = append(b.Rejects, Reject{Rec: b.Record(int32(i)), Code: "route", Payload: v})
			continue
		}
		b.Parts[0].Units = append(b.Parts[0].Units, int32(i))
	}
	return nil
}

func (m *moody) Decode(_ context.Context, b *Batch, part Part, _ *schema.Schema) (r Rows, err error) {
	seen := ""
	for _, u := range part.Units {
		v := string(b.Values[u])
		seen += v
		if v == "decoder" && part.Careful {
			r.Rejects = append(r.Rejects, Reject{Rec: b.Record(u), Code: CodePanic, Payload: b.Values[u]})
			continue
		} else if v == "decoder" || strings.Contains(seen, "a") && strings.Contains(seen, "b") {
			m.trip("decoder trips")
		}
		r.Rec, r.Sub = append(r.Rec, b.Record(u)), append(r.Sub, 0)
	}
	r.Data = array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, int64(len(r.Rec)))
	return r, nil
}

// moodyLane is a lane with such steps. heard is what was observed and logged.
func moodyLane(t *testing.T) (l *lane, heard *bytes.Buffer) {
	heard = &bytes.Buffer{}
	l = lanesOf("0")[0]
	l.p.log = slog.New(slog.NewTextHandler(heard, nil))
	l.p.obs = &Observer{
		Panicked: func(step string) { fmt.Fprintf(heard, "panic in %s\n", step) },
		Rejected: func(_, code string, n int) { fmt.Fprintf(heard, "%d rejects %s\n", n, code) },
		Dropped:  func(_, rule string, n int) { fmt.Fprintf(heard, "%d dropped %s\n", n, rule) },
	}
	l.steps = map[int64][]Steps{}
	l.p.mu.steps[0] = func() []Steps {
		m := &moody{t: t}
		return []Steps{{Stages: []Stage{m}, Decoder: m, DeadLetters: "dead", LayRejects: func(b *Batch, _ *schema.Schema) (r Rows, err error) {
			for _, j := range b.Rejects {
				if string(j.Payload) == "lay out" {
					m.trip("layout trips")
				}
				r.Rec, r.Sub = append(r.Rec, j.Rec), append(r.Sub, j.Sub)
			}
			r.Data = array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, int64(len(r.Rec)))
			return r, nil
		}}}
	}
	return l, heard
}

func moodyBatch(values ...string) *Batch {
	at := func(n int) Cursor { return Cursor{At: Position(fmt.Sprintf("%02d", n))} }
	b := &Batch{Span: Span{From: at(0), To: at(len(values))}, Cursor: at}
	for _, v := range values {
		b.Values = append(b.Values, []byte(v))
	}
	return b
}

// judgeAll takes a batch through the lane, and returns what became of its records.
func (l *lane) judgeAll(t *testing.T, b *Batch) (string, error) {
	t.Helper()
	if l.p.ctl.Known().BoundFor("t", 0) == nil {
		if _, err := l.p.ctl.Append(t.Context(), func(*Decisions) (*Entry, error) { return &Entry{Kind: KindBound, Table: "t"}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	l.p.obs.Rows = func(_ string, n int) { rows += n }
	b.Span.Partition = l.part
	err := l.judge(t.Context(), b, 0, nil)
	fates := []string{fmt.Sprintf("%d rows", rows)}
	for _, r := range b.Rejects {
		fates = append(fates, fmt.Sprintf("%d %s %s", r.Rec, r.Code, r.Payload))
	}
	return strings.Join(fates, ", "), err
}

// TestPanicOfARecord: records at which a stage and the decoder panic are dead letters,
// and nothing else is.
func TestPanicOfARecord(t *testing.T) {
	l, heard := moodyLane(t)
	values := []string{"reject", "drop", "1", "stage", "decoder", "reject", "stage", "drop", "2", "decoder"}
	want := "2 rows, 0 route reject, 3 panic stage, 4 panic decoder, 5 route reject, 6 panic stage, 9 panic decoder"
	for range 2 {
		if got, err := l.judgeAll(t, moodyBatch(values...)); got != want || err != nil {
			t.Errorf("%s %v, want %s", got, err, want)
		}
	}
	for _, c := range []struct {
		text string
		n    int
	}{
		{"panic in stages\n", 2},
		{"panic in decoder\n", 2},
		{"1 rejects panic\n", 8},
		{"1 rejects route\n", 4},
		{"2 dropped rule\n", 2},
		{"a bug: a step panicked", 4},
		{"pipeline.(*moody).trip", 4 + 1},
		{"stack=", 1}, // both at the same place
		{"to=10", 4},
	} {
		if n := strings.Count(heard.String(), c.text); n != c.n {
			t.Errorf("%q %d times, want %d, in\n%s", c.text, n, c.n, heard)
		}
	}
	if got, err := l.judgeAll(t, moodyBatch("1", "stage", "first")); got != "2 rows, 1 panic stage" || err != nil {
		t.Errorf("a stage that panics by its own fault: %s %v", got, err)
	}
	if got, err := l.judgeAll(t, moodyBatch("stage")); got != "0 rows, 0 panic stage" || err != nil {
		t.Errorf("a batch of one: %s %v", got, err)
	}
}

// TestPanicOfNoRecord: what no record causes alone makes no dead letter. The lane
// stops at it, and goes on when it is gone.
func TestPanicOfNoRecord(t *testing.T) {
	l, heard := moodyLane(t)
	for _, values := range [][]string{{"1", "a", "b"}, {"pair", "stage", "pair"}, {"lay out"}} {
		got, err := l.judgeAll(t, moodyBatch(values...))
		if e := (*panicError)(nil); !errors.As(err, &e) {
			t.Errorf("%q: %s %v, want a panic", values, got, err)
		} else if !strings.Contains(err.Error(), "trips at github.com/firehosed/firehosed/pipeline.(*moody).trip:") {
			t.Errorf("error %q", err)
		}
	}
	if n := strings.Count(heard.String(), "panic in"); n != 5 {
		t.Errorf("%d panics were counted, want 5", n)
	}
	if got, err := l.judgeAll(t, moodyBatch("a", "pair")); got != "2 rows" || err != nil {
		t.Errorf("afterwards: %s %v", got, err)
	}
	if _, err := l.judgeAll(t, moodyBatch("stage", "stale")); !errors.Is(err, ErrStale) {
		t.Errorf("error %v, want that of the other record", err)
	}
}

// TestPanicOfATable: only the steps are guarded.
func TestPanicOfATable(t *testing.T) {
	l, _ := moodyLane(t)
	tab := l.p.table(t.Context(), "t")
	tab.mu.t = nil
	tab.mu.down = nil
	defer func() {
		if recover() == nil {
			t.Error("a panic outside of the steps is swallowed")
		}
	}()
	_, _ = l.judgeAll(t, moodyBatch("1"))
}

// panickyDelivery cannot be written to.
type panickyDelivery struct {
	emptyDelivery
	aborted *int
}

func (panickyDelivery) Write(context.Context, *Batch, Rows) error { panic("cannot encode") }

func (d panickyDelivery) Abort(context.Context) error {
	*d.aborted++
	return nil
}

// TestPanicOfADelivery: the table lets its rows go, those of other lanes too, and
// nothing else is touched.
func TestPanicOfADelivery(t *testing.T) {
	ls := lanesOf("0", "1")
	tab, other := ls[0].p.table(t.Context(), "a"), ls[0].p.table(t.Context(), "b")
	var heard []string
	ls[0].p.obs = &Observer{Panicked: func(step string) { heard = append(heard, step) }}
	ls[1].bring(t, tab, 0, 10, nil)
	ls[1].bring(t, other, 0, 10, nil)
	aborted := 0
	tab.mu.open.d = panickyDelivery{aborted: &aborted}
	ls[0].bring(t, tab, 20, 40, nil)
	for i, want := range []Position{"20", "00"} {
		if at, _, _ := tab.lags(ls[i].part); at.At != want {
			t.Errorf("the table lacks partition %d from %q on, want %q", i, at.At, want)
		}
	}
	if tab.up() || !strings.Contains(tab.mu.down.Error(), "write: panic: cannot encode at ") || aborted != 1 || fmt.Sprint(heard) != "[write]" {
		t.Errorf("the table is %v, aborted %d times, heard %v", tab.mu.down, aborted, heard)
	}
	if !other.up() || !other.holds(ls[1].part) {
		t.Error("another table lost its rows")
	}
}
