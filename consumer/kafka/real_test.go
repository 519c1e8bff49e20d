package kafka

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firehosed/firehosed/pipeline"
)

// real is an Apache Kafka that FIREHOSED_IT names, at FIREHOSED_KAFKA.
type real struct {
	t       *testing.T
	brokers []string
	adm     *kadm.Client
	prefix  string
}

func newReal(t *testing.T) *real {
	if !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), "kafka") {
		t.Skip("FIREHOSED_IT does not name kafka: start it with integration/components/up.sh kafka")
	}
	r := &real{t: t, brokers: strings.Split(os.Getenv("FIREHOSED_KAFKA"), ","), prefix: fmt.Sprintf("kt-%d-", time.Now().UnixNano())}
	r.adm = kadm.NewClient(r.client())
	return r
}

func (r *real) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

func (r *real) create(name string, partitions int32) string {
	r.t.Helper()
	if _, err := r.adm.CreateTopic(ctx(r.t), partitions, 1, nil, r.prefix+name); err != nil {
		r.t.Fatal(err)
	}
	return r.prefix + name
}

func (r *real) source(topics ...string) *Source {
	r.t.Helper()
	cfg := DefaultConfig()
	cfg.Brokers, cfg.Topics, cfg.Group = r.brokers, topics, r.prefix+"g"
	cfg.MetadataMaxAge, cfg.SessionTimeout, cfg.FetchMaxWait = 500*time.Millisecond, 6*time.Second, 50*time.Millisecond
	return r.sourceOf(cfg)
}

func (r *real) sourceOf(cfg Config) *Source {
	s, err := New(cfg, WithLogger(testLog(r.t)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (r *real) produce(cl *kgo.Client, topic string, values ...string) {
	r.t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	if err := cl.ProduceSync(ctx(r.t), rs...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

func TestRealHaltsAndHoles(t *testing.T) {
	r := newReal(t)
	topic := r.create("t", 1)
	cl := r.client(kgo.TransactionalID(r.prefix + "x"))
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r.produce(cl, topic, fmt.Sprint(i))
		if err := cl.EndTransaction(ctx(t), end); err != nil {
			t.Fatal(err)
		}
	}
	s := r.source(topic)
	if err := s.Check(ctx(t)); err != nil {
		t.Fatal(err)
	}
	ps, err := s.Partitions(ctx(t))
	if err != nil || len(ps) != 1 {
		t.Fatal(ps, err)
	}
	rd, err := s.Open(ctx(t), ps[0], pipeline.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if diff := cmp.Diff([]string{"0", "2"}, readTo(t, rd, pipeline.Cursor{}, 8)); diff != "" {
		t.Error(diff)
	}
	end, err := s.Locate(ctx(t), ps[0], time.Now().Add(time.Hour))
	if err != nil || end.At != position(8) {
		t.Errorf("the end is %v, %v", end, err)
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 5, -1)
	if _, err := r.adm.DeleteRecords(ctx(t), offsets); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(ctx(t), ps[0], pipeline.Start{At: cursor(4, 0)})
	halt(t, err, pipeline.HaltOvertaken)
	if got, err := s.Locate(ctx(t), ps[0], time.Time{}); err != nil || got.At != position(5) {
		t.Errorf("the oldest is %v, %v", got, err)
	}
	_, err = s.Open(ctx(t), ps[0], pipeline.Start{At: cursor(9, -1)})
	halt(t, err, pipeline.HaltTruncated)
	if _, err := r.adm.DeleteTopic(ctx(t), topic); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := r.adm.CreateTopic(ctx(t), 1, 1, nil, topic); err == nil {
			break
		}
		pause(t.Context(), 100*time.Millisecond)
	}
	r.produce(r.client(), topic, numbered(0, 20)...)
	halt(t, nextErr(t, rd), pipeline.HaltRecreated)
}

func TestRealGroups(t *testing.T) {
	for _, protocol := range []string{Classic, Consumer} {
		t.Run(protocol, func(t *testing.T) {
			r := newReal(t)
			topic := r.create("t", 6)
			cl := r.client()
			for i := range int32(6) {
				if err := cl.ProduceSync(ctx(t), &kgo.Record{Topic: topic, Partition: i, Value: []byte("v")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			s1 := r.source(topic)
			cfg := s1.cfg
			cfg.GroupProtocol = protocol
			s1 = r.sourceOf(cfg)
			g1 := newGroup(t)
			st := pipeline.Stamp{Pipeline: "x", Rev: 1}
			g1.run(s1)
			g1.until("all is read", func() bool { return g1.total() == 6 })
			share(t, 6, g1)
			for _, l := range g1.mu.lanes {
				if err := l.Ack(ctx(t), cursor(1, 0), st); err != nil {
					t.Error(err)
				}
			}
			s2, g2 := r.sourceOf(cfg), newGroup(t)
			g2.run(s2)
			share(t, 6, g1, g2)
			for p := range g2.mu.lanes {
				h, err := s2.Hint(ctx(t), p)
				if want := (pipeline.Hint{At: cursor(1, 0), Stamp: st}); err != nil || h != want {
					t.Errorf("hint of %v: %v, %v", p, h, err)
				}
			}
		})
	}
}

func TestRealAuthentication(t *testing.T) {
	r := newReal(t)
	topic := r.create("t", 1)
	r.produce(r.client(), topic, "x")
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		enc := base64.RawURLEncoding.EncodeToString
		now := time.Now().Unix()
		claims := fmt.Sprintf(`{"sub":"alice","iat":%d,"exp":%d}`, now-1, now+60)
		_, _ = fmt.Fprintf(w, `{"access_token":"%s.%s.","expires_in":60}`, enc([]byte(`{"alg":"none"}`)), enc([]byte(claims)))
	}))
	defer idp.Close()
	f := func(what, brokers string, sasl SASLConfig, tls TLSConfig, want string) {
		t.Helper()
		if brokers == "" {
			t.Fatalf("%s: FIREHOSED_KAFKA_... is not set", what)
		}
		cfg := r.source(topic).cfg
		cfg.Brokers, cfg.SASL, cfg.TLS = []string{brokers}, sasl, tls
		err := r.sourceOf(cfg).Check(ctx(t))
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	sasl, ssl, both, certs := os.Getenv("FIREHOSED_KAFKA_SASL"), os.Getenv("FIREHOSED_KAFKA_SSL"), os.Getenv("FIREHOSED_KAFKA_SASL_SSL"), os.Getenv("FIREHOSED_KAFKA_CERTS")
	ca := TLSConfig{CAFile: certs + "/ca.pem"}
	none := TLSConfig{}
	for _, m := range []string{Plain, ScramSHA256, ScramSHA512} {
		user := SASLConfig{Mechanism: m, Username: "alice", Password: Text("alice-secret")}
		f(m, sasl, user, none, "")
		f(m+" with TLS", both, user, ca, "")
		user.Password = Text("wrong")
		f(m+" wrong", sasl, user, none, `sasl: the brokers refuse "alice" with `+m)
	}
	f("oauth", sasl, SASLConfig{Mechanism: OAuthBearer, TokenURL: idp.URL, ClientID: "i", ClientSecret: Text("s")}, none, "")
	f("no such mechanism", sasl, SASLConfig{Mechanism: AWSMSKIAM, Region: "eu-west-1"}, none, `sasl.mechanism: the brokers do not offer "AWS_MSK_IAM"`)
	f("no sasl", sasl, SASLConfig{}, none, "tls.enabled: false, and the brokers hang up")
	f("tls", ssl, SASLConfig{}, ca, "")
	f("mutual tls", ssl, SASLConfig{}, TLSConfig{CAFile: certs + "/ca.pem", CertFile: certs + "/client.pem", KeyFile: certs + "/client.key"}, "")
	f("unknown authority", ssl, SASLConfig{}, TLSConfig{Enabled: true}, "tls.ca_file: ")
	f("tls on a plain port", r.brokers[0], SASLConfig{}, ca, "tls.enabled: true, and the brokers hang up")
	f("no tls on a tls port", ssl, SASLConfig{}, none, "tls.enabled: false, but the brokers want TLS on this port")
}
