package schema

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"
)

// events returns real records, nested, of some ten types, until there are n.
func events(b *testing.B, n int) [][]byte {
	b.Helper()
	text, err := os.ReadFile("testdata/github-events.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	r := rand.New(rand.NewPCG(1, 2))
	units := make([][]byte, n)
	for i := range units {
		units[i] = varied(r, lines[r.IntN(len(lines))])
	}
	return units
}

// varied returns a record with other digits in it, their number and first one
// kept.
func varied(r *rand.Rand, rec []byte) []byte {
	out := bytes.Clone(rec)
	for i := 1; i < len(out); i++ {
		if isDigit(out[i]) && isDigit(out[i-1]) && (i < 2 || out[i-2] != ':' && out[i-2] != '-' && out[i-2] != 'T') {
			out[i] = '0' + byte(r.IntN(6))
		}
	}
	return out
}

// telemetry returns flat records of twelve members.
func telemetry(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	units := make([][]byte, n)
	for i := range units {
		units[i] = fmt.Appendf(nil, `{"ts":"2026-11-23T%02d:%02d:%02d.%03dZ","device_id":"dev-%06d","site":"fra%d","seq":%d,"temp_c":%.2f,`+
			`"humidity":%.1f,"pressure_hpa":%.3f,"battery_mv":%d,"rssi":%d,"status":"ok","fw":"2.4.%d","alarm":%v}`,
			i/3600%24, i/60%60, i%60, r.IntN(1000), r.IntN(5000), r.IntN(9), 1_000_000+i, 15+20*r.Float64(),
			100*r.Float64(), 980+60*r.Float64(), 3300+r.IntN(900), -40-r.IntN(60), r.IntN(3), r.IntN(100) == 0)
	}
	return units
}

// sparse returns records that have 5 of 900 members each.
func sparse(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	units := make([][]byte, n)
	for i := range units {
		b := []byte(`{"id":1`)
		k := r.IntN(180)
		for j := range 5 {
			b = fmt.Appendf(b, `,"member_%03d":"%d"`, k+180*j, r.IntN(1e6))
		}
		units[i] = append(b, '}')
	}
	return units
}

// logs returns flat records that have a third of 95 members each, in one order.
func logs(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	units := make([][]byte, n)
	for i := range units {
		b := fmt.Appendf(nil, `{"time":"2026-11-23T%02d:%02d:%02d.%03dZ"`, i/3600%24, i/60%60, i%60, r.IntN(1000))
		for f := range 95 {
			if r.IntN(95) >= 33 {
				continue
			}
			b = fmt.Appendf(b, `,"%s_%02d":`, [...]string{"http", "k8s", "app", "db", "net"}[f%5], f)
			switch f % 6 {
			case 0:
				b = fmt.Appendf(b, "%d", r.IntN(100_000))
			case 1:
				b = fmt.Appendf(b, "%.3f", r.Float64()*1000)
			case 2:
				b = fmt.Appendf(b, "%t", r.IntN(2) == 0)
			case 3:
				b = fmt.Appendf(b, `"%016x"`, r.Uint64())
			case 4:
				b = fmt.Appendf(b, "%q", [...]string{"GET", "POST", "PUT", "DELETE", "OPTIONS"}[r.IntN(5)])
			default:
				b = fmt.Appendf(b, `"/api/v2/%s/%d/items"`, [...]string{"users", "orders", "carts"}[r.IntN(3)], r.IntN(10_000))
			}
		}
		units[i] = append(b, '}')
	}
	return units
}

func BenchmarkDecode(b *testing.B) {
	for _, set := range []struct {
		name  string
		units [][]byte
		given bool // the table has the columns
	}{
		{"flat", telemetry(4096), true},
		{"nested", events(b, 1024), true},
		{"sparse", sparse(4096), true},
		{"logs", logs(1300), true},
		{"infer", events(b, 1024), false},
		{"rescue", events(b, 1024), false},
	} {
		b.Run(set.name, func(b *testing.B) {
			opt := Options{}
			if set.name == "rescue" {
				opt.MaxColumns = 1
			}
			d := NewDecoder(opt)
			var s *Schema
			o := d.Decode(set.units, nil, nil)
			if o.Data.Release(); set.given {
				s = numbered(o.Want)
				b.ReportMetric(float64(Leaves(s.Fields)), "columns")
			}
			size := 0
			for _, u := range set.units {
				size += len(u)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			defer perCPU(b, size)()
			for b.Loop() {
				o := d.Decode(set.units, s, nil)
				if len(o.Rejects) > 0 || set.given && o.Want != nil {
					b.Fatal(o.Rejects, show(o.Want))
				}
				o.Data.Release()
			}
		})
	}
}

// perCPU reports megabytes per second of processor time, which other load on the
// machine changes less than it does the clock's.
func perCPU(b *testing.B, size int) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin := used()
	return func() {
		b.ReportMetric(float64(size)*float64(b.N)/1e6/(used()-begin).Seconds(), "MB/cpu-s")
	}
}

func BenchmarkSplit(b *testing.B) {
	units := events(b, 1024)
	size := 0
	for _, u := range units {
		size += len(u)
	}
	s := NewSplitter(Options{})
	b.SetBytes(int64(size))
	b.ReportAllocs()
	defer perCPU(b, size)()
	for b.Loop() {
		for _, rec := range units {
			s.Open(rec)
			for u, ok := s.Next(); ok; u, ok = s.Next() {
				if u.Reject != nil {
					b.Fatal(u.Reject)
				}
				if _, ok := s.Scalar([]string{"type"}); !ok {
					b.Fatalf("no type in %.200q", u.Value)
				}
			}
		}
	}
}
