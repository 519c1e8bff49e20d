package kinesistest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// subscription is a connection that a shard is pushed over.
type subscription struct {
	made time.Time
	over chan struct{} // closed when another takes over
}

// heartbeat is how long a subscription is silent at most.
const heartbeat = 5 * time.Second

// maxEvent bounds the records of an event.
const maxEvent = 1 << 20

// subscribe answers SubscribeToShard.
func (s *Server) subscribe(ctx context.Context, w http.ResponseWriter, in *request) error {
	s.mu.Lock()
	st, sh, next, sub, e := s.attach(in)
	life := s.mu.limits.Subscription
	s.mu.Unlock()
	if e != nil {
		return write(w, nil, e)
	}
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	if err := send(w, "event", "initial-response", []byte("{}")); err != nil {
		return err
	}
	over := time.NewTimer(life)
	defer over.Stop()
	for time.Since(sub.made) < life { // a client may have been slow to take the last event
		s.mu.Lock()
		lost, changed := s.detached(st, sh, in.ConsumerARN), s.mu.changed
		rs, after, end := st.window(sh, next, maxGet, maxEvent)
		ev := map[string]any{"Records": sh.wire(rs), "MillisBehindLatest": sh.behind(after)}
		if end {
			ev["ChildShards"] = st.descend(sh)
		} else { // a number that no record has
			ev["ContinuationSequenceNumber"] = sh.sequence(sh.skip(&after), time.Now())
		}
		s.mu.Unlock()
		if lost != nil {
			return sendError(w, lost)
		}
		body, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		if err := send(w, "event", "SubscribeToShardEvent", body); err != nil || end {
			return err
		}
		next = after
		if len(rs) > 0 {
			continue
		}
		idle := time.NewTimer(heartbeat)
		select {
		case <-changed:
		case <-idle.C:
		case <-sub.over:
			idle.Stop()
			return sendError(w, refuse(inUse, "Another active subscription exists for this consumer and shard"))
		case <-over.C:
			idle.Stop()
			return nil
		case <-ctx.Done():
			idle.Stop()
			return ctx.Err()
		}
		idle.Stop()
	}
	return nil
}

// skip takes a number that no record will have, unless records wait behind after.
func (sh *shard) skip(after *int64) int64 {
	if *after < sh.next {
		return *after - 1 // that of the last record read
	}
	n := sh.next
	sh.next++
	*after = sh.next
	return n
}

// attach begins a subscription. s.mu is held.
func (s *Server) attach(in *request) (*stream, *shard, int64, *subscription, *Error) {
	st, c, e := s.consumer(in)
	if e != nil || in.StartingPosition == nil {
		return nil, nil, 0, nil, e
	}
	sh := st.find(in.ShardID)
	if sh == nil {
		return nil, nil, 0, nil, refuse(notFound, "Shard %s in stream %s under account %s does not exist", in.ShardID, st.name, account)
	}
	if time.Since(c.created) < consumerDelay {
		return nil, nil, 0, nil, refuse(inUse, "Consumer %s is not in state ACTIVE", c.name)
	}
	p := in.StartingPosition
	next, e := st.begin(sh, p.Type, p.SequenceNumber, p.Timestamp)
	if e != nil {
		return nil, nil, 0, nil, e
	}
	if old := c.subs[in.ShardID]; old != nil {
		if time.Since(old.made) < s.mu.limits.Resubscribe {
			return nil, nil, 0, nil, refuse(inUse, "Another active subscription exists for consumer %s and shard %s", c.name, in.ShardID)
		}
		close(old.over)
	}
	sub := &subscription{time.Now(), make(chan struct{})}
	c.subs[in.ShardID] = sub
	return st, sh, next, sub, nil
}

// detached says why a subscription cannot go on. s.mu is held.
func (s *Server) detached(st *stream, sh *shard, consumer string) *Error {
	if s.mu.streams[st.name] != st || st.gone(sh) {
		return refuse(notFound, "Stream %s under account %s not found.", st.name, account)
	}
	for _, c := range st.consumers {
		if c.arn == consumer {
			return nil
		}
	}
	return refuse(notFound, "Consumer %s under account %s not found.", consumer, account)
}

func sendError(w http.ResponseWriter, e *Error) error {
	body, err := json.Marshal(map[string]string{"message": e.Message})
	if err != nil {
		return err
	}
	return send(w, "exception", e.Code, body)
}

// send writes a message of the event stream.
func send(w http.ResponseWriter, kind, name string, body []byte) error {
	m := eventstream.Message{Payload: body}
	m.Headers.Set(":message-type", eventstream.StringValue(kind))
	m.Headers.Set(":"+kind+"-type", eventstream.StringValue(name))
	m.Headers.Set(":content-type", eventstream.StringValue(jsonType))
	var buf bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&buf, m); err != nil {
		return err
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return err
	}
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	return nil
}
