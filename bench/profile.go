package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// A phase is part of the way from the broker to the snapshot, and how its frames are
// told.
type phase struct {
	name  string
	parts []string // of a function's name
}

// phases are looked for from the innermost frame outwards: the first that matches
// takes the sample, the earlier phase where a frame matches two.
func phases() []phase {
	const own = "github.com/firehosed/firehosed/"
	const file = own + "internal/parquetfile."
	return []phase{
		{"fetch", []string{own + "consumer/", "github.com/twmb/franz-go/", "github.com/aws/"}},
		{"parse", []string{own + "schema.", own + "pipeline/decode."}},
		{"compress", []string{file + "zstdCodec", file + "(*texts)", file + "(*sequenceCoder)", file + "(*stateTable)", "github.com/klauspost/compress/"}},
		{"encode", []string{file, own + "s3sink."}},
		{"commit", []string{own + "iceberg.", own + "internal/objstore.", "github.com/apache/iceberg-go", "modernc.org/", "database/sql."}},
		{"garbage", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssist", "runtime.gcStart"}},
	}
}

// profiler collects CPU profiles of a worker until it is stopped.
type profiler struct {
	addr string
	stop context.CancelFunc
	done chan error
	all  []*profile.Profile
}

// profileOf reads profiles from the admin address, one after the other.
func profileOf(ctx context.Context, admin string) *profiler {
	ctx, stop := context.WithCancel(ctx)
	p := &profiler{addr: admin, stop: stop, done: make(chan error, 1)}
	go func() {
		for ctx.Err() == nil {
			if err := p.read(ctx); err != nil && ctx.Err() == nil {
				if len(p.all) == 0 {
					time.Sleep(20 * time.Millisecond) // it does not listen yet
					continue
				}
				p.done <- err
				return
			}
		}
		p.done <- nil
	}()
	return p
}

func (p *profiler) read(ctx context.Context) error {
	one, err := fetchProfile(ctx, p.addr, "profile?seconds=1")
	if err != nil {
		return err
	}
	p.all = append(p.all, one)
	return nil
}

// fetchProfile reads a profile from the admin address of a worker.
func fetchProfile(ctx context.Context, admin, what string) (*profile.Profile, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/debug/pprof/"+what, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("profile: %s: %s", res.Status, bytes.TrimSpace(data))
	}
	one, err := profile.ParseData(data)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return one, nil
}

// end stops and returns what was seen, nil if nothing was.
func (p *profiler) end() (*profile.Profile, error) {
	p.stop()
	if err := <-p.done; err != nil || len(p.all) == 0 {
		return nil, err
	}
	return profile.Merge(p.all)
}

// shares returns which part of the samples each phase has, and the rest.
func shares(p *profile.Profile) string {
	all := append(phases(), phase{name: "rest"})
	sums := make([]int64, len(all))
	var total int64
	for _, s := range p.Sample {
		v := s.Value[len(s.Value)-1]
		total += v
		sums[phaseOf(all, s)] += v
	}
	if total == 0 {
		return "no samples"
	}
	var out []string
	for i, ph := range all {
		out = append(out, fmt.Sprintf("%s %d %%", ph.name, (100*sums[i]+total/2)/total))
	}
	return strings.Join(out, ", ")
}

// phaseOf returns the index of a sample's phase: the last is the rest.
func phaseOf(all []phase, s *profile.Sample) int {
	for _, loc := range s.Location { // the innermost is the first
		for _, line := range loc.Line {
			for i, ph := range all {
				if slices.ContainsFunc(ph.parts, func(part string) bool { return strings.HasPrefix(line.Function.Name, part) }) {
					return i
				}
			}
		}
	}
	return len(all) - 1
}

// keep writes the profile to a file, for go tool pprof.
func keep(p *profile.Profile, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.Write(f); err != nil {
		return err
	}
	return f.Close()
}
