package schema

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// objectOf is a struct with fields of these keys.
func objectOf(keys []string) *node {
	n := &node{kind: Struct}
	var fields []Field
	for _, key := range keys {
		fields = append(fields, Field{Name: key, Type: &Type{Kind: Long}})
	}
	n.addFields(fields, nil)
	return n
}

// look looks the keys up in turn, as the members of one object, and counts those that
// were not where they were expected.
func (n *node) look(t *testing.T, keys []string) (misses int) {
	t.Helper()
	var prev *node
	for _, key := range keys {
		literal := fmt.Sprintf("%q:", key)
		buf := append([]byte(literal+"1"), make([]byte, pad)...)
		f := n.byKey.find(buf, 1, 1+len(key))
		if f == nil {
			t.Fatalf("key %q is not found", key)
		}
		if prev != nil && uint(f.place-prev.follow) >= reach {
			misses++
		}
		if p := n.lookup(n.placed(prev), sourceOf(buf), 0); p == nil || p.f != f || p.n != len(literal) {
			t.Fatalf("key %q was taken for %+v", key, p)
		}
		prev = f
	}
	for i := 1; i < len(n.places)-1; i++ {
		p := &n.places[i]
		if int(p.f.place) != i || !bytes.HasPrefix(p.f.literal(), headOf(p)) {
			t.Fatalf("place %d is that of %q, whose place is %d", i, p.f.key, p.f.place)
		}
		if p.next != &n.places[p.f.follow] {
			t.Fatalf("place %d, of %q, does not lead to place %d", i, p.f.key, p.f.follow)
		}
	}
	if n.places[0].next != &n.places[1] {
		t.Fatal("the start does not lead to the first place")
	}
	return misses
}

func headOf(p *place) (b []byte) {
	for i := range min(8, p.n) {
		b = append(b, byte(p.head>>(8*i)))
	}
	return b
}

// TestPlaces: keys of every length are told apart, and the order in which keys come is
// learnt, whatever the order of the columns.
func TestPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var keys []string
	for i := range 90 {
		keys = append(keys, strings.Repeat("k", i%30)+fmt.Sprint(i))
	}
	columns := append([]string(nil), keys...)
	r.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	n := objectOf(columns)
	some := func(share int) (out []string) {
		for _, key := range keys {
			if r.IntN(100) < share {
				out = append(out, key)
			}
		}
		return out
	}
	looked, misses := 0, 0
	for batch := range 60 {
		n.reset()
		for range 20 {
			in := some(35)
			if m := n.look(t, in); batch >= 40 {
				looked, misses = looked+len(in), misses+m
			}
		}
	}
	if misses*20 > looked {
		t.Errorf("of %d keys in a known order %d were not expected", looked, misses)
	}

	// Few of many keys, always the same distance apart.
	looked, misses = 0, 0
	for round := range 200 {
		var in []string
		for i := round % 9; i < len(keys); i += 9 {
			in = append(in, keys[i])
		}
		if m := n.look(t, in); round >= 100 {
			looked, misses = looked+len(in), misses+m
		}
	}
	if misses*20 > looked {
		t.Errorf("of %d keys at a known distance %d were not expected", looked, misses)
	}
}

// TestPlacesWithoutOrder: keys that come in no order are all found, and places do not
// change more often than the limit says.
func TestPlacesWithoutOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("key%d", i))
	}
	n := objectOf(keys)
	for range 100 {
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		n.look(t, keys)
		if n.moves > len(keys) {
			t.Fatalf("%d fields have changed places %d times", len(keys), n.moves)
		}
	}
}
