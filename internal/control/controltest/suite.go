// Package controltest is the conformance suite of pipeline.Store.
package controltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

// Store runs the suite. open returns an empty store.
func Store(t *testing.T, open func(t *testing.T) pipeline.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s pipeline.Store)
	}{
		{"Values", testValues},
		{"OneCreator", testOneCreator},
		{"SwapRace", testSwapRace},
		{"Keys", testKeys},
		{"Delete", testDelete},
		{"BadKeys", testBadKeys},
		{"Cancelled", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func want(t *testing.T, s pipeline.Store, key string, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		t.Fatalf("%s holds %.100q (nil %v), want %.100q (nil %v)", key, got, got == nil, want, want == nil)
	}
}

func swap(t *testing.T, s pipeline.Store, key string, old, val []byte) {
	t.Helper()
	if err := s.Swap(t.Context(), key, old, val); err != nil {
		t.Fatal(err)
	}
}

func stale(t *testing.T, s pipeline.Store, key string, old, val []byte) {
	t.Helper()
	if err := s.Swap(t.Context(), key, old, val); !errors.Is(err, pipeline.ErrStale) {
		t.Fatalf("Swap(%s, %q, %q) = %v, want ErrStale", key, old, val, err)
	}
}

func testValues(t *testing.T, s pipeline.Store) {
	const key = "origin/0/kafka/c/t"
	want(t, s, key, nil)
	stale(t, s, key, []byte("x"), []byte("y"))
	stale(t, s, key, []byte{}, []byte("y"))
	want(t, s, key, nil)
	swap(t, s, key, nil, []byte("1"))
	stale(t, s, key, nil, []byte("2"))
	stale(t, s, key, []byte("0"), []byte("2"))
	want(t, s, key, []byte("1"))
	swap(t, s, key, []byte("1"), []byte{})
	want(t, s, key, []byte{}) // there, and empty
	stale(t, s, key, nil, []byte("2"))
	large := []byte(strings.Repeat("0123456789abcdef", 1<<20))
	swap(t, s, key, []byte{}, large)
	want(t, s, key, large)
	if err := s.Swap(t.Context(), key, large, append(large, 'x')); err == nil || errors.Is(err, pipeline.ErrStale) {
		t.Errorf("a value of more than 16 MiB = %v, want it refused", err)
	}
	swap(t, s, key, large, []byte("1"))
	swap(t, s, key, []byte("1"), []byte("1"))
	want(t, s, key, []byte("1"))
}

func testOneCreator(t *testing.T, s pipeline.Store) {
	const workers, entries = 6, 5
	var won [entries + 1]string
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := 1; n <= entries; n++ {
				val := fmt.Sprintf("worker %d", w)
				err := s.Swap(t.Context(), fmt.Sprintf("log/%010d.json", n), nil, []byte(val))
				if errors.Is(err, pipeline.ErrStale) {
					continue
				}
				mu.Lock()
				if err != nil || won[n] != "" {
					t.Errorf("entry %d: %s after %q: %v", n, val, won[n], err)
				}
				won[n] = val
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for n := 1; n <= entries; n++ {
		want(t, s, fmt.Sprintf("log/%010d.json", n), []byte(won[n]))
	}
}

func testSwapRace(t *testing.T, s pipeline.Store) {
	const workers, each = 4, 5
	swap(t, s, "wal/n/u.json", nil, []byte("0"))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), s, "wal/n/u.json"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, s, "wal/n/u.json", fmt.Append(nil, workers*each))
}

func increment(ctx context.Context, s pipeline.Store, key string) error {
	for {
		old, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(string(old), &n); err != nil {
			return err
		}
		err = s.Swap(ctx, key, old, fmt.Append(nil, n+1))
		if !errors.Is(err, pipeline.ErrStale) {
			return err
		}
	}
}

func testKeys(t *testing.T, s pipeline.Store) {
	f := func(prefix string, want ...string) {
		t.Helper()
		got, err := s.Keys(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Keys(%q): -want +got\n%s", prefix, diff)
		}
	}
	f("")
	f("log/")
	all := []string{"lease/a-b.json", "lease/a/b.json", "log/0000000001.json", "log/0000000002.json", "log/0000000010.json", "members/n~1:%2F@=+.json"}
	for i := len(all) - 1; i >= 0; i-- {
		swap(t, s, all[i], nil, []byte("x"))
	}
	f("", all...)
	f("log/", all[2:5]...)
	f("log/000000000", all[2:4]...)
	f("lease/a", all[:2]...)
	f("nothing/")
}

func testDelete(t *testing.T, s pipeline.Store) {
	if err := s.Delete(t.Context(), "members/a.json"); err != nil {
		t.Fatal(err)
	}
	swap(t, s, "members/a.json", nil, []byte("1"))
	if err := s.Delete(t.Context(), "members/a.json"); err != nil {
		t.Fatal(err)
	}
	want(t, s, "members/a.json", nil)
	stale(t, s, "members/a.json", []byte("1"), []byte("2"))
	swap(t, s, "members/a.json", nil, []byte("2"))
}

func testBadKeys(t *testing.T, s pipeline.Store) {
	for _, key := range []string{"", "/a", "a/", "../a", "a b", "ä", "a?b", "a#b"} {
		if _, err := s.Get(t.Context(), key); err == nil {
			t.Errorf("Get(%q) is allowed", key)
		}
		if err := s.Swap(t.Context(), key, nil, []byte("x")); err == nil || errors.Is(err, pipeline.ErrStale) {
			t.Errorf("Swap(%q) = %v", key, err)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete(%q) is allowed", key)
		}
	}
}

func testCancelled(t *testing.T, s pipeline.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Swap(ctx, "a", nil, []byte("x")); !errors.Is(err, context.Canceled) || errors.Is(err, pipeline.ErrStale) {
		t.Errorf("Swap under a cancelled context = %v", err)
	}
	if _, err := s.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get under a cancelled context = %v", err)
	}
}
