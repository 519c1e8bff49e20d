package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// explain names the key of the configuration that an error is about, its value and
// what to do. Other errors come back as they are.
func explain(err error, cfg Config) error {
	if err == nil {
		return nil
	}
	if advice := advise(err, cfg); advice != "" {
		return fmt.Errorf("%s: %w", advice, err)
	}
	return err
}

func advise(err error, cfg Config) string {
	if advice := adviseTLS(err, cfg); advice != "" {
		return advice
	}
	user := cfg.SASL.Username
	if cfg.SASL.Mechanism == AWSMSKIAM || cfg.SASL.Mechanism == OAuthBearer {
		user = cfg.SASL.Mechanism
	}
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed) && cfg.SASL.Mechanism == "":
		return "sasl.mechanism: none is set, but the brokers want authentication"
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Sprintf("sasl: the brokers refuse %q with %s; check the user and the secret", user, cfg.SASL.Mechanism)
	case errors.Is(err, kerr.UnsupportedSaslMechanism), strings.Contains(err.Error(), "broker does not support any of"):
		return fmt.Sprintf("sasl.mechanism: the brokers do not offer %q", cfg.SASL.Mechanism)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Sprintf("group: user %q may not use group %q; allow it READ on the group", user, cfg.Group)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Sprintf("topics: user %q may not read; allow it READ and DESCRIBE on the topics", user)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Sprintf("sasl: user %q may not use the cluster", user)
	case errors.Is(err, kerr.InvalidSessionTimeout):
		return fmt.Sprintf("session_timeout: %v is outside the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms", cfg.SessionTimeout)
	case errors.Is(err, kerr.FencedInstanceID), errors.Is(err, kerr.UnreleasedInstanceID):
		return fmt.Sprintf("instance_id: another worker is running as %q; give every worker its own", cfg.InstanceID)
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		return fmt.Sprintf("group: %q has members that share partitions out in another way; use a group of its own", cfg.Group)
	case errors.Is(err, kerr.GroupMaxSizeReached):
		return fmt.Sprintf("group: %q has as many members as the brokers allow (group.max.size)", cfg.Group)
	}
	return adviseNet(err, cfg)
}

func adviseTLS(err error, cfg Config) string {
	unknown, host, invalid := x509.UnknownAuthorityError{}, x509.HostnameError{}, x509.CertificateInvalidError{}
	record, alert := tls.RecordHeaderError{}, tls.AlertError(0)
	switch {
	case errors.As(err, &unknown):
		return "tls.ca_file: the brokers' certificate is signed by an authority that is not trusted here; name the file that holds it"
	case errors.As(err, &host):
		return "tls.server_name: the brokers' certificate is for another name"
	case errors.As(err, &invalid):
		return "tls: the brokers' certificate is not valid"
	case errors.As(err, &record):
		return "tls.enabled: true, but the brokers speak no TLS on this port; check the port in brokers"
	case errors.As(err, &alert):
		return "tls.cert_file: the brokers refuse this client's certificate, or want one"
	case !cfg.TLS.on() && strings.Contains(err.Error(), "tls alert record"): // the client library's words
		return "tls.enabled: false, but the brokers want TLS on this port"
	}
	return ""
}

// adviseHangUp is about brokers that close the connection without a word. It is
// how they meet what they do not expect.
func adviseHangUp(cfg Config) string {
	switch {
	case cfg.SASL.Mechanism != "" && cfg.TLS.on():
		return fmt.Sprintf("sasl: the brokers hang up on %q with %s; check the user, the secret and the port", cfg.SASL.Username, cfg.SASL.Mechanism)
	case cfg.SASL.Mechanism != "":
		return fmt.Sprintf("sasl: the brokers hang up on %q with %s; check the user and the secret, and whether the port wants tls", cfg.SASL.Username, cfg.SASL.Mechanism)
	case cfg.TLS.on():
		return "tls.enabled: true, and the brokers hang up; the port may not speak TLS, or wants sasl or tls.cert_file"
	}
	return "tls.enabled: false, and the brokers hang up; the port probably wants tls or sasl"
}

func adviseNet(err error, cfg Config) string {
	dns, op := (*net.DNSError)(nil), (*net.OpError)(nil)
	brokers, eof := strings.Join(cfg.Brokers, ", "), (*kgo.ErrFirstReadEOF)(nil)
	switch {
	case errors.As(err, &eof), errors.Is(err, io.EOF):
		return adviseHangUp(cfg)
	case errors.As(err, &dns):
		return fmt.Sprintf("brokers: the name %q cannot be resolved; check the spelling and the DNS of this machine", dns.Name)
	case errors.As(err, &op) && op.Timeout() && cfg.TLS.on():
		return fmt.Sprintf("brokers: %s do not answer; check address, port and firewall, and whether the port speaks TLS (tls.enabled: true)", brokers)
	case errors.As(err, &op):
		return fmt.Sprintf("brokers: none of %s can be reached; check address, port and firewall", brokers)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("brokers: %s did not answer in time; check address, port and firewall", brokers)
	}
	return ""
}
