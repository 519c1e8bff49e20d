package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// certificate makes an authority and a certificate of a broker for the names.
func certificate(t *testing.T, names ...string) (conf *tls.Config, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, caFile
}

// checks reports what Check says about cfg: it must contain want, or be nil.
func checks(t *testing.T, b *broker, cfg Config, want ...string) {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := b.source(cfg).Check(c)
	if len(want) == 0 {
		if err != nil {
			t.Errorf("Check: %v", err)
		}
		return
	}
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("Check: %v\nwant %q", err, w)
		}
	}
}

func TestCheckTopics(t *testing.T) {
	b := newBroker(t)
	b.create("orders", 1)
	checks(t, b, b.config("orders"))
	checks(t, b, b.config("orders", "oders", "clicks"), `topics: topic "oders" does not exist; create it or correct the name`, `topic "clicks" does not exist`)
	cfg := b.config()
	cfg.TopicsRegex = "later-.*"
	checks(t, b, cfg)
	cfg = b.config("orders")
	cfg.GroupProtocol = Consumer
	checks(t, b, cfg)
}

func TestCheckOldBrokers(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	cfg := b.config("t")
	cfg.GroupProtocol = Consumer
	b.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		for _, key := range []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata, kmsg.DescribeGroups, kmsg.FindCoordinator} {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = int16(key), 4
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
		return resp, nil, true
	})
	checks(t, b, cfg, "group_protocol: consumer needs Kafka 4.0 or newer")
}

func TestCheckConnection(t *testing.T) {
	b := newBroker(t)
	b.create("t", 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	cfg := b.config("t")
	cfg.Brokers = []string{nobody}
	checks(t, b, cfg, "brokers: none of "+nobody+" can be reached; check address, port and firewall", "connection refused")
	cfg.Brokers = []string{"no-such-host.invalid:9092"}
	checks(t, b, cfg, "brokers: ")
	cfg = b.config("t")
	cfg.TLS.Enabled = true
	checks(t, b, cfg, "and whether the port speaks TLS (tls.enabled: true)")
}

func TestCheckTLS(t *testing.T) {
	conf, ca := certificate(t, "127.0.0.1", "kafka.example.com")
	b := newBroker(t, kfake.TLS(conf), kfake.SeedTopics(1, "t"))
	cfg := b.config("t")
	cfg.TLS.CAFile = ca
	checks(t, b, cfg)
	cfg.TLS.ServerName = "kafka.example.com"
	checks(t, b, cfg)
	cfg.TLS.ServerName = "other.example.com"
	checks(t, b, cfg, "tls.server_name: the brokers' certificate is for another name")
	cfg.TLS = TLSConfig{Enabled: true}
	checks(t, b, cfg, "tls.ca_file: the brokers' certificate is signed by an authority that is not trusted here")
	cfg.TLS = TLSConfig{}
	checks(t, b, cfg, "tls.enabled: false")
}

func TestCheckAuthentication(t *testing.T) {
	b := newBroker(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "alice", "right"), kfake.SeedTopics(1, "t"))
	cfg := b.config("t")
	cfg.SASL = SASLConfig{Mechanism: ScramSHA256, Username: "alice", Password: Text("right")}
	checks(t, b, cfg)
	cfg.SASL.Password = Text("wrong")
	checks(t, b, cfg, `sasl: the brokers hang up on "alice" with SCRAM-SHA-256; check the user and the secret`) // Kafka itself says why
	cfg.SASL.Password = func() (string, error) { return "", os.ErrNotExist }
	checks(t, b, cfg, "sasl.password: file does not exist")
	cfg.SASL = SASLConfig{}
	checks(t, b, cfg, "the port probably wants tls or sasl")
}

func TestCheckRights(t *testing.T) {
	allow := func(res kmsg.ACLResourceType, name string, ops ...kmsg.ACLOperation) (acls []kfake.ACL) {
		for _, op := range ops {
			acls = append(acls, kfake.ACL{Resource: res, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return acls
	}
	const read, describe = kmsg.ACLOperationRead, kmsg.ACLOperationDescribe
	topic, group := kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	var users []kfake.Opt
	for name, acls := range map[string][]kfake.ACL{
		"all":     append(allow(topic, "t", read), allow(group, "g", read)...),
		"nogroup": allow(topic, "t", read),
		"notopic": allow(group, "g", read),
		"see":     append(allow(topic, "t", describe), allow(group, "g", read)...),
	} {
		users = append(users, kfake.User("PLAIN", name, "pw", acls...))
	}
	b := newBroker(t, append(users, kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, "t"))...)
	f := func(user string, want ...string) {
		t.Helper()
		cfg := b.config("t")
		cfg.SASL = SASLConfig{Mechanism: Plain, Username: user, Password: Text("pw")}
		checks(t, b, cfg, want...)
	}
	f("all")
	f("nogroup", `group: user "nogroup" may not use group "g"; allow it READ on the group`)
	f("notopic", `topics: user "notopic" may not read topic "t"; allow it READ and DESCRIBE`)
	f("see", `topics: user "see" may not read topic "t"; allow it READ and DESCRIBE`)
}

func TestExplain(t *testing.T) {
	cfg := valid()
	cfg.SASL.Mechanism, cfg.SASL.Username, cfg.InstanceID = ScramSHA512, "alice", "w1"
	f := func(err error, want string) {
		t.Helper()
		got := explain(fmt.Errorf("join: %w", err), cfg)
		if !errors.Is(got, err) || !strings.HasPrefix(got.Error(), want) {
			t.Errorf("got %v, want %q", got, want)
		}
	}
	f(kerr.SaslAuthenticationFailed, `sasl: the brokers refuse "alice" with SCRAM-SHA-512; check the user and the secret: join: `)
	f(kerr.UnsupportedSaslMechanism, `sasl.mechanism: the brokers do not offer "SCRAM-SHA-512"`)
	f(kerr.GroupAuthorizationFailed, `group: user "alice" may not use group "g"`)
	f(kerr.TopicAuthorizationFailed, `topics: user "alice" may not read`)
	f(kerr.InvalidSessionTimeout, `session_timeout: 45s is outside the brokers'`)
	f(kerr.FencedInstanceID, `instance_id: another worker is running as "w1"`)
	f(kerr.InconsistentGroupProtocol, `group: "g" has members that share partitions out in another way`)
	f(tls.AlertError(42), "tls.cert_file: ")
	f(kerr.NotCoordinator, "join: ")
}
