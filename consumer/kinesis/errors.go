package kinesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/firehosed/firehosed/pipeline"
)

// codeOf returns the name of the service's exception, or "".
func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// Names of exceptions that decide something.
const (
	errNotFound = "ResourceNotFoundException"
	errInUse    = "ResourceInUseException"
	errExpired  = "ExpiredIteratorException"
	errToken    = "ExpiredNextTokenException"
	errArgument = "InvalidArgumentException"
)

// isThrottled reports whether the service asks for patience.
func isThrottled(err error) bool {
	switch codeOf(err) {
	case "ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException",
		"ThrottlingException", "Throttling", "RequestLimitExceeded", "SlowDown":
		return true
	}
	return false
}

// isTemporary reports whether the same request may succeed a little later: what
// broke on its way, or inside the service.
func isTemporary(err error) bool {
	if isThrottled(err) {
		return true
	}
	if code := codeOf(err); code != "" {
		var resp *smithyhttp.ResponseError
		return code == "InternalFailure" || code == "InternalFailureException" || code == "ServiceUnavailable" ||
			errors.As(err, &resp) && resp.HTTPStatusCode() >= 500
	}
	return !errors.Is(err, context.Canceled)
}

// explain names the key of the configuration that an error is about and what to do.
// Other errors come back as they are.
func explain(err error, cfg Config) error {
	if advice := advise(err, cfg); advice != "" {
		return fmt.Errorf("%s: %w", advice, err)
	}
	return err
}

func advise(err error, cfg Config) string {
	who := "the credentials found"
	if cfg.RoleARN != "" {
		who = fmt.Sprintf("role %q", cfg.RoleARN)
	}
	dns, op := (*net.DNSError)(nil), (*net.OpError)(nil)
	switch codeOf(err) {
	case "AccessDeniedException":
		return fmt.Sprintf("streams: %s may not read; allow kinesis:DescribeStreamSummary, ListShards, GetShardIterator and GetRecords", who)
	case "KMSAccessDeniedException":
		return fmt.Sprintf("streams: %s may not decrypt the stream; allow kms:Decrypt on its key", who)
	case "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException":
		return "streams: the key that the stream is encrypted with cannot be used; enable it"
	case "KMSOptInRequired":
		return "streams: the account has no access to KMS"
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken", "ExpiredTokenException":
		return "region: the service refuses the credentials; check them, and that region is the streams'"
	}
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("endpoint: the name %q cannot be resolved; check region and endpoint", dns.Name)
	case errors.As(err, &op):
		return fmt.Sprintf("endpoint: the service cannot be reached at %s; check region, endpoint and firewall", op.Addr)
	}
	return ""
}

// overtaken is the halt for records that retention removed before they were read.
func overtaken(p pipeline.Partition, at, to pipeline.Position, what string) *pipeline.Halt {
	return &pipeline.Halt{
		Class:  pipeline.HaltOvertaken,
		Detail: fmt.Sprintf("%v: %s", p, what),
		Remedy: fmt.Sprintf("firehosed offsets accept-gap %v %q %q", p, at, to),
	}
}

// recreated is the halt for a stream that was deleted and made again.
func recreated(p pipeline.Partition, name string, now pipeline.Partition) *pipeline.Halt {
	return &pipeline.Halt{
		Class:  pipeline.HaltRecreated,
		Detail: fmt.Sprintf("stream %q was deleted and made again: its creation time was %s and is now %s", name, p.Incarnation, now.Incarnation),
		Remedy: fmt.Sprintf("firehosed offsets accept-incarnation %s: take its records as new ones, from the start of its shards", now.StreamKey()),
	}
}

// jitter returns a random time in (d/2, d].
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2) }

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
