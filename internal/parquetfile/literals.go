package parquetfile

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/huff0"
)

// Some pages have hardly anything in them that comes twice, only bytes that are more
// frequent than others: hashes, UUIDs, base64, doubles of full precision. There zstd's
// fastest level spends most of its time on matches that save nothing, or finds none and
// then takes the bytes for random and leaves them as they are. For such pages a zstd
// frame is written that consists of literals (RFC 8878, 3.1.1.3.1), coded by Huffman's
// method: in a third of the time, and mostly smaller.

const (
	blockSize  = 1 << 17 // the most that a block may have
	sampleSize = 1 << 12
)

//nolint:gochecknoglobals // scratch memory
var literals = sync.Pool{New: func() any { return &huff0.Scratch{Reuse: huff0.ReusePolicyNone} }}

// unmatched tells by a sample whether there is little in src that comes twice: of the
// sequences of four bytes less than a fifth, of those of six less than one in fifty.
func unmatched(src []byte) bool {
	if len(src) < 2*sampleSize {
		return false
	}
	at := len(src)/2 - sampleSize/2
	sample := src[at : at+sampleSize+8]
	var last [1 << 12]uint16 // by hash: where the sequence was, plus 1
	four, six := 0, 0
	for i := range sampleSize {
		v := binary.LittleEndian.Uint64(sample[i:])
		slot := &last[uint32(v)*2654435761>>20]
		if *slot > 0 {
			switch x := v ^ binary.LittleEndian.Uint64(sample[*slot-1:]); {
			case x<<16 == 0:
				six++
				four++
			case x<<32 == 0:
				four++
			}
		}
		*slot = uint16(i + 1)
	}
	return 5*four < sampleSize && 50*six < sampleSize
}

// appendLiterals appends src as a zstd frame without matches.
func appendLiterals(dst, src []byte) []byte {
	s := literals.Get().(*huff0.Scratch)
	defer literals.Put(s)
	// Magic number; the size is given in 4 bytes; the window is a block.
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd, 0x80, 7<<3)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
	for last := false; !last; {
		b := src[:min(len(src), blockSize)]
		src = src[len(b):]
		last = len(src) == 0
		dst = appendBlock(dst, b, last, s)
	}
	return dst
}

// appendBlock appends a block of literals, coded where that saves anything.
func appendBlock(dst, b []byte, last bool, s *huff0.Scratch) []byte {
	const (
		raw        = 0
		compressed = 2
		fourLong   = 3 // streams: four; sizes: 18 bits
		header     = 5
	)
	var coded []byte
	if len(b) >= tinyPage {
		var err error
		if coded, _, err = huff0.Compress4X(b, s); err != nil {
			coded = nil // no saving, or one value only
		}
	}
	typ, size := raw, len(b)
	if coded != nil && header+len(coded)+1 < len(b) {
		typ, size = compressed, header+len(coded)+1
	}
	head := uint32(size)<<3 | uint32(typ)<<1
	if last {
		head |= 1
	}
	dst = append(dst, byte(head), byte(head>>8), byte(head>>16))
	if typ == raw {
		return append(dst, b...)
	}
	sizes := compressed | fourLong<<2 | uint64(len(b))<<4 | uint64(len(coded))<<22
	dst = append(dst, byte(sizes), byte(sizes>>8), byte(sizes>>16), byte(sizes>>24), byte(sizes>>32))
	return append(append(dst, coded...), 0) // 0 sequences
}
