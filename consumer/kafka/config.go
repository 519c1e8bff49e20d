package kafka

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config says which topics to read and how.
type Config struct {
	// Brokers are the addresses to begin with, host:port. The others are learned.
	Brokers []string `yaml:"brokers"`
	// Topics are the topics to read, by name.
	Topics []string `yaml:"topics"`
	// TopicsRegex reads every topic whose whole name matches, also those made
	// later, in place of Topics. RE2 syntax; Kafka's internal topics never match.
	TopicsRegex string `yaml:"topics_regex"`

	// Group is the consumer group, Kafka's group.id. Default: the pipeline's name.
	Group string `yaml:"group"`
	// GroupProtocol is how the group shares partitions out: "classic" (default,
	// cooperative-sticky) or "consumer" (KIP-848, Kafka 4.0 or newer).
	GroupProtocol string `yaml:"group_protocol"`
	// InstanceID makes this worker a static member (group.instance.id): it keeps
	// its partitions over a restart shorter than SessionTimeout. Every worker needs
	// its own. Default: none.
	InstanceID string `yaml:"instance_id"`
	// SessionTimeout is how long a silent worker keeps its partitions
	// (session.timeout.ms). Default 45s, at least 1s. The broker has limits of its
	// own, and decides alone under the consumer protocol.
	SessionTimeout time.Duration `yaml:"session_timeout"`

	// Start is where the very first start begins: "earliest" (default), "latest" or
	// an RFC 3339 time. It decides once; partitions added later are read whole.
	Start string `yaml:"start"`

	// ClientID names this client in the broker's logs and quotas. Default firehosed.
	ClientID string `yaml:"client_id"`
	// Rack lets brokers serve fetches from a replica close by (client.rack).
	Rack string `yaml:"rack"`

	// FetchBytes bounds what is fetched and not yet released, over all partitions of
	// this source. Default 64 MiB, at least 1 MiB; a single larger record still
	// passes. More helps on links with a long round trip, less when many pipelines
	// share a node. Kafka's fetch.max.bytes bounds one response instead.
	FetchBytes int64 `yaml:"fetch_bytes"`
	// FetchMaxWait is how long a broker may wait for records before it answers
	// (fetch.max.wait.ms). Default 500ms.
	FetchMaxWait time.Duration `yaml:"fetch_max_wait"`
	// MaxBatchBytes bounds what a producer's compressed batch may decompress to; a
	// larger one halts its partition. Default 128 MiB.
	MaxBatchBytes int64 `yaml:"max_batch_bytes"`
	// MetadataMaxAge is how often topics, their ids and leaders are looked up
	// (metadata.max.age.ms). New topics and partitions show after this. Default 10s.
	MetadataMaxAge time.Duration `yaml:"metadata_max_age"`

	// Metadata lists the optional columns: key, headers, timestamp, ingested_at.
	// Topic, topic id, partition, offset and sub are always there. Default none.
	Metadata []string `yaml:"metadata"`

	TLS  TLSConfig  `yaml:"tls"`
	SASL SASLConfig `yaml:"sasl"`
}

// TLSConfig says how to encrypt connections.
type TLSConfig struct {
	// Enabled turns TLS on. Default false, true if another key of tls is set.
	Enabled bool `yaml:"enabled"`
	// CAFile holds the authorities that brokers must be signed by, PEM. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile holds this client's certificate, PEM. It is read afresh for every
	// connection. Default: none.
	CertFile string `yaml:"cert_file"`
	// KeyFile holds the key of this client's certificate, PEM. Default: none.
	KeyFile string `yaml:"key_file"`
	// ServerName is what the brokers' certificates must be for. Default: each broker's host.
	ServerName string `yaml:"server_name"`
}

func (c TLSConfig) on() bool {
	return c.Enabled || c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" || c.ServerName != ""
}

// SASL mechanisms.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
	AWSMSKIAM   = "AWS_MSK_IAM"
)

// SASLConfig says how to authenticate.
type SASLConfig struct {
	// Mechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM.
	// Default: none, no authentication.
	Mechanism string `yaml:"mechanism"`
	// Username is for PLAIN and SCRAM.
	Username string `yaml:"username"`
	// Password is for PLAIN and SCRAM. It is read afresh for every connection, so that
	// it can be rotated.
	Password Secret `yaml:"password"`

	// TokenURL is where OAUTHBEARER tokens come from, with OAuth's client credentials.
	// It must be https, unless it is loopback.
	TokenURL string `yaml:"token_url"`
	// ClientID is the client for TokenURL.
	ClientID string `yaml:"client_id"`
	// ClientSecret is the secret of ClientID, read afresh for every token.
	ClientSecret Secret `yaml:"client_secret"`
	// Scope is what to ask TokenURL for. Default: none.
	Scope string `yaml:"scope"`

	// Region is the region for AWS_MSK_IAM. Default: the one in the broker's name,
	// else AWS_REGION. The credentials come from AWS's usual chain.
	Region string `yaml:"region"`
	// RoleARN is a role to take on for AWS_MSK_IAM. Default: none.
	RoleARN string `yaml:"role_arn"`
}

// Secret reads a secret afresh. In a configuration it is a reference, {env: NAME}
// or {file: PATH}. It never prints.
type Secret func() (string, error)

// Text returns a secret that is known already.
func Text(s string) Secret { return func() (string, error) { return s, nil } }

const redacted = "[secret]"

// String returns a placeholder.
func (Secret) String() string { return redacted }

// GoString returns a placeholder.
func (Secret) GoString() string { return redacted }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Protocols of groups.
const (
	Classic  = "classic"
	Consumer = "consumer"
)

// Optional metadata columns.
const (
	MetaKey        = "key"
	MetaHeaders    = "headers"
	MetaTimestamp  = "timestamp"
	MetaIngestedAt = "ingested_at"
)

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		GroupProtocol: Classic, SessionTimeout: 45 * time.Second, Start: "earliest", ClientID: "firehosed",
		FetchBytes: 64 << 20, FetchMaxWait: 500 * time.Millisecond, MaxBatchBytes: 128 << 20, MetadataMaxAge: 10 * time.Second,
	}
}

// StartTime returns Start as [pipeline.Config] wants it: the zero time for
// earliest, a time that never comes for latest.
func (c Config) StartTime() (time.Time, error) {
	switch c.Start {
	case "", "earliest":
		return time.Time{}, nil
	case "latest":
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), nil
	}
	t, err := time.Parse(time.RFC3339, c.Start)
	if err != nil {
		return time.Time{}, fmt.Errorf("start: %q is none of earliest, latest or a time such as 2026-01-31T00:00:00Z", c.Start)
	}
	return t, nil
}

// Validate reports every problem at once, by key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		bad("brokers: none given; write at least one host:port")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			bad("brokers: %q is no address; write host:port, such as kafka-1.example.com:9092", b)
		}
	}
	if (len(c.Topics) == 0) == (c.TopicsRegex == "") {
		bad("topics: give either topics or topics_regex")
	}
	for i, t := range c.Topics {
		if err := checkTopic(t); err != nil {
			bad("topics: %w", err)
		} else if slices.Index(c.Topics, t) != i {
			bad("topics: %q is listed twice", t)
		}
	}
	if _, err := regexp.Compile(c.TopicsRegex); err != nil {
		bad("topics_regex: %w", err)
	}
	if c.GroupProtocol != Classic && c.GroupProtocol != Consumer {
		bad("group_protocol: %q is neither classic nor consumer", c.GroupProtocol)
	}
	if c.SessionTimeout < time.Second {
		bad("session_timeout: %v is below the minimum of 1s", c.SessionTimeout)
	}
	if _, err := c.StartTime(); err != nil {
		errs = append(errs, err)
	}
	if c.FetchBytes < 1<<20 {
		bad("fetch_bytes: %d is below the minimum of 1MiB", c.FetchBytes)
	}
	if c.FetchMaxWait < time.Millisecond || c.FetchMaxWait > 30*time.Second {
		bad("fetch_max_wait: %v is not between 1ms and 30s", c.FetchMaxWait)
	}
	if c.MaxBatchBytes < 1<<20 || c.MaxBatchBytes > 1<<30 {
		bad("max_batch_bytes: %d is not between 1MiB and 1GiB", c.MaxBatchBytes)
	}
	if c.MetadataMaxAge < 10*time.Millisecond {
		bad("metadata_max_age: %v is below the minimum of 10ms", c.MetadataMaxAge)
	}
	known := []string{MetaKey, MetaHeaders, MetaTimestamp, MetaIngestedAt}
	for _, m := range c.Metadata {
		if !slices.Contains(known, m) {
			bad("metadata: %q is none of %s", m, strings.Join(known, ", "))
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls: cert_file and key_file are needed together")
	}
	return errors.Join(append(errs, c.SASL.validate(c.TLS.on(), c.Brokers)...)...)
}

// Limits of Kafka itself.
const maxTopicName = 249

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func checkTopic(t string) error {
	if len(t) > maxTopicName || t == "." || t == ".." || !topicName.MatchString(t) {
		return fmt.Errorf("%q is no topic name: want up to %d of A-Z a-z 0-9 . _ -", t, maxTopicName)
	}
	return nil
}

func (c SASLConfig) validate(encrypted bool, brokers []string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch c.Mechanism {
	case "":
		if c.Username != "" || c.Password != nil || c.TokenURL != "" || c.ClientSecret != nil {
			bad("sasl.mechanism: not set, although other keys of sasl are")
		}
	case Plain, ScramSHA256, ScramSHA512:
		if c.Username == "" {
			bad("sasl.username: needed for %s", c.Mechanism)
		}
		if c.Password == nil {
			bad("sasl.password: needed for %s; write {env: NAME} or {file: PATH}", c.Mechanism)
		}
		if c.Mechanism == Plain && !encrypted && !all(brokers, isLoopback) {
			bad("sasl.mechanism: PLAIN would send the password in clear text; set tls.enabled, or use SCRAM-SHA-512")
		}
	case OAuthBearer:
		errs = append(errs, c.validateOAuth()...)
	case AWSMSKIAM:
		if !encrypted && !all(brokers, isLoopback) {
			bad("sasl.mechanism: AWS_MSK_IAM needs tls.enabled")
		}
	default:
		bad("sasl.mechanism: %q is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM", c.Mechanism)
	}
	return errs
}

func (c SASLConfig) validateOAuth() (errs []error) {
	u, err := url.Parse(c.TokenURL)
	switch {
	case c.TokenURL == "":
		errs = append(errs, errors.New("sasl.token_url: needed for OAUTHBEARER"))
	case err == nil && u.User != nil:
		errs = append(errs, errors.New("sasl.token_url: has user information; use client_id and client_secret"))
	case err != nil || u.Host == "":
		errs = append(errs, fmt.Errorf("sasl.token_url: %q is no URL of a token endpoint", c.TokenURL))
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Host)):
		errs = append(errs, fmt.Errorf("sasl.token_url: %q must be https", c.TokenURL))
	}
	if c.ClientID == "" {
		errs = append(errs, errors.New("sasl.client_id: needed for OAUTHBEARER"))
	}
	if c.ClientSecret == nil {
		errs = append(errs, errors.New("sasl.client_secret: needed for OAUTHBEARER; write {env: NAME} or {file: PATH}"))
	}
	return errs
}

func all(list []string, ok func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !ok(s) })
}

// isLoopback reports whether an address, with or without a port, is this machine.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
