package kinesis

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config says which data streams to read and how.
type Config struct {
	// Streams are the data streams to read, by name or ARN. A stream of another
	// account needs its ARN.
	Streams []string `yaml:"streams"`

	// Region of the streams. Default: AWS_REGION or the shared configuration file.
	Region string `yaml:"region"`
	// Endpoint is the base URL of the service: a VPC endpoint, or a compatible
	// service. Default: AWS's own of the region.
	Endpoint string `yaml:"endpoint"`
	// RoleARN is a role to take on, for streams of another account for example.
	// Default: none. The credentials come from AWS's usual chain.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is what the trust policy of RoleARN may ask for. Default: none.
	ExternalID string `yaml:"external_id"`

	// Start is where the very first start begins: "trim_horizon" (default),
	// "latest" or an RFC 3339 time, as Kinesis's shard iterator types. It decides
	// once; shards that appear later are read whole.
	Start string `yaml:"start"`

	// FanOut reads by enhanced fan-out, as the consumer with this name. It is registered
	// if the stream has none such; nobody else may use it. The shards' records are
	// pushed, with 2 MiB a second of each shard for this consumer alone; AWS charges
	// for it. Default: none, shards are polled.
	FanOut string `yaml:"fan_out_consumer"`
	// PollInterval is the time between two GetRecords calls for a shard that has
	// nothing new. A shard with a backlog is read as fast as its limits of 5 calls and
	// 2 MiB a second allow. Default 1s, at least 200ms. Every consumer of a stream
	// without enhanced fan-out shares these limits.
	PollInterval time.Duration `yaml:"poll_interval"`
	// FetchBytes bounds what is fetched and not yet released, over all shards of this
	// source. Default 64 MiB, at least 10 MiB, which is the largest record.
	FetchBytes int64 `yaml:"fetch_bytes"`
	// ShardRefresh is how often streams and their shards are listed. Default 30s, at
	// least 1s. The children of a shard that ends are found at once.
	ShardRefresh time.Duration `yaml:"shard_refresh"`

	// LeaseDuration is how long a silent worker keeps its shards. They are renewed, and
	// group positions written, three times as often. Default 30s, at least 3s.
	LeaseDuration time.Duration `yaml:"lease_duration"`

	// WrongShard says what becomes of an aggregate of the Kinesis Producer Library with
	// a record that belongs to another shard, by its explicit hash key or the MD5 sum
	// of its partition key: "keep" (default), or "drop", as the Kinesis Client Library
	// does. The producer library sends such an aggregate again when it meets a
	// reshard; other producers never do, and their records would be lost.
	WrongShard string `yaml:"kpl_wrong_shard"`

	// Metadata lists the optional columns: timestamp, partition_key, ingested_at.
	// Shard, sequence number and sub are always there. Default none.
	Metadata []string `yaml:"metadata"`
}

// Answers to [Config.WrongShard].
const (
	Keep = "keep"
	Drop = "drop"
)

// Optional metadata columns.
const (
	MetaTimestamp    = "timestamp"
	MetaPartitionKey = "partition_key"
	MetaIngestedAt   = "ingested_at"
)

// Limits of the service.
const (
	maxRecordBytes = 10 << 20 // the largest record, and the most that GetRecords returns beyond one
	shardReads     = 5        // GetRecords calls for each shard and second
	shardBytes     = 2 << 20  // bytes read from each shard and second
)

// MinFetchBytes is the least that Config.FetchBytes may be: the largest record.
const MinFetchBytes = maxRecordBytes

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Start: "trim_horizon", PollInterval: time.Second, FetchBytes: 64 << 20, ShardRefresh: 30 * time.Second,
		LeaseDuration: 30 * time.Second, WrongShard: Keep}
}

// StartTime returns Start as [pipeline.Config] wants it: the zero time for
// trim_horizon, a time that never comes for latest.
func (c Config) StartTime() (time.Time, error) {
	switch c.Start {
	case "", "trim_horizon":
		return time.Time{}, nil
	case "latest":
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), nil
	}
	t, err := time.Parse(time.RFC3339, c.Start)
	if err != nil {
		return time.Time{}, fmt.Errorf("start: %q is none of trim_horizon, latest or a time such as 2026-01-31T00:00:00Z", c.Start)
	}
	return t, nil
}

// As the service has them.
var (
	streamName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	streamARN  = regexp.MustCompile(`^arn:[^:]+:kinesis:[a-zA-Z0-9-]+:\d{12}:stream/[a-zA-Z0-9_.-]{1,128}$`)
)

// Validate reports every problem at once, by key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Streams) == 0 {
		bad("streams: none given; write at least one name or ARN")
	}
	for i, s := range c.Streams {
		if !streamName.MatchString(s) && !streamARN.MatchString(s) {
			bad("streams: %q is neither a name of up to 128 of A-Z a-z 0-9 _ . - nor an ARN such as arn:aws:kinesis:eu-north-1:123456789012:stream/orders", s)
		} else if slices.Index(c.Streams, s) != i {
			bad("streams: %q is listed twice", s)
		}
	}
	if c.ExternalID != "" && c.RoleARN == "" {
		bad("external_id: set without role_arn")
	}
	if _, err := c.StartTime(); err != nil {
		errs = append(errs, err)
	}
	if c.FanOut != "" && !streamName.MatchString(c.FanOut) {
		bad("fan_out_consumer: %q is no name of up to 128 of A-Z a-z 0-9 _ . -", c.FanOut)
	}
	if c.PollInterval < time.Second/shardReads {
		bad("poll_interval: %v is below the minimum of 200ms", c.PollInterval)
	}
	if c.FetchBytes < maxRecordBytes {
		bad("fetch_bytes: %d is below the minimum of 10MiB", c.FetchBytes)
	}
	if c.ShardRefresh < time.Second {
		bad("shard_refresh: %v is below the minimum of 1s", c.ShardRefresh)
	}
	if c.LeaseDuration < 3*time.Second {
		bad("lease_duration: %v is below the minimum of 3s", c.LeaseDuration)
	}
	if c.WrongShard != Keep && c.WrongShard != Drop {
		bad("kpl_wrong_shard: %q is neither keep nor drop", c.WrongShard)
	}
	known := []string{MetaTimestamp, MetaPartitionKey, MetaIngestedAt}
	for _, m := range c.Metadata {
		if !slices.Contains(known, m) {
			bad("metadata: %q is none of %s", m, strings.Join(known, ", "))
		}
	}
	return errors.Join(errs...)
}

// StreamName returns the name of a stream that is given by name or ARN.
func StreamName(stream string) string {
	if _, name, ok := strings.Cut(stream, ":stream/"); ok {
		return name
	}
	return stream
}
