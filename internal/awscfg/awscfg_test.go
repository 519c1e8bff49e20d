package awscfg

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/firehosed/firehosed/internal/retry"
)

// alone takes away what the machine says about AWS.
func alone(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func load(t *testing.T, c Config, opts Options) aws.Config {
	t.Helper()
	cfg, err := Load(t.Context(), c, opts)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLoad(t *testing.T) {
	alone(t)
	cfg := load(t, Config{Region: "eu-north-1", AccessKeyID: "a", SecretAccessKey: "s", SessionToken: "t"}, Options{})
	creds, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil || creds.AccessKeyID != "a" || creds.SecretAccessKey != "s" || creds.SessionToken != "t" {
		t.Errorf("credentials %+v, %v", creds, err)
	}
	if cfg.Region != "eu-north-1" || cfg.BaseEndpoint != nil {
		t.Errorf("region %q, endpoint %v", cfg.Region, cfg.BaseEndpoint)
	}
	if n := cfg.Retryer().MaxAttempts(); n != Attempts {
		t.Errorf("%d attempts, want %d", n, Attempts)
	}

	cfg = load(t, Config{Endpoint: "http://127.0.0.1:9000"}, Options{})
	if cfg.Region != "us-east-1" || aws.ToString(cfg.BaseEndpoint) != "http://127.0.0.1:9000" {
		t.Errorf("region %q, endpoint %q", cfg.Region, aws.ToString(cfg.BaseEndpoint))
	}

	if _, err := Load(t.Context(), Config{}, Options{}); err == nil || !strings.HasPrefix(err.Error(), "region: not set; set it") {
		t.Errorf("no region: %v", err)
	}
	t.Setenv("AWS_REGION", "us-west-2")
	if cfg := load(t, Config{}, Options{}); cfg.Region != "us-west-2" {
		t.Errorf("region %q, want that of the environment", cfg.Region)
	}
	if cfg := load(t, Config{Region: "eu-north-1"}, Options{}); cfg.Region != "eu-north-1" {
		t.Errorf("region %q, want that of the configuration", cfg.Region)
	}
}

func TestValidate(t *testing.T) {
	f := func(c Config, want ...string) {
		t.Helper()
		err := c.Validate()
		if len(want) == 0 && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: %v, want %q", c, err, w)
			}
		}
	}
	f(Config{})
	f(Config{Endpoint: "https://s3.example.com:9000/base", AssumeRole: Role{ARN: "arn:aws:iam::1:role/r", STSEndpoint: "http://sts"}})
	f(Config{AccessKeyID: "a", Endpoint: "localhost:9000"}, "secret_access_key: only one", "endpoint: \"localhost:9000\" is no URL")
	f(Config{SecretAccessKey: "a"}, "only one")
	f(Config{SessionToken: "a"}, "session_token: set without")
	f(Config{AssumeRole: Role{ExternalID: "x", STSEndpoint: "sts"}}, "assume_role.arn: not set", "assume_role.sts_endpoint")
}

// TestSecrets: however a configuration is printed, its keys are not.
func TestSecrets(t *testing.T) {
	c := Config{Region: "r", AccessKeyID: "AKID", SecretAccessKey: "SECRET", SessionToken: "TOKEN"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("start", "aws", c)
	for _, text := range []string{c.String(), fmt.Sprint(c), fmt.Sprintf("%+v %#v %v", c, c, &c), log.String()} {
		if strings.Contains(text, "SECRET") || strings.Contains(text, "TOKEN") || !strings.Contains(text, "AKID") {
			t.Errorf("printed: %s", text)
		}
	}
}

// TestAssumeRole goes to STS with the static keys, and on with what it gives.
func TestAssumeRole(t *testing.T) {
	alone(t)
	var form []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		for _, k := range []string{"Action", "RoleArn", "ExternalId", "RoleSessionName"} {
			form = append(form, r.Form.Get(k))
		}
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKID/") {
			t.Errorf("signed with %q", r.Header.Get("Authorization"))
		}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
			<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer server.Close()
	cfg := load(t, Config{
		Region: "eu-north-1", Endpoint: "http://127.0.0.1:1", AccessKeyID: "AKID", SecretAccessKey: "s",
		AssumeRole: Role{ARN: "arn:aws:iam::123456789012:role/r", ExternalID: "x", STSEndpoint: server.URL},
	}, Options{})
	for range 2 {
		creds, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil || creds.AccessKeyID != "ROLE" {
			t.Fatalf("credentials of %q, %v", creds.AccessKeyID, err)
		}
	}
	if got := strings.Join(form, " "); got != "AssumeRole arn:aws:iam::123456789012:role/r x firehosed" {
		t.Errorf("STS was asked, once: %s", got)
	}
}

func TestBackoff(t *testing.T) {
	alone(t)
	cfg := load(t, Config{Region: "r"}, Options{Backoff: retry.Backoff{Min: 1, Max: 1}})
	d, err := cfg.Retryer().RetryDelay(3, errors.New("x"))
	if err != nil || d != 1 {
		t.Errorf("delay %v, %v, want 1ns", d, err)
	}
}

func TestHTTPClient(t *testing.T) {
	alone(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	ask := func(caFile string) (*http.Response, error) {
		t.Helper()
		client, err := NewHTTPClient(caFile)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return res, err
	}
	if _, err := ask(""); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("an unknown authority: %v", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := ask(file); err == nil || !strings.HasPrefix(err.Error(), "ca_file: ") {
		t.Errorf("no file: %v", err)
	}
	write := func(data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("x"))
	if _, err := ask(file); err == nil || !strings.Contains(err.Error(), "holds no PEM certificate") {
		t.Errorf("no PEM: %v", err)
	}
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	res, err := ask(file)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusFound {
		t.Errorf("status %d: a redirect was followed", res.StatusCode)
	}
}
