// Package data makes the records that the benchmarks read: four sets of real shape, the same ones for the same seed.
package data

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/firehosed/firehosed/integration/gen"
)

// A Set appends record i.
type Set func(b []byte, i int) []byte

// New returns set A (flat telemetry of 12 fields), B (events of GitHub, nested, 566 columns), C (logs with 33 of 95
// fields) or D (tweets: nested, with Japanese text and escapes).
func New(name string, seed uint64) (Set, error) {
	switch name {
	case "A":
		return telemetry(seed), nil
	case "B":
		return events(seed)
	case "C":
		return logs(seed), nil
	case "D":
		return tweets(seed), nil
	}
	return nil, fmt.Errorf("no data set is called %q: A, B, C or D", name)
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func telemetry(seed uint64) Set {
	return func(b []byte, i int) []byte {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		b = start.Add(time.Duration(i)*time.Millisecond).AppendFormat(append(b, `{"ts":"`...), "2006-01-02T15:04:05.000Z")
		return fmt.Appendf(b, `","device_id":"dev-%06d","site":%q,"seq":%d,"temp_c":%.2f,"humidity":%.1f,"pressure_hpa":%.3f,`+
			`"battery_mv":%d,"rssi":%d,"status":%q,"fw":%q,"alarm":%t}`,
			r.IntN(5000), pick(r, "fra1", "iad2", "sin1", "gru1", "syd1", "nrt2"), 1_000_000+i, 15+r.Float64()*20, r.Float64()*100,
			980+r.Float64()*60, 3300+r.IntN(900), -40-r.IntN(60), pick(r, "ok", "ok", "ok", "ok", "degraded", "offline"),
			pick(r, "2.4.1", "2.4.0", "2.3.9"), r.IntN(100) == 0)
	}
}

func events(seed uint64) (Set, error) {
	_, here, _, _ := runtime.Caller(0)
	samples, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../integration/testdata/github-events.ndjson"))
	if err != nil {
		return nil, err
	}
	s, err := gen.New(gen.Config{Samples: samples, Seed: seed, Records: 1 << 40})
	if err != nil {
		return nil, err
	}
	return func(b []byte, i int) []byte {
		b, _ = s.Append(b, i)
		return b
	}, nil
}

func logs(seed uint64) Set {
	const fields, present = 95, 33
	return func(b []byte, i int) []byte {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		b = start.Add(time.Duration(i)*time.Millisecond).AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
		b = append(b, '"')
		for f := range fields {
			if r.IntN(fields) >= present {
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
				b = fmt.Appendf(b, "%q", pick(r, "GET", "POST", "PUT", "DELETE", "OPTIONS"))
			default:
				b = fmt.Appendf(b, `"/api/v2/%s/%d/items"`, pick(r, "users", "orders", "carts"), r.IntN(10_000))
			}
		}
		return append(b, '}')
	}
}
