package kinesistest

import (
	"crypto/md5" // #nosec G501 -- how the service places records
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"
)

// account owns every stream.
const account = "000000000000"

// ARN returns the name of a stream.
func ARN(stream string) string { return "arn:aws:kinesis:us-east-1:" + account + ":stream/" + stream }

type stream struct {
	name      string
	created   time.Time
	retention time.Duration
	maxRecord int // bytes of data and partition key
	kms       string
	shards    []*shard // by number
	consumers map[string]*consumer
}

type shard struct {
	number     int
	created    time.Time // in its numbers: at least a second after that of each parent
	from, to   *big.Int  // hash keys
	parents    []int     // numbers
	children   []int
	next       int64 // of the next record
	end        int64 // of the last possible record; 0: open
	closed     time.Time
	records    []record // ascending
	reads      []time.Time
	bytesUntil time.Time // until when the bytes read so far use the shard up
}

type record struct {
	n       int64
	arrival time.Time
	key     string
	data    []byte
	kms     bool
}

// id returns the name of the shard with a number.
func id(n int) string { return fmt.Sprintf("shardId-%012d", n) }

var maxHash = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))

// Number layout, high bits first: version 2 (2 bits), the shard's creation in
// seconds (36), a counter (64), the second of the number (36), the shard (32), and
// the version (4). It is as long as the service's numbers: 56 digits.
const (
	shardBits, secondBits, versionBits, counterBits = 32, 36, 4, 64
)

// sequence returns the sequence number of the n-th place in a shard.
func (sh *shard) sequence(n int64, at time.Time) string {
	v := big.NewInt(2)
	add := func(bits uint, part int64) { v.Lsh(v, bits).Or(v, big.NewInt(part)) }
	add(secondBits, sh.created.Unix()&(1<<secondBits-1))
	add(counterBits, n)
	add(secondBits, at.Unix()&(1<<secondBits-1))
	add(shardBits, int64(sh.number))
	add(versionBits, 2)
	// Widen to the length of the service's numbers without a change of order.
	return v.Lsh(v, 10).String()
}

// place is the inverse of sequence.
func (sh *shard) place(seq string) (int64, *Error) {
	v, ok := new(big.Int).SetString(seq, 10)
	if !ok {
		return 0, refuse(invalid, "StartingSequenceNumber %s is not a number", seq)
	}
	v.Rsh(v, 10+versionBits)
	take := func(bits uint) int64 {
		part := new(big.Int).And(v, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1)))
		v.Rsh(v, bits)
		return part.Int64()
	}
	number := take(shardBits)
	take(secondBits)
	n := take(counterBits)
	if created := take(secondBits); number != int64(sh.number) || created != sh.created.Unix() {
		return 0, refuse(invalid, "Invalid StartingSequenceNumber. It encodes %s, while it was used in a call to shard with %s", id(int(number)), id(sh.number))
	}
	if n >= sh.next {
		return 0, refuse(invalid, "StartingSequenceNumber %s used in GetShardIterator on shard %s is invalid because it did not come from this stream", seq, id(sh.number))
	}
	return n, nil
}

// Create makes a stream of n shards.
func (s *Server) Create(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(name, n)
}

func (s *Server) create(name string, n int) {
	st := &stream{name: name, created: time.Now(), retention: 24 * time.Hour, maxRecord: 1 << 20, consumers: map[string]*consumer{}}
	width := new(big.Int).Div(new(big.Int).Add(maxHash, big.NewInt(1)), big.NewInt(int64(n)))
	for i := range n {
		from := new(big.Int).Mul(width, big.NewInt(int64(i)))
		to := new(big.Int).Sub(new(big.Int).Add(from, width), big.NewInt(1))
		if i == n-1 {
			to = maxHash
		}
		st.open(from, to)
	}
	s.mu.streams[name] = st
}

// open adds a shard. The first number is that of the shard itself, never a record's.
func (st *stream) open(from, to *big.Int, parents ...*shard) *shard {
	sh := &shard{number: len(st.shards), created: time.Now(), from: from, to: to, next: 1}
	for _, p := range parents {
		if later := p.created.Add(time.Second); sh.created.Before(later) { // numbers of a key ascend from parent to child
			sh.created = later
		}
		sh.parents = append(sh.parents, p.number)
		p.children = append(p.children, sh.number)
		p.end, p.closed = p.next, time.Now()
		p.next++
	}
	st.shards = append(st.shards, sh)
	return sh
}

// Delete removes a stream.
func (s *Server) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.streams, name)
	s.wake()
}

// Put appends a record by its partition key, whatever its size, and returns its
// shard and sequence number.
func (s *Server) Put(stream, key string, data []byte) (shard, seq string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.streams[stream]
	sh := st.home(hashOf(key))
	return id(sh.number), s.put(st, sh, key, data)
}

// PutTo appends a record to a shard, whether its key belongs there or not.
func (s *Server) PutTo(stream, shard, key string, data []byte) (seq string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.streams[stream]
	return s.put(st, st.find(shard), key, data)
}

func (s *Server) put(st *stream, sh *shard, key string, data []byte) string {
	r := record{sh.next, time.Now(), key, slices.Clone(data), st.kms != ""}
	sh.next++
	sh.records = append(sh.records, r)
	s.wake()
	return sh.sequence(r.n, r.arrival)
}

func hashOf(key string) *big.Int {
	sum := md5.Sum([]byte(key)) // #nosec G401
	return new(big.Int).SetBytes(sum[:])
}

// home returns the open shard for a hash key.
func (st *stream) home(h *big.Int) *shard {
	for _, sh := range st.shards {
		if sh.end == 0 && h.Cmp(sh.from) >= 0 && h.Cmp(sh.to) <= 0 {
			return sh
		}
	}
	panic("BUG: no open shard for a hash key")
}

// find returns the shard with a name, unless its time is over.
func (st *stream) find(name string) *shard {
	for _, sh := range st.shards {
		if id(sh.number) == name && !st.gone(sh) {
			return sh
		}
	}
	return nil
}

// gone reports whether retention has removed a closed shard.
func (st *stream) gone(sh *shard) bool {
	return sh.end != 0 && time.Since(sh.closed) > st.retention
}

// trim removes what retention no longer covers.
func (st *stream) trim(sh *shard) {
	i := 0
	for i < len(sh.records) && time.Since(sh.records[i].arrival) > st.retention {
		i++
	}
	sh.records = sh.records[i:]
}

// Trim removes the records of a shard below a sequence number, as retention does.
func (s *Server) Trim(stream, shard, seq string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.mu.streams[stream].find(shard)
	n, _ := sh.place(seq)
	sh.records = slices.DeleteFunc(sh.records, func(r record) bool { return r.n < n })
}

// Split replaces a shard by two halves and returns them.
func (s *Server) Split(stream, shard string) (left, right string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.streams[stream]
	sh := st.find(shard)
	mid := new(big.Int).Rsh(new(big.Int).Add(new(big.Int).Add(sh.from, sh.to), big.NewInt(1)), 1)
	return s.split(st, sh, mid)
}

func (s *Server) split(st *stream, sh *shard, mid *big.Int) (left, right string) {
	l := st.open(sh.from, new(big.Int).Sub(mid, big.NewInt(1)), sh)
	r := st.open(mid, sh.to)
	r.parents, r.created, sh.children = []int{sh.number}, l.created, append(sh.children, r.number)
	s.wake()
	return id(l.number), id(r.number)
}

// Merge replaces two neighbours by one shard and returns it.
func (s *Server) Merge(stream, a, b string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.streams[stream]
	sh := st.open(st.find(a).from, st.find(b).to, st.find(a), st.find(b))
	s.wake()
	return id(sh.number)
}

// Shards lists the shards of a stream that are listed, by name.
func (s *Server) Shards(stream string) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.mu.streams[stream].listed() {
		names = append(names, id(sh.number))
	}
	return names
}

// Open lists the open shards of a stream by their hash keys, neighbours side by side.
func (s *Server) Open(stream string) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := slices.DeleteFunc(slices.Clone(s.mu.streams[stream].shards), func(sh *shard) bool { return sh.end != 0 })
	slices.SortFunc(open, func(a, b *shard) int { return a.from.Cmp(b.from) })
	for _, sh := range open {
		names = append(names, id(sh.number))
	}
	return names
}

func (st *stream) listed() []*shard {
	return slices.DeleteFunc(slices.Clone(st.shards), st.gone)
}

func (s *Server) names() []string { return slices.Sorted(maps.Keys(s.mu.streams)) }
