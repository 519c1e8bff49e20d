package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/firehosed/firehosed/internal/awscfg"
)

// ---- OAUTHBEARER ----

// tokens gets tokens from an endpoint with OAuth's client credentials and keeps
// each for most of its life. It is safe for concurrent use.
type tokens struct {
	cfg    SASLConfig
	client *http.Client
	turn   chan struct{} // one request at a time; guards what follows

	token string
	until time.Time
}

// Limits of a token endpoint.
const (
	tokenWait  = 10 * time.Second
	tokenBytes = 1 << 20
)

func newTokens(cfg SASLConfig) *tokens {
	return &tokens{cfg: cfg, turn: make(chan struct{}, 1), client: &http.Client{
		Timeout: tokenWait,
		// A redirect would carry the secret to a host that the configuration does not name.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the token endpoint redirects, which is not followed")
		},
	}}
}

func (t *tokens) mechanism() sasl.Mechanism {
	return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		token, err := t.get(ctx)
		if err != nil {
			err = fmt.Errorf("sasl.token_url: get a token from %s: %w", t.cfg.TokenURL, err)
		}
		return oauth.Auth{Token: token}, err
	})
}

func (t *tokens) get(ctx context.Context) (string, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if time.Now().Before(t.until) {
		return t.token, nil
	}
	token, life, err := t.ask(ctx)
	if err != nil {
		return "", err
	}
	t.token, t.until = token, time.Now().Add(life*8/10)
	return token, nil
}

func (t *tokens) ask(ctx context.Context) (token string, life time.Duration, err error) {
	secret, err := read(t.cfg.ClientSecret, "sasl.client_secret")
	if err != nil {
		return "", 0, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.cfg.Scope != "" {
		form.Set("scope", t.cfg.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.cfg.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(t.cfg.ClientID), url.QueryEscape(secret)) // RFC 6749, 2.3.1
	resp, err := t.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenBytes))
	if err != nil {
		return "", 0, err
	}
	var got struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Error   string `json:"error"`
	}
	err = json.Unmarshal(body, &got)
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("status %d %s; check sasl.client_id and sasl.client_secret", resp.StatusCode, got.Error)
	}
	if err != nil || got.Token == "" {
		return "", 0, errors.New("the answer has no access_token")
	}
	if got.Expires <= 0 {
		return got.Token, 0, nil // not said: every connection asks anew
	}
	return got.Token, time.Duration(min(got.Expires, 86_400)) * time.Second, nil
}

// ---- AWS_MSK_IAM ----

// mskIAM is the mechanism of Amazon MSK: a presigned request, as JSON. The
// signature is AWS's own code, so that the region can be configured. It is safe
// for concurrent use.
type mskIAM struct {
	cfg  SASLConfig
	turn chan struct{} // guards conf
	conf *aws.Config
}

func newMSKIAM(cfg SASLConfig) *mskIAM { return &mskIAM{cfg: cfg, turn: make(chan struct{}, 1)} }

// What MSK wants to be signed.
const (
	mskService  = "kafka-cluster"
	mskAction   = "kafka-cluster:Connect"
	mskVersion  = "2020_10_22"
	mskLifetime = 15 * time.Minute
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Name implements sasl.Mechanism.
func (*mskIAM) Name() string { return AWSMSKIAM }

// Authenticate implements sasl.Mechanism. The client calls it for every connection,
// and again before a session of the broker ends.
func (m *mskIAM) Authenticate(ctx context.Context, addr string) (sasl.Session, []byte, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	conf, region, err := m.load(ctx, host)
	if err != nil {
		return nil, nil, fmt.Errorf("sasl.mechanism %s: %w", AWSMSKIAM, err)
	}
	creds, err := conf.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sasl.mechanism %s: find AWS credentials: %w", AWSMSKIAM, err)
	}
	msg, err := mskMessage(ctx, creds, host, region, mskLifetime, time.Now())
	if err != nil {
		return nil, nil, fmt.Errorf("sasl.mechanism %s: %w", AWSMSKIAM, err)
	}
	return mskSession{}, msg, nil
}

// load finds credentials and region, once.
func (m *mskIAM) load(ctx context.Context, host string) (*aws.Config, string, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	region := m.cfg.Region
	if region == "" {
		region = mskRegion(host)
	}
	if m.conf == nil {
		conf, err := awscfg.Load(ctx, awscfg.Config{Region: region, AssumeRole: awscfg.Role{ARN: m.cfg.RoleARN}}, awscfg.Options{})
		if err != nil {
			return nil, "", err
		}
		m.conf = &conf
	}
	if region == "" {
		region = m.conf.Region
	}
	return m.conf, region, nil
}

// mskRegion returns the region in the name of an MSK broker, such as
// b-1.name.abc123.c2.kafka.eu-west-1.amazonaws.com; "" if there is none.
func mskRegion(host string) string {
	labels := strings.Split(host, ".")
	for i, l := range labels {
		if (l == "kafka" || l == "kafka-serverless") && i+2 < len(labels) && strings.HasPrefix(labels[i+2], "amazonaws") {
			return labels[i+1]
		}
	}
	return ""
}

// mskMessage returns the one message of the mechanism.
func mskMessage(ctx context.Context, creds aws.Credentials, host, region string, life time.Duration, now time.Time) ([]byte, error) {
	q := url.Values{"Action": {mskAction}, "X-Amz-Expires": {strconv.Itoa(int(life.Seconds()))}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "kafka://"+host+"/?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, req, emptySHA256, mskService, region, now)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(signed)
	if err != nil {
		return nil, err
	}
	msg := map[string]string{"version": mskVersion, "host": host, "user-agent": "firehosed"}
	for key, vals := range u.Query() {
		msg[strings.ToLower(key)] = vals[0]
	}
	return json.Marshal(msg)
}

type mskSession struct{}

// Challenge implements sasl.Session: the broker answers once.
func (mskSession) Challenge(resp []byte) (bool, []byte, error) {
	if len(resp) == 0 {
		return false, nil, errors.New("AWS_MSK_IAM: the broker's answer is empty")
	}
	return true, nil, nil
}
