package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// checkWait bounds Check where ctx has no deadline.
const checkWait = 15 * time.Second

// Check reports whether the configuration works here and now: brokers answer, TLS
// and authentication are right, the topics exist, and the user may read them and
// use the group. Every problem with topics is reported at once. It changes nothing.
func (s *Source) Check(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkWait)
		defer cancel()
	}
	dials := &dialErrors{}
	cl, err := kgo.NewClient(append(slices.Clone(s.opts), kgo.WithHooks(dials), kgo.RequestRetries(2),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))...)
	if err != nil {
		return fmt.Errorf("set up Kafka client: %w", err)
	}
	defer cl.Close()
	resp, err := s.checkCluster(ctx, cl)
	if err != nil {
		if last := dials.last(); last != nil { // says more than that time ran out
			err = last
		}
		return explain(err, s.cfg)
	}
	return errors.Join(append(s.checkTopics(resp), s.checkGroup(ctx, cl))...)
}

// checkCluster asks for the topics, and what the user may do with them.
func (s *Source) checkCluster(ctx context.Context, cl *kgo.Client) (*kmsg.MetadataResponse, error) {
	if err := cl.Ping(ctx); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range s.cfg.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req.RequestWith(ctx, cl)
}

// mayRead is the bit of READ in a set of operations; operationsUnknown is none given.
const (
	mayRead           = 1 << 3
	operationsUnknown = -2147483648
)

// checkTopics judges what the cluster says about the topics.
func (s *Source) checkTopics(resp *kmsg.MetadataResponse) (errs []error) {
	if resp.ClusterID == nil || *resp.ClusterID == "" {
		errs = append(errs, errors.New("brokers: they tell no cluster id; Kafka 0.10.1 or newer is needed"))
	}
	for _, t := range resp.Topics {
		name := ""
		if t.Topic != nil {
			name = *t.Topic
		}
		if s.cfg.TopicsRegex != "" && (t.IsInternal || !wholeName(s.cfg.TopicsRegex).MatchString(name)) {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			errs = append(errs, fmt.Errorf("topics: topic %q does not exist; create it or correct the name", name))
		case errors.Is(err, kerr.TopicAuthorizationFailed),
			err == nil && t.AuthorizedOperations != operationsUnknown && t.AuthorizedOperations&mayRead == 0:
			errs = append(errs, fmt.Errorf("topics: user %q may not read topic %q; allow it READ and DESCRIBE", s.cfg.SASL.Username, name))
		case err != nil:
			errs = append(errs, fmt.Errorf("topics: topic %q: %w", name, err))
		}
	}
	return errs
}

// checkGroup finds out whether the group can be used.
func (s *Source) checkGroup(ctx context.Context, cl *kgo.Client) error {
	if s.cfg.GroupProtocol == Consumer {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "firehosed", "0"
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return fmt.Errorf("ask for the brokers' version: %w", explain(err, s.cfg))
		}
		if !slices.ContainsFunc(resp.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
			return k.ApiKey == int16(kmsg.ConsumerGroupHeartbeat)
		}) {
			return errors.New("group_protocol: consumer needs Kafka 4.0 or newer, or group.coordinator.rebalance.protocols=classic,consumer on the brokers; use classic")
		}
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups, req.IncludeAuthorizedOperations = []string{s.cfg.Group}, true
	resp, err := req.RequestWith(ctx, cl)
	for kerr.IsRetriable(err) && ctx.Err() == nil { // a new cluster makes its offsets topic first
		pause(ctx, 250*time.Millisecond)
		resp, err = req.RequestWith(ctx, cl)
	}
	if err != nil {
		return explain(fmt.Errorf("describe group %q: %w", s.cfg.Group, err), s.cfg)
	}
	for _, g := range resp.Groups {
		err := kerr.ErrorForCode(g.ErrorCode)
		if err == nil && g.AuthorizedOperations != operationsUnknown && g.AuthorizedOperations&mayRead == 0 {
			err = kerr.GroupAuthorizationFailed
		}
		if errors.Is(err, kerr.GroupAuthorizationFailed) {
			return explain(err, s.cfg)
		}
	}
	return nil // any other answer comes from a group that is not there yet, or of the other protocol
}

// dialErrors keeps the last error of connecting, which the client retries away.
type dialErrors struct {
	mu struct {
		sync.Mutex
		err error
	}
}

var _ kgo.HookBrokerConnect = (*dialErrors)(nil)

// OnBrokerConnect implements kgo's hook.
func (d *dialErrors) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.mu.err = err
	}
}

func (d *dialErrors) last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.err
}
