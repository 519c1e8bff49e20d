package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Layout of a record batch: offset, length, leader epoch, magic, checksum, then
// what the checksum covers. Kafka's protocol guide has it.
const (
	atLength     = 8
	atEpoch      = 12
	atMagic      = 16
	atChecksum   = 17
	atAttributes = 21
	atLastDelta  = 23
	atBaseTime   = 27
	atMaxTime    = 35
	atProducer   = 43
	atCount      = 57
	batchHeader  = 61

	entryHeader  = 12 // offset and length, in every format
	minOldEntry  = entryHeader + 14
	codecBits    = 0x07
	appendTime   = 0x08
	inTxn        = 0x10
	controlBatch = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is one record batch, or one message of the formats before Kafka 0.11.
type entry []byte

// splitEntry returns the first whole entry of data; nil if there is none. Brokers
// cut the last one short.
func splitEntry(data []byte) (e entry, rest []byte, err error) {
	if len(data) <= atMagic {
		return nil, nil, nil
	}
	n := int64(int32(binary.BigEndian.Uint32(data[atLength:]))) + entryHeader
	if n < minOldEntry {
		return nil, nil, fmt.Errorf("a batch of %d bytes is too short", n)
	}
	if n > int64(len(data)) {
		return nil, nil, nil
	}
	e = entry(data[:n:n])
	if e.magic() >= 2 && len(e) < batchHeader {
		return nil, nil, fmt.Errorf("a batch of %d bytes is too short", n)
	}
	return e, data[n:], nil
}

func (e entry) i64(at int) int64 { return int64(binary.BigEndian.Uint64(e[at:])) }
func (e entry) i32(at int) int32 { return int32(binary.BigEndian.Uint32(e[at:])) }

func (e entry) magic() int8       { return int8(e[atMagic]) }
func (e entry) first() int64      { return e.i64(0) }
func (e entry) epoch() int32      { return e.i32(atEpoch) }
func (e entry) attributes() int16 { return int16(binary.BigEndian.Uint16(e[atAttributes:])) }
func (e entry) producer() int64   { return e.i64(atProducer) }

// last is the offset of the last record that was ever in the batch.
func (e entry) last() int64 {
	if e.magic() < 2 {
		return e.first()
	}
	return e.first() + int64(e.i32(atLastDelta))
}

// compressed reports whether the records have to be decompressed.
func (e entry) compressed() bool { return e.magic() >= 2 && e.attributes()&codecBits != 0 }

// check verifies the checksum and the header of a batch of the current format.
func (e entry) check() error {
	if sum, want := crc32.Checksum(e[atAttributes:], castagnoli), uint32(e.i32(atChecksum)); sum != want {
		return fmt.Errorf("checksum of the batch is %08x, its records have %08x", want, sum)
	}
	if e.i32(atCount) < 0 || e.i32(atLastDelta) < 0 || e.first() < 0 {
		return fmt.Errorf("batch of %d records at offset %d, last delta %d", e.i32(atCount), e.first(), e.i32(atLastDelta))
	}
	return nil
}

// record is one record, in windows of the memory it was read from.
type record struct {
	offset, millis int64
	key, value     []byte // nil: null
	headers        []byte // as encoded: a count, then keys and values
}

var errRecord = errors.New("a record is cut short or does not parse")

// readRecord reads the first record of data into r. base is the batch.
func (e entry) readRecord(data []byte, r *record) (rest []byte, err error) {
	n, w := binary.Varint(data)
	if w <= 0 || n < 0 || n > int64(len(data)-w) {
		return nil, errRecord
	}
	b, rest := data[w:w+int(n)], data[w+int(n):]
	if len(b) == 0 {
		return nil, errRecord
	}
	b = b[1:] // attributes: none are defined
	millis, w := binary.Varint(b)
	if w <= 0 {
		return nil, errRecord
	}
	delta, w2 := binary.Varint(b[w:])
	if w2 <= 0 || delta < 0 || delta > int64(e.i32(atLastDelta)) {
		return nil, errRecord
	}
	b = b[w+w2:]
	var ok bool
	if r.key, b, ok = nullable(b); !ok {
		return nil, errRecord
	}
	if r.value, b, ok = nullable(b); !ok {
		return nil, errRecord
	}
	r.offset, r.headers = e.first()+delta, b
	r.millis = e.i64(atBaseTime) + millis
	if e.attributes()&appendTime != 0 {
		r.millis = e.i64(atMaxTime)
	}
	return rest, nil
}

// nullable reads a length and as many bytes; -1 is null.
func nullable(b []byte) (v, rest []byte, ok bool) {
	n, w := binary.Varint(b)
	if w <= 0 || n < -1 || n > int64(len(b)-w) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, b[w:], true
	}
	return b[w : w+int(n) : w+int(n)], b[w+int(n):], true
}

// eachHeader calls f for the headers of a record.
func eachHeader(b []byte, f func(key, value []byte)) error {
	n, w := binary.Varint(b)
	if w <= 0 || n < 0 || n > int64(len(b)) {
		return errRecord
	}
	b = b[w:]
	for range n {
		key, rest, ok := nullable(b)
		if !ok || key == nil {
			return errRecord
		}
		value, rest, ok := nullable(rest)
		if !ok {
			return errRecord
		}
		b = rest
		f(key, value)
	}
	return nil
}

// isAbort reports whether a record of a control batch ends an aborted transaction.
func isAbort(key []byte) bool { return len(key) >= 4 && key[2] == 0 && key[3] == 0 }
