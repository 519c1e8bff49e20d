package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firehosed/firehosed/internal/admin"
	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
)

// checkWait bounds the start-up checks.
const checkWait = 30 * time.Second

// checkTold is how often it is told that they are not over.
const checkTold = 3 * time.Second

// daemon is a running worker.
type daemon struct {
	file    *File
	log     *slog.Logger
	metrics *telemetry.Metrics
	mem     memory
	keep    func(context.Context) // keeps the memory limit
	units   []*running
	phase   atomic.Value // of admin.Phase
}

// running is a pipeline while it runs.
type running struct {
	*unit
	watched *telemetry.Watched
	lag     *lagWatch
	log     *slog.Logger
}

// runCommand is "run": it works until ctx ends.
func runCommand(ctx context.Context, c *call) error {
	f, _, err := load(c.file, c.LookupEnv)
	if err != nil {
		return err
	}
	term := (*terminal)(nil)
	if c.Terminal {
		term = newTerminal(c.Stderr)
		c.Stderr = term
	}
	log, err := c.logger(f.Log)
	if err != nil {
		return err
	}
	d := &daemon{file: f, log: log, metrics: telemetry.New(Version()), mem: newMemory(f.MemoryBudget)}
	d.phase.Store(admin.Starting)
	limit, keep := limitMemory(f.MemoryBudget, c.LookupEnv)
	d.keep = keep
	log.Info("starting", slog.String("version", Version()), slog.String("file", c.file), slog.Int("pid", os.Getpid()),
		slog.Any("pipelines", slices.Sorted(maps.Keys(f.Pipelines))), slog.Int64("memory_budget", f.MemoryBudget), slog.Int64("memory_limit", limit))
	var jsonOut io.Writer
	if c.json {
		jsonOut = c.Stdout
	}
	return d.serve(ctx, c.asNewRevision, term, jsonOut)
}

// serve starts everything, waits for ctx or for the pipelines to end by themselves,
// and stops everything: the pipelines first, then what they are watched with.
func (d *daemon) serve(ctx context.Context, asNew int64, term *terminal, jsonOut io.Writer) error {
	outlive, stop := context.WithCancel(context.WithoutCancel(ctx)) // the admin interface answers while pipelines drain
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if err := d.listen(outlive, &wg); err != nil {
		return err
	}
	if err := d.prepare(ctx, asNew); err != nil || ctx.Err() != nil {
		return err
	}
	defer d.close(outlive)
	wg.Go(func() { d.keep(outlive) })
	working, rest := context.WithCancel(ctx)
	defer rest()
	var meters []*meter
	for _, u := range d.units {
		meters = append(meters, &meter{watched: u.watched, status: operated{u.run, u.line}.Status, lag: u.lag.lag})
		wg.Go(func() { u.lag.run(outlive) })
		wg.Go(func() { u.maintain(working, d.file.Pipelines[u.name].MaintenanceInterval) })
	}
	wg.Go(func() { progress(outlive, meters, term, jsonOut) })
	context.AfterFunc(ctx, func() {
		d.phase.Store(admin.Stopping)
		d.log.Info("stopping", slog.Duration("timeout", d.file.ShutdownTimeout))
	})
	d.phase.CompareAndSwap(admin.Starting, admin.Running)
	err := d.runAll(ctx)
	d.log.Info("stopped")
	return err
}

// listen starts the admin interface.
func (d *daemon) listen(ctx context.Context, wg *sync.WaitGroup) error {
	if d.file.Admin.Listen == admin.Off {
		return nil
	}
	srv, err := admin.Listen(ctx, d.file.Admin, admin.Worker{
		Version:   Version(),
		Phase:     func() admin.Phase { return d.phase.Load().(admin.Phase) },
		Pipelines: d.pipelines,
		Metrics:   d.metrics.Handler(),
	}, d.log)
	if err != nil {
		return err
	}
	wg.Go(func() {
		if err := srv.Run(ctx); err != nil {
			d.log.Error("admin interface", slog.Any("err", err))
		}
	})
	return nil
}

// pipelines returns those that run, for the admin interface.
func (d *daemon) pipelines() map[string]admin.Pipeline {
	ps := map[string]admin.Pipeline{}
	if d.phase.Load() != admin.Starting { // until then units still grows
		for _, u := range d.units {
			ps[u.name] = operated{u.run, u.line}
		}
	}
	return ps
}

// prepare builds all pipelines and checks what they depend on. Every problem of
// every pipeline is reported at once.
func (d *daemon) prepare(ctx context.Context, asNew int64) error {
	for _, name := range slices.Sorted(maps.Keys(d.file.Pipelines)) {
		watched := d.metrics.Pipeline(name)
		p := d.file.Pipelines[name]
		if err := below("pipelines."+name, p.lookUp(ctx, name)); err != nil {
			d.close(ctx)
			return err
		}
		u, err := build(ctx, d.file, name, d.mem, d.log, watched)
		if err != nil {
			d.close(ctx)
			return err
		}
		u.cfg.AsNewRevision = asNew
		r := &running{unit: u, watched: watched, log: d.log.With(slog.String("pipeline", name))}
		u.run = pipeline.New(u.cfg, u.src, u.snk, u.ctl, u.share, u.plan, r.watched.Observer())
		r.lag = &lagWatch{u: u, status: r.run.Status}
		r.watched.Watch(r.run.Status, r.lag.lag)
		d.units = append(d.units, r)
	}
	d.metrics.Budget(func() (total, used int64) {
		for _, u := range d.units {
			used += u.share.Used()
		}
		return d.file.MemoryBudget, used
	})
	err := d.check(ctx)
	if err != nil || ctx.Err() != nil {
		d.close(ctx)
	}
	return err
}

// check runs the start-up checks of all pipelines at once. If it is asked to stop
// meanwhile, it returns nil and waits for none.
func (d *daemon) check(ctx context.Context) error {
	checking, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	found := make(chan error, len(d.units))
	for _, u := range d.units {
		go func() { found <- below("pipelines."+u.name, u.check(checking)) }()
	}
	slow := time.NewTicker(checkTold)
	defer slow.Stop()
	var errs []error
	for len(errs) < len(d.units) {
		select {
		case err := <-found:
			errs = append(errs, err)
		case <-slow.C:
			d.log.Info("still waiting for the brokers, catalogs and stores that pipelines need to answer",
				slog.Int("pipelines", len(d.units)-len(errs)), slog.Duration("at_most", checkWait))
		case <-ctx.Done():
			return nil
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(errs...)
}

// runAll runs the pipelines until all have ended. One that fails does not end the
// others. Those that do not end in time when asked to are left alone: what they have
// not committed is read again.
func (d *daemon) runAll(ctx context.Context) error {
	errs := make([]error, len(d.units))
	var wg sync.WaitGroup
	for i, u := range d.units {
		wg.Go(func() {
			err := u.run.Run(ctx)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				err = nil // stopped before it had begun
			}
			if err != nil {
				err = u.line.err(err)
				errs[i] = fmt.Errorf("pipeline %q: %w", u.name, err)
				d.log.Error("pipeline ended", slog.String("pipeline", u.name), slog.Any("err", err))
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return errors.Join(errs...)
	case <-ctx.Done():
	}
	late := time.NewTimer(d.file.ShutdownTimeout)
	defer late.Stop()
	select {
	case <-ended:
		return errors.Join(errs...)
	case <-late.C:
		return fmt.Errorf("not everything was committed within shutdown_timeout (%s); what is missing is read again by the next worker", d.file.ShutdownTimeout)
	}
}

func (d *daemon) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, u := range d.units {
		u.close(ctx)
	}
}
