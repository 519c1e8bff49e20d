package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// clientOpts returns what every client of a source has in common.
func (c Config) clientOpts(log *slog.Logger) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.SoftwareNameAndVersion("firehosed", "0"),
		kgo.WithLogger(kgoLog{log}),
		kgo.MetadataMaxAge(c.MetadataMaxAge),
		kgo.MetadataMinAge(min(c.MetadataMaxAge, minRefresh)),
		kgo.DisableClientMetrics(),
		kgo.MaxDecompressBatchBytes(int(c.MaxBatchBytes)),
	}
	if c.TLS.on() {
		conf, err := c.TLS.load()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	m, err := c.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// load reads the files.
func (c TLSConfig) load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate in PEM form", c.CAFile)
		}
	}
	if c.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile); err != nil {
			return nil, fmt.Errorf("tls.cert_file, tls.key_file: %w", err)
		}
		// Read afresh for every connection, so that short-lived certificates can be renewed.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &cert, err
		}
	}
	return conf, nil
}

// mechanism returns nil where there is no authentication.
func (c SASLConfig) mechanism() (sasl.Mechanism, error) {
	scrams := func(context.Context) (scram.Auth, error) {
		pass, err := read(c.Password, "sasl.password")
		return scram.Auth{User: c.Username, Pass: pass}, err
	}
	switch c.Mechanism {
	case "":
		return nil, nil
	case Plain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := read(c.Password, "sasl.password")
			return plain.Auth{User: c.Username, Pass: pass}, err
		}), nil
	case ScramSHA256:
		return scram.Sha256(scrams), nil
	case ScramSHA512:
		return scram.Sha512(scrams), nil
	case OAuthBearer:
		return newTokens(c).mechanism(), nil
	case AWSMSKIAM:
		return newMSKIAM(c), nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %q is not known", c.Mechanism)
}

func read(s Secret, key string) (string, error) {
	if s == nil {
		return "", fmt.Errorf("%s: not set", key)
	}
	text, err := s()
	if err == nil && text == "" {
		err = errors.New("the secret is empty")
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return text, nil
}

// kgoLog passes what the client says on. What it calls info happens all day.
type kgoLog struct{ log *slog.Logger }

func (l kgoLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l kgoLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	at := slog.LevelDebug
	if level <= kgo.LogLevelWarn {
		at = slog.LevelWarn
	}
	l.log.Log(context.Background(), at, "kafka client: "+msg, keyvals...)
}
