// Package gen grows source records for tests and benchmarks from a few real
// ones: every leaf varies, several event types keep their own shapes, the shapes
// drift along the stream, and some records are bad on purpose.
//
// A record is a function of the seed and its index alone, so that any part of
// a stream can be made again, and two processes agree on it.
package gen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Config says what stream to make.
type Config struct {
	// Samples are JSON objects, one a line, to grow records from.
	Samples []byte
	// Seed tells streams apart.
	Seed uint64
	// Records is how many records the shape takes to drift through all its stages; the
	// rest of the stream has the last shape.
	Records int
	// Bad is how many records in 1,000 are bad input: dead letters, tombstones,
	// blanks, and records of several values. Default 0.
	Bad int
	// Start is the time of the first event; each is a few milliseconds after the
	// one before. Default 2026-01-01 UTC.
	Start time.Time
}

// Stream makes records. It is safe for concurrent use.
type Stream struct {
	cfg     Config
	samples []*node
}

// New parses the samples. It refuses a config without any.
func New(cfg Config) (*Stream, error) {
	s := &Stream{cfg: cfg}
	if s.cfg.Start.IsZero() {
		s.cfg.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	d := json.NewDecoder(bytes.NewReader(cfg.Samples))
	d.UseNumber()
	for {
		n, err := parse(d)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("sample %d: %w", len(s.samples), err)
		}
		if n.kind != object {
			return nil, fmt.Errorf("sample %d: is no object", len(s.samples))
		}
		s.samples = append(s.samples, n)
	}
	if len(s.samples) == 0 {
		return nil, errors.New("no samples")
	}
	return s, nil
}

// Append appends the value of record i to b. A tombstone (tomb) has none.
func (s *Stream) Append(b []byte, i int) (value []byte, tomb bool) {
	v := varier{rand.New(rand.NewPCG(s.cfg.Seed, uint64(i))), s.cfg.Start.Add(time.Duration(i) * 3 * time.Millisecond)}
	if v.IntN(1000) < s.cfg.Bad {
		return s.appendBad(b, &v, i)
	}
	return s.appendEvent(b, &v, i), false
}

// appendEvent appends one event in the shape of its place in the stream.
func (s *Stream) appendEvent(b []byte, v *varier, i int) []byte {
	n := s.samples[v.IntN(len(s.samples))]
	b = append(b, '{')
	for k, key := range n.keys {
		b = appendString(b, key)
		b = append(b, ':')
		b = v.append(b, key, n.kids[k])
		b = append(b, ',')
	}
	b = fmt.Appendf(b, `"seq":%d`, i)
	b = s.appendDrift(b, v, i)
	return append(b, '}')
}

// appendDrift appends the members that come and change along the stream. By
// eighths of it: a new column, a new struct, a new member inside the struct, a
// type that flips, a fraction in a column of integers, a number that fits
// nowhere, a list that becomes mixed.
func (s *Stream) appendDrift(b []byte, v *varier, i int) []byte {
	stage := min(8*i/max(s.cfg.Records, 1), 7)
	if stage >= 1 {
		b = fmt.Appendf(b, `,"region":%q`, [...]string{"eu-1", "us-2", "ap-3"}[v.IntN(3)])
	}
	if stage >= 2 {
		b = fmt.Appendf(b, `,"client":{"version":"%d.%d"`, 1+v.IntN(3), v.IntN(20))
		if stage >= 3 {
			b = fmt.Appendf(b, `,"build":%d,"flags":[%t]`, v.IntN(10_000), v.IntN(2) == 0)
		}
		b = append(b, '}')
	}
	b = append(b, `,"weight":`...)
	switch {
	case stage >= 4 && v.IntN(3) == 0:
		b = fmt.Appendf(b, `"%d kg"`, v.IntN(100))
	case stage >= 5 && v.IntN(3) == 0:
		b = fmt.Appendf(b, "%d.%02d", v.IntN(100), 1+v.IntN(99))
	case stage >= 6 && v.IntN(10) == 0:
		b = fmt.Appendf(b, "12345678901234567890%d", v.IntN(10))
	default:
		b = fmt.Appendf(b, "%d", v.IntN(1000))
	}
	b = append(b, `,"tags":["a"`...)
	if stage >= 7 && v.IntN(3) == 0 {
		b = append(b, `,1,{"k":[]}`...)
	}
	b = append(b, ']')
	if v.IntN(4) == 0 {
		b = append(b, `,"nothing":null,"empty":{},"none":[]`...)
	}
	return b
}

// appendBad appends one of the kinds of bad input.
func (s *Stream) appendBad(b []byte, v *varier, i int) (value []byte, tomb bool) {
	switch v.IntN(14) {
	case 0:
		return b, true
	case 1:
		return b, false // empty
	case 2:
		return append(b, " \n"...), false
	case 3: // cut short
		from := len(b)
		b = s.appendEvent(b, v, i)
		return b[:from+(len(b)-from)/2], false
	case 4: // two values
		b = s.appendEvent(b, v, i)
		return s.appendEvent(append(b, '\n'), v, i), false
	case 5: // a bad line between two good ones
		b = append(s.appendEvent(b, v, i), "\n{\"broken\":tru}\n"...)
		return s.appendEvent(b, v, i), false
	case 6:
		return append(s.appendEvent(b, v, i), "garbage"...), false
	case 7:
		return fmt.Appendf(b, `{"seq":%d,"seq":%d}`, i, i+1), false
	case 8:
		return append(b, "{\"type\":\"Bad\",\"text\":\"\xff\xfe\"}"...), false
	case 9:
		return append(s.appendEvent(append(b, '['), v, i), ']'), false
	case 10:
		return fmt.Appendf(b, "%d", i), false
	case 11:
		return fmt.Appendf(b, `{"type":"Bad","seq":%d,"n":NaN}`, i), false
	case 12:
		return fmt.Appendf(b, `{"type":"Bad","seq":%d,}`, i), false
	default: // a row, with what no column can hold
		return fmt.Appendf(b, `{"type":"Odd","seq":%d,"huge":1e400,"lone":"\ud83d","deep":[[[[%d]]]],"a.b":1,"":2,"_fh_x":3}`, i, i), false
	}
}
