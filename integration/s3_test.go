package integration

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// emptyLater removes what is below a prefix of the bucket when the test has passed: a run at full size leaves a gigabyte.
func emptyLater(t *testing.T, prefix string) {
	t.Cleanup(func() {
		if t.Failed() || *keep != "" {
			return
		}
		if n, err := empty(context.WithoutCancel(t.Context()), prefix); err != nil {
			t.Logf("clean up %s: %v (%d objects removed)", prefix, err, n)
		}
	})
}

func bucketClient() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Getenv("FIREHOSED_S3_ENDPOINT")), Region: "us-east-1", UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: os.Getenv("FIREHOSED_S3_KEY"), SecretAccessKey: os.Getenv("FIREHOSED_S3_SECRET")}, nil
		}),
	})
}

func empty(ctx context.Context, prefix string) (n int, err error) {
	client := bucketClient()
	bucket := aws.String(os.Getenv("FIREHOSED_S3_BUCKET"))
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return n, err
		}
		for _, o := range page.Contents {
			if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: o.Key}); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
