package kinesistest

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f with a server whose clock is the bubble's.
func bubble(t *testing.T, f func(t *testing.T, s *Server, cl *kinesis.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New()
		defer s.Close()
		f(t, s, s.Client())
	})
}

func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func iter(t *testing.T, cl *kinesis.Client, stream, shard string, kind types.ShardIteratorType, seq string, at time.Time) string {
	t.Helper()
	in := &kinesis.GetShardIteratorInput{StreamARN: aws.String(ARN(stream)), ShardId: &shard, ShardIteratorType: kind}
	if seq != "" {
		in.StartingSequenceNumber = &seq
	}
	if !at.IsZero() {
		in.Timestamp = &at
	}
	out, err := cl.GetShardIterator(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.ShardIterator
}

func get(t *testing.T, cl *kinesis.Client, it string) *kinesis.GetRecordsOutput {
	t.Helper()
	out, err := cl.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &it})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func values(rs []types.Record) (vs []string) {
	for _, r := range rs {
		vs = append(vs, string(r.Data))
	}
	return vs
}

func wants(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestRead is about where iterators begin, and what a shard says of itself.
func TestRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *Server, cl *kinesis.Client) {
		s.Create("a", 1)
		shard := s.Shards("a")[0]
		var seqs []string
		for i := range 4 {
			_, seq := s.Put("a", "k", fmt.Append(nil, "v", i))
			seqs = append(seqs, seq)
			time.Sleep(time.Second)
		}
		if !slices.IsSorted(seqs) || len(seqs[0]) != 56 {
			t.Errorf("sequence numbers %v", seqs)
		}
		f := func(kind types.ShardIteratorType, seq string, at time.Time, want ...string) {
			t.Helper()
			wants(t, string(kind), values(get(t, cl, iter(t, cl, "a", shard, kind, seq, at)).Records), want)
			time.Sleep(time.Second)
		}
		f(types.ShardIteratorTypeTrimHorizon, "", time.Time{}, "v0", "v1", "v2", "v3")
		f(types.ShardIteratorTypeLatest, "", time.Time{})
		f(types.ShardIteratorTypeAtSequenceNumber, seqs[1], time.Time{}, "v1", "v2", "v3")
		f(types.ShardIteratorTypeAfterSequenceNumber, seqs[1], time.Time{}, "v2", "v3")
		out := get(t, cl, iter(t, cl, "a", shard, types.ShardIteratorTypeTrimHorizon, "", time.Time{}))
		f(types.ShardIteratorTypeAtTimestamp, "", *out.Records[3].ApproximateArrivalTimestamp, "v3")
		s.Trim("a", shard, seqs[2])
		f(types.ShardIteratorTypeAfterSequenceNumber, seqs[0], time.Time{}, "v2", "v3") // from the horizon, without a word
		time.Sleep(24 * time.Hour)
		f(types.ShardIteratorTypeTrimHorizon, "", time.Time{})
	})
}

// TestRefusals is about the errors that a reader has to live with.
func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, s *Server, cl *kinesis.Client) {
		s.Create("a", 2)
		shards := s.Shards("a")
		seq := s.PutTo("a", shards[0], "k", []byte("v"))
		_, err := cl.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
			StreamARN: aws.String(ARN("a")), ShardId: &shards[1], ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: &seq,
		})
		wants(t, "another shard's number", code(err), invalid)
		_, err = cl.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
			StreamARN: aws.String(ARN("a")), ShardId: &shards[1], ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Now().Add(time.Hour)),
		})
		wants(t, "a time to come", code(err), invalid)

		it := iter(t, cl, "a", shards[0], types.ShardIteratorTypeTrimHorizon, "", time.Time{})
		for range 5 {
			get(t, cl, it)
		}
		_, err = cl.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &it})
		wants(t, "a sixth call in a second", code(err), tooMuch)
		time.Sleep(time.Second)
		get(t, cl, it)
		time.Sleep(5*time.Minute + time.Millisecond)
		_, err = cl.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &it})
		wants(t, "an old iterator", code(err), expired)

		it = iter(t, cl, "a", shards[0], types.ShardIteratorTypeTrimHorizon, "", time.Time{})
		s.Delete("a")
		time.Sleep(time.Second)
		s.Create("a", 2)
		_, err = cl.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &it})
		wants(t, "an iterator of the stream before", code(err), notFound)
	})
}

// TestBytes is about 2 MB a second and records of 10 MiB.
func TestBytes(t *testing.T) {
	bubble(t, func(t *testing.T, s *Server, cl *kinesis.Client) {
		s.Create("a", 1)
		shard := s.Shards("a")[0]
		big := make([]byte, 10<<20-1)
		put := func() error {
			_, err := cl.PutRecord(t.Context(), &kinesis.PutRecordInput{StreamARN: aws.String(ARN("a")), PartitionKey: aws.String("k"), Data: big})
			return err
		}
		wants(t, "10 MiB by default", code(put()), invalid)
		if _, err := cl.UpdateMaxRecordSize(t.Context(), &kinesis.UpdateMaxRecordSizeInput{StreamARN: aws.String(ARN("a")), MaxRecordSizeInKiB: aws.Int32(10240)}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(put(), put()); err != nil {
			t.Fatal(err)
		}
		out := get(t, cl, iter(t, cl, "a", shard, types.ShardIteratorTypeTrimHorizon, "", time.Time{}))
		if len(out.Records) != 1 || len(out.Records[0].Data) != len(big) {
			t.Fatalf("%d records", len(out.Records))
		}
		if *out.MillisBehindLatest == 0 {
			t.Error("more is there, but the answer is up to date")
		}
		_, err := cl.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: out.NextShardIterator})
		wants(t, "the next second", code(err), tooMuch)
		time.Sleep(5 * time.Second)
		if out = get(t, cl, *out.NextShardIterator); len(out.Records) != 1 || *out.MillisBehindLatest != 0 {
			t.Errorf("%d records, %d ms behind", len(out.Records), *out.MillisBehindLatest)
		}
	})
}

// TestReshard is about splits, merges, and how shards are listed.
func TestReshard(t *testing.T) {
	bubble(t, func(t *testing.T, s *Server, cl *kinesis.Client) {
		s.Create("a", 1)
		parent := s.Shards("a")[0]
		s.Put("a", "k", []byte("older"))
		_, before := s.Put("a", "k", []byte("old"))
		mid := new(big.Int).Lsh(big.NewInt(1), 127).String()
		if _, err := cl.SplitShard(t.Context(), &kinesis.SplitShardInput{StreamARN: aws.String(ARN("a")), ShardToSplit: &parent, NewStartingHashKey: &mid}); err != nil {
			t.Fatal(err)
		}
		left, right := s.Shards("a")[1], s.Shards("a")[2]
		if _, after := s.Put("a", "k", []byte("new")); len(after) != len(before) || after <= before {
			t.Errorf("a key's number after a split in the same second is %s, before it %s", after, before)
		}
		out := get(t, cl, iter(t, cl, "a", parent, types.ShardIteratorTypeTrimHorizon, "", time.Time{}))
		if out.NextShardIterator != nil || len(out.ChildShards) != 2 || *out.ChildShards[1].HashKeyRange.StartingHashKey != mid {
			t.Errorf("end of a split shard: next %v, children %+v", out.NextShardIterator, out.ChildShards)
		}
		wants(t, "records", values(out.Records), []string{"older", "old"})
		if _, err := cl.MergeShards(t.Context(), &kinesis.MergeShardsInput{StreamARN: aws.String(ARN("a")), ShardToMerge: &right, AdjacentShardToMerge: &left}); err != nil {
			t.Fatal(err)
		}
		list := func(token *string) (*kinesis.ListShardsOutput, error) {
			in := &kinesis.ListShardsInput{MaxResults: aws.Int32(3), NextToken: token}
			if token == nil {
				in.StreamARN = aws.String(ARN("a"))
			}
			return cl.ListShards(t.Context(), in)
		}
		page, err := list(nil)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := list(page.NextToken)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, sh := range append(page.Shards, rest.Shards...) {
			got = append(got, fmt.Sprintf("%s<%s,%s closed=%t", *sh.ShardId, aws.ToString(sh.ParentShardId), aws.ToString(sh.AdjacentParentShardId),
				sh.SequenceNumberRange.EndingSequenceNumber != nil))
		}
		wants(t, "shards", got, []string{
			parent + "<, closed=true", left + "<" + parent + ", closed=true", right + "<" + parent + ", closed=true", id(3) + "<" + left + "," + right + " closed=false",
		})
		time.Sleep(listLife + time.Second)
		_, err = list(page.NextToken)
		wants(t, "an old token", code(err), staleList)
		time.Sleep(24 * time.Hour)
		wants(t, "shards after retention", s.Shards("a"), []string{id(3)})
	})
}

// TestSubscribe is about the life of a subscription.
func TestSubscribe(t *testing.T) {
	bubble(t, func(t *testing.T, s *Server, cl *kinesis.Client) {
		s.Create("a", 1)
		shard := s.Shards("a")[0]
		reg, err := cl.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ARN("a")), ConsumerName: aws.String("c")})
		if err != nil {
			t.Fatal(err)
		}
		sub := func(p types.StartingPosition) (*kinesis.SubscribeToShardOutput, error) {
			return s.Client().SubscribeToShard(t.Context(), &kinesis.SubscribeToShardInput{ConsumerARN: reg.Consumer.ConsumerARN, ShardId: &shard, StartingPosition: &p})
		}
		horizon := types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
		_, err = sub(horizon)
		wants(t, "a consumer that is being made", code(err), inUse)
		time.Sleep(consumerDelay)
		s.Put("a", "k", []byte("v0"))
		out, err := sub(horizon)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ev := event(t, out)
		wants(t, "first event", values(ev.Records), []string{"v0"})
		_, err = sub(horizon)
		wants(t, "a second subscription at once", code(err), inUse)
		s.Put("a", "k", []byte("v1"))
		var got []string
		n := 0
		for e := range out.GetStream().Events() {
			v := e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
			got, ev, n = append(got, values(v.Records)...), v, n+1
		}
		wants(t, "later events", got, []string{"v1"})
		if err := out.GetStream().Err(); err != nil || time.Since(began) != 5*time.Minute || n < 60 {
			t.Errorf("over after %v and %d events: %v", time.Since(began), n, err)
		}
		s.Put("a", "k", []byte("v2"))
		if out, err = sub(types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: ev.ContinuationSequenceNumber}); err != nil {
			t.Fatal(err)
		}
		wants(t, "after renewal", values(event(t, out).Records), []string{"v2"})
		time.Sleep(6 * time.Second)
		other, err := sub(horizon)
		if err != nil {
			t.Fatal(err)
		}
		for range out.GetStream().Events() {
		}
		wants(t, "the one before", code(out.GetStream().Err()), inUse)
		s.Split("a", shard)
		for range 3 {
			ev = event(t, other)
			if len(ev.ChildShards) == 2 {
				break
			}
		}
		if len(ev.ChildShards) != 2 || ev.ContinuationSequenceNumber != nil {
			t.Errorf("last event: %+v", ev)
		}
	})
}

func event(t *testing.T, out *kinesis.SubscribeToShardOutput) types.SubscribeToShardEvent {
	t.Helper()
	e, ok := <-out.GetStream().Events()
	if !ok {
		t.Fatalf("no event: %v", out.GetStream().Err())
	}
	return e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
}

// TestHook is about failures on demand.
func TestHook(t *testing.T) {
	bubble(t, func(t *testing.T, s *Server, cl *kinesis.Client) {
		s.Create("a", 1)
		put := func() error {
			_, err := cl.PutRecord(t.Context(), &kinesis.PutRecordInput{StreamARN: aws.String(ARN("a")), PartitionKey: aws.String("k"), Data: []byte("v")})
			return err
		}
		s.Hook(func(c Call) error {
			switch {
			case c.Op != "PutRecord":
				return nil
			case c.N == 1:
				return &Error{Code: tooMuch, Message: "wait"}
			case c.N == 2:
				return ErrLostReply
			}
			return nil
		})
		wants(t, "refused", code(put()), tooMuch)
		if err := put(); err == nil || !strings.Contains(err.Error(), ErrLostReply.Error()) {
			t.Errorf("lost answer: %v", err)
		}
		if err := put(); err != nil {
			t.Error(err)
		}
		out := get(t, cl, iter(t, cl, "a", s.Shards("a")[0], types.ShardIteratorTypeTrimHorizon, "", time.Time{}))
		wants(t, "records", len(out.Records), 2)
		wants(t, "calls", s.Calls("PutRecord", ""), 3)
		wants(t, "reads of the shard", s.Calls("GetRecords", s.Shards("a")[0]), 1)
	})
}

// TestOverHTTP: the same bytes pass a listener.
func TestOverHTTP(t *testing.T) {
	s := New()
	defer s.Close()
	web := httptest.NewServer(s)
	defer web.Close()
	o := s.Options()
	o.BaseEndpoint, o.HTTPClient = &web.URL, web.Client()
	cl := kinesis.New(o)
	if _, err := cl.CreateStream(context.Background(), &kinesis.CreateStreamInput{StreamName: aws.String("a"), ShardCount: aws.Int32(3)}); err != nil {
		t.Fatal(err)
	}
	out, err := cl.DescribeStreamSummary(context.Background(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("a")})
	if err != nil || *out.StreamDescriptionSummary.OpenShardCount != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
}
