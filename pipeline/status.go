package pipeline

import (
	"errors"
	"time"
)

// Observer is told what happens. Every field may be nil. Hooks are called inline,
// by many goroutines, and must not block.
type Observer struct {
	// Judged: units that a live batch held for a sink, those found within a record among
	// them, and the bytes of its records, once for all sinks. Once all hooks of the batch
	// were called, they equal its rows, rejects and drops for the sink. Not counted, by
	// any hook, are units for a table that is not bound yet.
	Judged func(p Partition, sink string, units int, bytes int64)
	// Rows: rows that a live batch became for a table.
	Rows func(table string, rows int)
	// Rejected: dead letters of live batches, by code.
	Rejected func(sink, code string, n int)
	// Dropped: units left out of live batches, by the name of the rule.
	Dropped func(sink, rule string, n int)
	// Panicked: a step of a batch panicked, live or read again; step is "stages",
	// "decoder", "dead letters" or "write".
	Panicked func(step string)
	// Committed: rows that became visible together, and how long the commit took.
	Committed func(table string, rows int64, took time.Duration)
}

func (o *Observer) judged(p Partition, sink string, units int, size int64, b *Batch) {
	if o.Judged != nil {
		o.Judged(p, sink, units, size)
	}
	if o.Rejected != nil {
		for i := range b.Rejects {
			o.Rejected(sink, b.Rejects[i].Code, 1)
		}
	}
	if o.Dropped != nil {
		for rule, n := range b.Dropped {
			o.Dropped(sink, rule, n)
		}
	}
}

func (o *Observer) rows(table string, n int) {
	if o.Rows != nil && n > 0 {
		o.Rows(table, n)
	}
}

func (o *Observer) panicked(step string) {
	if o.Panicked != nil {
		o.Panicked(step)
	}
}

func (o *Observer) committed(table string, rows int64, took time.Duration) {
	if o.Committed != nil {
		o.Committed(table, rows, took)
	}
}

// Status is what a pipeline does right now.
type Status struct {
	Pipeline string        `json:"pipeline"`
	Stamp    Stamp         `json:"stamp"`
	Paused   bool          `json:"paused"`
	Held     int64         `json:"held_bytes"` // charged to the budget
	Lanes    []LaneStatus  `json:"lanes"`
	Tables   []TableStatus `json:"tables"`
	Ended    string        `json:"ended,omitempty"` // why Run ended though nobody asked it to; then nothing is read any more
}

// LaneStatus is one partition that this worker reads.
type LaneStatus struct {
	Partition string   `json:"partition"` // source key
	Name      string   `json:"name"`      // of the topic
	ID        string   `json:"id"`
	At        Position `json:"at"`  // judged up to here
	Low       Position `json:"low"` // committed up to here
	HeldBy    string   `json:"held_by_table,omitempty"`
	Halt      *Halt    `json:"halt,omitempty"`
	Err       string   `json:"error,omitempty"`
}

// TableStatus is one table that this worker feeds.
type TableStatus struct {
	Name       string        `json:"name"`
	Rows       int64         `json:"rows"`        // committed by this run
	Taken      int64         `json:"taken_rows"`  // written by this run, those read again as often as they were: Rows + Pending + LetGo
	LetGo      int64         `json:"let_go_rows"` // of Taken: given up uncommitted, and read again
	Pending    int64         `json:"pending_rows"`
	Held       int64         `json:"held_bytes"`
	LastCommit time.Time     `json:"last_commit"`
	Committing time.Duration `json:"committing_ns"` // for how long
	Down       string        `json:"down,omitempty"`
	DownFor    time.Duration `json:"down_ns,omitempty"`
	Halt       *Halt         `json:"halt,omitempty"`
	Lagging    int           `json:"lagging_partitions"` // of which rows were let go
}

// Status returns a snapshot. It waits for nothing.
func (p *Pipeline) Status() Status {
	s := Status{Pipeline: p.cfg.Name, Stamp: p.stamp(), Paused: p.paused.Load(), Held: p.share.Used()}
	if err := p.ended.Load(); err != nil {
		s.Ended = (*err).Error()
	}
	tables := p.all()
	for _, t := range tables {
		s.Tables = append(s.Tables, t.status())
	}
	for _, l := range p.running() {
		ls := LaneStatus{Partition: l.part.Key(), Name: p.src.Name(l.src.Partition()), ID: l.part.ID}
		low, _ := l.low()
		ls.Low = low.At
		for _, t := range tables {
			if at, ok := t.lowest(l.part); ok && at.At == low.At {
				ls.HeldBy = t.name
			}
		}
		l.pos.Lock()
		ls.At, ls.Halt = l.pos.done.At, l.pos.halt
		if l.pos.err != nil {
			ls.Err = l.pos.err.Error()
		}
		l.pos.Unlock()
		s.Lanes = append(s.Lanes, ls)
	}
	return s
}

func (t *table) status() TableStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TableStatus{Name: t.name, Rows: t.mu.rows, Taken: t.mu.taken, LetGo: t.mu.letGo, LastCommit: t.mu.last, Lagging: len(t.mu.lag)}
	for _, f := range []*filling{t.mu.out, t.mu.open} {
		if f != nil {
			s.Pending += f.rows
			s.Held += f.held
		}
	}
	if !t.mu.began.IsZero() {
		s.Committing = time.Since(t.mu.began)
	}
	if t.mu.left {
		s.Lagging = 0 // nobody waits for it
	} else if t.mu.down != nil {
		s.Down, s.DownFor = t.mu.down.Error(), time.Since(t.mu.since)
		errors.As(t.mu.down, &s.Halt)
	}
	return s
}
