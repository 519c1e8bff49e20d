package schema

import (
	"encoding/binary"
	"math"
)

// A clock reads times. It keeps the last date, as neighbouring records mostly
// have the same one.
type clock struct {
	head uint64 // "2006-01-"
	tail uint64 // "02", in the low 16 bits
	days int64  // of that date since 1970-01-01
}

const (
	ones      = 0x0101010101010101
	dateForm  = '0' | '0'<<8 | '0'<<16 | '0'<<24 | '-'<<32 | '0'<<40 | '0'<<48 | '-'<<56
	clockForm = '0' | '0'<<8 | ':'<<16 | '0'<<24 | '0'<<32 | ':'<<40 | '0'<<48 | '0'<<56
	dateOver  = 0x7F76767F76767676 // added to a byte's distance from the form: bit 7 if a digit is over 9 or a mark is not met
	clockOver = 0x76767F76767F7676
	topBits   = ones << 7
)

// date returns the days since 1970-01-01 of "2006-01-02" at i.
func (c *clock) date(buf []byte, i int) (days int64, ok bool) {
	head := binary.LittleEndian.Uint64(buf[i:])
	tail := uint64(binary.LittleEndian.Uint16(buf[i+8:]))
	if head == c.head && tail == c.tail {
		return c.days, true
	}
	a := head ^ dateForm
	if (a+dateOver|a)&topBits != 0 || !isDigit(byte(tail)) || !isDigit(byte(tail>>8)) {
		return 0, false
	}
	y := int64(a&0xff*1000 + a>>8&0xff*100 + a>>16&0xff*10 + a>>24&0xff)
	m := int64(a>>40&0xff*10 + a>>48&0xff)
	d := int64(tail&0xff-'0')*10 + int64(tail>>8-'0')
	if m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, false
	}
	c.head, c.tail, c.days = head, tail, daysSinceEpoch(y, m, d)
	return c.days, true
}

func daysIn(y, m int64) int64 {
	switch {
	case m == 2 && (y%4 != 0 || y%100 == 0 && y%400 != 0):
		return 28
	case m == 2:
		return 29
	case m == 4 || m == 6 || m == 9 || m == 11:
		return 30
	}
	return 31
}

// daysSinceEpoch counts in years that begin in March, so that a leap day is the
// last one.
func daysSinceEpoch(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	if y < 0 {
		era = -1 // y is -1: January or February of the year 0
	}
	year := y - era*400
	day := (153*(m-3)+2)/5 + d - 1
	return era*146097 + year*365 + year/4 - year/100 + day - 719468
}

// clockSeconds returns the seconds of the eight bytes "15:04:05", the first one lowest.
func clockSeconds(w uint64) (sec int64, ok bool) {
	t := w ^ clockForm
	y := t*10 + t>>8
	h, m, s := y&0xff, y>>24&0xff, y>>48&0xff
	return int64(h*3600 + m*60 + s), (t+clockOver|t)&topBits == 0 && h <= 23 && m <= 59 && s <= 59
}

// timeOfDay reads "15:04:05", perhaps with a fraction, at i. It returns the
// seconds, the nanoseconds, and the index after it. Fractions finer than a
// nanosecond, 24:00 and leap seconds are none.
func timeOfDay(buf []byte, i int) (sec, nsec int64, end int, ok bool) {
	if sec, ok = clockSeconds(binary.LittleEndian.Uint64(buf[i:])); !ok {
		return 0, 0, 0, false
	}
	i += 8
	if buf[i] != '.' {
		return sec, 0, i, true
	}
	i++
	unit := int64(1e9)
	for first := i; ; i++ {
		if !isDigit(buf[i]) {
			return sec, nsec, i, i > first
		}
		digit := int64(buf[i] - '0')
		if unit /= 10; unit == 0 && digit != 0 {
			return 0, 0, 0, false
		}
		nsec += digit * unit
	}
}

// zone reads "Z" or an offset at i, and returns the seconds east of UTC.
func zone(buf []byte, i int) (east int64, end int, ok bool) {
	sign := int64(1)
	switch buf[i] {
	case 'Z':
		return 0, i + 1, true
	case '-':
		sign = -1
	case '+':
	default:
		return 0, 0, false
	}
	d := buf[i+1 : i+6]
	if !isDigit(d[0]) || !isDigit(d[1]) || d[2] != ':' || !isDigit(d[3]) || !isDigit(d[4]) {
		return 0, 0, false
	}
	h, m := int64(d[0]-'0')*10+int64(d[1]-'0'), int64(d[3]-'0')*10+int64(d[4]-'0')
	if h > 23 || m > 59 {
		return 0, 0, false
	}
	return sign * (h*3600 + m*60), i + 6, true
}

// plainUTC reads a string at i that is an RFC 3339 time of the same date as the last one, in
// UTC and with up to 6 digits of a fraction, into the next row, in microseconds. end is 0 if it is
// something else; then [clock.instant] has to look.
func (c *clock) plainUTC(f *node, src source, i int) (end int) {
	head, rest := src.word(i+1), src.word(i+9)
	if head != c.head || rest&0xffff != c.tail || byte(rest>>16) != 'T' || src.byte(i) != '"' {
		return 0
	}
	sec, ok := clockSeconds(src.word(i + 12))
	if !ok {
		return 0
	}
	us := (c.days*86400 + sec) * 1e6
	if i += 20; src.byte(i) == '.' {
		w := src.word(i + 1)
		n := digitCount(w)
		if n == 0 || n > 6 {
			return 0
		}
		us += int64(eightDigits(w<<((64-8*n)&63)) * pow10[6-n])
		i += 1 + n
	}
	if src.half(i) != 'Z'|'"'<<8 {
		return 0
	}
	f.setWord(uint64(us))
	return i + 2
}

// instant reads the string whose first byte is at i. Of kind TimestampTZ or
// TimestampTZNS it must be an RFC 3339 time, of kind Timestamp or TimestampNS the
// same without a zone, and "T" may be a space. end is the index of its quote. ok
// is false for other text, and if the time is finer than the kind's unit or out
// of its range.
func (c *clock) instant(buf []byte, i int, kind Kind) (v int64, end int, ok bool) {
	days, ok := c.date(buf, i)
	if !ok {
		return 0, 0, false
	}
	zoned := kind == TimestampTZ || kind == TimestampTZNS
	if sep := buf[i+10]; sep != 'T' && (zoned || sep != ' ') {
		return 0, 0, false
	}
	sec, nsec, end, ok := timeOfDay(buf, i+11)
	if ok && zoned {
		var east int64
		east, end, ok = zone(buf, end)
		sec -= east
	}
	if !ok || buf[end] != '"' {
		return 0, 0, false
	}
	sec += days * 86400
	if kind == TimestampNS || kind == TimestampTZNS {
		const limit = math.MaxInt64/1_000_000_000 - 1
		return sec*1e9 + nsec, end, sec >= -limit && sec <= limit
	}
	return sec*1e6 + nsec/1e3, end, nsec%1e3 == 0
}
