package kinesistest

import (
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// TestContract holds this service to what an independent one does, see TestRealContract.
func TestContract(t *testing.T) {
	s := New()
	defer s.Close()
	web := httptest.NewServer(s)
	defer web.Close()
	contract(t, web.URL)
}

// TestRealContract holds an independent service to the same.
func TestRealContract(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv("FIREHOSED_IT"), ","), "kinesis") {
		t.Skip("FIREHOSED_IT does not name kinesis: not run against an independent service")
	}
	contract(t, os.Getenv("FIREHOSED_KINESIS"))
}

// contract is what a reader of shards rests on, by calls of the service alone: where
// iterators begin, that numbers ascend, and what a shard says when it is closed.
func contract(t *testing.T, endpoint string) {
	tr := &http.Transport{DisableKeepAlives: true}
	o := New().Options()
	o.BaseEndpoint, o.HTTPClient = &endpoint, &http.Client{Transport: tr}
	cl, name := kinesis.New(o), fmt.Sprintf("contract-%d", time.Now().UnixNano())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := cl.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(1)})
	must(err)
	t.Cleanup(func() {
		_, _ = cl.DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: &name})
		tr.CloseIdleConnections()
	})
	active := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			out, err := cl.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &name})
			if err == nil && out.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive {
				return
			} else if time.Now().After(end) {
				t.Fatalf("the stream is not active: %v", err)
			}
		}
	}
	active()
	shards := func() []types.Shard {
		t.Helper()
		out, err := cl.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: &name})
		must(err)
		return out.Shards
	}
	put := func(key, data string) (shard, seq string) {
		t.Helper()
		out, err := cl.PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: &name, PartitionKey: &key, Data: []byte(data)})
		must(err)
		return *out.ShardId, *out.SequenceNumber
	}
	begin := func(shard string, kind types.ShardIteratorType, seq *string, at *time.Time) *string {
		t.Helper()
		out, err := cl.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
			StreamName: &name, ShardId: &shard, ShardIteratorType: kind, StartingSequenceNumber: seq, Timestamp: at,
		})
		must(err)
		return out.ShardIterator
	}
	// all reads until the shard ends, or n records have come and an answer is empty. It
	// waits before every call, the first as well: a shard answers five a second.
	all := func(it *string, n int) (got []types.Record, last *kinesis.GetRecordsOutput) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; {
			time.Sleep(250 * time.Millisecond)
			out, err := cl.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
			must(err)
			got, it = append(got, out.Records...), out.NextShardIterator
			if it == nil || len(out.Records) == 0 && len(got) >= n || time.Now().After(end) {
				return got, out
			}
		}
	}

	parent := *shards()[0].ShardId
	var seqs []string
	for i := range 4 {
		shard, seq := put("k", fmt.Sprint("v", i))
		if shard != parent {
			t.Errorf("record %d is in %s", i, shard)
		}
		seqs = append(seqs, seq)
	}
	ascend := func(seqs ...string) bool {
		return slices.IsSortedFunc(seqs, func(a, b string) int {
			x, _ := new(big.Int).SetString(a, 10)
			y, _ := new(big.Int).SetString(b, 10)
			return x.Cmp(y)
		})
	}
	if !ascend(seqs...) {
		t.Errorf("numbers do not ascend: %v", seqs)
	}
	reads := func(kind types.ShardIteratorType, seq *string, at *time.Time, want ...string) []types.Record {
		t.Helper()
		got, last := all(begin(parent, kind, seq, at), len(want))
		wants(t, string(kind), values(got), want)
		if last.NextShardIterator == nil || aws.ToInt64(last.MillisBehindLatest) != 0 {
			t.Errorf("%s: at the tip of an open shard there is no next iterator, or it is %d ms behind", kind, aws.ToInt64(last.MillisBehindLatest))
		}
		return got
	}
	got := reads(types.ShardIteratorTypeTrimHorizon, nil, nil, "v0", "v1", "v2", "v3")
	for i, r := range got {
		if *r.SequenceNumber != seqs[i] || *r.PartitionKey != "k" || r.ApproximateArrivalTimestamp.IsZero() {
			t.Errorf("record %d is %+v", i, r)
		}
	}
	reads(types.ShardIteratorTypeAtSequenceNumber, &seqs[1], nil, "v1", "v2", "v3")
	reads(types.ShardIteratorTypeAfterSequenceNumber, &seqs[1], nil, "v2", "v3")
	reads(types.ShardIteratorTypeAtTimestamp, nil, aws.Time(got[0].ApproximateArrivalTimestamp.Add(-time.Second)), "v0", "v1", "v2", "v3")
	latest := begin(parent, types.ShardIteratorTypeLatest, nil, nil)
	_, seq := put("k", "v4")
	new4, _ := all(latest, 1)
	wants(t, "after LATEST", values(new4), []string{"v4"})

	middle := new(big.Int).Lsh(big.NewInt(1), 127).String()
	_, err = cl.SplitShard(t.Context(), &kinesis.SplitShardInput{StreamName: &name, ShardToSplit: &parent, NewStartingHashKey: &middle})
	must(err)
	active()
	list := shards()
	if len(list) != 3 || list[0].SequenceNumberRange.EndingSequenceNumber == nil {
		t.Fatalf("after a split: %+v", list)
	}
	for _, child := range list[1:] {
		if aws.ToString(child.ParentShardId) != parent || child.SequenceNumberRange.EndingSequenceNumber != nil {
			t.Errorf("child %+v", child)
		}
	}
	rest, last := all(begin(parent, types.ShardIteratorTypeAfterSequenceNumber, &seq, nil), 0)
	if len(rest) != 0 || last.NextShardIterator != nil {
		t.Errorf("a closed shard has %d records more, next iterator %v", len(rest), last.NextShardIterator)
	}
	home, next := put("k", "v5")
	if home == parent || !ascend(seq, next) {
		t.Errorf("after the split the key is in %s, its numbers went from %s to %s", home, seq, next)
	}
	left, right := list[1].ShardId, list[2].ShardId
	_, err = cl.MergeShards(t.Context(), &kinesis.MergeShardsInput{StreamName: &name, ShardToMerge: left, AdjacentShardToMerge: right})
	must(err)
	active()
	list = shards()
	child := list[len(list)-1]
	if len(list) != 4 || *child.ParentShardId != *left || aws.ToString(child.AdjacentParentShardId) != *right {
		t.Errorf("after a merge: %+v", list)
	}
	home, after := put("k", "v6")
	if home != *child.ShardId || !ascend(next, after) {
		t.Errorf("after the merge the key is in %s, its numbers went from %s to %s", home, next, after)
	}
}
