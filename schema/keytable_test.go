package schema

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestKeyTable looks keys of all lengths up, those of a schema and others that differ
// from them in one byte.
func TestKeyTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	byKey := map[string]*node{}
	var fields []*node
	add := func(key string) {
		if byKey[key] == nil {
			n := &node{key: key}
			byKey[key] = n
			fields = append(fields, n)
		}
	}
	add("")
	for i := range 300 {
		add(strings.Repeat("k", i%40) + fmt.Sprint(i%7))
		add(fmt.Sprintf("%d%s%d", i%3, strings.Repeat("\x00", i%20), i%5))
	}
	object := node{places: newPlaces(fields)}
	object.byKey = newKeyTable(object.places)
	look := func(key string) *node {
		buf := append([]byte(`{"`+key+`":1}`), make([]byte, pad)...)
		rnd.Shuffle(pad, func(i, j int) { buf[len(buf)-pad+i] = byte(i) })
		return object.find(buf, 2, 2+len(key))
	}
	for key, want := range byKey {
		if got := look(key); got != want {
			t.Errorf("key %q: found %v", key, got)
		}
		other := []byte(key + "x")
		other[rnd.IntN(len(other))] ^= 1 << rnd.IntN(7)
		if got := look(string(other)); got != byKey[string(other)] {
			t.Errorf("key %q: found %v", other, got)
		}
	}
}

// TestKeysAlike: keys that begin alike, and are long, are found as fast as others.
func TestKeysAlike(t *testing.T) {
	var fields []*node
	for i := range 500 {
		fields = append(fields, &node{key: fmt.Sprintf("a beginning of more than 16 bytes.%03d.of.these", i)})
	}
	places := newPlaces(fields)
	table := newKeyTable(places)
	for _, f := range fields {
		steps := 0
		for at := table.home(sourceOf(quoted(nil, f.key)), 0); places[table.slots[at]].f != f; at = table.after(at) {
			steps++
		}
		if steps > 10 {
			t.Errorf("key %q is found after %d others", f.key, steps)
		}
	}
}

// TestFactors: nearly all keys are where they are looked for first.
func TestFactors(t *testing.T) {
	for n, most := range map[int]int{5: 0, 95: 1, 1000: 50} {
		var fields []*node
		for i := range n {
			fields = append(fields, &node{key: fmt.Sprintf("%s_%02d", []string{"http", "k8s", "app", "db", "net"}[i%5], i)})
		}
		table := newKeyTable(newPlaces(fields))
		away := 0
		for _, f := range fields {
			if table.home(sourceOf(quoted(nil, f.key)), 0) != int(f.slot) {
				away++
			}
		}
		if away > most {
			t.Errorf("of %d keys %d are not where they are looked for first", n, away)
		}
	}
}
