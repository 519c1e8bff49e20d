package daemon

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
)

// done is what an operator's command reports.
type done struct {
	Pipeline string         `json:"pipeline"`
	Done     string         `json:"done"` // what was decided, in words
	Stamp    pipeline.Stamp `json:"stamp"`
}

// decide runs one operator's command: it builds the pipeline without starting it,
// lets f decide, and reports what f says.
func (c *call) decide(ctx context.Context, f func(ctx context.Context, u *unit) (string, error)) error {
	u, _, err := c.one(ctx)
	if err != nil {
		return err
	}
	defer u.close(context.WithoutCancel(ctx))
	if err := u.mine(ctx); err != nil {
		return u.line.err(err)
	}
	what, err := f(ctx, u)
	if err != nil {
		return u.line.err(err)
	}
	log, err := u.ctl.Read(ctx)
	if err != nil {
		return err
	}
	return c.result(done{u.name, what, log.Stamp()}, func(w io.Writer) { say(w, "pipeline %s: %s\n", u.name, what) })
}

// mine makes sure that the control prefix is this pipeline's and reads its log.
func (u *unit) mine(ctx context.Context) error {
	if err := u.ctl.Own(ctx); err != nil {
		return fmt.Errorf("pipeline %q: %w", u.name, explain(err, u.store.Location("")))
	}
	log, err := u.ctl.Read(ctx)
	if err != nil {
		return fmt.Errorf("pipeline %q: %w", u.name, err)
	}
	u.learn(ctx, log)
	return nil
}

// learn takes note of where dead letters went under the revisions of a log. One that
// cannot be planned by this binary is told of by who needs it.
func (u *unit) learn(ctx context.Context, log *pipeline.Decisions) {
	for _, r := range log.Revisions() {
		_, _ = u.ctl.Steps(ctx, r, u.plan, nil)
	}
}

// keeper is a sink whose tables an operator can put in order.
type keeper interface {
	Resume(ctx context.Context, table string, replay bool, starts func(ctx context.Context, ps []pipeline.Partition) (pipeline.Vector, error)) error
	Rebind(ctx context.Context, table string) (rev int64, err error)
	RebuildControl(ctx context.Context, tables []string, rev pipeline.Revision) error
}

func tableResume(ctx context.Context, c *call) error {
	if c.replay == c.skip {
		return usagef("table resume wants --replay (the rows that are gone shall come again) or --skip (they shall stay away): both are right for someone")
	}
	table := c.args[0]
	return c.decide(ctx, func(ctx context.Context, u *unit) (string, error) {
		starts := func(ctx context.Context, ps []pipeline.Partition) (pipeline.Vector, error) {
			return u.ctl.Starts(ctx, u.src, u.cfg, ps)
		}
		if err := u.snk.keeper.Resume(ctx, table, c.replay, starts); err != nil {
			return "", err
		}
		if c.replay {
			return "table " + table + " is in order again; what it lost is read again", nil
		}
		return "table " + table + " is in order again; what it lost stays away", nil
	})
}

func tableForfeit(ctx context.Context, c *call) error {
	return c.decide(ctx, func(ctx context.Context, u *unit) (string, error) {
		return "nobody waits for table " + c.args[0] + " any more; rows for it are dropped as forfeited", u.ctl.Forfeit(ctx, c.args[0])
	})
}

func tableRebind(ctx context.Context, c *call) error {
	return c.decide(ctx, func(ctx context.Context, u *unit) (string, error) {
		rev, err := u.snk.keeper.Rebind(ctx, c.args[0])
		what := "table " + c.args[0] + ", as it is now, is written to from now on"
		if rev != 0 {
			what += fmt.Sprintf("; what it requires of records is pinned by revision %d, which begins when the workers are started again", rev)
		}
		return what, err
	})
}

func offsetsSkip(ctx context.Context, c *call) error {
	return c.decide(ctx, func(ctx context.Context, u *unit) (string, error) {
		p, from, to, err := u.span(ctx, c.args)
		if err != nil {
			return "", err
		}
		log, err := u.ctl.AppendSkip(ctx, pipeline.Skip{Partition: p.Key(), From: from, To: to})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("records [%s, %s) of %s are dropped as skipped, by revision %d", c.args[1], c.args[2], p, log.Stamp().Rev), nil
	})
}

func offsetsAcceptGap(ctx context.Context, c *call) error {
	return c.decide(ctx, func(ctx context.Context, u *unit) (string, error) {
		p, from, to, err := u.span(ctx, c.args)
		if err != nil {
			return "", err
		}
		_, err = u.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
			if log.Gap(p, from) >= to {
				return nil, nil // accepted already
			}
			return &pipeline.Entry{Kind: pipeline.KindGap, Partition: p.Key(), From: from, To: to}, nil
		})
		return fmt.Sprintf("records [%s, %s) of %s are accepted as lost", c.args[1], c.args[2], p), err
	})
}

func offsetsAcceptIncarnation(ctx context.Context, c *call) error {
	return c.decide(ctx, func(ctx context.Context, u *unit) (string, error) {
		key, whole, err := u.incarnation(ctx, c.args[0])
		if err != nil {
			return "", err
		}
		var from pipeline.Position
		switch {
		case c.from != "":
			if from, err = u.src.position(c.from); err != nil {
				return "", &exitError{ExitUsage, err}
			}
		case !whole:
			return "", usagef("offsets accept-incarnation of one partition wants --from OFFSET: where the new log begins; the halt tells it")
		}
		what := key + " is taken as a new log"
		_, err = u.ctl.Append(ctx, func(log *pipeline.Decisions) (*pipeline.Entry, error) {
			if e := log.Accepted(key); e != nil && (whole || e.From == from) {
				what = key + " was taken as a new log already"
				return nil, nil
			}
			return &pipeline.Entry{Kind: pipeline.KindIncarnation, Partition: key, From: from}, nil
		})
		return what, err
	})
}

// incarnation resolves a source key, a stream key, TOPIC or TOPIC/PARTITION, as the
// source calls it. whole: it is all partitions of a stream.
func (u *unit) incarnation(ctx context.Context, arg string) (key string, whole bool, err error) {
	if n := strings.Count(arg, ":"); n == 2 || n == 3 {
		return arg, n == 2, nil
	}
	parts, err := u.src.Partitions(ctx)
	if err != nil {
		return "", false, fmt.Errorf("list partitions: %w", err)
	}
	for _, p := range parts {
		switch arg {
		case u.src.Name(p):
			return p.StreamKey(), true, nil
		case u.src.Name(p) + "/" + p.ID:
			return p.Key(), false, nil
		}
	}
	return "", false, usagef("the source has no topic or partition %q: name TOPIC, TOPIC/NUMBER or the key that the halt tells", arg)
}

// span resolves PARTITION FROM TO.
func (u *unit) span(ctx context.Context, args []string) (p pipeline.Partition, from, to pipeline.Position, err error) {
	if p, err = u.partition(ctx, args[0]); err != nil {
		return p, "", "", err
	}
	if from, err = u.src.position(args[1]); err == nil {
		to, err = u.src.position(args[2])
	}
	if err == nil && from >= to {
		err = fmt.Errorf("from %s to %s is no record: TO is the first one that stays", args[1], args[2])
	}
	if err != nil {
		return p, "", "", &exitError{ExitUsage, err}
	}
	return p, from, to, nil
}

// partition resolves a source key or TOPIC/PARTITION, as the control log calls it.
func (u *unit) partition(ctx context.Context, arg string) (pipeline.Partition, error) {
	if strings.Count(arg, ":") == 3 {
		p, err := pipeline.ParsePartition(arg)
		if err != nil {
			return p, &exitError{ExitUsage, err}
		}
		return u.ctl.Known().Identity(p), nil
	}
	parts, err := u.src.Partitions(ctx)
	if err != nil {
		return pipeline.Partition{}, fmt.Errorf("list partitions: %w", err)
	}
	var known []string
	for _, p := range parts {
		name := u.src.Name(p) + "/" + p.ID
		if name == arg {
			return u.ctl.Known().Identity(p), nil
		}
		known = append(known, name)
	}
	slices.Sort(known)
	return pipeline.Partition{}, usagef("the source has no partition %q: it has %s", arg, shorten(known))
}

func shorten(names []string) string {
	const most = 12
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func controlRebuild(ctx context.Context, c *call) error {
	u, _, err := c.one(ctx)
	if err != nil {
		return err
	}
	defer u.close(context.WithoutCancel(ctx))
	if len(c.tables) == 0 {
		return usagef("control rebuild wants --tables: the names of all tables of the pipeline, the dead-letter table among them, with commas")
	}
	if err := u.ctl.Own(ctx); err != nil {
		return err
	}
	text, err := pipeline.Pure{Config: u.cfg.Pure}.Encode()
	if err != nil {
		return err
	}
	sha, err := u.ctl.KeepPure(ctx, text)
	if err != nil {
		return err
	}
	rev := pipeline.Revision{SHA256: sha, Config: pipeline.SHA256(u.cfg.Pure), Rules: u.cfg.Rules}
	if err := u.snk.keeper.RebuildControl(ctx, c.tables, rev); err != nil {
		return err
	}
	log, err := u.ctl.Read(ctx)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("control prefix %s has a new log of %d entries", u.store.Location(""), len(log.Entries))
	return c.result(done{u.name, what, log.Stamp()}, func(w io.Writer) { say(w, "pipeline %s: %s\n", u.name, what) })
}
