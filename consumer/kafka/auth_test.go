package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	kgoaws "github.com/twmb/franz-go/pkg/sasl/aws"
)

// endpoint is a token endpoint.
type endpoint struct {
	*httptest.Server
	asked  int
	answer func(w http.ResponseWriter)
}

func newEndpoint(t *testing.T) (*endpoint, SASLConfig) {
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked++
		id, secret, _ := r.BasicAuth()
		if r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka" || id != "me" || secret != "s%25cret" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			return
		}
		e.answer(w)
	}))
	t.Cleanup(e.Close)
	return e, SASLConfig{Mechanism: OAuthBearer, TokenURL: e.URL, ClientID: "me", ClientSecret: Text("s%cret"), Scope: "kafka"}
}

func TestTokensAreKeptWhileTheyLast(t *testing.T) {
	e, cfg := newEndpoint(t)
	life := 60
	e.answer = func(w http.ResponseWriter) {
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":%d}`, e.asked, life)
	}
	ts := newTokens(cfg)
	defer ts.client.CloseIdleConnections()
	get := func(want string) {
		t.Helper()
		if got, err := ts.get(ctx(t)); err != nil || got != want {
			t.Errorf("token %q, %v; want %q", got, err, want)
		}
	}
	get("t1")
	get("t1")
	if left := time.Until(ts.until); left > 48*time.Second || left < 40*time.Second {
		t.Errorf("a token of 60s is kept for %v", left)
	}
	ts.until = time.Now()
	life = 0
	get("t2")
	get("t3") // no life said: asked every time
}

func TestTokenEndpointIsNotTrusted(t *testing.T) {
	e, cfg := newEndpoint(t)
	f := func(cfg SASLConfig, answer func(w http.ResponseWriter), want string) {
		t.Helper()
		e.answer = answer
		ts := newTokens(cfg)
		defer ts.client.CloseIdleConnections()
		_, _, err := ts.mechanism().Authenticate(ctx(t), "b:1")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "sasl.token_url") {
			t.Errorf("got %v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s%cret") {
			t.Errorf("the secret is in %q", err)
		}
	}
	wrong := cfg
	wrong.ClientSecret = Text("other")
	f(wrong, nil, "status 401 invalid_client; check sasl.client_id")
	f(cfg, func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) }, "redirects")
	f(cfg, func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{}`)) }, "no access_token")
	f(cfg, func(w http.ResponseWriter) { _, _ = w.Write([]byte(`<html>`)) }, "no access_token")
}

func TestMSKMessage(t *testing.T) {
	creds := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "session"}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const host = "b-1.name.abc123.c2.kafka.eu-west-1.amazonaws.com"
	msg, err := mskMessage(context.Background(), creds, host, "eu-west-1", mskLifetime, now)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(msg, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"version": "2020_10_22", "host": host, "action": "kafka-cluster:Connect", "x-amz-algorithm": "AWS4-HMAC-SHA256",
		"x-amz-credential": "AKID/20260102/eu-west-1/kafka-cluster/aws4_request", "x-amz-date": "20260102T030405Z",
		"x-amz-signedheaders": "host", "x-amz-expires": "900", "x-amz-security-token": "session",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if strings.Contains(string(msg), `"secret"`) {
		t.Error("the secret key is in the message")
	}
}

// The client library's own mechanism signs the same.
func TestMSKSignatureAgrees(t *testing.T) {
	const host = "b-1.name.abc123.c2.kafka.eu-west-1.amazonaws.com"
	_, msg, err := kgoaws.Auth{AccessKey: "AKID", SecretKey: "secret", SessionToken: "ses+sion/="}.
		AsManagedStreamingIAMMechanism().Authenticate(t.Context(), host+":9098")
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]string
	if err := json.Unmarshal(msg, &want); err != nil {
		t.Fatal(err)
	}
	now, err := time.Parse("20060102T150405Z", want["x-amz-date"])
	if err != nil {
		t.Fatal(err)
	}
	life, err := time.ParseDuration(want["x-amz-expires"] + "s")
	if err != nil {
		t.Fatal(err)
	}
	msg, err = mskMessage(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "ses+sion/="},
		host, "eu-west-1", life, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(msg, &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "user-agent")
	delete(want, "user-agent")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMSKRegion(t *testing.T) {
	f := func(host, want string) {
		t.Helper()
		if got := mskRegion(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	f("b-1.name.abc123.c2.kafka.eu-west-1.amazonaws.com", "eu-west-1")
	f("boot-x.c1.kafka-serverless.us-east-2.amazonaws.com", "us-east-2")
	f("b-1.name.abc123.c2.kafka.cn-north-1.amazonaws.com.cn", "cn-north-1")
	f("kafka.internal.example.com", "")
	f("localhost", "")
}
