package kafka

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firehosed/firehosed/pipeline"
)

// mskFront stands in front of a broker and wants AWS_MSK_IAM, as Amazon MSK does:
// every field of the message, the signature, the host, the time, and all again
// before the session ends.
type mskFront struct {
	t       *testing.T
	l       net.Listener
	backend string
	creds   aws.Credentials
	host    string
	session time.Duration
	skew    atomic.Int64 // added to the time, a time.Duration

	wg sync.WaitGroup
	mu struct {
		sync.Mutex
		conns   []net.Conn
		auths   int
		refused []string
	}
}

func newMSKFront(t *testing.T, b *broker, creds aws.Credentials) *mskFront {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &mskFront{t: t, l: l, backend: b.ListenAddrs()[0], creds: creds, host: "127.0.0.1"}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		for _, c := range f.mu.conns {
			_ = c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// dial leads every connection of a client here.
func (f *mskFront) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, f.l.Addr().String())
}

func (f *mskFront) serve(c net.Conn) {
	b, err := net.Dial("tcp", f.backend)
	if err != nil {
		_ = c.Close()
		return
	}
	f.mu.Lock()
	f.mu.conns = append(f.mu.conns, c, b)
	f.mu.Unlock()
	var write sync.Mutex // of whole responses
	f.wg.Go(func() {
		defer c.Close()
		for {
			frame, err := readFrame(b)
			if err != nil {
				return
			}
			write.Lock()
			_, err = c.Write(frame)
			write.Unlock()
			if err != nil {
				return
			}
		}
	})
	defer b.Close()
	defer c.Close()
	var until time.Time
	for {
		frame, err := readFrame(c)
		if err != nil {
			return
		}
		key := int16(binary.BigEndian.Uint16(frame[4:]))
		switch {
		case key == int16(kmsg.SASLHandshake) || key == int16(kmsg.SASLAuthenticate):
			resp, ok := f.authenticate(frame)
			if ok {
				until = time.Now().Add(f.session)
			}
			write.Lock()
			_, err = c.Write(resp)
			write.Unlock()
		case key == int16(kmsg.ApiVersions) || time.Now().Before(until):
			_, err = b.Write(frame)
		default:
			return // not authenticated, or not any more
		}
		if err != nil {
			return
		}
	}
}

// readFrame reads a length and what follows.
func readFrame(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	frame := append(head, make([]byte, binary.BigEndian.Uint32(head))...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// authenticate answers a request of SASL. True: a message was accepted.
func (f *mskFront) authenticate(frame []byte) (resp []byte, ok bool) {
	key, version := int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:]))
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	body := frame[14+max(0, int(int16(binary.BigEndian.Uint16(frame[12:])))):]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	if err := req.ReadFrom(body); err != nil {
		f.t.Error(err)
		return nil, false
	}
	out := req.ResponseKind()
	switch r := req.(type) {
	case *kmsg.SASLHandshakeRequest:
		resp := out.(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{AWSMSKIAM}
		if r.Mechanism != AWSMSKIAM {
			resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		}
	case *kmsg.SASLAuthenticateRequest:
		resp := out.(*kmsg.SASLAuthenticateResponse)
		err := f.judge(r.SASLAuthBytes)
		f.mu.Lock()
		if ok = err == nil; ok {
			f.mu.auths++
			resp.SASLAuthBytes, resp.SessionLifetimeMillis = []byte(`{"version":"2020_10_22","request-id":"x"}`), f.session.Milliseconds()
		} else {
			f.mu.refused = append(f.mu.refused, err.Error())
			text := "Access denied"
			resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &text
		}
		f.mu.Unlock()
	}
	resp = append(make([]byte, 4), frame[8:12]...)
	if out.IsFlexible() {
		resp = append(resp, 0)
	}
	resp = out.AppendTo(resp)
	binary.BigEndian.PutUint32(resp, uint32(len(resp)-4))
	return resp, ok
}

// judge checks one message.
func (f *mskFront) judge(msg []byte) error {
	var m map[string]string
	if err := json.Unmarshal(msg, &m); err != nil {
		return err
	}
	now := time.Now().Add(time.Duration(f.skew.Load()))
	at, err := time.Parse("20060102T150405Z", m["x-amz-date"])
	if err != nil {
		return err
	}
	life, err := time.ParseDuration(m["x-amz-expires"] + "s")
	scope := strings.Split(m["x-amz-credential"], "/")
	switch {
	case err != nil || life > 15*time.Minute:
		return errors.New("lifetime")
	case now.After(at.Add(life)) || at.After(now.Add(5*time.Minute)):
		return errors.New("expired")
	case m["version"] != "2020_10_22" || m["action"] != "kafka-cluster:Connect" || m["user-agent"] == "":
		return errors.New("fields")
	case m["host"] != f.host:
		return errors.New("host")
	case len(scope) != 5 || scope[0] != f.creds.AccessKeyID || scope[2] != "eu-west-1" || scope[3] != "kafka-cluster":
		return errors.New("scope")
	case m["x-amz-security-token"] != f.creds.SessionToken:
		return errors.New("token")
	}
	q := url.Values{"Action": {m["action"]}, "X-Amz-Expires": {m["x-amz-expires"]}}
	req, err := http.NewRequest(http.MethodGet, "kafka://"+f.host+"/?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), f.creds, req, emptySHA256, "kafka-cluster", "eu-west-1", at)
	if err != nil {
		return err
	}
	if u, err := url.Parse(signed); err != nil || u.Query().Get("X-Amz-Signature") != m["x-amz-signature"] {
		return errors.New("signature")
	}
	return nil
}

func TestMSK(t *testing.T) {
	creds := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "token+/="}
	t.Setenv("AWS_ACCESS_KEY_ID", creds.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", creds.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", creds.SessionToken)
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	b := newBroker(t)
	b.create("t", 1)
	b.produce("t", 0, numbered(0, 10)...)
	f := newMSKFront(t, b, creds)
	f.session = 200 * time.Millisecond
	cfg := b.config("t")
	cfg.SASL.Mechanism = AWSMSKIAM
	s := b.source(cfg, withClientOpts(kgo.Dialer(f.dial)))
	if err := s.Check(ctx(t)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(ctx(t), b.partition(s, "t", 0), pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if diff := cmp.Diff(numbered(0, 10), readTo(t, r, pipeline.Cursor{}, 10)); diff != "" {
		t.Error(diff)
	}
	f.mu.Lock()
	before := f.mu.auths
	f.mu.Unlock()
	pause(t.Context(), 2*f.session) // sessions end meanwhile
	b.produce("t", 0, numbered(10, 10)...)
	if diff := cmp.Diff(numbered(10, 10), readTo(t, r, r.(*reader).from, 20)); diff != "" {
		t.Error(diff)
	}
	f.mu.Lock()
	if f.mu.auths <= before || len(f.mu.refused) > 0 {
		t.Errorf("%d authentications, %d when sessions ended, refused %v", before, f.mu.auths, f.mu.refused)
	}
	f.mu.Unlock()

	refused := func(why string) {
		t.Helper()
		c := b.source(cfg, withClientOpts(kgo.Dialer(f.dial)))
		if err := c.Check(ctx(t)); err == nil || !strings.HasPrefix(err.Error(), `sasl: the brokers refuse "AWS_MSK_IAM"`) {
			t.Errorf("%s: %v", why, err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.mu.refused) == 0 || f.mu.refused[len(f.mu.refused)-1] != why {
			t.Errorf("refused %v, want %q", f.mu.refused, why)
		}
	}
	f.skew.Store(int64(time.Hour)) // this machine's clock is behind
	refused("expired")
	f.skew.Store(0)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	refused("signature")
	t.Setenv("AWS_SESSION_TOKEN", "")
	refused("token")
	t.Setenv("AWS_REGION", "us-east-1")
	refused("scope")
}
