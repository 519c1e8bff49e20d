package schema

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math"
)

// number reads a number into a column of numbers.
func (r *reader) number(f *node, row, i int) int {
	buf := r.cut.scan.buf
	if c := buf[i]; c != '-' && !isDigit(c) {
		return misfit
	}
	e := scanNumber(buf, i)
	if e < 0 {
		return invalid
	}
	switch f.kind {
	case Double:
		v, ok := r.numbers.double(buf, i, e)
		if !ok {
			return misfit
		}
		f.setWord(math.Float64bits(v))
	case Float:
		v, ok := r.numbers.exactFloat(buf[i:e], 32)
		if !ok {
			if _, ok = r.numbers.double(buf, i, e); ok {
				r.widen(f, &Type{Kind: Double})
			}
			return misfit
		}
		f.setWord(uint64(math.Float32bits(float32(v))))
	case Decimal:
		return r.decimal(f, row, i, e)
	default:
		d := r.numbers.decimal(buf[i:e])
		v, ok := d.exactInt()
		if !ok {
			return misfit
		}
		if f.kind == Int && v != int64(int32(v)) {
			r.widen(f, &Type{Kind: Long})
			return misfit
		}
		f.setWord(uint64(v))
	}
	return e
}

func (r *reader) decimal(f *node, row, i, end int) int {
	d := r.numbers.decimal(r.cut.scan.buf[i:end])
	t := f.field.Type
	v, precision, ok := d.exactDecimal(t.Scale)
	if !ok {
		return misfit
	}
	if precision > t.Precision {
		r.widen(f, &Type{Kind: Decimal, Precision: precision, Scale: t.Scale})
		return misfit
	}
	f.words = append(f.words, v.LowBits(), uint64(v.HighBits()))
	f.n = row + 1
	return end
}

// widen notes that the column should have a wider type.
func (r *reader) widen(f *node, t *Type) {
	if f.fixed || f.promote != nil && f.promote.Precision >= t.Precision {
		return
	}
	f.promote, r.news = t, true
}

// declared reads a string into a column of a type that is never inferred, or
// into one of times.
func (r *reader) declared(f *node, row, i int) int {
	buf := r.cut.scan.buf
	switch f.kind {
	case Timestamp, TimestampTZ, TimestampNS, TimestampTZNS:
		v, e, ok := r.clock.instant(buf, i+1, f.kind)
		return f.setTime(v, e, ok)
	case Date:
		v, ok := r.clock.date(buf, i+1)
		return f.setTime(v, i+11, ok && buf[i+11] == '"')
	case Time:
		sec, nsec, e, ok := timeOfDay(buf, i+1)
		return f.setTime(sec*1e6+nsec/1e3, e, ok && nsec%1e3 == 0 && buf[e] == '"')
	default:
		return r.blob(f, row, i)
	}
}

// blob reads a string into a column of bytes.
func (r *reader) blob(f *node, row, i int) int {
	buf := r.cut.scan.buf
	e, escaped := scanString(buf, i+1)
	if e < 0 {
		return invalid
	}
	text := buf[i+1 : e]
	if escaped {
		r.scratch, _ = unescape(r.scratch[:0], text)
		text = r.scratch
	}
	was := len(f.data)
	if f.kind == Binary {
		var err error
		if f.data, err = base64.StdEncoding.Strict().AppendDecode(f.data, text); err != nil || bytes.ContainsAny(text, "\r\n") {
			f.data = f.data[:was]
			return misfit
		}
		f.endText(row)
		return e + 1
	}
	f.data = extend(f.data, was+f.width())
	read := decodeFixed
	if f.kind == UUID {
		read = parseUUID
	}
	if !read(f.data[was:], text) {
		f.data = f.data[:was]
		return misfit
	}
	f.n = row + 1
	return e + 1
}

// setTime sets the next row if ok, and returns the index after the quote at end.
func (n *node) setTime(v int64, end int, ok bool) int {
	if !ok {
		return misfit
	}
	n.setWord(uint64(v))
	return end + 1
}

// parseUUID reads the form of RFC 9562 in either case.
func parseUUID(dst, text []byte) bool {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false
	}
	var digits [32]byte
	n := 0
	for _, group := range [...][]byte{text[:8], text[9:13], text[14:18], text[19:23], text[24:]} {
		n += copy(digits[n:], group)
	}
	_, err := hex.Decode(dst, digits[:])
	return err == nil
}

// decodeFixed reads base64 that fills dst exactly.
func decodeFixed(dst, text []byte) bool {
	if len(text) != base64.StdEncoding.EncodedLen(len(dst)) || bytes.ContainsAny(text, "\r\n") {
		return false
	}
	var mem [64]byte // enough for most
	v, err := base64.StdEncoding.Strict().AppendDecode(mem[:0], text)
	return err == nil && copy(dst, v) == len(dst) && len(v) == len(dst)
}
