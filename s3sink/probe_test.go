package s3sink

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/internal/awscfg"
	ctlstore "github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
	"github.com/firehosed/firehosed/pipeline"
)

// odd is a bucket that lacks something.
type odd struct {
	*objstore.Memory
	early, small, forgets bool
	days                  int
}

func (b odd) Complete(ctx context.Context, u objstore.Upload) error {
	err := b.Memory.Complete(ctx, u)
	if b.small {
		_, err = b.Put(ctx, u.Key, nil, objstore.Always)
	}
	return err
}

func (b odd) Stat(ctx context.Context, key string) (objstore.Object, error) {
	o, err := b.Memory.Stat(ctx, key)
	if b.early {
		return o, nil
	}
	if b.forgets {
		o.Owner = ""
	}
	return o, err
}

func (b odd) AbortsUploads(context.Context, string) (time.Duration, string, error) {
	return time.Duration(b.days) * 24 * time.Hour, "tidy", nil
}

func TestProbe(t *testing.T) {
	f := func(b odd, want, warns string) {
		t.Helper()
		w := newWorld(t)
		k := w.worker()
		b.Memory = k.bucket
		var log bytes.Buffer
		k.sink.bucket, k.sink.log = b, slog.New(slog.NewTextHandler(&log, nil))
		err := k.sink.Probe(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Probe = %v, want %q", err, want)
		}
		if got := log.String(); (got == "") != (warns == "") || !strings.Contains(got, warns) {
			t.Errorf("it warns %q, want %q", got, warns)
		}
		if want != "" {
			return
		}
		for o := range w.bucket.List(t.Context(), "", "") {
			t.Errorf("%s is left", o.Key)
		}
	}
	f(odd{}, "", "")
	f(odd{days: 3}, "", "")
	f(odd{days: 2}, "", "rule=tidy after=48h0m0s prefix=data/")
	f(odd{early: true}, "keep an upload out of sight", "")
	f(odd{small: true}, "show an object whole", "")
	f(odd{forgets: true}, "keep the user metadata", "")
	k := newWorld(t).worker()
	k.bucket.SetFaults(fail("complete", "probe", 2, objstore.Fail))
	if err := k.sink.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "and once more") {
		t.Errorf("Probe = %v", err)
	}
}

// TestSpillIsAdvised: who partitions on S3 without a spill folder is told what comes of it.
func TestSpillIsAdvised(t *testing.T) {
	s := objstoretest.NewS3(t)
	for _, c := range []struct {
		prefix, spill string
		want          bool
	}{{"p=!{partitionKeyFromQuery:p}/", "", true}, {"p=!{partitionKeyFromQuery:p}/", t.TempDir(), false}, {"data/", "", false}} {
		var log bytes.Buffer
		cfg := DefaultConfig()
		cfg.Bucket, cfg.Prefix, cfg.ErrorOutputPrefix, cfg.SpillFolder = "s3://"+s.Bucket, c.prefix, "failed/", c.spill
		cfg.S3 = objstore.Config{AWS: awscfg.Config{Region: "eu-north-1", Endpoint: s.Endpoint, AccessKeyID: "AK", SecretAccessKey: "SECRET"}, PathStyle: true}
		sink, err := New(cfg, pipeline.NewControl(ctlstore.New(objstore.NewMemory()), "p", "w"), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "spill_folder"); got != c.want {
			t.Errorf("%s, %q: advised %v: %s", c.prefix, c.spill, got, &log)
		}
	}
}
