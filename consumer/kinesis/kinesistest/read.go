package kinesistest

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"
)

// iterator is what an iterator's text holds.
type iterator struct {
	Stream string
	Born   int64 // the stream's creation, in nanoseconds
	Shard  string
	Next   int64     // the first record to read
	Made   time.Time // when it was handed out
}

func (it iterator) String() string {
	b, _ := json.Marshal(it)
	return base64.StdEncoding.EncodeToString(b)
}

func parseIterator(s string) (it iterator, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &it)
	}
	return it, err
}

// begin returns the first record that a starting position means. A number that
// retention has removed means the oldest record, without a word.
func (st *stream) begin(sh *shard, kind, seq string, at *float64) (int64, *Error) {
	switch kind {
	case "TRIM_HORIZON":
		return 0, nil
	case "LATEST":
		return sh.next, nil
	case "AT_SEQUENCE_NUMBER":
		return sh.place(seq)
	case "AFTER_SEQUENCE_NUMBER":
		n, e := sh.place(seq)
		return n + 1, e
	case "AT_TIMESTAMP":
		if at == nil {
			return 0, refuse(invalid, "Must specify timestamp parameter for iterator of type AT_TIMESTAMP")
		}
		t := time.UnixMicro(int64(*at * 1e6)).Round(time.Millisecond)
		if t.After(time.Now()) {
			return 0, refuse(invalid, "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis")
		}
		for _, r := range sh.records {
			if !r.arrival.Truncate(time.Millisecond).Before(t) {
				return r.n, nil
			}
		}
		return sh.next, nil
	}
	return 0, refuse(invalid, "ShardIteratorType %q", kind)
}

// window returns the records from a number on, up to limits, the number after the
// last of them, and whether the shard has none behind that and never will.
func (st *stream) window(sh *shard, from int64, count int, bytes int64) (rs []record, next int64, end bool) {
	st.trim(sh)
	i, _ := slices.BinarySearchFunc(sh.records, from, func(r record, n int64) int { return int(r.n - n) })
	size := int64(0)
	for _, r := range sh.records[i:] {
		if size += int64(len(r.data) + len(r.key)); len(rs) == count || bytes > 0 && len(rs) > 0 && size > bytes {
			break
		}
		rs = append(rs, r)
	}
	i += len(rs)
	if i < len(sh.records) {
		return rs, sh.records[i].n, false
	}
	return rs, sh.next, sh.end != 0
}

// behind returns the milliseconds from a number to the tip of a shard.
func (sh *shard) behind(next int64) int64 {
	for _, r := range sh.records {
		if r.n >= next {
			return max(1, time.Since(r.arrival).Milliseconds())
		}
	}
	return 0
}

type wireRecord struct {
	SequenceNumber              string
	ApproximateArrivalTimestamp float64
	Data                        []byte
	PartitionKey                string
	EncryptionType              string `json:",omitempty"`
}

type wireRange struct{ StartingHashKey, EndingHashKey string }

type wireChild struct {
	ShardId      string
	ParentShards []string
	HashKeyRange wireRange
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (sh *shard) wire(rs []record) []wireRecord {
	out := []wireRecord{}
	for _, r := range rs {
		w := wireRecord{sh.sequence(r.n, r.arrival), seconds(r.arrival), r.data, r.key, ""}
		if r.kms {
			w.EncryptionType = "KMS"
		}
		out = append(out, w)
	}
	return out
}

func (sh *shard) hashes() wireRange { return wireRange{sh.from.String(), sh.to.String()} }

// descend returns the children of a shard that has ended.
func (st *stream) descend(sh *shard) (out []wireChild) {
	for _, n := range sh.children {
		c := st.shards[n]
		w := wireChild{ShardId: id(n), HashKeyRange: c.hashes()}
		for _, p := range c.parents {
			w.ParentShards = append(w.ParentShards, id(p))
		}
		out = append(out, w)
	}
	return out
}

func getShardIterator(s *Server, in *request) (any, *Error) {
	st, sh, e := s.shard(in)
	if e != nil {
		return nil, e
	}
	n, e := st.begin(sh, in.ShardIteratorType, in.StartingSequenceNumber, in.Timestamp)
	if e != nil {
		return nil, e
	}
	it := iterator{st.name, st.created.UnixNano(), id(sh.number), n, time.Now()}
	return map[string]string{"ShardIterator": it.String()}, nil
}

// maxGet is how many records GetRecords returns at most.
const maxGet = 10_000

func getRecords(s *Server, in *request) (any, *Error) {
	it, err := parseIterator(in.ShardIterator)
	st := s.mu.streams[it.Stream]
	switch {
	case err != nil || in.Limit != nil && (*in.Limit < 1 || *in.Limit > maxGet):
		return nil, refuse(invalid, "Invalid ShardIterator or Limit")
	case st == nil || st.created.UnixNano() != it.Born:
		return nil, refuse(notFound, "Stream %s under account %s not found.", it.Stream, account)
	case time.Since(it.Made) > s.mu.limits.Iterator:
		return nil, refuse(expired, "Iterator expired. The iterator was created at time %v while right now it is %v which is further in the future than the tolerated delay of %v.",
			it.Made, time.Now(), s.mu.limits.Iterator)
	}
	sh := st.find(it.Shard)
	if sh == nil {
		return nil, refuse(notFound, "Shard %s in stream %s under account %s does not exist", it.Shard, it.Stream, account)
	}
	if !s.admit(sh) {
		s.mu.refused[it.Shard]++
		return nil, refuse(tooMuch, "Rate exceeded for shard %s in stream %s under account %s.", it.Shard, it.Stream, account)
	}
	count := maxGet
	if in.Limit != nil {
		count = *in.Limit
	}
	rs, next, end := st.window(sh, it.Next, count, s.mu.limits.Response)
	s.spend(sh, rs)
	out := map[string]any{"Records": sh.wire(rs), "MillisBehindLatest": sh.behind(next)}
	if end {
		out["ChildShards"] = st.descend(sh)
	} else {
		it.Next, it.Made = next, time.Now()
		out["NextShardIterator"] = it.String()
	}
	return out, nil
}

// admit reports whether a shard may be read now. s.mu is held.
func (s *Server) admit(sh *shard) bool {
	now, l := time.Now(), s.mu.limits
	sh.reads = slices.DeleteFunc(sh.reads, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if l.Reads > 0 && len(sh.reads) >= l.Reads || l.ReadBytes > 0 && now.Before(sh.bytesUntil) {
		return false
	}
	sh.reads = append(sh.reads, now)
	return true
}

// spend books what was read. What is more than a second allows is paid for by
// later seconds.
func (s *Server) spend(sh *shard, rs []record) {
	size := int64(0)
	for _, r := range rs {
		size += int64(len(r.data) + len(r.key))
	}
	if l := s.mu.limits.ReadBytes; l > 0 {
		if now := time.Now(); sh.bytesUntil.Before(now.Add(-time.Second)) {
			sh.bytesUntil = now.Add(-time.Second) // one second may be saved up
		}
		sh.bytesUntil = sh.bytesUntil.Add(time.Duration(float64(size) / float64(l) * float64(time.Second)))
	}
}
