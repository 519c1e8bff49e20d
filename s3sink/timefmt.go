package s3sink

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timePattern is a pattern of Java's DateTimeFormatter, the language of
// !{timestamp:...}. It prints what Java 17 prints in the locale en_US:
//
//	u y Y    year, year of era, year of the week: u as is, uu its last two digits, uuuu padded
//	M L Q q  month, quarter: 7, 07, Jul, July, J; 3, 03, Q3, 3rd quarter, 3
//	d D      day of the month, of the year
//	w W      week of the year that Y prints, week of the month; weeks begin on Sunday
//	E e c    day of the week: Mon, Monday, M; e and c also as a number, Sunday is 1
//	a        AM or PM
//	H k K h  hour: 0-23, 1-24, 0-11, 1-12
//	m s S    minute, second, fraction of a second in as many digits as there are letters
//	VV       name of the time zone
//	x X Z    offset: x +09, xx +0900, xxx +09:00; X has Z for +00; Z as xx
//
// Text in single quotes is taken literally, two of them are a quote. Everything else that is no
// letter and not one of [ ] { } # stands for itself.
type timePattern []timeField

// timeField prints one run of a letter, or text if letter is 0.
type timeField struct {
	letter byte
	count  int
	text   string
}

// longest runs that Java accepts of the letters that are printed here. 19 is the
// widest number that it pads to.
var longestRun = map[byte]int{
	'u': 19, 'y': 19, 'Y': 19, 'M': 5, 'L': 5, 'Q': 5, 'q': 5, 'd': 2, 'D': 3, 'w': 2, 'W': 1, 'E': 5, 'e': 5, 'c': 5,
	'a': 1, 'H': 2, 'k': 2, 'K': 2, 'h': 2, 'm': 2, 's': 2, 'S': 9, 'V': 2, 'x': 5, 'X': 5, 'Z': 5,
}

// parseTimePattern checks a pattern. Errors name the letter and its position, counted
// from 1.
func parseTimePattern(s string) (timePattern, error) {
	var p timePattern
	text := func(t string) {
		if n := len(p) - 1; n >= 0 && p[n].letter == 0 {
			p[n].text += t
		} else {
			p = append(p, timeField{text: t})
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\'':
			lit, n, ok := quoted(s[i:])
			if !ok {
				return nil, fmt.Errorf("timestamp pattern %q: the quote at position %d is not closed: add a ' after the literal text", s, i+1)
			}
			text(lit)
			i += n
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(s) && s[i+n] == c {
				n++
			}
			if err := checkRun(s, i, n); err != nil {
				return nil, err
			}
			p = append(p, timeField{letter: c, count: n})
			i += n
		case strings.IndexByte("[]{}#", c) >= 0:
			return nil, fmt.Errorf("timestamp pattern %q: %q at position %d is reserved: put it in single quotes to have it as text", s, c, i+1)
		default:
			text(s[i : i+1])
			i++
		}
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("timestamp pattern is empty: write one such as yyyy/MM/dd/HH")
	}
	return p, nil
}

// quoted reads the literal that s begins with, and returns how long it is in s.
func quoted(s string) (lit string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		if i == 1 {
			return "'", 2, true
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}

func checkRun(s string, i, n int) error {
	c := s[i]
	most, ok := longestRun[c]
	switch {
	case !ok:
		return fmt.Errorf("timestamp pattern %q: letter %q at position %d is not supported: use letters of uyYMLQqdDwWEecaHkKhmsSVxXZ, "+
			"or quote it to have it as text", s, c, i+1)
	case n > most:
		return fmt.Errorf("timestamp pattern %q: %d letters %q at position %d: at most %d are allowed", s, n, c, i+1, most)
	case c == 'V' && n != 2:
		return fmt.Errorf("timestamp pattern %q: letter 'V' at position %d must come twice", s, i+1)
	case c == 'c' && n == 2:
		return fmt.Errorf("timestamp pattern %q: letter 'c' at position %d cannot come twice: write ee", s, i+1)
	case c == 'Z' && n == 4:
		return fmt.Errorf("timestamp pattern %q: ZZZZ at position %d is not supported: write xxx or ZZZZZ", s, i+1)
	}
	return nil
}

// append prints t in its own zone.
func (p timePattern) append(dst []byte, t time.Time) []byte {
	for _, f := range p {
		if f.letter == 0 {
			dst = append(dst, f.text...)
		} else {
			dst = f.append(dst, t)
		}
	}
	return dst
}

func (f timeField) append(dst []byte, t time.Time) []byte {
	switch f.letter {
	case 'u':
		return appendYear(dst, t.Year(), f.count)
	case 'y':
		y := t.Year()
		if y <= 0 { // there is no year 0: it is 1 before Christ
			y = 1 - y
		}
		return appendYear(dst, y, f.count)
	case 'Y':
		y, _ := weekOfYear(t)
		return appendYear(dst, y, f.count)
	case 'M', 'L':
		return appendName(dst, int(t.Month()), f.count, t.Month().String())
	case 'Q', 'q':
		return appendQuarter(dst, (int(t.Month())+2)/3, f)
	case 'E':
		return appendName(dst, 0, max(f.count, 3), t.Weekday().String())
	case 'e', 'c':
		return appendName(dst, int(t.Weekday())+1, f.count, t.Weekday().String())
	case 'a':
		if t.Hour() < 12 {
			return append(dst, "AM"...)
		}
		return append(dst, "PM"...)
	case 'S':
		return append(dst, fmt.Sprintf("%09d", t.Nanosecond())[:f.count]...)
	case 'V':
		return append(dst, t.Location().String()...)
	case 'x', 'X', 'Z':
		return appendOffset(dst, t, f)
	}
	return appendPadded(dst, f.number(t), f.count)
}

// number returns what the letters print that stand for a number of at most three digits.
func (f timeField) number(t time.Time) int {
	switch f.letter {
	case 'd':
		return t.Day()
	case 'D':
		return t.YearDay()
	case 'w':
		_, w := weekOfYear(t)
		return w
	case 'W':
		return (t.Day()-1+int(t.AddDate(0, 0, 1-t.Day()).Weekday()))/7 + 1
	case 'H':
		return t.Hour()
	case 'k':
		return (t.Hour()+23)%24 + 1
	case 'K':
		return t.Hour() % 12
	case 'h':
		return (t.Hour()+11)%12 + 1
	case 'm':
		return t.Minute()
	case 's':
		return t.Second()
	}
	panic(fmt.Sprintf("BUG: letter %q passed the check and is not printed", f.letter))
}

// weekOfYear returns the year and week that a day is in where weeks begin on Sunday
// and the week with 1 January is the first, as in en_US.
func weekOfYear(t time.Time) (year, week int) {
	saturday := t.AddDate(0, 0, int(time.Saturday-t.Weekday()))
	return saturday.Year(), (saturday.YearDay()-1)/7 + 1
}

// appendYear prints a year as Java does: two letters are its last two digits, four and
// more pad, with a sign where a year needs more digits than that.
func appendYear(dst []byte, y, count int) []byte {
	if count == 2 {
		return appendPadded(dst, max(y, -y)%100, 2)
	}
	if y < 0 {
		dst = append(dst, '-')
		y = -y
	} else if count >= 4 && len(strconv.Itoa(y)) > count {
		dst = append(dst, '+')
	}
	return appendPadded(dst, y, count)
}

// appendName prints a number for one and two letters, else a name: short, whole or its
// first letter.
func appendName(dst []byte, n, count int, name string) []byte {
	switch count {
	case 3:
		return append(dst, name[:3]...)
	case 4:
		return append(dst, name...)
	case 5:
		return append(dst, name[0])
	}
	return appendPadded(dst, n, count)
}

func appendQuarter(dst []byte, n int, f timeField) []byte {
	switch f.count {
	case 3:
		dst = append(dst, 'Q')
	case 4:
		return append(dst, [...]string{"1st", "2nd", "3rd", "4th"}[n-1]+" quarter"...)
	case 2:
		return appendPadded(dst, n, 2)
	}
	return appendPadded(dst, n, 1)
}

func appendPadded(dst []byte, n, width int) []byte {
	s := strconv.Itoa(n)
	for i := len(s); i < width; i++ {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

func appendOffset(dst []byte, t time.Time, f timeField) []byte {
	_, off := t.Zone()
	count := f.count
	if f.letter == 'Z' { // Z, ZZ, ZZZ are xx; ZZZZZ is XXXXX
		if count < 5 {
			count = 2
		}
	}
	if off == 0 && (f.letter == 'X' || f.letter == 'Z' && count == 5) {
		return append(dst, 'Z')
	}
	if off < 0 {
		dst = append(dst, '-')
		off = -off
	} else {
		dst = append(dst, '+')
	}
	h, m, s := off/3600, off/60%60, off%60
	dst = appendPadded(dst, h, 2)
	if count == 1 && m == 0 {
		return dst
	}
	colon := count == 3 || count == 5
	if colon {
		dst = append(dst, ':')
	}
	dst = appendPadded(dst, m, 2)
	if count >= 4 && s != 0 {
		if colon {
			dst = append(dst, ':')
		}
		dst = appendPadded(dst, s, 2)
	}
	return dst
}
