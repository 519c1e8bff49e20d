package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

func valid() Config {
	cfg := DefaultConfig()
	cfg.Brokers, cfg.Topics, cfg.Group = []string{"kafka-1.example.com:9092"}, []string{"orders"}, "g"
	return cfg
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	f := func(change func(*Config), want ...string) {
		t.Helper()
		cfg := valid()
		change(&cfg)
		var got []string
		if err := cfg.Validate(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if _, err := New(cfg); (err != nil) != (want != nil) {
			t.Errorf("New: %v", err)
		}
	}
	f(func(c *Config) { c.Brokers, c.Topics = nil, nil }, "brokers: none given; write at least one host:port",
		"topics: give either topics or topics_regex")
	f(func(c *Config) { c.Brokers = []string{"kafka"} }, `brokers: "kafka" is no address; write host:port, such as kafka-1.example.com:9092`)
	f(func(c *Config) { c.TopicsRegex = "x" }, "topics: give either topics or topics_regex")
	f(func(c *Config) { c.Topics = []string{"a", "a b", "a"} }, `topics: "a b" is no topic name: want up to 249 of A-Z a-z 0-9 . _ -`,
		`topics: "a" is listed twice`)
	f(func(c *Config) { c.Topics, c.TopicsRegex = nil, "(" }, "topics_regex: error parsing regexp: missing closing ): `(`")
	f(func(c *Config) { c.GroupProtocol, c.SessionTimeout = "eager", time.Millisecond },
		`group_protocol: "eager" is neither classic nor consumer`, "session_timeout: 1ms is below the minimum of 1s")
	f(func(c *Config) { c.Start = "yesterday" }, `start: "yesterday" is none of earliest, latest or a time such as 2026-01-31T00:00:00Z`)
	f(func(c *Config) { c.FetchBytes, c.FetchMaxWait, c.MaxBatchBytes, c.MetadataMaxAge = 1, 0, 2<<30, 0 },
		"fetch_bytes: 1 is below the minimum of 1MiB", "fetch_max_wait: 0s is not between 1ms and 30s",
		"max_batch_bytes: 2147483648 is not between 1MiB and 1GiB", "metadata_max_age: 0s is below the minimum of 10ms")
	f(func(c *Config) { c.Metadata = []string{MetaKey, "offset"} }, `metadata: "offset" is none of key, headers, timestamp, ingested_at`)
	f(func(c *Config) { c.TLS.CertFile = "x" }, "tls: cert_file and key_file are needed together")
}

func TestValidateSASL(t *testing.T) {
	f := func(change func(*Config), want ...string) {
		t.Helper()
		cfg := valid()
		cfg.TLS.Enabled = true
		change(&cfg)
		var got []string
		if err := cfg.Validate(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	f(func(c *Config) { c.SASL = SASLConfig{Mechanism: ScramSHA512, Username: "u", Password: Text("p")} })
	f(func(c *Config) { c.SASL = SASLConfig{Mechanism: ScramSHA256} }, "sasl.username: needed for SCRAM-SHA-256",
		"sasl.password: needed for SCRAM-SHA-256; write {env: NAME} or {file: PATH}")
	f(func(c *Config) { c.SASL = SASLConfig{Username: "u"} }, "sasl.mechanism: not set, although other keys of sasl are")
	f(func(c *Config) { c.SASL = SASLConfig{Mechanism: "KERBEROS"} },
		`sasl.mechanism: "KERBEROS" is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM`)
	plainText := func(c *Config) {
		c.TLS.Enabled, c.SASL = false, SASLConfig{Mechanism: Plain, Username: "u", Password: Text("p")}
	}
	f(plainText, "sasl.mechanism: PLAIN would send the password in clear text; set tls.enabled, or use SCRAM-SHA-512")
	f(func(c *Config) { plainText(c); c.Brokers = []string{"127.0.0.1:9092"} })
	f(func(c *Config) { plainText(c); c.Brokers = append(c.Brokers, "127.0.0.1:9092") },
		"sasl.mechanism: PLAIN would send the password in clear text; set tls.enabled, or use SCRAM-SHA-512")
	f(func(c *Config) { c.TLS.Enabled, c.SASL = false, SASLConfig{Mechanism: AWSMSKIAM} }, "sasl.mechanism: AWS_MSK_IAM needs tls.enabled")
	oauth := func(url string) func(c *Config) {
		return func(c *Config) {
			c.SASL = SASLConfig{Mechanism: OAuthBearer, TokenURL: url, ClientID: "i", ClientSecret: Text("s")}
		}
	}
	f(oauth("https://idp.example.com/token"))
	f(oauth("http://localhost:8080/token"))
	f(oauth("http://idp.example.com/token"), `sasl.token_url: "http://idp.example.com/token" must be https`)
	f(oauth("file:///etc/passwd"), `sasl.token_url: "file:///etc/passwd" is no URL of a token endpoint`)
	f(oauth("https://user:pass@idp.example.com/"), `sasl.token_url: has user information; use client_id and client_secret`)
}

func TestStartTime(t *testing.T) {
	f := func(start string, want func(time.Time) bool) {
		t.Helper()
		cfg := valid()
		cfg.Start = start
		if got, err := cfg.StartTime(); err != nil || !want(got) {
			t.Errorf("%s: %v, %v", start, got, err)
		}
	}
	f("earliest", time.Time.IsZero)
	f("latest", func(t time.Time) bool { return t.After(time.Now().AddDate(100, 0, 0)) })
	f("2026-01-31T01:00:00+01:00", func(got time.Time) bool { return got.Equal(time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)) })
}

func TestFilesAreReadByNew(t *testing.T) {
	cfg := valid()
	cfg.TLS.CAFile = "/nowhere/ca.pem"
	if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "tls.ca_file: ") {
		t.Error(err)
	}
	cfg.TLS.CAFile = "config_test.go"
	if _, err := New(cfg); err == nil || err.Error() != "tls.ca_file: config_test.go holds no certificate in PEM form" {
		t.Error(err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	cfg := valid()
	cfg.SASL.Password, cfg.SASL.ClientSecret = Text("canary"), Text("canary")
	var out strings.Builder
	text, err := json.Marshal(cfg)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cfg", cfg, "secret", cfg.SASL.Password)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "cfg", cfg, "secret", cfg.SASL.Password)
	fmt.Fprintf(&out, "%v %+v %#v %s %v", cfg, cfg, cfg, text, cfg.SASL.Password)
	if s := out.String(); err != nil || strings.Contains(s, "canary") || !strings.Contains(s, redacted) {
		t.Errorf("%v %s", err, s)
	}
	if _, err := read(func() (string, error) { return "", errors.New("no file") }, "sasl.password"); err == nil || err.Error() != "sasl.password: no file" {
		t.Error(err)
	}
}

func TestPositions(t *testing.T) {
	f := func(s string) {
		t.Helper()
		st, of, ok := decodeStamp(s)
		if !ok || encodeStamp(st, of) != s {
			t.Errorf("%q: %v %q %v", s, st, of, ok)
		}
	}
	f("fhd1;orders-to-lake;0;0;1;oM08_y_BVNhQhYSq5jSF8Q")
	f("fhd1;x;1;2;3;name~orders")
	for _, n := range []int64{0, 1, 10, 1<<63 - 1} {
		if got, err := offsetOf(position(n)); err != nil || got != n || len(position(n)) != 19 {
			t.Errorf("%d: %q %d %v", n, position(n), got, err)
		}
	}
	if position(9) >= position(10) || position(0) <= "" || position(1<<62) >= "~" {
		t.Error("byte order is not log order")
	}
	for _, bad := range []string{"1", "-000000000000000001", "x", "~", "00000000000000000001"} {
		if _, err := offsetOf(pipeline.Position(bad)); err == nil {
			t.Errorf("%q is taken for a position", bad)
		}
	}
}
