package objstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// code returns the error code of a store's answer, "" if there is none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status returns the HTTP status of a store's answer, 0 if there is none.
func status(err error) int {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil {
		return re.HTTPStatusCode()
	}
	return 0
}

// wrap names the operation and the object.
func (b *S3) wrap(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, b.Location(key), err)
}

// explain names the operation, the object and, of errors that a user can do
// something about, what that is.
func (b *S3) explain(op, key string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return b.wrap(op, key, err)
	}
	code := code(err)
	if code == "NoSuchKey" || code == "NotFound" || code == "" && status(err) == http.StatusNotFound {
		return b.wrap(op, key, fs.ErrNotExist)
	}
	if advice := b.advice(op, code, err); advice != "" {
		return fmt.Errorf("%s %s (%s): %s: %w", op, b.Location(key), b.where, advice, err)
	}
	return fmt.Errorf("%s %s (%s): %w", op, b.Location(key), b.where, err)
}

// actions are the rights that an operation needs.
var actions = map[string]string{
	"get":    "s3:GetObject, and s3:ListBucket so that a missing object is told from a forbidden one",
	"read":   "s3:GetObject, and s3:ListBucket so that a missing object is told from a forbidden one",
	"stat":   "s3:GetObject, and s3:ListBucket so that a missing object is told from a forbidden one",
	"put":    "s3:PutObject",
	"upload": "s3:PutObject and s3:AbortMultipartUpload",
	"abort":  "s3:AbortMultipartUpload",
	"delete": "s3:DeleteObject",
	"list":   "s3:ListBucket",
	"sweep":  "s3:ListBucketMultipartUploads",

	"lifecycle": "s3:GetLifecycleConfiguration",
}

// advice says in a user's words what is wrong and what to do; "": nothing known.
func (b *S3) advice(op, code string, err error) string {
	switch code {
	case "NoSuchBucket":
		return fmt.Sprintf("bucket %q does not exist here: create it, or correct the location, region or endpoint", b.bucket)
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem":
		advice := "access denied: the credentials need " + actions[op] + " on this bucket and prefix"
		if b.cfg.SSE.KMSKey != "" || strings.Contains(strings.ToLower(err.Error()), "kms") {
			advice += ", and kms:GenerateDataKey and kms:Decrypt on the key"
		}
		return advice
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired":
		return "the store does not accept the credentials: check access_key_id, secret_access_key and session_token, or what the default credentials chain finds"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently":
		return "the bucket is in another region" + region(err) + ": set region"
	case "RequestTimeTooSkewed":
		return "this machine's clock is wrong: synchronize it"
	case "NotImplemented":
		return "the store lacks a part of the S3 protocol that is needed; if it does not know checksums, set disable_checksums"
	case "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMS.InvalidKeyUsageException":
		return "the KMS key cannot be used: check sse.kms_key and that the key is enabled in this region"
	}
	return unreachable(err)
}

func unreachable(err error) string {
	if status(err) == http.StatusMovedPermanently {
		return "the bucket is in another region" + region(err) + ": set region"
	}
	var signing *v4.SigningError
	var dns *net.DNSError
	var op *net.OpError
	switch text := err.Error(); {
	case strings.Contains(text, "get credentials") || strings.Contains(text, "failed to refresh cached credentials") || errors.As(err, &signing):
		return "no credentials: set access_key_id and secret_access_key, or make the default credentials chain of AWS find some (environment, shared files, web identity, container or instance role)"
	case errors.As(err, &dns):
		return fmt.Sprintf("the host %s has no address: check endpoint and region, and path_style if the bucket's name is part of the host's", dns.Name)
	case errors.As(err, &op) && op.Op == "dial":
		return "the store cannot be reached: check endpoint, network and firewall"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "the store speaks plain HTTP: write endpoint as http://..."
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return "the store's certificate is not trusted: set ca_file to its authority's"
	}
	return ""
}

// region returns the region that a store names as the right one.
func region(err error) string {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil {
		if r := re.Response.Header.Get("X-Amz-Bucket-Region"); r != "" {
			return ", " + r
		}
	}
	return ""
}
