package parquetfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/firehosed/firehosed/schema"
)

// order is how the values of a column compare.
type order uint8

const (
	orderNone    order = iota // no bounds
	orderBytes                // strings, binaries, fixed
	orderInt                  // all kinds of int32, int64 and bool
	orderFloat                // float and double
	orderDecimal              // by the unscaled value
)

// stats are what is known about the values of a column in a row group or a file.
type stats struct {
	order  order
	typ    *schema.Type
	levels int64 // nulls included
	values int64
	nans   int64
	any    bool // there is a minimum and a maximum

	minInt, maxInt     int64
	minFloat, maxFloat float64
	minDec, maxDec     decimal128.Num
	minBytes, maxBytes []byte // the first keepBytes of them
	minWord, maxWord   uint64 // their first 8 bytes as a number
}

// keepBytes is enough of a value to know its bound: [boundLength] code points and
// whether there is more.
const keepBytes = boundLength*utf8.UTFMax + 1

func newStats(f *field) stats {
	s := stats{typ: f.typ}
	switch kind := f.typ.Kind; {
	case kind == schema.Float || kind == schema.Double:
		s.order = orderFloat // in lists too: NaNs are counted
	case f.repeated || kind == schema.UUID: // readers do not agree on the order of UUIDs
		s.order = orderNone
	case kind == schema.Decimal:
		s.order = orderDecimal
	case kind == schema.String || kind == schema.Binary || kind == schema.Fixed:
		s.order = orderBytes
	default:
		s.order = orderInt
	}
	return s
}

func (s *stats) reset() {
	*s = stats{order: s.order, typ: s.typ, minBytes: s.minBytes[:0], maxBytes: s.maxBytes[:0]}
}

// held returns the bytes of memory besides s.
func (s *stats) held() int { return cap(s.minBytes) + cap(s.maxBytes) }

// merge takes in the statistics of a further row group.
func (s *stats) merge(o *stats) {
	s.levels, s.values, s.nans = s.levels+o.levels, s.values+o.values, s.nans+o.nans
	if !o.any {
		return
	}
	if !s.any {
		lo, hi := s.minBytes[:0], s.maxBytes[:0]
		s.minWord, s.maxWord = o.minWord, o.maxWord
		s.minInt, s.maxInt, s.minFloat, s.maxFloat, s.minDec, s.maxDec = o.minInt, o.maxInt, o.minFloat, o.maxFloat, o.minDec, o.maxDec
		s.minBytes, s.maxBytes, s.any = append(lo, o.minBytes...), append(hi, o.maxBytes...), true
		return
	}
	switch s.order {
	case orderInt:
		s.minInt, s.maxInt = min(s.minInt, o.minInt), max(s.maxInt, o.maxInt)
	case orderFloat:
		s.minFloat, s.maxFloat = min(s.minFloat, o.minFloat), max(s.maxFloat, o.maxFloat)
	case orderDecimal:
		s.decimal(o.minDec)
		s.decimal(o.maxDec)
	case orderBytes:
		s.bytes(o.minBytes)
		s.bytes(o.maxBytes)
	}
}

// fixed takes in values of a fixed width, other than decimals.
func (s *stats) fixed(b []byte, width int) {
	switch s.order {
	case orderBytes:
		for ; len(b) > 0; b = b[width:] {
			s.bytes(b[:width])
		}
	case orderInt:
		s.ints(b, width)
	case orderFloat:
		s.floats(b, width)
	}
}

func (s *stats) ints(b []byte, width int) {
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	if s.any {
		lo, hi = s.minInt, s.maxInt
	}
	switch width {
	case 8:
		for ; len(b) >= 8; b = b[8:] {
			v := int64(binary.LittleEndian.Uint64(b))
			lo, hi = min(lo, v), max(hi, v)
		}
	case 4:
		for ; len(b) >= 4; b = b[4:] {
			v := int64(int32(binary.LittleEndian.Uint32(b)))
			lo, hi = min(lo, v), max(hi, v)
		}
	default:
		for _, v := range b {
			lo, hi = min(lo, int64(v)), max(hi, int64(v))
		}
	}
	s.minInt, s.maxInt, s.any = lo, hi, true
}

func (s *stats) floats(b []byte, width int) {
	lo, hi := math.Inf(1), math.Inf(-1)
	seen := 0
	for ; len(b) > 0; b = b[width:] {
		var v float64
		if width == 8 {
			v = math.Float64frombits(binary.LittleEndian.Uint64(b))
		} else {
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
		if v != v {
			s.nans++
			continue
		}
		seen++
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	if seen == 0 {
		return
	}
	if s.any {
		lo, hi = min(lo, s.minFloat), max(hi, s.maxFloat)
	}
	s.minFloat, s.maxFloat, s.any = lo, hi, true
}

func (s *stats) decimal(v decimal128.Num) {
	if s.order != orderDecimal {
		return
	}
	if !s.any {
		s.minDec, s.maxDec, s.any = v, v, true
		return
	}
	if v.Less(s.minDec) {
		s.minDec = v
	}
	if v.Greater(s.maxDec) {
		s.maxDec = v
	}
}

func (s *stats) bytes(v []byte) {
	w := firstWord(v)
	if s.any && w > s.minWord && w < s.maxWord {
		return
	}
	if len(v) > keepBytes {
		v = v[:keepBytes] // order is kept: of two cut values the greater is not less
	}
	if !s.any || bytes.Compare(v, s.minBytes) < 0 {
		s.minBytes, s.minWord = append(s.minBytes[:0], v...), w
	}
	if !s.any || bytes.Compare(v, s.maxBytes) > 0 {
		s.maxBytes, s.maxWord = append(s.maxBytes[:0], v...), w
	}
	s.any = true
}

// firstWord returns the first 8 bytes of v, zeros after its end. Of two values the
// one with the greater word is greater.
func firstWord(v []byte) uint64 {
	if len(v) >= 8 {
		return binary.BigEndian.Uint64(v)
	}
	var w uint64
	for i, c := range v {
		w |= uint64(c) << (56 - 8*i)
	}
	return w
}

// bounds returns the least and the greatest value in Iceberg's single-value
// serialization, cut where the table format allows it; nil where there is none.
func (s *stats) bounds() (lower, upper []byte) {
	if !s.any {
		return nil, nil
	}
	switch s.order {
	case orderInt:
		return s.single(s.minInt), s.single(s.maxInt)
	case orderFloat:
		lo, hi := s.minFloat, s.maxFloat
		if lo == 0 {
			lo = math.Copysign(0, -1) // -0.0 is before 0.0, and either may be in the file
		}
		if hi == 0 {
			hi = 0
		}
		if s.typ.Kind == schema.Float {
			return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(lo))),
				binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(hi)))
		}
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(lo)),
			binary.LittleEndian.AppendUint64(nil, math.Float64bits(hi))
	case orderDecimal:
		return shortest(s.minDec), shortest(s.maxDec)
	case orderBytes:
		if s.typ.Kind == schema.String {
			return lowerText(s.minBytes), upperText(s.maxBytes)
		}
		return lowerBytes(s.minBytes), upperBytes(s.maxBytes)
	}
	return nil, nil
}

// chunkBounds returns the least and the greatest value as Parquet's footer has them,
// or nil where they are not known to the last byte.
func (s *stats) chunkBounds() (lo, hi []byte) {
	switch {
	case !s.any:
		return nil, nil
	case s.order == orderDecimal:
		return plainDecimal(s.minDec, s.typ.Precision), plainDecimal(s.maxDec, s.typ.Precision)
	case s.order == orderBytes:
		if max(len(s.minBytes), len(s.maxBytes)) >= keepBytes {
			return nil, nil
		}
		return append([]byte{}, s.minBytes...), append([]byte{}, s.maxBytes...)
	}
	return s.bounds() // which is Parquet's plain encoding too
}

func plainDecimal(v decimal128.Num, precision int) []byte {
	switch phys, width := decimalPhysical(precision); phys {
	case physInt32:
		return binary.LittleEndian.AppendUint32(nil, uint32(v.LowBits()))
	case physInt64:
		return binary.LittleEndian.AppendUint64(nil, v.LowBits())
	default:
		var b [16]byte
		bigEndian(&b, v)
		return bytes.Clone(b[16-width:])
	}
}

func (s *stats) single(v int64) []byte {
	switch s.typ.Kind {
	case schema.Bool:
		return []byte{byte(v)}
	case schema.Int, schema.Date:
		return binary.LittleEndian.AppendUint32(nil, uint32(v))
	default:
		return binary.LittleEndian.AppendUint64(nil, uint64(v))
	}
}

// shortest returns v in two's complement, big endian, in as few bytes as it takes.
func shortest(v decimal128.Num) []byte {
	var b [16]byte
	bigEndian(&b, v)
	i := 0
	for i < 15 && (b[i] == 0 && b[i+1] < 0x80 || b[i] == 0xff && b[i+1] >= 0x80) {
		i++
	}
	return bytes.Clone(b[i:])
}

// textEnd returns how many bytes the first [boundLength] code points of v take.
func textEnd(v []byte) int {
	end := 0
	for range boundLength {
		if end == len(v) {
			break
		}
		_, n := utf8.DecodeRune(v[end:])
		end += n
	}
	return end
}

// lowerText cuts v between code points. The result is never nil, even if empty.
func lowerText(v []byte) []byte { return append([]byte{}, v[:textEnd(v)]...) }

// upperText cuts v and raises the last code point that can be raised, or returns nil.
func upperText(v []byte) []byte {
	end := textEnd(v)
	if end == len(v) {
		return append([]byte{}, v...)
	}
	cut := v[:end]
	if !utf8.Valid(cut) {
		return nil
	}
	for len(cut) > 0 {
		r, n := utf8.DecodeLastRune(cut)
		cut = cut[:len(cut)-n]
		if r++; r == 0xd800 {
			r = 0xe000 // not a surrogate
		}
		if r <= utf8.MaxRune {
			return utf8.AppendRune(append([]byte{}, cut...), r)
		}
	}
	return nil
}

func lowerBytes(v []byte) []byte { return append([]byte{}, v[:min(len(v), boundLength)]...) }

func upperBytes(v []byte) []byte {
	if len(v) <= boundLength {
		return append([]byte{}, v...)
	}
	for cut := v[:boundLength]; len(cut) > 0; cut = cut[:len(cut)-1] {
		if last := cut[len(cut)-1]; last < 0xff {
			out := append([]byte{}, cut...)
			out[len(out)-1]++
			return out
		}
	}
	return nil
}
