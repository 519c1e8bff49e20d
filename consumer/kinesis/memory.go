package kinesis

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

// ledger counts what a source has fetched and not released, within a limit of its
// own and the budget of the pipeline.
type ledger struct {
	budget Budget // nil: only the limit
	limit  int64

	mu struct {
		sync.Mutex
		used  int64
		freed chan struct{} // closed and replaced whenever memory comes back
	}
}

func newLedger(limit int64) *ledger {
	l := &ledger{limit: limit}
	l.mu.freed = make(chan struct{})
	return l
}

// acquire waits until n bytes are free. One request passes whatever its size.
func (l *ledger) acquire(ctx context.Context, n int64) error {
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
	if l.budget == nil {
		return nil
	}
	if err := l.budget.Acquire(ctx, n); err != nil {
		l.count(-n)
		return err
	}
	return nil
}

// charge adds n bytes, or gives -n back.
func (l *ledger) charge(n int64) {
	if n == 0 {
		return
	}
	l.count(n)
	if l.budget != nil {
		l.budget.Charge(n)
	}
}

func (l *ledger) count(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.used += n
	if n < 0 {
		close(l.mu.freed)
		l.mu.freed = make(chan struct{})
	}
}

func (l *ledger) used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used
}
