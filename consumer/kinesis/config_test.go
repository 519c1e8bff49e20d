package kinesis

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidate(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		cfg := DefaultConfig()
		cfg.Streams = []string{"orders", "arn:aws:kinesis:eu-north-1:123456789012:stream/orders"}
		change(&cfg)
		got := ""
		if err := cfg.Validate(); err != nil {
			got = err.Error()
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	f(func(*Config) {}, "")
	f(func(c *Config) { c.Streams = nil }, "streams: none given; write at least one name or ARN")
	f(func(c *Config) { c.Streams = []string{"a", "a"} }, `streams: "a" is listed twice`)
	f(func(c *Config) { c.Streams = []string{"a/b"} },
		`streams: "a/b" is neither a name of up to 128 of A-Z a-z 0-9 _ . - nor an ARN such as arn:aws:kinesis:eu-north-1:123456789012:stream/orders`)
	f(func(c *Config) { c.Start, c.ExternalID = "earliest", "x" }, "external_id: set without role_arn\n"+
		`start: "earliest" is none of trim_horizon, latest or a time such as 2026-01-31T00:00:00Z`)
	f(func(c *Config) {
		c.PollInterval, c.FetchBytes, c.ShardRefresh, c.LeaseDuration = time.Millisecond, 1, 1, 1
	},
		"poll_interval: 1ms is below the minimum of 200ms\nfetch_bytes: 1 is below the minimum of 10MiB\nshard_refresh: 1ns is below the minimum of 1s\n"+
			"lease_duration: 1ns is below the minimum of 3s")
	f(func(c *Config) { c.FanOut = "a b" }, `fan_out_consumer: "a b" is no name of up to 128 of A-Z a-z 0-9 _ . -`)
	f(func(c *Config) { c.WrongShard, c.Metadata = "lose", []string{"timestamp", "headers"} },
		`kpl_wrong_shard: "lose" is neither keep nor drop`+"\n"+`metadata: "headers" is none of timestamp, partition_key, ingested_at`)
}

func TestStartTime(t *testing.T) {
	f := func(start string, want time.Time) {
		t.Helper()
		if got, err := (Config{Start: start}).StartTime(); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", start, got, err, want)
		}
	}
	f("trim_horizon", time.Time{})
	f("2026-01-31T00:00:00Z", time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC))
	if got, _ := (Config{Start: "latest"}).StartTime(); !got.After(time.Now()) {
		t.Errorf("latest is %v", got)
	}
}
