package s3sink

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTimePatternsAsJava compares with what Java 17 printed: java TimePatterns.java > timepatterns.txt, in testdata.
func TestTimePatternsAsJava(t *testing.T) {
	want, err := os.ReadFile("testdata/timepatterns.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[byte]bool{}
	for line := range strings.Lines(string(want)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		sec, err1 := strconv.ParseInt(f[2], 10, 64)
		nano, err2 := strconv.ParseInt(f[3], 10, 64)
		zone, err3 := time.LoadLocation(f[1])
		p, err4 := parseTimePattern(f[0])
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			t.Fatal(line, err1, err2, err3, err4)
		}
		for _, field := range p {
			seen[field.letter] = true
		}
		if got := string(p.append(nil, time.Unix(sec, nano).In(zone))); got != f[4] {
			t.Errorf("%s at %s in %s: got %q, Java has %q", f[0], time.Unix(sec, nano).UTC(), f[1], got, f[4])
		}
	}
	for letter := range longestRun {
		if !seen[letter] {
			t.Errorf("letter %q has no line in timepatterns.txt", letter)
		}
	}
}

func TestTimePatternErrors(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		if _, err := parseTimePattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", pattern, err, want)
		}
	}
	f("", "empty")
	f("yyyy/bb", `letter 'b' at position 6 is not supported`)
	f("'year='yyyy'/month='MM'/day='dd'/hour='HH'", "the quote at position 42 is not closed") // once AWS's own example
	for _, letter := range "GgFBAnNvzOpijlortCIJPRTUbf" {
		f("yyyy"+string(letter), "letter '"+string(letter)+"' at position 5 is not supported")
	}
	f("yyyy[MM]", `'[' at position 5 is reserved`)
	f("yyyy{", `'{' at position 5 is reserved`)
	f("#", `'#' at position 1 is reserved`)
	f("ddd", `3 letters 'd' at position 1: at most 2 are allowed`)
	f("HHmmmm", `4 letters 'm' at position 3: at most 2 are allowed`)
	f("SSSSSSSSSS", `10 letters 'S'`)
	f("yyyyyyyyyyyyyyyyyyyy", `20 letters 'y'`)
	f("V", `letter 'V' at position 1 must come twice`)
	f("cc", `write ee`)
	f("ZZZZ", `write xxx`)
}

func FuzzTimePattern(f *testing.F) {
	f.Add("yyyy/MM/dd/HH", int64(0))
	f.Add("'year='yyyy'''", int64(1<<62))
	f.Fuzz(func(_ *testing.T, s string, us int64) {
		if p, err := parseTimePattern(s); err == nil {
			p.append(nil, time.UnixMicro(us).UTC())
		}
	})
}
