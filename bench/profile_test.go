package main

import (
	"testing"

	"github.com/google/pprof/profile"
)

// TestPhases checks that the innermost frame with a phase decides.
func TestPhases(t *testing.T) {
	const own = "github.com/firehosed/firehosed/"
	stack := func(v int64, names ...string) *profile.Sample {
		s := &profile.Sample{Value: []int64{1, v}}
		for _, n := range names {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: n}}}})
		}
		return s
	}
	p := &profile.Profile{Sample: []*profile.Sample{
		stack(10, "runtime.memmove", own+"consumer/kafka.(*reader).Next", own+"pipeline.(*lane).live"),
		stack(20, "runtime.memmove", own+"schema.(*reader).text", own+"pipeline.(*lane).live"),
		stack(10, own+"internal/parquetfile.(*texts).between", own+"internal/parquetfile.(*encoder).page"),
		stack(20, "github.com/klauspost/compress/zstd.(*Encoder).EncodeAll", own+"internal/parquetfile.zstdCodec.Encode", own+"internal/parquetfile.(*encoder).page", own+"iceberg.(*dataFile).close"),
		stack(15, own+"internal/parquetfile.(*encoder).data", own+"iceberg.(*dataFile).close"),
		stack(10, "syscall.write", own+"internal/objstore.(*localWriter).Write", own+"internal/parquetfile.(*encoder).write"),
		stack(5, "runtime.scanObject", "runtime.gcBgMarkWorker"),
		stack(10, own+"pipeline.(*lane).live"),
	}}
	const want = "fetch 10 %, parse 20 %, compress 30 %, encode 15 %, commit 10 %, garbage 5 %, rest 10 %"
	if got := shares(p); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
