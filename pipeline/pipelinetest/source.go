package pipelinetest

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// Append adds n records to a log, with holes, and creates the log if it is new.
func (w *World) Append(p pipeline.Partition, vals ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[p]
	if l == nil {
		l = &log{}
		w.logs[p] = l
	}
	for _, v := range vals {
		l.end += w.rng.IntN(2) // a hole
		l.recs = append(l.recs, record{l.end, v})
		l.end++
	}
}

// CloseLog ends a log for good.
func (w *World) CloseLog(p pipeline.Partition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs[p].closed = true
}

// Command tells a source what the group decided.
type Command struct {
	Lanes []pipeline.Partition
	Give  bool
	Late  bool // the partitions are someone else's already
	Done  chan struct{}
}

// Source is a member of the group.
type Source struct {
	c     *Conn
	share *pipeline.Share
	Cmds  chan Command
	lanes map[pipeline.Partition]*lane
}

// Source returns a member that takes commands.
func (c *Conn) Source(share *pipeline.Share) *Source {
	return &Source{c, share, make(chan Command, 1000), map[pipeline.Partition]*lane{}}
}

// Run implements pipeline.Source.
func (s *Source) Run(ctx context.Context, h pipeline.Handler) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case cmd := <-s.Cmds:
			var lanes []pipeline.Lane
			for _, p := range cmd.Lanes {
				if cmd.Give {
					s.lanes[p] = &lane{s, p}
				}
				if l := s.lanes[p]; l != nil {
					lanes = append(lanes, l)
				}
			}
			if err := s.tell(ctx, h, cmd, lanes); err != nil {
				return err
			}
		}
	}
}

func (s *Source) tell(ctx context.Context, h pipeline.Handler, cmd Command, lanes []pipeline.Lane) error {
	if cmd.Done != nil {
		defer close(cmd.Done)
	}
	if !cmd.Give {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if cmd.Late {
			cancel()
		}
		return h.Revoked(ctx, lanes)
	}
	for ctx.Err() == nil {
		err := h.Assigned(ctx, lanes)
		if err == nil || errors.Is(err, pipeline.ErrStale) || errors.Is(err, errDead) {
			return err
		}
	}
	return ctx.Err()
}

// Partitions implements pipeline.Log.
func (s *Source) Partitions(ctx context.Context) (ps []pipeline.Partition, err error) {
	err = s.c.call(ctx, func() error {
		for p := range s.c.logs {
			ps = append(ps, p)
		}
		return nil
	})
	return ps, err
}

// Name implements pipeline.Log.
func (s *Source) Name(p pipeline.Partition) string { return p.Stream }

// Hint implements pipeline.Source.
func (s *Source) Hint(ctx context.Context, p pipeline.Partition) (h pipeline.Hint, err error) {
	err = s.c.call(ctx, func() error { h = s.c.group[p]; return nil })
	return h, err
}

// Locate implements pipeline.Log: it knows the beginning and the end.
func (s *Source) Locate(ctx context.Context, p pipeline.Partition, t time.Time) (at pipeline.Cursor, err error) {
	err = s.c.call(ctx, func() error {
		if !t.IsZero() {
			at.At = s.c.logs[p].last()
		}
		return nil
	})
	return at, err
}

// Open implements pipeline.Log.
func (s *Source) Open(ctx context.Context, p pipeline.Partition, st pipeline.Start) (pipeline.Reader, error) {
	err := s.c.call(ctx, func() error {
		if s.c.logs[p].last() < st.High {
			return &pipeline.Halt{Class: "SOURCE_TRUNCATED", Detail: p.ID, Remedy: "offsets accept-gap"}
		}
		return nil
	})
	return &reader{s, p, st.At}, err
}

type lane struct {
	s *Source
	p pipeline.Partition
}

func (l *lane) Partition() pipeline.Partition { return l.p }

func (l *lane) Open(ctx context.Context, st pipeline.Start) (pipeline.Reader, error) {
	return l.s.Open(ctx, l.p, st)
}

// Ack moves the group offset, unfenced: a zombie may move it back.
func (l *lane) Ack(ctx context.Context, low pipeline.Cursor, st pipeline.Stamp) error {
	return l.s.c.call(ctx, func() error {
		l.s.c.group[l.p] = pipeline.Hint{At: low, Stamp: st}
		l.s.c.checkLow(l.p, low.At, st)
		return nil
	})
}

// reader copies records into a slab and hands out windows of it. After Release
// the slab is scribbled on.
type reader struct {
	s  *Source
	p  pipeline.Partition
	at pipeline.Cursor
}

func (r *reader) Close() error { return nil }

func (r *reader) Next(ctx context.Context) (*pipeline.Batch, error) {
	if r.at.At == pipeline.End {
		return nil, io.EOF
	}
	for ctx.Err() == nil {
		b, err := r.fetch(ctx)
		if err != nil {
			return nil, err
		}
		if b != nil {
			return b, nil
		}
		time.Sleep(3 * time.Millisecond)
	}
	return nil, ctx.Err()
}

func (r *reader) fetch(ctx context.Context) (*pipeline.Batch, error) {
	var recs []record
	to := r.at
	n := 1 + r.s.c.roll(6)
	err := r.s.c.call(ctx, func() error {
		l := r.s.c.logs[r.p]
		to.At = l.last()
		for _, rec := range l.recs {
			if Pos(rec.at) < r.at.At {
				continue
			}
			if len(recs) == n {
				to.At = Pos(rec.at)
				break
			}
			recs = append(recs, rec)
		}
		return nil
	})
	if err != nil || to.At <= r.at.At {
		return nil, err
	}
	size := 0
	for _, rec := range recs {
		size += len(rec.val)
	}
	if err := r.s.share.Acquire(ctx, int64(size)); err != nil {
		return nil, err
	}
	slab := make([]byte, 0, size)
	b := &pipeline.Batch{Span: pipeline.Span{Partition: r.p, From: r.at, To: to}, Name: r.p.Stream}
	for _, rec := range recs {
		slab = append(slab, rec.val...)
		b.Values = append(b.Values, slab[len(slab)-len(rec.val):])
		b.Times = append(b.Times, int64(rec.at))
	}
	b.Cursor = func(i int) pipeline.Cursor { return pipeline.Cursor{At: Pos(recs[i].at)} }
	b.Release = func() {
		for i := range slab {
			slab[i] = '#'
		}
		r.s.share.Charge(-int64(size))
	}
	r.at = to
	return b, nil
}
