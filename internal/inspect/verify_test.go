package inspect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

func (w *world) verify(o Options) *Report {
	w.t.Helper()
	r, err := Verify(w.t.Context(), Deps{
		Pipeline: "p", Source: w, Control: w.ctl, Plan: plan, Tables: w,
	}, o)
	w.must(err)
	r.Seconds = 0
	return r
}

// counts are the numbers of a report that a test is about.
func counts(r *Report) string {
	return fmt.Sprintf("lost %d duplicated %d unexpected %d pending %d unverifiable %d exit %d",
		r.Lost, r.Duplicated, r.Unexpected, r.Pending, r.Unverifiable, r.ExitCode())
}

const proven = "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 0"

func (w *world) want(o Options, want string) *Report {
	w.t.Helper()
	r := w.verify(o)
	if got := counts(r); got != want {
		w.t.Errorf("got  %s\nwant %s\n%s", got, want, strings.Join(r.Notes, "\n"))
	}
	return r
}

// small is a log of everything there is.
func small(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.logs[partition(0)] = []string{"a", "b", "", "a b a", "x", "bad", "nowhere a", "y", "b", "a"}
	w.logs[partition(1)] = []string{"b", "a"}
	w.begin()
	w.deliver(partition(0), 10)
	w.deliver(partition(1), 2)
	return w
}

func TestVerifyProves(t *testing.T) {
	r := small(t).want(Options{}, proven)
	if d := cmp.Diff(map[string]int64{"rule x": 1}, r.Dropped); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int64{"a": 7, "b": 4, deadTab: 2}, r.Rows); d != "" {
		t.Error(d)
	}
	if r.Units != 13 {
		t.Errorf("%d units", r.Units)
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	f := func(name string, damage func(*world), want string, first *Finding) {
		t.Helper()
		w := small(t)
		damage(w)
		r := w.want(Options{}, want)
		if first == nil {
			return
		}
		if len(r.Findings) == 0 || r.Findings[0] != *first {
			t.Errorf("%s: findings %v, want %v first", name, r.Findings, *first)
		}
	}
	at := func(k Kind, table string, part int, off int64, sub int32) *Finding {
		return &Finding{Kind: k, Table: table, Partition: partition(part).Key(), Record: strconv.FormatInt(off, 10), Sub: sub}
	}
	row := rowAt

	f("a row is gone", func(w *world) {
		w.rows["a"] = slices.DeleteFunc(w.rows["a"], func(r Row) bool { return r == row(0, 3, 2) })
	},
		"lost 1 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1", at(Lost, "a", 0, 3, 2))
	f("a row is twice", func(w *world) { w.rows["b"] = append(w.rows["b"], row(0, 8, 0)) },
		"lost 0 duplicated 1 unexpected 0 pending 0 unverifiable 0 exit 1", at(Duplicated, "b", 0, 8, 0))
	f("a row is in another table too", func(w *world) { w.rows["b"] = append(w.rows["b"], row(0, 9, 0)) },
		"lost 0 duplicated 1 unexpected 0 pending 0 unverifiable 0 exit 1", at(Duplicated, "b", 0, 9, 0))
	f("a row went astray", func(w *world) {
		w.rows["a"] = slices.DeleteFunc(w.rows["a"], func(r Row) bool { return r == row(0, 9, 0) })
		w.rows["b"] = append(w.rows["b"], row(0, 9, 0))
	}, "lost 1 duplicated 0 unexpected 1 pending 0 unverifiable 0 exit 1", at(Lost, "a", 0, 9, 0))
	f("a swap that leaves every count as it was", func(w *world) {
		w.rows["a"][0] = row(0, 1, 0)
		w.rows["b"][0] = row(0, 0, 0)
	}, "lost 2 duplicated 0 unexpected 2 pending 0 unverifiable 0 exit 1", at(Lost, "a", 0, 0, 0))
	f("a row of a hole", func(w *world) { w.rows["a"] = append(w.rows["a"], row(0, 2, 0)) },
		"lost 0 duplicated 0 unexpected 1 pending 0 unverifiable 0 exit 1", at(Unexpected, "a", 0, 2, 0))
	f("a row beyond the log", func(w *world) { w.rows["a"] = append(w.rows["a"], row(0, 500, 0)) },
		"lost 0 duplicated 0 unexpected 1 pending 0 unverifiable 0 exit 1", at(Unexpected, "a", 0, 500, 0))
	f("a row of a topic nobody knows", func(w *world) { w.rows["a"] = append(w.rows["a"], Row{Log: "other/0", Place: position(1)}) },
		"lost 0 duplicated 0 unexpected 1 pending 0 unverifiable 0 exit 1", nil)
	f("a dead letter is gone", func(w *world) { w.rows[deadTab] = w.rows[deadTab][1:] },
		"lost 1 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1", at(Lost, deadTab, 0, 5, 0))
	f("a dropped record is there", func(w *world) { w.rows["a"] = append(w.rows["a"], row(0, 4, 0)) },
		"lost 0 duplicated 0 unexpected 1 pending 0 unverifiable 0 exit 1", at(Unexpected, "a", 0, 4, 0))
	f("a table that was never bound", func(w *world) {
		w.logs[partition(1)] = append(w.logs[partition(1)], "c")
		w.hints[partition(1)] = pipeline.Hint{At: pipeline.Cursor{At: position(3)}, Stamp: w.stamp()}
	}, "lost 1 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1", at(Lost, "c", 1, 2, 0))
}

// A row that does not say its topic is of none, once there are two.
func TestVerifyRowOfSeveralTopics(t *testing.T) {
	w := small(t)
	other := partition(0)
	other.Incarnation = "00000000-0000-4000-8000-000000000002"
	w.logs[other] = nil
	w.rows["a"] = append(w.rows["a"], Row{Log: "/0", Place: position(4)})
	w.want(Options{}, "lost 0 duplicated 0 unexpected 1 pending 0 unverifiable 0 exit 1")
	if p := w.verify(Options{}).Findings[0].Partition; p != "/0" {
		t.Errorf("taken for a row of %s", p)
	}
}

func TestVerifyPending(t *testing.T) {
	w := small(t)
	w.logs[partition(0)] = append(w.logs[partition(0)], "a", "b", "a")
	w.want(Options{}, "lost 0 duplicated 0 unexpected 0 pending 3 unverifiable 0 exit 0")

	// One table is ahead of the group position: its rows count, the other's do not yet.
	p := partition(0)
	w.rows["a"] = append(w.rows["a"], rowAt(0, 10, 0), rowAt(0, 12, 0))
	w.tables["a"].Ledger.Marks[p] = pipeline.Mark{At: pipeline.Cursor{At: position(13)}}
	w.want(Options{}, "lost 0 duplicated 0 unexpected 0 pending 3 unverifiable 0 exit 0")
	w.rows["a"] = w.rows["a"][:len(w.rows["a"])-1]
	w.want(Options{}, "lost 1 duplicated 0 unexpected 0 pending 3 unverifiable 0 exit 1")
}

func TestVerifyGoesByTheWatermarkWhenTheGroupPositionIsVoid(t *testing.T) {
	w := small(t)
	w.hints[partition(0)] = pipeline.Hint{At: pipeline.Cursor{At: position(10)}, Stamp: pipeline.Stamp{Pipeline: "other"}}
	w.want(Options{}, "lost 0 duplicated 0 unexpected 0 pending 10 unverifiable 0 exit 0")
	w.rows["a"] = w.rows["a"][1:]
	w.want(Options{}, "lost 1 duplicated 0 unexpected 0 pending 10 unverifiable 0 exit 1")
}

func TestVerifyJudgesByTheRevisionInForce(t *testing.T) {
	w := newWorld(t)
	p := partition(0)
	for range 20 {
		w.logs[p] = append(w.logs[p], "y")
	}
	w.begin()
	w.revised = map[int64]pipeline.Vector{2: {p: {At: pipeline.Cursor{At: position(11)}}}}
	w.revision("y goes to b")
	_, err := w.ctl.SetBarrier(t.Context(), 2, w.revised[2])
	w.must(err)
	w.deliver(p, 20)
	r := w.want(Options{}, proven)
	if d := cmp.Diff(map[string]int64{"a": 11, "b": 9}, r.Rows); d != "" {
		t.Error(d)
	}
	// A hint of the older revision counts up to the barrier only.
	w.hints[p] = pipeline.Hint{At: pipeline.Cursor{At: position(20)}, Stamp: pipeline.Stamp{Pipeline: "p", Rev: 1}}
	w.want(Options{}, "lost 0 duplicated 0 unexpected 0 pending 9 unverifiable 0 exit 0")
}

func TestVerifySaysWhatItCannotJudge(t *testing.T) {
	f := func(name string, change func(*world), want string) {
		t.Helper()
		w := small(t)
		change(w)
		t.Log(name)
		w.want(Options{}, want)
	}
	f("no longer retained", func(w *world) { w.oldest[partition(0)] = 3 },
		"lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 5 exit 2") // 3 offsets, 2 rows
	f("a halted table", func(w *world) { w.halts["b"] = &pipeline.Halt{Class: pipeline.HaltRewound} },
		"lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 4 exit 2")
	f("an unreadable batch", func(w *world) { w.unread = 8 },
		"lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 4 exit 2") // offsets 8 and 9, and their rows
	f("others have removed rows", func(w *world) {
		w.tables["a"].Deleted = true
		w.rows["a"] = w.rows["a"][2:]
	}, "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 2 exit 2")
	f("a truncated log that was accepted", func(w *world) {
		w.entry(pipeline.Entry{Kind: pipeline.KindIncarnation, Partition: partition(1).Key(), From: position(0)})
		p := partition(1)
		p.Incarnation += "~1"
		for _, tab := range w.tables {
			tab.Ledger.Marks[p] = pipeline.Mark{At: pipeline.Cursor{At: position(2)}}
		}
	}, "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 4 exit 2") // 2 offsets, 2 rows
	f("rules that this binary lacks", func(w *world) {
		w.revision("something newer")
		_, err := w.ctl.SetBarrier(w.t.Context(), 2, pipeline.Vector{
			partition(0): {At: pipeline.Cursor{At: position(9)}}, partition(1): {At: pipeline.Cursor{At: position(2)}},
		})
		w.must(err)
		w.hints[partition(0)] = pipeline.Hint{At: pipeline.Cursor{At: position(10)}, Stamp: w.stamp()}
	}, "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 2 exit 2") // offset 9, and its row
}

func TestVerifyListsDecisions(t *testing.T) {
	w := small(t)
	w.oldest[partition(0)] = 3
	w.entry(pipeline.Entry{Kind: pipeline.KindGap, Partition: partition(0).Key(), From: position(0), To: position(3)})
	w.entry(pipeline.Entry{Kind: pipeline.KindForfeit, Table: "b"})
	w.tables["a"].Left = []pipeline.Span{{Partition: partition(0), From: pipeline.Cursor{At: position(9)}, To: pipeline.Cursor{At: position(10)}}}
	w.rows["a"] = slices.DeleteFunc(w.rows["a"], func(r Row) bool { return r == rowAt(0, 9, 0) })
	r := w.want(Options{}, proven)
	var kinds []string
	for _, d := range r.Decisions {
		kinds = append(kinds, d.Kind)
	}
	if d := cmp.Diff([]string{"gap", "forfeit", "left out by resume --skip"}, kinds); d != "" {
		t.Error(d)
	}
	if r.Dropped["forfeited"] != 3 {
		t.Errorf("dropped %v", r.Dropped)
	}
}

func TestVerifyBeginsAgainAfterADecision(t *testing.T) {
	w := small(t)
	pins := 0
	w.onPin = func() {
		if pins++; pins == 2 {
			w.entry(pipeline.Entry{Kind: pipeline.KindBound, Table: "a", Rev: 1})
		}
	}
	w.want(Options{}, proven)
	if pins != 6 {
		t.Errorf("%d tables pinned, want three twice", pins)
	}
	w.onPin = func() { w.entry(pipeline.Entry{Kind: pipeline.KindBound, Table: "a", Rev: 1}) }
	if _, err := Verify(t.Context(), Deps{Source: w, Control: w.ctl, Plan: plan, Tables: w}, Options{}); !errors.Is(err, errMoved) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyGivesUpOnASilentSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t)
		w.logs[partition(0)] = w.logs[partition(0)][:8] // the end moved back under the reader
		began := time.Now()
		r := w.verify(Options{Stall: time.Minute})
		if r.ExitCode() != ExitIncomplete || time.Since(began) != time.Minute {
			t.Errorf("%s after %v", counts(r), time.Since(began))
		}
	})
}

// With a few windows of memory the counts are the same, and no pass keeps more.
func TestVerifyInLittleMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	w := newWorld(t)
	p := partition(0)
	words := []string{"a", "b", "a b", "bad", "x", "y", "a a a", ""}
	for range 30_000 {
		w.logs[p] = append(w.logs[p], words[rng.IntN(len(words))])
	}
	w.begin()
	w.deliver(p, len(w.logs[p]))
	w.want(Options{Memory: 1}, proven)

	var lost, twice int64
	var rows []Row
	for _, r := range w.rows["a"] {
		switch rng.IntN(200) {
		case 0:
			lost++
			continue
		case 1:
			twice++
			rows = append(rows, r)
		}
		rows = append(rows, r)
	}
	w.rows["a"] = rows
	want := fmt.Sprintf("lost %d duplicated %d unexpected 0 pending 0 unverifiable 0 exit 1", lost, twice)
	w.want(Options{}, want)
	r := w.want(Options{Memory: 200 * windowBytes, Findings: 3}, want)
	if len(r.Findings) != 6 {
		t.Errorf("%d findings", len(r.Findings))
	}
}

func TestWindowsKeepWithinTheirLimit(t *testing.T) {
	w := newWindows(100 * windowBytes)
	place := func(n int) pipeline.Position { return position(int64(n) * 3) }
	add := func(n int, sign int64) { w.add(0, item{unit: unit{at: place(n)}}, sign) }
	p := &part{run: run{"", pipeline.End}}
	for _, s := range []run{{"", place(70_000)}, {place(70_500), pipeline.End}} { // what is between is not compared
		w.begin(span{part: p, run: s})
		for n := range 100_000 {
			if s.has(place(n)) {
				w.records(0, []pipeline.Position{place(n)})
				add(n, +1)
			}
		}
	}
	if int64(len(w.sums)) > w.limit || w.count > w.limit || w.limit != 100 {
		t.Errorf("%d sums of %d windows, limit %d", len(w.sums), w.count, w.limit)
	}
	for n := range 100_000 {
		if n = 99_999 - n; n < 70_000 || n >= 70_500 {
			add(n, -1)
		}
	}
	if bad := w.differing([]*part{p}); len(bad) > 0 {
		t.Errorf("%d windows differ", len(bad))
	}
	add(100, +1)
	add(101, -1)
	add(69_999, +1)
	bad := w.differing([]*part{p})
	if len(bad) != 2 || !bad[0].has(place(100)) || !bad[1].has(place(69_999)) || bad[1].has(place(70_001)) {
		t.Errorf("differing: %v", bad)
	}
	if n := units(bad); n < 4 || n > 2*(2*2048+3) {
		t.Errorf("%d units in windows of %d records", n, w.width)
	}
}

func TestVerifyStopsWithItsContext(t *testing.T) {
	w := small(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.visits = func(string) { cancel() }
	w.tables["a"].Rows = nil
	if _, err := Verify(ctx, Deps{Source: w, Control: w.ctl, Plan: plan, Tables: cancelled{w}}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// cancelled lets a pass over a table notice that the context has ended.
type cancelled struct{ *world }

func (c cancelled) Pin(ctx context.Context, name string, values bool) (*Pinned, error) {
	pin, err := c.world.Pin(ctx, name, values)
	if err != nil {
		return nil, err
	}
	rows := pin.Rows
	pin.Rows = func(ctx context.Context, visit func(Row) error) error {
		if err := rows(ctx, visit); err != nil {
			return err
		}
		return ctx.Err()
	}
	return pin, nil
}
