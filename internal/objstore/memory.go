package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Errors of a Memory that was told to fail.
var (
	ErrInjected = errors.New("injected fault")
	ErrCrashed  = errors.New("process has crashed")
)

// Outcome is what becomes of a call on a Memory.
type Outcome int

// Outcomes.
const (
	Pass       Outcome = iota
	Fail               // nothing is done, ErrInjected is returned
	Lose               // it is done, ErrInjected is returned: the answer was lost
	Late               // ErrInjected is returned; Land does it, if its condition still holds. Of a read: Fail
	Crash              // nothing is done; this and all later calls return ErrCrashed
	CrashAfter         // it is done, and then as Crash
)

// Call is a call on a Memory.
type Call struct {
	N   int    // counted from 1 over all calls of one process
	Op  string // get, range, stat, put, create, close, abort, list, delete, sweep, now; stage, part, complete, giveup, uploads
	Key string // the prefix of a list; a delete is one call per key
}

// Memory is a bucket in memory, for tests. A Memory stands for one process's
// connection: Restart returns another one to the same objects, as after a crash.
// What was written and not closed is lost in a crash; all else is durable.
type Memory struct {
	// PartSize is the size of the parts of staged objects in bytes; 0: 8 MiB. Unlike
	// on S3 it may be small.
	PartSize int

	store *memoryStore

	mu struct {
		sync.Mutex
		calls   int
		crashed bool
		fault   func(Call) Outcome
	}
}

// memoryStore is what all processes share.
type memoryStore struct {
	sync.Mutex
	objects  map[string]memoryObject
	uploads  map[string]*memoryUpload // by id
	complete map[string]bool          // ids of completed ones, where a repetition is answered well
	writes   int
	late     []func()
}

type memoryObject struct {
	data []byte
	etag string // never used twice
	time time.Time

	owner string
}

var _ Stager = (*Memory)(nil)

// NewMemory returns an empty bucket.
func NewMemory() *Memory {
	return &Memory{store: &memoryStore{objects: map[string]memoryObject{}, uploads: map[string]*memoryUpload{}}}
}

// SetFaults makes fault decide about every call from now on; nil: all pass. It is
// called by one goroutine at a time and must not call the bucket.
func (m *Memory) SetFaults(fault func(Call) Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.fault = fault
}

// Calls returns how many calls there were.
func (m *Memory) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.calls
}

// Restart returns a connection of a new process, without faults. The old one goes
// on unless it crashed.
func (m *Memory) Restart() *Memory { return &Memory{store: m.store, PartSize: m.PartSize} }

// Land does what calls with the outcome Late asked for, in their order, and
// returns how many there were.
func (m *Memory) Land() int {
	m.store.Lock()
	defer m.store.Unlock()
	late := m.store.late
	m.store.late = nil
	for _, do := range late {
		do()
	}
	return len(late)
}

// call does one call: do runs under the store's lock. It checks the key unless
// the call has none.
func (m *Memory) call(ctx context.Context, op, key string, do func() error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s %s: %w", op, m.Location(key), err)
		}
	}()
	if op != "list" && op != "sweep" && op != "now" && op != "uploads" {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	outcome := m.decide(op, key)
	m.store.Lock()
	defer m.store.Unlock()
	switch outcome {
	case Fail:
		return ErrInjected
	case Lose:
		_ = do() // its answer is what gets lost
		return ErrInjected
	case Late:
		if op == "put" || op == "close" || op == "delete" || op == "complete" || op == "giveup" {
			m.store.late = append(m.store.late, func() { _ = do() })
		}
		return ErrInjected
	case Crash:
		return ErrCrashed
	case CrashAfter:
		_ = do()
		return ErrCrashed
	}
	return do()
}

func (m *Memory) decide(op, key string) Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.crashed {
		return Crash
	}
	m.mu.calls++
	if m.mu.fault == nil {
		return Pass
	}
	outcome := m.mu.fault(Call{N: m.mu.calls, Op: op, Key: key})
	m.mu.crashed = outcome == Crash || outcome == CrashAfter
	return outcome
}

// find returns an object. The store is locked.
func (s *memoryStore) find(key string) (memoryObject, error) {
	o, ok := s.objects[key]
	if !ok {
		return o, fs.ErrNotExist
	}
	return o, nil
}

// put stores an object. The store is locked; data is the store's from now on.
func (s *memoryStore) put(key string, data []byte, cond Cond) (string, error) {
	old, ok := s.objects[key]
	if cond == IfAbsent && ok || cond != IfAbsent && cond != Always && (!ok || old.etag != string(cond)) {
		return "", ErrPrecondition
	}
	s.writes++
	etag := strconv.Quote(strconv.Itoa(s.writes))
	s.objects[key] = memoryObject{data: data, etag: etag, time: time.Now()}
	return etag, nil
}

// Location implements Bucket.
func (m *Memory) Location(key string) string { return "memory:///" + key }

// Now implements Bucket.
func (m *Memory) Now(ctx context.Context) (now time.Time, err error) {
	err = m.call(ctx, "now", "", func() error { now = time.Now(); return nil })
	return now, err
}

// Get implements Bucket.
func (m *Memory) Get(ctx context.Context, key string) (data []byte, etag string, err error) {
	err = m.call(ctx, "get", key, func() error {
		o, err := m.store.find(key)
		data, etag = append([]byte{}, o.data...), o.etag
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return data, etag, nil
}

// Range implements Bucket.
func (m *Memory) Range(ctx context.Context, key string, off, n int64) (data []byte, err error) {
	if err := checkRange(m.Location(key), off, n); err != nil {
		return nil, err
	}
	err = m.call(ctx, "range", key, func() error {
		o, err := m.store.find(key)
		if err != nil {
			return err
		}
		if n > int64(len(o.data))-off {
			return io.ErrUnexpectedEOF
		}
		data = append([]byte{}, o.data[off:off+n]...)
		return nil
	})
	return data, err
}

// Stat implements Bucket.
func (m *Memory) Stat(ctx context.Context, key string) (o Object, err error) {
	err = m.call(ctx, "stat", key, func() error {
		found, err := m.store.find(key)
		if err == nil {
			o = Object{Key: key, Size: int64(len(found.data)), ModTime: found.time, Owner: found.owner}
		}
		return err
	})
	return o, err
}

// Put implements Bucket.
func (m *Memory) Put(ctx context.Context, key string, data []byte, cond Cond) (etag string, err error) {
	data = bytes.Clone(data)
	err = m.call(ctx, "put", key, func() (err error) {
		etag, err = m.store.put(key, data, cond)
		return err
	})
	return etag, err
}

// Create implements Bucket.
func (m *Memory) Create(ctx context.Context, key string) (Writer, error) {
	if err := m.call(ctx, "create", key, func() error { return nil }); err != nil {
		return nil, err
	}
	return &memoryWriter{m: m, key: key}, nil
}

type memoryWriter struct {
	m     *Memory
	key   string
	buf   []byte
	ended bool
}

// Write implements Writer.
func (w *memoryWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, fmt.Errorf("write %s: %w", w.m.Location(w.key), fs.ErrClosed)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// Close implements Writer.
func (w *memoryWriter) Close(ctx context.Context) (int64, error) {
	if w.ended {
		return 0, fmt.Errorf("write %s: %w", w.m.Location(w.key), fs.ErrClosed)
	}
	w.ended = true
	err := w.m.call(ctx, "close", w.key, func() error {
		_, err := w.m.store.put(w.key, w.buf, IfAbsent)
		if errors.Is(err, ErrPrecondition) {
			return fs.ErrExist
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return int64(len(w.buf)), nil
}

// Abort implements Writer.
func (w *memoryWriter) Abort(ctx context.Context) error {
	if w.ended {
		return nil
	}
	w.ended = true
	return w.m.call(ctx, "abort", w.key, func() error { return nil })
}

// List implements Bucket. It shows the objects as they were when it began.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var found []Object
		err := m.call(ctx, "list", prefix, func() error {
			found = nil
			for key, o := range m.store.objects {
				if strings.HasPrefix(key, prefix) && key > after {
					found = append(found, Object{Key: key, Size: int64(len(o.data)), ModTime: o.time})
				}
			}
			return nil
		})
		if err != nil {
			yield(Object{}, err)
			return
		}
		slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
		for _, o := range found {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Delete implements Bucket.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	for _, key := range keys {
		errs = append(errs, m.call(ctx, "delete", key, func() error {
			delete(m.store.objects, key)
			return nil
		}))
	}
	return errors.Join(errs...)
}
