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
	table := newKeyTable(newPlaces(fields))
	look := func(key string) *node {
		buf := append([]byte(`{"`+key+`":1}`), make([]byte, pad)...)
		rnd.Shuffle(pad, func(i, j int) { buf[len(buf)-pad+i] = byte(i) })
		return table.find(buf, 2, 2+len(key))
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
