package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memStore is a store whose answers can be lost.
type memStore struct {
	mu   sync.Mutex
	vals map[string][]byte
	lose map[string]int // answers to Swap of a key that get lost
}

func newMemStore() *memStore { return &memStore{vals: map[string][]byte{}, lose: map[string]int{}} }

var errLost = errors.New("answer lost")

func (s *memStore) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vals[key], nil
}

func (s *memStore) Swap(_ context.Context, key string, old, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(s.vals[key], old) {
		return ErrStale
	}
	s.vals[key] = val
	if s.lose[key] > 0 {
		s.lose[key]--
		return errLost
	}
	return nil
}

func (s *memStore) Keys(_ context.Context, prefix string) (keys []string, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.vals {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

func (s *memStore) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.vals, key)
	return nil
}

func TestAppendLosesNoEntryInARace(t *testing.T) {
	store := newMemStore()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			c := NewControl(store, "web", fmt.Sprint(w))
			for i := range 20 {
				name := fmt.Sprintf("t%d-%d", w, i)
				if _, err := c.Append(t.Context(), func(*Decisions) (*Entry, error) {
					return &Entry{Kind: KindAdmit, Table: name, Rev: 1}, nil
				}); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	log, err := NewControl(store, "web", "reader").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(log.AdmittedNames(1)); got != 160 || len(log.Entries) != 160 {
		t.Errorf("%d names in %d entries, want 160", got, len(log.Entries))
	}
}

func TestAppendWhoseAnswerIsLostCountsOnce(t *testing.T) {
	store := newMemStore()
	store.lose[entryKey(1)] = 1
	c := NewControl(store, "web", "w")
	log, err := c.Append(t.Context(), func(*Decisions) (*Entry, error) {
		return &Entry{Kind: KindForfeit, Table: "a"}, nil
	})
	if err != nil || len(log.Entries) != 1 || !log.Forfeited("a") {
		t.Errorf("append with a lost answer: %v, %+v", err, log)
	}
}

func TestRevisionsDoNotTakeTurns(t *testing.T) {
	c := NewControl(newMemStore(), "web", "w")
	ctx := t.Context()
	use := func(config string, asNew int64) (int64, error) {
		log, err := c.AppendRevision(ctx, []byte(config), 1, asNew)
		if err != nil {
			return 0, err
		}
		return log.Stamp().Rev, nil
	}
	want := func(config string, asNew, rev int64) {
		t.Helper()
		if got, err := use(config, asNew); err != nil || got != rev {
			t.Errorf("%s: revision %d, %v; want %d", config, got, err, rev)
		}
	}
	refused := func(config string, asNew, mine int64) {
		t.Helper()
		var s *Superseded
		if _, err := use(config, asNew); !errors.As(err, &s) || s.Mine != mine || !s.Earlier {
			t.Errorf("%s: %v; want refused as revision %d", config, err, mine)
		}
	}
	want("A", 0, 1)
	want("A", 0, 1) // a restart
	want("B", 0, 2)
	refused("A", 0, 1)
	refused("A", 2, 1)
	want("A", 3, 3)
	want("A", 3, 3) // the flag is spent
	refused("B", 3, 2)

	if _, err := c.AppendSkip(ctx, Skip{Partition: "kafka:c:t:0", From: "1", To: "2"}); err != nil {
		t.Fatal(err)
	}
	if p := (Partition{"kafka", "c", "t", "0"}); !c.Skipped(p, "1", "2") || c.Skipped(p, "1", "3") || c.Skipped(p, "0", "2") {
		t.Error("the skip is not what was decided")
	}
	want("A", 0, 4) // the skip is not in the file, and stays
	refused("B", 0, 2)
	want("C", 0, 5)
	log := c.Known()
	text, err := c.Pure(ctx, log.Revisions()[4].SHA256)
	if err != nil {
		t.Fatal(err)
	}
	pure, err := DecodePure(text)
	if err != nil || string(pure.Config) != "C" || len(pure.Skips) != 1 || pure.Skips[0].To != "2" {
		t.Errorf("revision 5 keeps %+v, %v", pure, err)
	}
}

func TestAdmissionLooksAtWhatStoodBeforeTheRevision(t *testing.T) {
	admit := func(name string, rev int64) Entry { return Entry{Kind: KindAdmit, Table: name, Rev: rev} }
	d := &Decisions{Entries: []Entry{
		{Kind: KindRev, Rev: 1}, admit("a", 1), {Kind: KindRev, Rev: 2}, admit("late", 1), admit("b", 2), {Kind: KindRev, Rev: 3}, admit("c", 3),
	}}
	for i := range d.Entries {
		d.Entries[i].N = int64(i) + 1
	}
	for rev, want := range map[int64][]string{1: {"a", "late"}, 2: {"a", "b"}, 3: {"a", "late", "b", "c"}} {
		if got := d.AdmittedNames(rev); !slices.Equal(got, want) {
			t.Errorf("revision %d: %v, want %v", rev, got, want)
		}
	}
}

func TestOwnRefusesAnotherPipelinesPrefix(t *testing.T) {
	store := newMemStore()
	if err := NewControl(store, "web", "w").Own(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := NewControl(store, "web", "w2").Own(t.Context()); err != nil {
		t.Errorf("own prefix: %v", err)
	}
	if err := NewControl(store, "shop", "w").Own(t.Context()); err == nil || !strings.Contains(err.Error(), `"web"`) {
		t.Errorf("another's prefix: %v", err)
	}
}

// fixedLog has partitions and nothing else.
type fixedLog struct {
	parts []Partition
	asked []time.Time
}

func (l *fixedLog) Partitions(context.Context) ([]Partition, error) { return l.parts, nil }
func (l *fixedLog) Name(Partition) string                           { return "orders" }
func (l *fixedLog) Open(context.Context, Partition, Start) (Reader, error) {
	return nil, errors.ErrUnsupported
}

func (l *fixedLog) Locate(_ context.Context, _ Partition, t time.Time) (Cursor, error) {
	l.asked = append(l.asked, t)
	if t.IsZero() {
		return Cursor{At: "old"}, nil
	}
	return Cursor{At: "new"}, nil
}

func TestOriginsAreFixedOnce(t *testing.T) {
	c, first := NewControl(newMemStore(), "web", "w"), time.Unix(1<<40, 0)
	p := Partition{"kafka", "c", "topic-1", "0"}
	late := Partition{"kafka", "c", "topic-2", "0"}
	log := &fixedLog{parts: []Partition{p}}
	want := func(q Partition, at Position, asked int) {
		t.Helper()
		v, err := c.Origins(t.Context(), log, 0, q, first)
		if err != nil || v[q].At.At != at || len(log.asked) != asked {
			t.Errorf("origin of %v: %v, %v after %d questions, want %q after %d", q, v, err, len(log.asked), at, asked)
		}
	}
	want(p, "new", 1)
	want(p, "new", 1)
	log.parts = append(log.parts, late)
	want(late, "old", 2) // not there at the first start
	os, err := c.AllOrigins(t.Context(), 0)
	if err != nil || len(os) != 2 || os[0].Stream != p.StreamKey() || os[0].Name != "orders" {
		t.Errorf("all origins: %+v, %v", os, err)
	}
}

func TestGapsChain(t *testing.T) {
	p := Partition{"kafka", "c", "t", "0"}
	d := &Decisions{Entries: []Entry{
		{Kind: KindGap, Partition: p.Key(), From: "20", To: "30"}, {Kind: KindGap, Partition: p.Key(), From: "10", To: "20"},
	}}
	for at, want := range map[Position]Position{"05": "05", "10": "30", "15": "30", "29": "30", "30": "30"} {
		if got := d.Gap(p, at); got != want {
			t.Errorf("gap at %s reaches %s, want %s", at, got, want)
		}
	}
}

func TestIdentityOfATruncatedLog(t *testing.T) {
	p := Partition{"kafka", "c", "t", "0"}
	d := &Decisions{Entries: []Entry{{Kind: KindIncarnation, Partition: p.Key(), From: "7"}}}
	if got := d.Identity(p); got.Incarnation != "t~1" || got.ID != "0" {
		t.Errorf("identity is %v", got)
	}
	if q := (Partition{"kafka", "c", "t", "1"}); d.Identity(q) != q {
		t.Errorf("partition %v was not truncated", q)
	}
}
