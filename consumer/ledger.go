package consumer

import (
	"context"
	"sync"
)

// Budget is the memory that a source may use; *pipeline.Share is one.
type Budget interface {
	// Acquire waits until n bytes are free.
	Acquire(ctx context.Context, n int64) error
	// Charge adds n bytes, or gives -n back, without waiting.
	Charge(n int64)
}

// Ledger counts what a source has fetched and not released, in bytes, within a limit
// of the source's own and the budget of the pipeline. Safe for concurrent use.
type Ledger struct {
	// Budget is the pipeline's; nil: there is only the limit. It is set before use.
	Budget Budget

	limit int64

	mu struct {
		sync.Mutex
		used  int64
		freed chan struct{} // closed and replaced whenever memory comes back
	}
}

// NewLedger returns a ledger with a limit in bytes.
func NewLedger(limit int64) *Ledger {
	l := &Ledger{limit: limit}
	l.mu.freed = make(chan struct{})
	return l
}

// Acquire waits until n bytes are free. One request passes whatever its size.
func (l *Ledger) Acquire(ctx context.Context, n int64) error {
	for {
		l.mu.Lock()
		if l.mu.used == 0 || l.mu.used+n <= l.limit {
			l.mu.used += n
			l.mu.Unlock()
			break
		}
		freed := l.mu.freed
		l.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if l.Budget == nil {
		return nil
	}
	if err := l.Budget.Acquire(ctx, n); err != nil {
		l.count(-n)
		return err
	}
	return nil
}

// Charge adds n bytes, or gives -n back. It does not wait.
func (l *Ledger) Charge(n int64) {
	if n == 0 {
		return
	}
	l.count(n)
	if l.Budget != nil {
		l.Budget.Charge(n)
	}
}

func (l *Ledger) count(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.used += n
	if n < 0 {
		close(l.mu.freed)
		l.mu.freed = make(chan struct{})
	}
}

// Used returns the bytes that are not given back.
func (l *Ledger) Used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used
}

// Over reports whether more than the limit is used, which charges can bring about.
func (l *Ledger) Over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used > l.limit
}

// Room waits until no more than the limit is used, or there is nothing to wait for:
// idle is asked whenever memory comes back. False: ctx has ended.
func (l *Ledger) Room(ctx context.Context, idle func() bool) bool {
	for {
		l.mu.Lock()
		ok, freed := l.mu.used <= l.limit, l.mu.freed
		l.mu.Unlock()
		if ok || idle() {
			return true
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}
