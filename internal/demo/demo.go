package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Options says how large a demo is and what it runs.
type Options struct {
	Dir     string    // new or empty folder; "": firehosed-demo-<time> in the working directory
	Records int       // 0: 200,000
	Kills   int       // how often the worker is killed
	JSON    bool      // progress goes to Err, the last line of Out is one object
	Seed    uint64    // of the records and of the kills; 0: 1
	Started time.Time // of the process; zero: now
	Binary  string    // the worker; "": this executable

	// Open reads the tables of the worker's config.
	Open func(ctx context.Context, config string) (Tables, error)

	Out, Err io.Writer // default: standard output and error
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Records < 0:
		return o, fmt.Errorf("--records %d: a demo has at least one", o.Records)
	case o.Kills < 0:
		return o, fmt.Errorf("--kills %d: name how often the worker is killed, 0 for never", o.Kills)
	case o.Records == 0:
		o.Records = 200_000
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Started.IsZero() {
		o.Started = time.Now()
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
	if o.Binary == "" {
		var err error
		if o.Binary, err = os.Executable(); err != nil {
			return o, fmt.Errorf("find this binary: %w", err)
		}
	}
	return o, nil
}

// ErrNotExact says that a row is missing, or there twice, or where it does not belong.
var ErrNotExact = errors.New("the tables do not hold every record exactly once")

// Stopped says that the demo was asked to end before it had ended by itself.
type Stopped struct{ Dir string }

func (s *Stopped) Error() string {
	return "the demo was stopped before its end; what it wrote stays in " + s.Dir
}

// Run runs the demo. It returns ErrNotExact if a row was lost or duplicated, by
// the product's own verification or by the demo's count.
func Run(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	dir, err := newFolder(o.Dir, o.Started)
	if err != nil {
		return err
	}
	d := &demo{o: o, dir: dir, rng: rand.New(rand.NewPCG(o.Seed, 0xdead)), producer: newProducer(o.Seed, o.Records)}
	d.progress = &progress{w: o.Out, started: o.Started}
	if o.JSON {
		d.progress.w = o.Err
	}
	if d.broker, err = newBroker(pipelineName); err != nil {
		return err
	}
	defer d.broker.close()
	if d.config, err = writeConfig(dir, d.broker.addr()); err != nil {
		return err
	}
	if d.tables, err = o.Open(ctx, d.config); err != nil {
		return err
	}
	defer func() { _ = d.tables.Close() }() // it was only read
	log, err := os.Create(filepath.Join(dir, "worker.log"))
	if err != nil {
		return fmt.Errorf("demo folder: %w", err)
	}
	defer func() { _ = log.Close() }() // for people
	d.log = log
	if err := d.run(ctx); err == nil || ctx.Err() == nil {
		return err
	}
	return &Stopped{dir}
}

// demo is one run. Its goroutines: the producer's, one per life of the worker
// that reads its log, one that shows progress, and the one that decides.
type demo struct {
	o        Options
	dir      string
	config   string
	rng      *rand.Rand
	broker   *broker
	producer *producer
	tables   Tables
	progress *progress
	log      io.Writer

	kills, midCommit int
	visible          atomic.Int64 // rows and dead letters that a reader finds
	acked            atomic.Int64
	firstRows        atomic.Int64 // nanoseconds from the start of the process; 0: none seen
	moved            atomic.Int64 // when acked or visible last changed, as firstRows
}

// patience is how long nothing may happen before the demo gives up.
const patience = 2 * time.Minute

// stuck is the error of a worker that has brought nothing for too long.
func (d *demo) stuck(w *worker) error {
	if time.Since(d.o.Started)-time.Duration(d.moved.Load()) < patience {
		return nil
	}
	w.kill()
	<-w.done
	return fmt.Errorf("nothing has happened for %v: %w", patience, w.died())
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	produced, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(produced)
		if err := d.producer.run(ctx, d.broker); err != nil {
			cancel(err)
		}
	}()
	go func() {
		defer close(watched)
		d.watch(ctx)
	}()
	defer func() {
		cancel(nil)
		<-produced
		<-watched
	}()
	d.progress.printf("broker  %s, topic %q with %d partitions, in this process\n", d.broker.addr(), topic, partitions)
	d.progress.printf("config  %s\n", d.config)
	if err := d.torture(ctx); err != nil {
		return cause(ctx, err)
	}
	d.progress.printf("all %d records are acknowledged; asking firehosed verify, then counting every row\n", d.o.Records)
	v, err := d.verify(ctx)
	if err != nil {
		return cause(ctx, err)
	}
	c, err := d.producer.truth.check(ctx, d.tables, table, deadLetters)
	if err != nil {
		return cause(ctx, err)
	}
	return d.report(ctx, v, c)
}

// cause prefers what made ctx end over what followed from it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

// torture runs the worker until it has acknowledged every record, and kills it on
// the way. Between two kills only a part of the records is there to read, so that
// there is work for every life.
func (d *demo) torture(ctx context.Context) error {
	lives := d.o.Kills + 1
	for life := 0; life < lives; life++ {
		last := life == lives-1
		d.producer.limit.Store(int64(d.o.Records) * int64(life+1) / int64(lives))
		if err := d.live(ctx, life, last); err != nil {
			return err
		}
		// A commit on a fast disk can be over before the signal arrives: try again.
		if life == lives-2 && d.midCommit == 0 && lives < d.o.Kills+10 {
			lives++
		}
	}
	return nil
}

// live is one life of the worker. The last one ends by itself, the others by
// SIGKILL: every second one at a random moment, the rest when a commit was sent.
func (d *demo) live(ctx context.Context, life int, last bool) error {
	armed := make(chan struct{}, 1)
	onSend := func() {}
	atSend := !last && (life%2 == 0 || life >= d.o.Kills)
	var w *worker
	skip := int64(d.rng.IntN(2))
	if atSend {
		var ready atomic.Bool
		var sends atomic.Int64
		onSend = func() {
			// The first life must show rows before it ends: that is what a reader waits for.
			if (life > 0 || d.firstRows.Load() > 0) && sends.Add(1) > skip && ready.CompareAndSwap(false, true) {
				w.kill()
				armed <- struct{}{}
			}
		}
	}
	started := make(chan struct{})
	w, err := startWorker(ctx, d.o.Binary, d.config, d.log, func() { <-started; onSend() })
	if err != nil {
		return err
	}
	close(started)
	d.progress.life(life+1, w.cmd.Process.Pid)
	if last {
		return d.finish(ctx, w)
	}
	if err := d.await(ctx, w, atSend, armed); err != nil {
		return err
	}
	w.kill()
	<-w.done
	d.kills++
	how := "at a random moment"
	if w.midCommit() {
		d.midCommit++
		how = "with a commit in flight"
	}
	d.progress.printf("kill -9 %d, %s\n", w.cmd.Process.Pid, how)
	return nil
}

// await returns when it is time to kill the worker.
func (d *demo) await(ctx context.Context, w *worker, atSend bool, armed <-chan struct{}) error {
	var random <-chan time.Time
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-armed:
			return nil
		case <-random:
			return nil
		case <-w.done:
			if len(armed) > 0 {
				return nil
			}
			return d.early(w)
		case <-ctx.Done():
			w.kill()
			<-w.done
			return ctx.Err()
		case <-t.C:
			if err := d.stuck(w); err != nil {
				return err
			}
		}
		ready := d.firstRows.Load() > 0 && w.committed() > 0
		idle := d.acked.Load() >= d.producer.limit.Load() // nothing left to commit in this life
		if random == nil && ready && (!atSend || idle) {
			random = time.After(time.Duration(d.rng.IntN(2500)) * time.Millisecond)
		}
	}
}

// early is the error of a worker that ended though nobody asked it to.
func (d *demo) early(w *worker) error {
	if err := w.died(); err != nil {
		return err
	}
	return errors.New("the worker ended by itself, see worker.log in " + d.dir)
}

// finish lets the worker read everything and stops it.
func (d *demo) finish(ctx context.Context, w *worker) error {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for d.acked.Load() < int64(d.o.Records) {
		select {
		case <-w.done:
			return d.early(w)
		case <-ctx.Done():
			w.kill()
			<-w.done
			return ctx.Err()
		case <-t.C:
			if err := d.stuck(w); err != nil {
				return err
			}
		}
	}
	return w.stop(ctx, 30*time.Second)
}

// watch looks at the tables and the group offsets from outside, and shows them.
func (d *demo) watch(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for i := 0; ; i++ {
		if n, err := d.broker.acked(ctx); err == nil && d.acked.Swap(n) != n {
			d.moved.Store(int64(time.Since(d.o.Started)))
		}
		if d.firstRows.Load() == 0 || i%5 == 0 {
			_, rows, err := d.tables.Head(ctx, table)
			_, dead, errDead := d.tables.Head(ctx, deadLetters)
			if err == nil && errDead == nil && d.visible.Swap(rows+dead) != rows+dead { // else the next look will do
				d.moved.Store(int64(time.Since(d.o.Started)))
			}
			if err == nil && rows > 0 && d.firstRows.CompareAndSwap(0, int64(time.Since(d.o.Started))) {
				d.progress.printf("first rows can be queried, %.1f s after the start\n", time.Since(d.o.Started).Seconds())
			}
		}
		if i%10 == 0 && d.acked.Load() < int64(d.o.Records) {
			d.progress.line(d.producer.sent.Load(), d.visible.Load(), int64(d.o.Records)-d.acked.Load())
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// verdict is what firehosed verify says, as far as the demo needs it.
type verdict struct {
	Lost         int64 `json:"lost"`
	Duplicated   int64 `json:"duplicated"`
	Unexpected   int64 `json:"unexpected"`
	Differs      int64 `json:"differs"`
	Pending      int64 `json:"pending"`
	Unverifiable int64 `json:"unverifiable"`
}

// verify runs the worker's binary as "verify". What is pending counts as lost.
func (d *demo) verify(ctx context.Context) (verdict, error) {
	var v verdict
	cmd := exec.CommandContext(ctx, d.o.Binary, "verify", "-c", d.config, "--values", "--json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if bad := json.Unmarshal(lines[len(lines)-1], &v); bad != nil {
		return v, fmt.Errorf("firehosed verify: %w\n%s%s", errors.Join(err, bad), out, stderr.Bytes())
	}
	if err != nil && v == (verdict{}) {
		return v, fmt.Errorf("firehosed verify: %w\n%s", err, stderr.Bytes())
	}
	return v, nil
}
