package kinesistest

import (
	"crypto/md5" // #nosec G501 -- the checksum of the format
	"encoding/binary"
	"slices"
)

// Aggregate returns a record as the Kinesis Producer Library puts it together of
// several, all with one partition key.
func Aggregate(key string, records ...string) []byte {
	field := func(b []byte, num byte, text string) []byte {
		return append(binary.AppendUvarint(append(b, num<<3|2), uint64(len(text))), text...)
	}
	msg := field(nil, 1, key)
	for _, r := range records {
		rec := field([]byte{1 << 3, 0}, 3, r) // key 0 of the table
		msg = field(msg, 3, string(rec))
	}
	sum := md5.Sum(msg) // #nosec G401
	return slices.Concat([]byte{0xF3, 0x89, 0x9A, 0xC2}, msg, sum[:])
}
