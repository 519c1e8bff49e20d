// Package kinesistest is a Kinesis Data Streams service in this process, for
// tests. It speaks the service's JSON protocol and the event stream of
// SubscribeToShard, and keeps to its rules: sequence numbers, splits and merges,
// retention, expiring iterators, and the limits of a shard. Signatures are not
// checked.
//
//	s := kinesistest.New()
//	defer s.Close()
//	s.Create("orders", 2)
//	cl := s.Client()
//
// [Server.Do] carries requests without a network, so that a server works inside a
// bubble of testing/synctest: its clock is time.Now. [Server.ServeHTTP] serves
// them over a listener.
package kinesistest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// Limits are those of the service, see "Quotas and limits" in its guide. A limit
// of 0 is none.
type Limits struct {
	Reads        int           // GetRecords calls for each shard and second
	ReadBytes    int64         // bytes for each shard and second, over all GetRecords calls
	Response     int64         // bytes of one GetRecords answer; a single larger record still passes
	Iterator     time.Duration // how long an iterator can be used
	Subscription time.Duration // how long a subscription lasts
	Resubscribe  time.Duration // how soon after a subscription another is refused
}

// DefaultLimits are the limits of a server.
func DefaultLimits() Limits {
	return Limits{Reads: 5, ReadBytes: 2 << 20, Response: 10 << 20, Iterator: 5 * time.Minute,
		Subscription: 5 * time.Minute, Resubscribe: 5 * time.Second}
}

// Error is an answer that refuses a request.
type Error struct {
	Code    string // the name of the exception, such as ExpiredIteratorException
	Message string
	Status  int // HTTP status. 0: 400
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrLostReply, from a hook, has the request carried out and its answer lost.
var ErrLostReply = errors.New("the answer was lost")

// Call is a request as hooks see it.
type Call struct {
	Op    string // the operation, such as GetRecords
	Shard string // of GetRecords, GetShardIterator and SubscribeToShard
	N     int    // counts the calls of Op for Shard, from 1
}

// Server is a service. It is safe for concurrent use.
type Server struct {
	life context.Context // of requests; ends in Close
	stop context.CancelFunc
	wg   sync.WaitGroup // in Do

	mu struct {
		sync.Mutex
		limits  Limits
		hook    func(Call) error
		calls   map[Call]int // N is 0
		streams map[string]*stream
		refused map[string]int // reads for which a shard's limits were used up, by shard
		changed chan struct{}  // closed and replaced whenever something may be there to read
		dead    bool
	}
}

// New returns a server without streams.
func New() *Server {
	s := &Server{}
	s.life, s.stop = context.WithCancel(context.Background())
	s.mu.limits = DefaultLimits()
	s.mu.calls, s.mu.streams, s.mu.changed = map[Call]int{}, map[string]*stream{}, make(chan struct{})
	s.mu.refused = map[string]int{}
	return s
}

// Close ends every request and waits for those in Do.
func (s *Server) Close() {
	s.mu.Lock()
	s.mu.dead = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
}

// SetLimits replaces the limits.
func (s *Server) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.limits = l
}

// Hook has f called before every request. It may return an *Error to refuse it, or
// ErrLostReply; any other error breaks the connection. f must not call the server.
func (s *Server) Hook(f func(Call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.hook = f
}

// Calls counts the requests for an operation, and a shard unless that is "".
func (s *Server) Calls(op, shard string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, k := range s.mu.calls {
		if c.Op == op && (shard == "" || c.Shard == shard) {
			n += k
		}
	}
	return n
}

// Refused counts the reads of a shard that came when its limits were used up.
func (s *Server) Refused(shard string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.refused[shard]
}

// Options are for [kinesis.New], or for a configuration of one's own.
func (s *Server) Options() kinesis.Options {
	return kinesis.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://kinesis.test"), HTTPClient: s,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

// Client returns a client that tries once.
func (s *Server) Client() *kinesis.Client {
	o := s.Options()
	o.Retryer = aws.NopRetryer{}
	return kinesis.New(o)
}

var errDown = errors.New("the server is down")

// Do implements the SDK's HTTP client.
func (s *Server) Do(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.mu.dead {
		s.mu.Unlock()
		return nil, errDown
	}
	s.wg.Add(1)
	s.mu.Unlock()
	pr, pw := io.Pipe()
	w := &answer{head: http.Header{}, pipe: pw, ready: make(chan struct{})}
	go func() {
		defer s.wg.Done()
		defer context.AfterFunc(s.life, func() { _ = pw.CloseWithError(errDown) })() // a client may not be reading
		err := s.serve(w, req)
		w.WriteHeader(http.StatusOK)
		if err == nil {
			err = io.EOF
		}
		_ = pw.CloseWithError(err)
	}()
	<-w.ready
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.head, Body: pr, Request: req,
		Proto: "HTTP/2.0", ProtoMajor: 2, ContentLength: -1,
	}, nil
}

// answer is the writer of a request in Do.
type answer struct {
	head   http.Header
	status int
	pipe   *io.PipeWriter
	once   sync.Once
	ready  chan struct{}
}

func (a *answer) Header() http.Header { return a.head }

func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status = status
		close(a.ready)
	})
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.pipe.Write(p)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if s.serve(w, req) != nil {
		panic(http.ErrAbortHandler)
	}
}

const (
	jsonType   = "application/x-amz-json-1.1"
	targetName = "Kinesis_20131202."
)

// serve answers a request. An error breaks the connection.
func (s *Server) serve(w http.ResponseWriter, req *http.Request) error {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	op, ok := strings.CutPrefix(req.Header.Get("X-Amz-Target"), targetName)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Amzn-Requestid", "00000000-0000-0000-0000-000000000000")
	in := &request{}
	if err := json.Unmarshal(body, in); err != nil || !ok || !strings.HasPrefix(req.Header.Get("Content-Type"), jsonType) {
		return write(w, nil, &Error{Code: "SerializationException", Message: fmt.Sprint(err)})
	}
	lost := s.count(op, in)
	if e := (*Error)(nil); errors.As(lost, &e) {
		return write(w, nil, e)
	} else if lost != nil && !errors.Is(lost, ErrLostReply) {
		return lost
	}
	if op == "SubscribeToShard" {
		return s.subscribe(ctx, w, in)
	}
	f := operations[op]
	if f == nil {
		return write(w, nil, &Error{Code: "UnknownOperationException", Message: op})
	}
	s.mu.Lock()
	out, e := f(s, in)
	s.mu.Unlock()
	if lost != nil {
		return lost
	}
	return write(w, out, e)
}

// count books a request and asks the hook.
func (s *Server) count(op string, in *request) error {
	c := Call{Op: op, Shard: in.ShardID}
	if it, err := parseIterator(in.ShardIterator); err == nil {
		c.Shard = it.Shard
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.calls[c]++
	hook := s.mu.hook
	c.N = s.mu.calls[c]
	if hook == nil {
		return nil
	}
	return hook(c)
}

func write(w http.ResponseWriter, out any, e *Error) error {
	w.Header().Set("Content-Type", jsonType)
	if e != nil {
		out = map[string]string{"__type": e.Code, "message": e.Message}
		if e.Status == 0 {
			e = &Error{e.Code, e.Message, http.StatusBadRequest}
		}
		w.WriteHeader(e.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewEncoder(w).Encode(out)
}

// wake tells whoever waits that there may be something to read. s.mu is held.
func (s *Server) wake() {
	close(s.mu.changed)
	s.mu.changed = make(chan struct{})
}

func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Names of exceptions.
const (
	invalid   = "InvalidArgumentException"
	notFound  = "ResourceNotFoundException"
	inUse     = "ResourceInUseException"
	tooMuch   = "ProvisionedThroughputExceededException"
	expired   = "ExpiredIteratorException"
	staleList = "ExpiredNextTokenException"
	overLimit = "LimitExceededException"
)
