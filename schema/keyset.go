package schema

import (
	"bytes"
	"hash/maphash"
)

// keySet holds the keys of all objects of a record and finds the repeated ones
// in linear time, whatever the keys are: its hash is seeded at random.
type keySet struct {
	seed  maphash.Seed
	keys  []seenKey
	table []int32 // index into keys plus one; a power of two long
	next  uint32  // number of the next object
	arena []byte  // texts of keys that had escapes in them
}

type seenKey struct {
	object uint32
	slot   int32
	hash   uint64
	key    []byte
}

func newKeySet() keySet {
	return keySet{seed: maphash.MakeSeed(), table: make([]int32, 256)}
}

// reset forgets all keys.
func (s *keySet) reset() {
	if s.next == 0 && len(s.arena) == 0 {
		return
	}
	for i := range s.keys {
		s.table[s.keys[i].slot] = 0
	}
	clear(s.keys)
	s.keys, s.next, s.arena = s.keys[:0], 0, s.arena[:0]
}

// object returns a number for an object.
func (s *keySet) object() uint32 {
	s.next++
	return s.next
}

// text returns the text of a key whose bytes between the quotes are raw. It is
// valid until reset.
func (s *keySet) text(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw
	}
	at := len(s.arena)
	s.arena, _ = unescape(s.arena, raw)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// add returns false if the object has had the key. It keeps key.
func (s *keySet) add(object uint32, key []byte) bool {
	if 2*len(s.keys) >= len(s.table) {
		s.grow()
	}
	h := maphash.Bytes(s.seed, key) + uint64(object)*0x9E3779B97F4A7C15
	h ^= h >> 29
	slot := int(h) & (len(s.table) - 1)
	for ; s.table[slot] != 0; slot = (slot + 1) & (len(s.table) - 1) {
		k := &s.keys[s.table[slot]-1]
		if k.hash == h && k.object == object && bytes.Equal(k.key, key) {
			return false
		}
	}
	s.keys = append(s.keys, seenKey{object, int32(slot), h, key})
	s.table[slot] = int32(len(s.keys))
	return true
}

func (s *keySet) grow() {
	s.table = make([]int32, 2*len(s.table))
	for i := range s.keys {
		k := &s.keys[i]
		slot := int(k.hash) & (len(s.table) - 1)
		for s.table[slot] != 0 {
			slot = (slot + 1) & (len(s.table) - 1)
		}
		s.table[slot], k.slot = int32(i+1), int32(slot)
	}
}
