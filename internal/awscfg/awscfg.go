// Package awscfg is the one place where credentials, region, endpoint and HTTP
// client of AWS services are put together, for S3 and compatible stores, Glue,
// signed REST catalogs and MSK.
package awscfg

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	backoff "github.com/firehosed/firehosed/internal/retry"
)

// Config says how to reach an AWS service, or one that is compatible. Without
// keys the default chain of the AWS SDK finds credentials: environment, shared
// files, web identity, container and instance roles.
type Config struct {
	// Region of the service. Default: AWS_REGION or the shared configuration file;
	// with an endpoint of one's own, us-east-1.
	Region string `yaml:"region"`
	// Endpoint is the base URL of the service: a compatible store or a VPC endpoint.
	// Default: AWS's own of the region.
	Endpoint string `yaml:"endpoint"`
	// AccessKeyID is a static key. Default: credentials are found as every AWS tool
	// finds them.
	AccessKeyID string `yaml:"access_key_id"`
	// SecretAccessKey is the secret of AccessKeyID.
	SecretAccessKey string `yaml:"secret_access_key" secret:"true"`
	// SessionToken belongs to an AccessKeyID that is temporary. Default: none.
	SessionToken string `yaml:"session_token" secret:"true"`
	// AssumeRole is a role to take on with the credentials found.
	AssumeRole Role `yaml:"assume_role"`
	// CAFile holds PEM certificates that are trusted besides the system's.
	CAFile string `yaml:"ca_file"`
}

// Role is an IAM role to assume. Its sessions last 15 minutes and are renewed in
// time.
type Role struct {
	// ARN is the role's name, arn:aws:iam::<account>:role/<name>. Default: no role.
	ARN string `yaml:"arn"`
	// ExternalID is what the role's trust policy may ask for. Default: none.
	ExternalID string `yaml:"external_id"`
	// SessionName appears in CloudTrail. Default "firehosed".
	SessionName string `yaml:"session_name"`
	// STSEndpoint is the base URL of STS. Default: AWS's own of the region.
	STSEndpoint string `yaml:"sts_endpoint"`
}

// Validate returns every problem, by key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	checkURL := func(key, val string) {
		if u, err := url.Parse(val); val != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			bad("%s: %q is no URL; want https://host[:port]", key, val)
		}
	}
	checkURL("endpoint", c.Endpoint)
	checkURL("assume_role.sts_endpoint", c.AssumeRole.STSEndpoint)
	if (c.AccessKeyID == "") != (c.SecretAccessKey == "") {
		bad("access_key_id, secret_access_key: only one of them is set; set both, or none for the default credentials chain")
	}
	if c.SessionToken != "" && c.AccessKeyID == "" {
		bad("session_token: set without access_key_id and secret_access_key")
	}
	if c.AssumeRole.ARN == "" && c.AssumeRole != (Role{}) {
		bad("assume_role.arn: not set")
	}
	return errors.Join(errs...)
}

// LogValue implements slog.LogValuer: keys are not logged.
func (c Config) LogValue() slog.Value {
	return slog.StringValue(c.String())
}

// String describes the configuration without its secrets.
func (c Config) String() string {
	creds := "default credentials chain"
	if c.AccessKeyID != "" {
		creds = "access key " + c.AccessKeyID
	}
	if c.AssumeRole.ARN != "" {
		creds += " assuming " + c.AssumeRole.ARN
	}
	return fmt.Sprintf("region %q, endpoint %q, %s", c.Region, c.Endpoint, creds)
}

// GoString keeps secrets out of %#v, too.
func (c Config) GoString() string { return "awscfg.Config{" + c.String() + "}" }

// Attempts is how often a request is sent before its error is returned.
const Attempts = 6

// Options are what a program decides and its user does not.
type Options struct {
	// HTTP is shared by services; nil: one of its own, by NewHTTPClient. The default
	// credentials chain uses it only if NewHTTPClient made it.
	HTTP aws.HTTPClient
	// Backoff is between attempts. Default 100 ms up to 10 s.
	Backoff backoff.Backoff
}

// Load puts an aws.Config together: requests are sent up to 6 times, with the
// SDK's adaptive rate limit, and nothing is logged. It reads what the default
// chain reads; only the first request asks for credentials over the network. An
// endpoint in c is the BaseEndpoint of the result, and not used for STS.
func Load(ctx context.Context, c Config, opts Options) (aws.Config, error) {
	if err := c.Validate(); err != nil {
		return aws.Config{}, err
	}
	client := opts.HTTP
	if client == nil {
		var err error
		if client, err = NewHTTPClient(c.CAFile); err != nil {
			return aws.Config{}, err
		}
	}
	load := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer { return newRetryer(opts.Backoff) }),
	}
	own, ok := client.(*awshttp.BuildableClient)
	if ok {
		load = append(load, config.WithHTTPClient(own)) // which AWS_CA_BUNDLE may extend
	}
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	if c.AccessKeyID != "" {
		load = append(load, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load AWS configuration: %w", err)
	}
	if !ok {
		cfg.HTTPClient = client
	}
	if cfg.Region == "" && c.Endpoint != "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Region == "" {
		return aws.Config{}, errors.New("region: not set; set it, or AWS_REGION in the environment")
	}
	if c.AssumeRole.ARN != "" {
		cfg.Credentials = aws.NewCredentialsCache(assume(cfg, c.AssumeRole))
	}
	if c.Endpoint != "" {
		cfg.BaseEndpoint = aws.String(c.Endpoint)
	}
	return cfg, nil
}

func assume(cfg aws.Config, role Role) aws.CredentialsProvider {
	client := sts.NewFromConfig(cfg, func(o *sts.Options) {
		if role.STSEndpoint != "" {
			o.BaseEndpoint = aws.String(role.STSEndpoint)
		}
	})
	return stscreds.NewAssumeRoleProvider(client, role.ARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = role.SessionName
		if role.SessionName == "" {
			o.RoleSessionName = "firehosed"
		}
		if role.ExternalID != "" {
			o.ExternalID = aws.String(role.ExternalID)
		}
	})
}

// newRetryer returns the retryer of one service client. Its rate limit adapts to
// throttling of that client alone.
func newRetryer(b backoff.Backoff) aws.Retryer {
	adaptive := retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
			o.MaxAttempts = Attempts
			o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
				return b.Delay(attempt), nil
			})
		})
	})
	// A request damaged on its way is refused, and may be sent again.
	return retry.AddWithErrorCodes(adaptive, "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch")
}

// NewHTTPClient returns a client for any number of services: 10 s to connect,
// 60 s from a request sent to the head of its answer, 3 min for a whole exchange.
// caFile, unless empty, holds PEM certificates to trust besides the system's;
// AWS_CA_BUNDLE does the same. HTTP proxies are taken from the environment.
// Of redirects only 307 and 308 are followed: S3 answers so for new buckets.
func NewHTTPClient(caFile string) (*awshttp.BuildableClient, error) {
	var roots *x509.CertPool
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", caFile)
		}
	}
	return awshttp.NewBuildableClient().WithTimeout(3 * time.Minute).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 10 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = time.Minute
			t.MaxIdleConns = 256
			t.MaxIdleConnsPerHost = 64
			if roots != nil {
				t.TLSClientConfig.RootCAs = roots
			}
		}), nil
}
