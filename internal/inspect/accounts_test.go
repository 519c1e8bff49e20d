package inspect

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/pipeline"
)

// accounted is a world whose tables have accounts in place of rows that say where they
// came from: one for each run of so many records of a partition.
type accounted struct {
	*world
	span  int
	spoil func(table string, a *Account)
	found map[string][]Found
}

// rowSum is what a row adds to the sum of its account.
func rowSum(place pipeline.Position, sub int32) (x uint64) {
	for _, c := range string(place) {
		x = x*31 + uint64(c)
	}
	return x<<8 + uint64(sub) + 1
}

func (w *accounted) Pin(ctx context.Context, name string, values bool) (*Pinned, error) {
	pin, err := w.world.Pin(ctx, name, values)
	if err != nil {
		return nil, err
	}
	rows := w.rows[name]
	pin.Rows, pin.Records = nil, nil
	pin.Sum = func(arrow.RecordBatch) (func(int, pipeline.Position, int32) uint64, error) {
		return func(_ int, place pipeline.Position, sub int32) uint64 { return rowSum(place, sub) }, nil
	}
	for p, m := range pin.Ledger.Marks {
		end, err := offset(m.At.At)
		if err != nil {
			return nil, err
		}
		for from := int64(0); from < end; from += int64(w.span) {
			a := Account{What: "c", Partition: p, From: position(from), To: position(min(end, from+int64(w.span)))}
			if from == 0 {
				a.From = ""
			}
			for _, r := range rows {
				if q, ok := w.Coordinates().Partition(p, r.Log); ok && q == p && r.Place >= a.From && r.Place < a.To {
					a.Rows++
					a.Sum += rowSum(r.Place, r.Sub)
				}
			}
			if w.spoil != nil {
				w.spoil(name, &a)
			}
			if a.What != "" {
				pin.Accounts = append(pin.Accounts, a)
			}
		}
	}
	pin.Found = w.found[name]
	return pin, nil
}

// TestAccounts: a table that has accounts is proven by them, whatever their length, and
// what is wrong with one is found and named.
func TestAccounts(t *testing.T) {
	f := func(name string, damage func(w *accounted), want string, words ...string) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			for _, values := range []bool{false, true} {
				w := &accounted{world: small(t), span: 3, found: map[string][]Found{}}
				damage(w)
				r, err := Verify(t.Context(), Deps{Pipeline: "p", Source: w, Control: w.ctl, Plan: plan, Tables: w}, Options{Values: values})
				if err != nil {
					t.Fatal(err)
				}
				if got := counts(r); got != want {
					t.Errorf("values %v: %s, want %s", values, got, want)
				}
				var text strings.Builder
				_, _ = r.WriteTo(&text)
				for _, w := range words {
					if !strings.Contains(text.String(), w) {
						t.Errorf("%s\nlacks %q", text.String(), w)
					}
				}
			}
		})
	}
	first := func(change func(a *Account)) func(w *accounted) {
		return func(w *accounted) {
			w.spoil = func(table string, a *Account) {
				if table == "a" && a.From == "" && a.Partition == partition(0) {
					change(a)
				}
			}
		}
	}
	f("right", func(*accounted) {}, proven, "table a: 7 rows", "table b: 4 rows")
	f("one for each record", func(w *accounted) { w.span = 1 }, proven)
	f("one for all", func(w *accounted) { w.span = 100 }, proven)
	f("a row too few", first(func(a *Account) { a.Rows-- }), "lost 1 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1",
		"lost: table a, "+partition(0).Key()+" record the first", "commit c has 0 rows", "the source says 1")
	f("two rows too many", first(func(a *Account) { a.Rows += 2 }), "lost 0 duplicated 0 unexpected 2 pending 0 unverifiable 0 exit 1", "commit c has 3 rows")
	f("another row", first(func(a *Account) { a.Sum++ }), "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1", "differs 1", "are not what the source says")
	f("no account", first(func(a *Account) { a.What = "" }), "lost 1 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1")
	f("retention", func(w *accounted) { w.oldest[partition(0)] = 2 }, "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 4 exit 2", "does not have all any more")
	f("a partition that is gone", func(w *accounted) { delete(w.logs, partition(1)) },
		"lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 2 exit 2", "which the source no longer has")
	f("what it says of itself", func(w *accounted) {
		w.found["a"] = []Found{{Kind: Unexpected, Detail: "an object too many", Count: 1}, {Detail: "an object is gone", Count: 4}, {Kind: Differs, Detail: "damaged", Count: 1}}
	}, "lost 0 duplicated 0 unexpected 1 pending 0 unverifiable 4 exit 1", "unexpected: table a: an object too many", "differs: table a: damaged", "an object is gone")
}
