package daemon

import (
	"context"
	"io"

	"github.com/firehosed/firehosed/internal/inspect"
	"github.com/firehosed/firehosed/pipeline"
)

// verifyCommand is "verify".
func verifyCommand(ctx context.Context, c *call) error {
	u, f, err := c.one(ctx)
	if err != nil {
		return err
	}
	defer u.close(context.WithoutCancel(ctx))
	if err := u.mine(ctx); err != nil {
		return u.line.err(err)
	}
	opts := inspect.Options{Memory: f.MemoryBudget / 4, Values: c.values}
	if c.Terminal && !c.json {
		term := newTerminal(c.Stderr)
		defer term.show("")
		opts.Progress = func(units int64) { term.show(u.name + ": " + grouped(units) + " units judged") }
	}
	report, err := inspect.Verify(ctx, inspect.Deps{
		Pipeline: u.name, Source: verified{u.src, u.where}, Control: u.ctl, Plan: u.plan, Tables: u.snk.tables,
	}, opts)
	if err != nil {
		return &exitError{code: inspect.ExitIncomplete, err: u.line.err(err)} // 1 would say that rows are lost
	}
	if err := c.result(report, func(w io.Writer) { _, _ = report.WriteTo(w) }); err != nil {
		return err
	}
	if code := report.ExitCode(); code != ExitOK {
		return &exitError{code: code}
	}
	return nil
}

// verified is a source as verify reads it.
type verified struct {
	*source
	where pipeline.Coordinates
}

var _ inspect.Source = verified{}

// Coordinates implements inspect.Source.
func (s verified) Coordinates() pipeline.Coordinates { return s.where }

// Distance implements inspect.Source.
func (s verified) Distance(from, to pipeline.Position) (int64, bool) { return s.distance(from, to) }

// Oldest implements inspect.Source.
func (s verified) Oldest(ctx context.Context, p pipeline.Partition, from pipeline.Position) (pipeline.Position, bool, error) {
	return s.oldest(ctx, p, from)
}
