package kinesistest

import (
	"cmp"
	"encoding/base64"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request has the members of every operation's input.
type request struct {
	StreamName, StreamARN, ShardID            string
	ShardIteratorType, StartingSequenceNumber string
	ShardIterator                             string
	Timestamp                                 *float64
	Limit, MaxResults                         *int
	NextToken, ExclusiveStartShardID          string
	StreamCreationTimestamp                   *float64
	ShardFilter                               *shardFilter
	ShardCount                                int
	PartitionKey, ExplicitHashKey             string
	Data                                      []byte
	Records                                   []putEntry
	ShardToSplit, NewStartingHashKey          string
	ShardToMerge, AdjacentShardToMerge        string
	RetentionPeriodHours, MaxRecordSizeInKiB  int
	KeyID                                     string
	ConsumerName, ConsumerARN                 string
	StartingPosition                          *position
}

type putEntry struct {
	Data                          []byte
	PartitionKey, ExplicitHashKey string
}

type position struct {
	Type, SequenceNumber string
	Timestamp            *float64
}

type shardFilter struct {
	Type, ShardID string
	Timestamp     *float64
}

var operations = map[string]func(*Server, *request) (any, *Error){
	"CreateStream": createStream, "DeleteStream": deleteStream, "ListStreams": listStreams,
	"DescribeStreamSummary": describeStreamSummary, "ListShards": listShards,
	"GetShardIterator": getShardIterator, "GetRecords": getRecords,
	"PutRecord": putRecord, "PutRecords": putRecords,
	"SplitShard": splitShard, "MergeShards": mergeShards,
	"IncreaseStreamRetentionPeriod": setRetention, "DecreaseStreamRetentionPeriod": setRetention,
	"UpdateMaxRecordSize": updateMaxRecordSize, "StartStreamEncryption": startStreamEncryption,
	"RegisterStreamConsumer": registerStreamConsumer, "DeregisterStreamConsumer": deregisterStreamConsumer,
	"DescribeStreamConsumer": describeStreamConsumer, "ListStreamConsumers": listStreamConsumers,
}

// stream finds what a request is about.
func (s *Server) stream(in *request) (*stream, *Error) {
	name := in.StreamName
	if in.StreamARN != "" {
		name = strings.TrimPrefix(in.StreamARN, ARN(""))
	}
	if st := s.mu.streams[name]; st != nil {
		return st, nil
	}
	return nil, refuse(notFound, "Stream %s under account %s not found.", name, account)
}

func (s *Server) shard(in *request) (*stream, *shard, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, nil, e
	}
	if sh := st.find(in.ShardID); sh != nil {
		return st, sh, nil
	}
	return nil, nil, refuse(notFound, "Shard %s in stream %s under account %s does not exist", in.ShardID, st.name, account)
}

func createStream(s *Server, in *request) (any, *Error) {
	if s.mu.streams[in.StreamName] != nil {
		return nil, refuse(inUse, "Stream %s under account %s already exists.", in.StreamName, account)
	}
	s.create(in.StreamName, max(1, in.ShardCount))
	return nil, nil
}

func deleteStream(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e == nil {
		delete(s.mu.streams, st.name)
		s.wake()
	}
	return nil, e
}

func listStreams(s *Server, _ *request) (any, *Error) {
	return map[string]any{"StreamNames": s.names(), "HasMoreStreams": false}, nil
}

func describeStreamSummary(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	open := 0
	for _, sh := range st.shards {
		if sh.end == 0 {
			open++
		}
	}
	kind := "NONE"
	if st.kms != "" {
		kind = "KMS"
	}
	return map[string]any{"StreamDescriptionSummary": map[string]any{
		"StreamName": st.name, "StreamARN": ARN(st.name), "StreamStatus": "ACTIVE", "StreamModeDetails": map[string]any{"StreamMode": "PROVISIONED"},
		"RetentionPeriodHours": int(st.retention / time.Hour), "StreamCreationTimestamp": seconds(st.created), "OpenShardCount": open,
		"ConsumerCount": len(st.consumers), "EncryptionType": kind, "KeyId": st.kms, "MaxRecordSizeInKiB": st.maxRecord >> 10,
		"EnhancedMonitoring": []any{},
	}}, nil
}

type wireShard struct {
	ShardId               string
	ParentShardId         string `json:",omitempty"`
	AdjacentParentShardId string `json:",omitempty"`
	HashKeyRange          wireRange
	SequenceNumberRange   map[string]string
}

// listLife is how long the token of a list can be used.
const listLife = 300 * time.Second

func listShards(s *Server, in *request) (any, *Error) {
	name, after := "", in.ExclusiveStartShardID
	if in.NextToken != "" {
		if in.StreamName != "" {
			return nil, refuse(invalid, "NextToken and StreamName cannot be provided together.")
		}
		b, _ := base64.StdEncoding.DecodeString(in.NextToken)
		f := strings.Split(string(b), "|")
		if len(f) != 3 {
			return nil, refuse(invalid, "Invalid NextToken")
		}
		if made, _ := strconv.ParseInt(f[2], 10, 64); time.Since(time.Unix(0, made)) > listLife {
			return nil, refuse(staleList, "The token is too old")
		}
		name, after = f[0], f[1]
		in = &request{StreamName: name, MaxResults: in.MaxResults}
	}
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	limit := 1000
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	shards, out := []wireShard{}, map[string]any{}
	for _, sh := range st.listed() {
		if id(sh.number) <= after || in.ShardFilter != nil && in.ShardFilter.Type == "AT_LATEST" && sh.end != 0 {
			continue
		}
		if len(shards) == limit {
			text := st.name + "|" + shards[limit-1].ShardId + "|" + strconv.FormatInt(time.Now().UnixNano(), 10)
			out["NextToken"] = base64.StdEncoding.EncodeToString([]byte(text))
			break
		}
		w := wireShard{ShardId: id(sh.number), HashKeyRange: sh.hashes(), SequenceNumberRange: map[string]string{"StartingSequenceNumber": sh.sequence(0, sh.created)}}
		if len(sh.parents) > 0 {
			w.ParentShardId = id(sh.parents[0])
		}
		if len(sh.parents) > 1 {
			w.AdjacentParentShardId = id(sh.parents[1])
		}
		if sh.end != 0 {
			w.SequenceNumberRange["EndingSequenceNumber"] = sh.sequence(sh.end, sh.closed)
		}
		shards = append(shards, w)
	}
	out["Shards"] = shards
	return out, nil
}

// produce checks one record of a producer and appends it.
func (s *Server) produce(st *stream, p putEntry) (shard, seq string, e *Error) {
	if p.PartitionKey == "" || len([]rune(p.PartitionKey)) > 256 || len(p.Data)+len(p.PartitionKey) > st.maxRecord {
		return "", "", refuse(invalid, "1 validation error detected: a record is larger than %d bytes, or its key is not of 1 to 256 characters", st.maxRecord)
	}
	h := hashOf(p.PartitionKey)
	if p.ExplicitHashKey != "" {
		var ok bool
		if h, ok = new(big.Int).SetString(p.ExplicitHashKey, 10); !ok || h.Sign() < 0 || h.Cmp(maxHash) > 0 {
			return "", "", refuse(invalid, "Invalid ExplicitHashKey")
		}
	}
	sh := st.home(h)
	return id(sh.number), s.put(st, sh, p.PartitionKey, p.Data), nil
}

func putRecord(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	shard, seq, e := s.produce(st, putEntry{in.Data, in.PartitionKey, in.ExplicitHashKey})
	return map[string]string{"ShardId": shard, "SequenceNumber": seq}, e
}

func putRecords(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	if len(in.Records) == 0 || len(in.Records) > 500 {
		return nil, refuse(invalid, "Records must have 1 to 500 members")
	}
	out := []map[string]string{}
	for _, p := range in.Records {
		shard, seq, e := s.produce(st, p)
		if e != nil {
			return nil, e
		}
		out = append(out, map[string]string{"ShardId": shard, "SequenceNumber": seq})
	}
	return map[string]any{"FailedRecordCount": 0, "Records": out}, nil
}

func splitShard(s *Server, in *request) (any, *Error) {
	in.ShardID = in.ShardToSplit
	st, sh, e := s.shard(in)
	if e != nil {
		return nil, e
	}
	mid, ok := new(big.Int).SetString(in.NewStartingHashKey, 10)
	if !ok || sh.end != 0 || mid.Cmp(sh.from) <= 0 || mid.Cmp(sh.to) > 0 {
		return nil, refuse(invalid, "NewStartingHashKey %s is not in the range of open shard %s", in.NewStartingHashKey, in.ShardID)
	}
	s.split(st, sh, mid)
	return nil, nil
}

func mergeShards(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	a, b := st.find(in.ShardToMerge), st.find(in.AdjacentShardToMerge)
	if a == nil || b == nil || a.end != 0 || b.end != 0 {
		return nil, refuse(invalid, "Shards %s and %s are not both open", in.ShardToMerge, in.AdjacentShardToMerge)
	}
	if a.from.Cmp(b.from) > 0 {
		a, b = b, a
	}
	if new(big.Int).Add(a.to, big.NewInt(1)).Cmp(b.from) != 0 {
		return nil, refuse(invalid, "Shards %s and %s are not adjacent", in.ShardToMerge, in.AdjacentShardToMerge)
	}
	st.open(a.from, b.to, a, b)
	s.wake()
	return nil, nil
}

func setRetention(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	if in.RetentionPeriodHours < 24 || in.RetentionPeriodHours > 8760 {
		return nil, refuse(invalid, "RetentionPeriodHours must be 24 to 8760")
	}
	st.retention = time.Duration(in.RetentionPeriodHours) * time.Hour
	return nil, nil
}

func updateMaxRecordSize(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	if in.MaxRecordSizeInKiB < 1024 || in.MaxRecordSizeInKiB > 10240 {
		return nil, refuse(invalid, "MaxRecordSizeInKiB must be 1024 to 10240")
	}
	st.maxRecord = in.MaxRecordSizeInKiB << 10
	return nil, nil
}

func startStreamEncryption(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e == nil {
		st.kms = cmp.Or(in.KeyID, "alias/aws/kinesis")
	}
	return nil, e
}

// consumerDelay is how long a new consumer is not active yet.
const consumerDelay = 2 * time.Second

// maxConsumers is how many consumers a stream may have.
const maxConsumers = 20

type consumer struct {
	name    string
	arn     string
	created time.Time
	subs    map[string]*subscription // by shard
}

func (c *consumer) wire(st *stream) map[string]any {
	status := "ACTIVE"
	if time.Since(c.created) < consumerDelay {
		status = "CREATING"
	}
	return map[string]any{"ConsumerName": c.name, "ConsumerARN": c.arn, "ConsumerStatus": status,
		"ConsumerCreationTimestamp": seconds(c.created), "StreamARN": ARN(st.name)}
}

func registerStreamConsumer(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	switch {
	case e != nil:
		return nil, e
	case st.consumers[in.ConsumerName] != nil:
		return nil, refuse(inUse, "Consumer %s already exists", in.ConsumerName)
	case len(st.consumers) >= maxConsumers:
		return nil, refuse(overLimit, "Stream %s has %d consumers", st.name, maxConsumers)
	}
	now := time.Now()
	c := &consumer{in.ConsumerName, ARN(st.name) + "/consumer/" + in.ConsumerName + ":" + strconv.FormatInt(now.Unix(), 10), now, map[string]*subscription{}}
	st.consumers[c.name] = c
	return map[string]any{"Consumer": c.wire(st)}, nil
}

// consumer finds the one that a request is about.
func (s *Server) consumer(in *request) (*stream, *consumer, *Error) {
	for _, name := range s.names() {
		st := s.mu.streams[name]
		for _, c := range st.consumers {
			if c.arn == in.ConsumerARN || in.ConsumerARN == "" && ARN(name) == in.StreamARN && c.name == in.ConsumerName {
				return st, c, nil
			}
		}
	}
	return nil, nil, refuse(notFound, "Consumer %s%s under account %s not found.", in.ConsumerARN, in.ConsumerName, account)
}

func deregisterStreamConsumer(s *Server, in *request) (any, *Error) {
	st, c, e := s.consumer(in)
	if e == nil {
		delete(st.consumers, c.name)
		s.wake()
	}
	return nil, e
}

// Forget removes a consumer.
func (s *Server) Forget(stream, consumer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.streams[stream].consumers, consumer)
	s.wake()
}

func describeStreamConsumer(s *Server, in *request) (any, *Error) {
	st, c, e := s.consumer(in)
	if e != nil {
		return nil, e
	}
	return map[string]any{"ConsumerDescription": c.wire(st)}, nil
}

func listStreamConsumers(s *Server, in *request) (any, *Error) {
	st, e := s.stream(in)
	if e != nil {
		return nil, e
	}
	out := []map[string]any{}
	for _, c := range st.consumers {
		out = append(out, c.wire(st))
	}
	slices.SortFunc(out, func(a, b map[string]any) int {
		return cmp.Compare(a["ConsumerName"].(string), b["ConsumerName"].(string))
	})
	return map[string]any{"Consumers": out}, nil
}
