package kinesis

import (
	"errors"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/consumer/kinesis/kinesistest"
)

// TestCheck: problems are named by the key that they are about.
func TestCheck(t *testing.T) {
	bubble(t, 2, func(w *world) {
		f := func(what string, cfg Config, deny string, want ...string) {
			w.Helper()
			w.Hook(func(c kinesistest.Call) error {
				op, code, _ := strings.Cut(deny, " ")
				if c.Op == op {
					return &kinesistest.Error{Code: code}
				}
				return nil
			})
			err := w.source(cfg).Check(w.Context())
			if len(want) == 0 && err != nil {
				w.Errorf("%s: %v", what, err)
			}
			for _, text := range want {
				if err == nil || !strings.Contains(err.Error(), text) {
					w.Errorf("%s: %v; want %q", what, err, text)
				}
			}
		}
		f("all is well", w.config(), "")
		f("with fan-out, whose consumer is not there yet", w.fanOut(), "")
		cfg := w.config()
		cfg.Streams = []string{"x", "a", "arn:aws:kinesis:us-east-1:000000000000:stream/y"}
		f("streams that are not there", cfg, "", `streams: stream "x" does not exist`, `stream "arn:aws:kinesis:us-east-1:000000000000:stream/y" does not exist`)
		cfg = w.config()
		cfg.RoleARN = "arn:aws:iam::000000000000:role/reader"
		f("no right to list", cfg, "ListShards AccessDeniedException", `streams: role "arn:aws:iam::000000000000:role/reader" may not read`)
		f("no right to read", w.config(), "GetRecords AccessDeniedException", `streams: the credentials found may not read`)
		f("no right to decrypt", w.config(), "GetRecords KMSAccessDeniedException", "kms:Decrypt")
		f("somebody else reads", w.config(), "GetRecords ProvisionedThroughputExceededException")
		f("an iterator that is old already", w.config(), "GetRecords ExpiredIteratorException")
		for _, op := range []string{"ListShards", "GetShardIterator", "GetRecords", "DescribeStreamSummary"} { // a connection that breaks once
			broken := false
			w.Hook(func(c kinesistest.Call) error {
				if c.Op == op && !broken {
					broken = true
					return errors.New("the connection breaks")
				}
				return nil
			})
			if err := w.source(w.config()).Check(w.Context()); err != nil || !broken {
				w.Errorf("%s breaks once: %v", op, err)
			}
		}
		f("no right to the consumer", w.fanOut(), "DescribeStreamConsumer AccessDeniedException", "fan_out_consumer: the credentials may not look")
	})
}
