package objstore

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// AbortsUploads returns the least age at which a lifecycle rule of the bucket aborts
// uploads under keys with prefix, and the rule's id; 0: none does. It needs
// s3:GetLifecycleConfiguration.
func (b *S3) AbortsUploads(ctx context.Context, prefix string) (after time.Duration, rule string, err error) {
	out, err := b.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &b.bucket})
	if code(err) == "NoSuchLifecycleConfiguration" {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", b.explain("lifecycle", prefix, err)
	}
	for i := range out.Rules {
		r := &out.Rules[i]
		if r.Status != types.ExpirationStatusEnabled || r.AbortIncompleteMultipartUpload == nil || !overlap(rulePrefix(r), b.prefix+prefix) {
			continue
		}
		age := time.Duration(aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation)) * 24 * time.Hour
		if after == 0 || age < after {
			after, rule = age, aws.ToString(r.ID)
		}
	}
	return after, rule, nil
}

// overlap tells whether keys can have both prefixes.
func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// rulePrefix returns the prefix of the keys that a rule is about. Rules about tags or
// sizes are not told apart: uploads have neither.
func rulePrefix(r *types.LifecycleRule) string {
	switch f := r.Filter; {
	case f == nil:
		return aws.ToString(r.Prefix) //nolint:staticcheck // old rules have it
	case f.And != nil:
		return aws.ToString(f.And.Prefix)
	default:
		return aws.ToString(f.Prefix)
	}
}
