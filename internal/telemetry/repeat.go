package telemetry

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	quietFor    = time.Minute // how long the same warning is not written again
	maxWarnings = 1000        // how many are told apart
)

// repeats keeps a warning that is given again and again from flooding the log: the
// same text with the same attributes is written once a minute, and says how often
// it was held back. Debug and info lines pass.
type repeats struct {
	next   slog.Handler
	prefix string // attributes of the logger, as text
	seen   *seen
}

type seen struct {
	now func() time.Time

	mu struct {
		sync.Mutex
		last map[string]*warning
	}
}

type warning struct {
	at   time.Time
	held int64
}

func newRepeats(next slog.Handler, now func() time.Time) *repeats {
	s := &seen{now: now}
	s.mu.last = map[string]*warning{}
	return &repeats{next: next, seen: s}
}

// Enabled implements slog.Handler.
func (r *repeats) Enabled(ctx context.Context, l slog.Level) bool { return r.next.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (r *repeats) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Level >= slog.LevelWarn {
		held, write := r.seen.write(r.key(rec))
		if !write {
			return nil
		}
		if held > 0 {
			rec = rec.Clone()
			rec.AddAttrs(slog.Int64("repeated", held))
		}
	}
	return r.next.Handle(ctx, rec)
}

// key is what makes two warnings the same.
func (r *repeats) key(rec slog.Record) string {
	var b strings.Builder
	b.WriteString(rec.Level.String() + " " + strconv.Quote(rec.Message) + r.prefix)
	rec.Attrs(func(a slog.Attr) bool {
		b.WriteString(" " + a.String())
		return true
	})
	return b.String()
}

// write says whether a warning is written now, and how often it was held back.
func (s *seen) write(key string) (held int64, yes bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.mu.last[key]; w != nil {
		if now.Sub(w.at) < quietFor {
			w.held++
			return 0, false
		}
		held, w.at, w.held = w.held, now, 0
		return held, true
	}
	if len(s.mu.last) >= maxWarnings {
		clear(s.mu.last)
	}
	s.mu.last[key] = &warning{at: now}
	return 0, true
}

// WithAttrs implements slog.Handler.
func (r *repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *r
	c.next = r.next.WithAttrs(attrs)
	for _, a := range attrs {
		c.prefix += " " + a.String()
	}
	return &c
}

// WithGroup implements slog.Handler.
func (r *repeats) WithGroup(name string) slog.Handler {
	c := *r
	c.next = r.next.WithGroup(name)
	c.prefix += " " + name + "."
	return &c
}
