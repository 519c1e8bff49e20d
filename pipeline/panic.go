package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/firehosed/firehosed/schema"
)

// A panic of a stage or a decoder is a bug that a record has found. It must not stop
// the process, of which every start would read the same record again. What panicked
// is in an unknown state and is given up; fresh steps find the record.
//
// They compute, and what they change is a lane's own. The only other thing guarded is
// the writing of rows: it encodes them, and a delivery can be given up at any time. What
// it panics at depends on the table, so its rows are let go, as after any error.

// panicError is a panic as an error.
type panicError struct {
	value any
	site  string // function and line
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v at %s", e.value, e.site) }

// guarded returns what f returns, or a *panicError.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, panicSite(), debug.Stack()}
		}
	}()
	return f()
}

// panicSite returns where the panic that is being recovered from began.
func panicSite() string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		} else if !more {
			return "unknown"
		}
	}
}

// panicked reports whether err is a panic of these steps. If so, they are given up,
// and it is logged and counted; its stack is logged once.
func (l *lane) panicked(step string, span Span, rev int64, err error) bool {
	if !l.p.panicked(step, span, err) {
		return false
	}
	delete(l.steps, rev)
	return true
}

func (p *Pipeline) panicked(step string, span Span, err error) bool {
	e := (*panicError)(nil)
	if !errors.As(err, &e) {
		return false
	}
	p.obs.panicked(step)
	attrs := []any{"step", step, "partition", span.Partition, "from", span.From.At, "to", span.To.At, "err", err}
	if _, known := p.sites.LoadOrStore(e.site, true); !known {
		attrs = append(attrs, "stack", string(e.stack))
	}
	p.log.Error("a bug: a step panicked", attrs...)
	return true
}

// process takes a batch through the stages.
func (l *lane) process(ctx context.Context, b *Batch, c course) error {
	whole := *b // stages rewrite it
	whole.Dropped = maps.Clone(b.Dropped)
	err := l.stages(ctx, b, c)
	if !l.panicked("stages", whole.Span, c.rev, err) {
		return err
	}
	*b = whole
	rejects, err := l.suspects(ctx, b, c)
	if err != nil {
		return err
	}
	delete(l.steps, c.rev)
	if err := l.stages(ctx, b, c); err != nil { // it is not any record alone
		l.panicked("stages", whole.Span, c.rev, err)
		return err
	}
	b.Rejects = append(b.Rejects, rejects...)
	return nil
}

func (l *lane) stages(ctx context.Context, b *Batch, c course) error {
	steps, err := l.stepsFor(c)
	if err != nil {
		return err
	}
	span := b.Span
	err = guarded(func() error {
		for _, st := range steps.Stages {
			if err := st.Process(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("process: %w", err)
	}
	return checkShares(b, span)
}

// suspects takes the records out of a batch, as it came from the reader, that make
// the stages panic when each is alone.
func (l *lane) suspects(ctx context.Context, b *Batch, c course) (rejects []Reject, err error) {
	var values [][]byte
	src := []int32{}
	for i, v := range b.Values {
		rec := b.Record(int32(i))
		e, err := l.alone(ctx, b, i, c)
		if err != nil {
			return nil, err
		} else if e != nil {
			rejects = append(rejects, Reject{Rec: rec, Code: CodePanic, Message: fmt.Sprintf("a stage panicked: %v", e.value), Payload: v})
			continue
		}
		values, src = append(values, v), append(src, rec)
	}
	if len(rejects) > 0 {
		b.Values, b.Src = values, src
	}
	return rejects, nil
}

// alone returns the panic of fresh stages at the i-th record alone, or nil.
func (l *lane) alone(ctx context.Context, b *Batch, i int, c course) (e *panicError, err error) {
	for range 2 { // the first stages may have been left in a bad state by another record
		one := *b
		one.Values, one.Src, one.Dropped = b.Values[i:i+1:i+1], []int32{b.Record(int32(i))}, nil
		if err = l.stages(ctx, &one, c); !errors.As(err, &e) {
			return nil, err
		}
		delete(l.steps, c.rev)
	}
	return e, nil
}

// decodeFor lays a part out for a schema, carefully if that panics.
func (l *lane) decodeFor(ctx context.Context, b *Batch, part Part, s *schema.Schema, c course) (Rows, error) {
	rows, err := l.decodeWith(ctx, b, part, s, c)
	if !l.panicked("decoder", b.Span, c.rev, err) {
		return rows, err
	}
	part.Careful = true
	rows, err = l.decodeWith(ctx, b, part, s, c)
	l.panicked("decoder", b.Span, c.rev, err)
	return rows, err
}

func (l *lane) decodeWith(ctx context.Context, b *Batch, part Part, s *schema.Schema, c course) (rows Rows, err error) {
	steps, err := l.stepsFor(c)
	if err != nil {
		return rows, err
	}
	err = guarded(func() (err error) {
		rows, err = steps.Decoder.Decode(ctx, b, part, s)
		return err
	})
	return rows, err
}

// layRejects lays the dead letters of a batch out.
func (l *lane) layRejects(b *Batch, t *table, c course) (rows Rows, err error) {
	steps, err := l.stepsFor(c)
	if err != nil {
		return rows, err
	}
	s := t.schema()
	err = guarded(func() (err error) {
		rows, err = steps.LayRejects(b, s)
		return err
	})
	l.panicked("dead letters", b.Span, c.rev, err)
	return rows, err
}
