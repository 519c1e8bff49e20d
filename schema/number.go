package schema

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

//nolint:gochecknoglobals // constants
var (
	pow10  = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}
	pow10f = [23]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}
)

// digitCount returns how many of the eight bytes of w, from the lowest, are
// digits.
func digitCount(w uint64) int { return firstMark(notDigits(w)) }

// notDigits marks the top bit of every byte of w that is not a digit, up to the first one
// that is not ASCII.
func notDigits(w uint64) uint64 {
	x := w ^ 0x3030303030303030
	return (x + 0x7676767676767676 | x) & 0x8080808080808080
}

// eightDigits returns the value of eight digits, the first one in the lowest
// byte. A zero byte counts as the digit 0.
func eightDigits(w uint64) uint64 {
	w &= 0x0f0f0f0f0f0f0f0f
	w = w*10 + w>>8
	const mask = 0x000000FF000000FF
	return ((w&mask)*0x000F424000000064 + (w>>16&mask)*0x0000271000000001) >> 32
}

// digits returns the value of up to 19 digits at i and the index after them. If
// there are more, n is 20 and the value is meaningless.
func digits(buf []byte, i int) (v uint64, n int) {
	w := binary.LittleEndian.Uint64(buf[i:])
	n = digitCount(w)
	if n == 0 {
		return 0, 0
	}
	v = eightDigits(w << (64 - 8*n))
	if n < 8 {
		return v, n
	}
	for i += 8; isDigit(buf[i]); i++ {
		if n == 19 {
			return 0, 20
		}
		v = v*10 + uint64(buf[i]-'0')
		n++
	}
	return v, n
}

// plainLong reads an integer of up to 19 digits without fraction and exponent at i, which is an
// int64, into the next row. end is 0 if there is none; then [scanNumber] and [decimalText.exactInt]
// have to look.
func plainLong(f *node, src source, i int) (end int) {
	neg := src.byte(i) == '-'
	if neg {
		i++
	}
	w := src.word(i)
	n := digitCount(w)
	if byte(w)-'1' > 8 && n != 1 { // not a digit, or 0 before others
		return 0
	}
	u := eightDigits(w << ((64 - 8*n) & 63))
	if i += n; n == 8 {
		w = src.word(i)
		if n = digitCount(w); n > 0 {
			u = u*pow10[n] + eightDigits(w<<((64-8*n)&63))
		}
		if i += n; n == 8 {
			w = src.word(i)
			if n = digitCount(w); n > 3 {
				return 0
			} else if n > 0 {
				u = u*pow10[n] + eightDigits(w<<((64-8*n)&63))
			}
			if i += n; u > math.MaxInt64 {
				return 0
			}
		}
	}
	if c := src.byte(i); c != ',' && (c == '.' || c|0x20 == 'e') {
		return 0
	}
	if neg {
		u = -u
	}
	f.setWord(u)
	return i
}

// plainDouble reads a number of up to 14 digits without an exponent at i, up to 7 of them
// before the point, into the next row: one division makes it exact. end is 0 if there is none; then
// [scanNumber] and [numbers.double] have to look.
func plainDouble(f *node, src source, i int) (end int) {
	neg := uint64(0)
	if src.byte(i) == '-' {
		neg = 1 << 63
		i++
	}
	var d float64
	w := src.word(i)
	marks := notDigits(w)
	n := firstMark(marks)
	if n == 0 || n == 8 || n > 1 && byte(w) == '0' {
		return 0
	}
	if byte(w>>(8*n&63)) != '.' {
		d = float64(eightDigits(w << ((64 - 8*n) & 63)))
		i += n
	} else {
		whole := uint64(1)<<(8*n&63) - 1
		joined := w&whole | w>>8&^whole // the digits without the point
		var u uint64
		var k int // digits after the point
		if marks &= marks - 1; marks != 0 {
			end := firstMark(marks)
			u = eightDigits(joined << ((72 - 8*end) & 63))
			k = end - 1 - n
			i += end
		} else {
			w = src.word(i + 8)
			more := digitCount(w)
			u = eightDigits(joined<<8)*pow10[more] + eightDigits(w<<(64-8*more))
			k = 7 - n + more
			i += 8 + more
		}
		if k == 0 || k+n > 14 {
			return 0
		}
		d = float64(u) / pow10f[k]
	}
	if src.byte(i)|0x20 == 'e' {
		return 0
	}
	f.setWord(math.Float64bits(d) ^ neg)
	return i
}

// plainBool reads true or false at i into the next row; end is 0 if there is neither. They are as
// likely as each other: no branch tells.
//
//go:noinline
func plainBool(f *node, src source, i int) (end int) {
	const trues, falses = 't' | 'r'<<8 | 'u'<<16 | 'e'<<24, 'f' | 'a'<<8 | 'l'<<16 | 's'<<24 | 'e'<<32
	w := src.word(i)
	var yes, no uint64
	if w&(1<<32-1) == trues {
		yes = 1
	}
	if w&(1<<40-1) == falses {
		no = 1
	}
	if yes|no == 0 {
		return 0
	}
	f.data = append(f.data, byte(yes))
	f.n++
	return i + 5 - int(yes)
}

// decimalText is a number as its text has it: 0.digits times 10 to the exp.
// Neither leading nor trailing zeros are among the digits; zero has none.
type decimalText struct {
	neg    bool
	whole  bool // neither fraction nor exponent in the text
	digits []byte
	exp    int
	given  int // significant digits in the text, trailing zeros included
}

// maxExponent stands for all larger ones: nothing of ours reaches so far.
const maxExponent = 1 << 30

// parseDecimal takes a valid JSON number apart. It appends the digits to scratch.
func parseDecimal(text, scratch []byte) decimalText {
	d := decimalText{whole: true}
	if text[0] == '-' {
		d.neg, text = true, text[1:]
	}
	mantissa, exp := text, 0
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		mantissa, d.whole = text[:i], false
		exp = parseExponent(text[i+1:])
	}
	whole, fraction, found := bytes.Cut(mantissa, []byte{'.'})
	d.whole = d.whole && !found
	d.digits = append(append(scratch[:0], whole...), fraction...)
	d.exp = exp + len(whole)
	for len(d.digits) > 0 && d.digits[0] == '0' {
		d.digits = d.digits[1:]
		d.exp--
	}
	d.given = len(d.digits)
	d.digits = bytes.TrimRight(d.digits, "0")
	return d
}

func parseExponent(text []byte) int {
	neg := text[0] == '-'
	if neg || text[0] == '+' {
		text = text[1:]
	}
	v := 0
	for _, c := range text {
		v = min(v*10+int(c-'0'), maxExponent)
	}
	if neg {
		return -v
	}
	return v
}

// exactInt returns the number if it is an int64.
func (d *decimalText) exactInt() (int64, bool) {
	if len(d.digits) == 0 {
		return 0, true
	}
	if d.exp < len(d.digits) || d.exp > 19 {
		return 0, false
	}
	var v uint64
	for i := range d.exp {
		c := uint64(0)
		if i < len(d.digits) {
			c = uint64(d.digits[i] - '0')
		}
		v = v*10 + c // at most 19 digits: no overflow
	}
	switch {
	case d.neg && v <= 1<<63:
		return -int64(v), true
	case !d.neg && v < 1<<63:
		return int64(v), true
	}
	return 0, false
}

// exactDecimal returns the number times 10 to the scale, and its precision at
// that scale, if it is a whole number of at most 38 digits.
func (d *decimalText) exactDecimal(scale int) (v decimal128.Num, precision int, ok bool) {
	if len(d.digits) == 0 {
		return v, 1, true
	}
	n := d.exp + scale
	if n < len(d.digits) || n > 38 {
		return v, 0, false
	}
	var hi, lo uint64
	for i := range n {
		c := uint64(0)
		if i < len(d.digits) {
			c = uint64(d.digits[i] - '0')
		}
		carry, low := bits.Mul64(lo, 10)
		low, over := bits.Add64(low, c, 0)
		hi, lo = hi*10+carry+over, low
	}
	v = decimal128.New(int64(hi), lo)
	if d.neg {
		v = v.Negate()
	}
	return v, n, true
}

// double reads the number in buf[i:end], which is valid. ok tells whether the
// double printed with as many significant digits as the text has is the same
// decimal.
func (n *numbers) double(buf []byte, i, end int) (v float64, ok bool) {
	if v, ok = quickDouble(buf, i, end); ok {
		return v, true
	}
	return n.exactFloat(buf[i:end], 64)
}

// quickDouble reads numbers of up to 15 digits and small exponents, for which
// one division or multiplication is exact.
func quickDouble(buf []byte, i, end int) (v float64, ok bool) {
	neg := buf[i] == '-'
	if neg {
		i++
	}
	m, n := digits(buf, i)
	if n > 15 {
		return 0, false
	}
	i += n
	exp := 0
	if buf[i] == '.' {
		f, k := digits(buf, i+1)
		if n+k > 15 {
			return 0, false
		}
		m, exp, i = m*pow10[k]+f, -k, i+1+k
	}
	if i != end {
		if end-i > 5 {
			return 0, false
		}
		exp += parseExponent(buf[i+1 : end])
	}
	switch {
	case exp < -22 || exp > 22:
		return 0, false
	case exp < 0:
		v = float64(m) / pow10f[-exp]
	default:
		v = float64(m) * pow10f[exp]
	}
	if neg {
		v = -v
	}
	return v, true
}

// numbers holds the scratch space for numbers that need a closer look.
type numbers struct {
	digits, printed []byte
}

// decimal takes a valid JSON number apart. The result is valid until the next
// call.
func (n *numbers) decimal(text []byte) decimalText {
	n.digits = append(n.digits[:0], text...) // room enough
	return parseDecimal(text, n.digits)
}

// exactFloat reads a valid JSON number into a float of 32 or 64 bits, and tells
// whether that, printed with as many digits as the text has, is the same decimal.
func (n *numbers) exactFloat(text []byte, size int) (v float64, ok bool) {
	v, err := strconv.ParseFloat(view(text), size)
	if err != nil {
		return 0, false
	}
	d := n.decimal(text)
	if len(d.digits) == 0 || v == 0 {
		return v, len(d.digits) == 0
	}
	if size == 64 && d.given <= 15 && math.Abs(v) >= 0x1p-1022 {
		return v, true
	}
	n.printed = strconv.AppendFloat(n.printed[:0], v, 'e', d.given-1, 64)
	p := parseDecimalNumber(n.printed)
	return v, p.exp == d.exp && bytes.Equal(p.digits, d.digits)
}

// parseDecimalNumber takes apart what strconv prints, in place.
func parseDecimalNumber(text []byte) decimalText { return parseDecimal(text, text[:0]) }
