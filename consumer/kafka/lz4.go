package kafka

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Layout of an LZ4 frame: magic, flags, block size, optional fields, a checksum of
// these, blocks, an end mark, an optional checksum. LZ4's frame format has it.
const (
	lz4Magic        = 0x184D2204
	lz4SkipMagic    = 0x184D2A50 // and the 15 after it
	lz4Independent  = 0x20
	lz4BlockSum     = 0x10
	lz4ContentSize  = 0x08
	lz4ContentSum   = 0x04
	lz4Dictionary   = 0x01
	lz4Stored       = 1 << 31 // of a block's size: it is not compressed
	lz4Window       = 64 << 10
	lz4FirstBlockAt = 7 // without optional fields
)

var errLZ4 = errors.New("lz4: the frame is damaged")

// unlz4 appends what the frames in src decompress to, at most limit bytes, to dst. It
// decodes in place, where a reader of streams takes the memory of a whole block, 4 MiB
// mostly, for each batch. Checksums are not looked at: the one of the batch covers all.
func unlz4(dst, src []byte, limit int) ([]byte, error) {
	for len(src) > 0 {
		if len(src) < lz4FirstBlockAt {
			return dst, errLZ4
		}
		magic := binary.LittleEndian.Uint32(src)
		if magic&^0xf == lz4SkipMagic {
			n := 8 + int64(binary.LittleEndian.Uint32(src[4:]))
			if len(src) < 8 || n > int64(len(src)) {
				return dst, errLZ4
			}
			src = src[n:]
			continue
		}
		flags, size := src[4], src[5]>>4&7
		if magic != lz4Magic || flags>>6 != 1 || flags&lz4Dictionary != 0 || size < 4 {
			return dst, errLZ4
		}
		at := lz4FirstBlockAt
		if flags&lz4ContentSize != 0 {
			at += 8
		}
		if at > len(src) {
			return dst, errLZ4
		}
		var err error
		if dst, src, err = unlz4Blocks(dst, src[at:], limit, flags, 1<<(8+2*size)); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// unlz4Blocks decodes the blocks of a frame and returns what comes after it.
func unlz4Blocks(dst, src []byte, limit int, flags byte, largest int) (_, rest []byte, err error) {
	from := len(dst)
	for {
		if len(src) < 4 {
			return dst, nil, errLZ4
		}
		size := binary.LittleEndian.Uint32(src)
		src = src[4:]
		if size == 0 {
			break
		}
		n := int(size &^ lz4Stored)
		if n > len(src) {
			return dst, nil, errLZ4
		}
		block := src[:n]
		if src = src[n:]; flags&lz4BlockSum != 0 {
			if len(src) < 4 {
				return dst, nil, errLZ4
			}
			src = src[4:]
		}
		if size&lz4Stored != 0 {
			dst = append(dst, block...)
		} else {
			dict := dst[len(dst):]
			if flags&lz4Independent == 0 {
				dict = dst[max(from, len(dst)-lz4Window):]
			}
			if dst, err = unlz4Block(dst, block, dict, min(largest, limit-len(dst))); err != nil && limit-len(dst) < largest {
				return dst, nil, kgo.ErrMaxDecompress // as far as can be told
			} else if err != nil {
				return dst, nil, err
			}
		}
		if len(dst) > limit {
			return dst, nil, kgo.ErrMaxDecompress
		}
	}
	if flags&lz4ContentSum != 0 {
		if len(src) < 4 {
			return dst, nil, errLZ4
		}
		src = src[4:]
	}
	return dst, src, nil
}

// unlz4Block appends a block of at most largest bytes. How large it is is not known
// before: it is tried with the room that there is, then with twice as much.
func unlz4Block(dst, block, dict []byte, largest int) ([]byte, error) {
	for room := max(cap(dst)-len(dst), 2*len(block)); ; room *= 2 {
		room = max(0, min(room, largest))
		dst = slices.Grow(dst, room)
		n, err := lz4.UncompressBlockWithDict(block, dst[len(dst):len(dst)+room], dict)
		if err == nil {
			return dst[:len(dst)+n], nil
		}
		if room >= largest {
			return dst, errors.Join(errLZ4, err)
		}
	}
}
