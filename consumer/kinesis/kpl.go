package kinesis

import (
	"bytes"
	"context"
	"crypto/md5" // #nosec G501 -- the checksum of the format
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/firehosed/firehosed/pipeline"
)

// Names of rules that leave records out, in [pipeline.Batch.Dropped].
const (
	// DropEmpty is an aggregate without records.
	DropEmpty = "kpl_empty"
	// DropWrongShard is a record of an aggregate that belongs to another shard.
	DropWrongShard = "kpl_wrong_shard"
)

// aggregateMagic begins an aggregate of the Kinesis Producer Library. A message
// AggregatedRecord of protocol buffers and its MD5 sum follow, see
// aggregation-format.md of the library.
var aggregateMagic = []byte{0xF3, 0x89, 0x9A, 0xC2}

// aggregate is what the message holds. Everything is a window into the record.
type aggregate struct {
	keys, hashes [][]byte // tables of partition keys and of explicit hash keys
	recs         []aggregated
}

type aggregated struct {
	key  int
	hash int // -1: by the partition key
	data []byte
}

// isAggregate reports whether a record is an aggregate that came over whole.
func isAggregate(rec []byte) bool {
	body, ok := bytes.CutPrefix(rec, aggregateMagic)
	if !ok || len(body) < md5.Size {
		return false
	}
	at := len(body) - md5.Size
	sum := md5.Sum(body[:at]) // #nosec G401
	return bytes.Equal(sum[:], body[at:])
}

// parse reads a record for which isAggregate holds. It reuses a.
func (a *aggregate) parse(rec []byte) error {
	a.keys, a.hashes, a.recs = a.keys[:0], a.hashes[:0], a.recs[:0]
	err := eachField(rec[len(aggregateMagic):len(rec)-md5.Size], func(tag, _ uint64, text []byte) (err error) {
		switch tag {
		case 1<<3 | wireBytes:
			a.keys = append(a.keys, text)
		case 2<<3 | wireBytes:
			a.hashes = append(a.hashes, text)
		case 3<<3 | wireBytes:
			var r aggregated
			r, err = parseAggregated(text)
			a.recs = append(a.recs, r)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, r := range a.recs { // the tables may come behind the records
		if r.key >= len(a.keys) || r.hash >= len(a.hashes) {
			return fmt.Errorf("record %d has partition key %d of %d and explicit hash key %d of %d", i, r.key, len(a.keys), r.hash, len(a.hashes))
		}
	}
	return nil
}

func parseAggregated(b []byte) (aggregated, error) {
	r := aggregated{key: -1, hash: -1}
	err := eachField(b, func(tag, n uint64, text []byte) error {
		switch tag {
		case 1<<3 | wireVarint:
			r.key = index(n)
		case 2<<3 | wireVarint:
			r.hash = index(n)
		case 3<<3 | wireBytes:
			r.data = text
		}
		return nil
	})
	if err == nil && (r.key < 0 || r.data == nil) {
		err = errors.New("a record has no partition key or no data")
	}
	return r, err
}

// index converts a number in the message to one that no table reaches if it is too large.
func index(n uint64) int { return int(min(n, 1<<30)) }

// Types of fields on the wire.
const (
	wireVarint, wire64, wireBytes, wire32 = 0, 1, 2, 5
)

// eachField calls f for the fields of a message: with their tag, which is number<<3
// and type, with n for numbers, and with text, never nil, for strings and messages.
// A field of another type than f expects is one that it does not know.
func eachField(b []byte, f func(tag, n uint64, text []byte) error) error {
	for len(b) > 0 {
		tag, k := binary.Uvarint(b)
		if k <= 0 || tag>>3 == 0 {
			return errors.New("the message has a bad tag")
		}
		b = b[k:]
		n, text := uint64(0), []byte(nil)
		switch tag & 7 {
		case wireVarint:
			n, k = binary.Uvarint(b)
		case wire64:
			k = 8
		case wire32:
			k = 4
		case wireBytes:
			if n, k = binary.Uvarint(b); k > 0 && n <= uint64(len(b)-k) {
				text = b[k : k+int(n) : k+int(n)]
				k += int(n)
			} else {
				k = 0
			}
		default:
			return fmt.Errorf("the message has a field of type %d", tag&7)
		}
		if k <= 0 || k > len(b) {
			return errors.New("the message is cut short")
		}
		b = b[k:]
		if err := f(tag, n, text); err != nil {
			return err
		}
	}
	return nil
}

// hashRange is the share of a shard in all hash keys, both ends included.
type hashRange struct{ from, to *big.Int }

func (h hashRange) has(key *big.Int) bool { return key.Cmp(h.from) >= 0 && key.Cmp(h.to) <= 0 }

// hashOf returns what places a record: its explicit hash key, else the MD5 sum of
// its partition key. False: the explicit hash key is none.
func (a *aggregate) hashOf(r aggregated) (*big.Int, bool) {
	if r.hash < 0 {
		sum := md5.Sum(a.keys[r.key]) // #nosec G401
		return new(big.Int).SetBytes(sum[:]), true
	}
	n, ok := new(big.Int).SetString(string(a.hashes[r.hash]), 10)
	return n, ok && n.Sign() >= 0 && n.BitLen() <= 128
}

// strays reports whether a record of an aggregate belongs to another shard.
func (a *aggregate) strays(of hashRange) bool {
	for _, r := range a.recs {
		if key, ok := a.hashOf(r); ok && !of.has(key) {
			return true
		}
	}
	return false
}

// Unpack is the stage that takes aggregates of the Kinesis Producer Library (KPL)
// apart. It comes first. A unit is a record of the aggregate, numbered from 0 by
// its place there, and has its own partition key. What is no aggregate, fails the
// checksum or does not parse is a plain record and stays as it is.
type Unpack struct {
	ranges func(pipeline.Partition) (hashRange, error) // nil: records stay where they are
	a      aggregate
	values [][]byte
	src    []int32
	sub    []int32
	keys   [][]byte
}

var _ pipeline.Stage = (*Unpack)(nil)

// Process implements pipeline.Stage. The units are windows into the records, and
// the lists are valid until the next call.
func (u *Unpack) Process(_ context.Context, b *pipeline.Batch) error {
	first := 0
	for first < len(b.Values) && !bytes.HasPrefix(b.Values[first], aggregateMagic) {
		first++
	}
	if first == len(b.Values) {
		return nil
	}
	if b.Sub != nil {
		return errors.New("BUG: records are split before aggregates are taken apart")
	}
	u.values, u.src, u.sub, u.keys = u.values[:0], u.src[:0], u.sub[:0], u.keys[:0]
	for i, v := range b.Values {
		if i < first || !isAggregate(v) || u.a.parse(v) != nil {
			u.add(v, b.Record(int32(i)), 0, nil)
			continue
		}
		if len(u.a.recs) == 0 {
			b.Drop(DropEmpty, 1)
			continue
		}
		if strays, err := u.strays(b.Span.Partition); err != nil {
			return err
		} else if strays {
			b.Drop(DropWrongShard, len(u.a.recs))
			continue
		}
		for k, r := range u.a.recs {
			u.add(r.data, b.Record(int32(i)), int32(k), u.a.keys[r.key])
		}
	}
	b.Values, b.Src, b.Sub, b.Keys = u.values, u.src, u.sub, u.keys
	return nil
}

func (u *Unpack) add(v []byte, rec, sub int32, key []byte) {
	u.values, u.src, u.sub, u.keys = append(u.values, v), append(u.src, rec), append(u.sub, sub), append(u.keys, key)
}

func (u *Unpack) strays(p pipeline.Partition) (bool, error) {
	if u.ranges == nil {
		return false, nil
	}
	of, err := u.ranges(p)
	return err == nil && u.a.strays(of), err
}
