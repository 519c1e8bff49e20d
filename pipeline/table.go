package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/schema"
)

// table is one destination table as this worker sees it.
//
// The rule that keeps it whole: it takes a batch only if the batch joins on to
// what it has. Otherwise it lets the batch go, remembers from where, and the rows
// are read again. A halt, a lost commit, a write error and a partition given away
// all end in that one rule.
type table struct {
	p    *Pipeline
	name string
	kick chan struct{} // commit soon

	turn turn // one commit, or one reading of the ledger

	mu struct {
		sync.Mutex
		t      Table
		left   bool            // it was given up: nobody waits for it
		waits  map[*table]bool // of dead letters: tables that could not be bound, so that what is no row of theirs is not known
		down   error           // not nil: takes nothing until the ledger was read again
		since  time.Time
		marks  map[Partition]Cursor
		lag    map[Partition]Cursor // rows from here on are missing
		open   *filling             // being written
		out    *filling             // being committed
		gen    int                  // counts the times that rows were lost
		given  int                  // counts the partitions given away
		began  time.Time            // of the commit on its way; zero: none
		cancel context.CancelFunc   // ends it
		last   time.Time            // of the last commit
		pins   map[int64]*schema.Schema
		rows   int64
		taken  int64  // rows written into deliveries
		cause  string // why the next commit comes before its interval is over; "": it does not
		letGo  int64  // of taken: left memory uncommitted, to be read again
	}
}

// filling is a delivery and what it accounts for. Guarded by table.mu.
type filling struct {
	d       Delivery
	writers sync.WaitGroup // joined under table.mu while the filling is open
	spans   map[Partition]*pending
	held    int64
	rows    int64
	dropped bool
	claimed bool // its claims are made: the commit is on its way
}

type pending struct {
	first Cursor // before the first row
	to    Cursor
	gone  bool // the partition was given away since: whoever has it now begins anew
}

// span returns what a filling, which may be nil, has of a partition for its present
// owner, or nil.
func (f *filling) span(part Partition) *pending {
	if f == nil || f.spans[part] == nil || f.spans[part].gone {
		return nil
	}
	return f.spans[part]
}

// lateTable is a table that lags, as it was when the second reader asked.
type lateTable struct {
	*table
	gen int
}

var errUnread = errors.New("ledger not read yet")

func newTable(p *Pipeline, name string) *table {
	t := &table{p: p, name: name, turn: make(turn, 1), kick: make(chan struct{}, 1)}
	t.mu.down, t.mu.since = errUnread, time.Now()
	t.mu.marks, t.mu.lag, t.mu.pins = map[Partition]Cursor{}, map[Partition]Cursor{}, map[int64]*schema.Schema{}
	return t
}

// cutSoon makes the table's loop commit now; the first cause counts.
func (t *table) cutSoon(cause string) {
	t.mu.Lock()
	t.mu.cause = cmp.Or(t.mu.cause, cause)
	t.mu.Unlock()
	t.wake()
}

// wake makes the table's loop look at it now.
func (t *table) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

func (t *table) schema() *schema.Schema {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.t == nil {
		return nil
	}
	return t.mu.t.Schema()
}

// pinned returns what the table required when it was bound, as a revision sees it,
// and whether it was ever bound.
func (t *table) pinned(rev int64) (*schema.Schema, bool, error) {
	e := t.p.ctl.Known().BoundFor(t.name, rev)
	if e == nil {
		return nil, false, nil
	}
	if len(e.Pinned) == 0 {
		return nil, true, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.mu.pins[e.N]
	if !ok {
		s = &schema.Schema{}
		if err := json.Unmarshal(e.Pinned, s); err != nil {
			return nil, true, fmt.Errorf("control log entry %d: pinned requirements: %w", e.N, err)
		}
		t.mu.pins[e.N] = s
	}
	return s, true, nil
}

// evolve reports whether there is a newer schema to decode against.
func (t *table) evolve(ctx context.Context, want *schema.Schema) (*schema.Schema, bool) {
	t.mu.Lock()
	tab, down := t.mu.t, t.mu.down
	t.mu.Unlock()
	if down != nil {
		return nil, false
	}
	old := tab.Schema()
	s, err := tab.Evolve(ctx, want)
	if err != nil {
		t.fail(ctx, fmt.Errorf("evolve: %w", err))
		return nil, false
	}
	return s, old == nil || s.ID != old.ID
}

// take writes the rows that the table lacks, or lets them go.
func (t *table) take(ctx context.Context, b *Batch, r Rows, late []lateTable) {
	if len(r.Rec) == 0 {
		return
	}
	part, first := b.Span.Partition, b.Cursor(int(r.Rec[0]))
	f, through, err := t.join(ctx, b, late, first)
	if err != nil {
		t.fail(ctx, err)
		t.letGo(part, first)
		return
	} else if f == nil {
		return
	}
	k := 0
	if first.At < through {
		k = sort.Search(len(r.Rec), func(i int) bool { return b.Cursor(int(r.Rec[i])).At >= through })
	}
	if k == len(r.Rec) {
		f.writers.Done()
		return
	} else if k > 0 {
		r.Data, r.Rec, r.Sub = r.Data.NewSlice(int64(k), int64(len(r.Rec))), r.Rec[k:], r.Sub[k:]
		defer r.Data.Release()
		first = b.Cursor(int(r.Rec[0]))
	}
	write, cancel := context.WithTimeout(ctx, t.p.cfg.LetGoAfter) // a lane waits no longer for one table
	err = guarded(func() error { return f.d.Write(write, b, r) })
	cancel()
	t.p.panicked("write", b.Span, err)
	lost, cause := t.wrote(f, b.Span, first, len(r.Rec), err)
	f.writers.Done()
	if err != nil {
		t.fail(ctx, fmt.Errorf("write: %w", err))
	}
	if lost {
		t.letGo(part, first)
	} else if cause != "" {
		t.cutSoon(cause)
	} else if t.p.share.Pressed() {
		t.cutSoon(CutMemory)
	}
}

// wrote books rows written to f. It reports whether they are lost again, and which
// limit the delivery has reached; "": none.
func (t *table) wrote(f *filling, span Span, first Cursor, rows int, err error) (lost bool, cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil || f.dropped {
		return true, ""
	}
	if s := f.spans[span.Partition]; s == nil {
		f.spans[span.Partition] = &pending{first: first, to: span.To}
	} else {
		s.to = span.To
	}
	held, _, full := f.d.Size()
	t.p.share.Charge(held - f.held)
	f.held = held
	f.rows += int64(rows)
	t.mu.taken += int64(rows)
	switch {
	case full:
		return false, CutFull
	case t.p.cfg.MaxRows > 0 && f.rows >= t.p.cfg.MaxRows:
		return false, CutRows
	}
	return false, ""
}

// join decides whether the batch joins on to what the table has. If so, it
// returns the delivery to write to, with the caller among its writers, and the
// position below which the table has its rows. Otherwise the batch is let go.
func (t *table) join(ctx context.Context, b *Batch, late []lateTable, first Cursor) (*filling, Position, error) {
	part := b.Span.Partition
	for {
		t.mu.Lock()
		lag, lags := t.mu.lag[part]
		let := true
		switch {
		case late != nil && !wants(late, t.name): // it was offered these rows when they were live
		case late != nil && (!lags || lag.At < b.Span.From.At || lag.At >= b.Span.To.At): // not its turn
		case late == nil && lags: // the second reader comes along here
		case t.mu.down != nil:
			if !lags {
				t.mu.lag[part] = first
			}
		default:
			let = false
		}
		mark, known := t.mu.marks[part]
		if !let && known && t.mu.open != nil {
			defer t.mu.Unlock()
			t.mu.open.writers.Add(1)
			return t.mu.open, t.through(part, max(mark.At, lag.At)), nil
		}
		tab, empty := t.mu.t, t.mu.open == nil
		t.mu.Unlock()
		if let {
			return nil, "", nil
		}
		if !known {
			if err := t.readMark(ctx, tab, part); err != nil {
				return nil, "", err
			}
		} else if empty {
			if err := t.begin(ctx, tab); err != nil {
				return nil, "", err
			}
		}
	}
}

func (t *table) through(part Partition, at Position) Position {
	for _, f := range []*filling{t.mu.out, t.mu.open} {
		if s := f.span(part); s != nil {
			at = max(at, s.to.At)
		}
	}
	return at
}

func (t *table) readMark(ctx context.Context, tab Table, part Partition) error {
	l, err := tab.Watermarks(ctx, []Partition{part})
	if err != nil {
		return fmt.Errorf("read watermark: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.mu.marks[part]; !known {
		t.mu.marks[part] = l.Marks[part].At
	}
	return nil
}

func (t *table) begin(ctx context.Context, tab Table) error {
	d, err := tab.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t.mu.Lock()
	if t.mu.open == nil && t.mu.down == nil {
		t.mu.open = &filling{d: d, spans: map[Partition]*pending{}}
		d = nil
	}
	t.mu.Unlock()
	if d != nil { // another lane was faster
		return d.Abort(ctx)
	}
	return nil
}

func (t *table) letGo(part Partition, from Cursor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lag, ok := t.mu.lag[part]; !ok || from.At < lag.At {
		t.mu.lag[part] = from
	}
}

// unlag forgets a lag to which the lane has gone back, unless rows were lost since.
func (t *table) unlag(part Partition, gen int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.gen == gen {
		delete(t.mu.lag, part)
	}
}

// caughtUp moves the lag past a batch that was read again. When it has reached
// the lane, the next live batch joins on.
func (t *table) caughtUp(span Span, done Cursor, gen int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lag, lags := t.mu.lag[span.Partition]
	if !lags || t.mu.gen != gen || lag.At < span.From.At || lag.At >= span.To.At {
		return
	}
	if span.To.At >= done.At {
		delete(t.mu.lag, span.Partition)
	} else {
		t.mu.lag[span.Partition] = span.To
	}
}

// commit publishes what is open. One at a time: the next delivery fills while
// this one is on its way. cause is why; "": the table knows.
func (t *table) commit(ctx context.Context, cause string) error {
	if !t.turn.take(ctx) {
		return ctx.Err()
	}
	defer t.turn.give()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st := t.p.stamp() // before the rows and the floors: what came under an older one must not carry a newer
	t.mu.Lock()
	f := t.mu.open
	t.mu.open, t.mu.out = nil, f
	cause = cmp.Or(cause, t.mu.cause, CutInterval)
	t.mu.cause = ""
	if f != nil {
		t.mu.began, t.mu.cancel = time.Now(), cancel
	}
	t.mu.Unlock()
	if f == nil {
		return nil
	}
	defer func() {
		t.mu.Lock()
		t.mu.began, t.mu.cancel = time.Time{}, nil
		t.mu.Unlock()
	}()
	failpoint.Hit("buf.beforeCut")
	f.writers.Wait()
	claims, ok := t.claims(f)
	failpoint.Hit("buf.afterCut")
	if !ok || len(claims) == 0 { // dropped meanwhile, or nothing was written
		t.abandon(ctx, f)
		return nil
	}
	if failpoint.Enabled && t.p.anotherCommitted(t) {
		failpoint.Hit("table2.beforeCommit")
	}
	began := time.Now()
	err := f.d.Commit(ctx, st, claims, cause)
	t.p.share.Charge(-f.held)
	if err != nil {
		err = fmt.Errorf("commit: %w", err)
		t.fail(ctx, err)
		return err
	}
	t.p.obs.committed(t.name, f.rows, time.Since(began))
	failpoint.Hit("commit.beforeLocalAdvance")
	t.advance(f, claims)
	failpoint.Hit("commit.afterLocalAdvance")
	return nil
}

// advance takes over what a commit has made durable.
func (t *table) advance(f *filling, claims []Claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.out == f {
		t.mu.out = nil
	}
	if f.dropped { // let go while the commit was on its way, which came in all the same
		t.mu.letGo -= f.rows
	}
	t.mu.last = time.Now()
	t.mu.rows += f.rows
	for _, c := range claims {
		if m, ok := t.mu.marks[c.Partition]; ok && f.span(c.Partition) != nil {
			t.mu.marks[c.Partition] = later(m, c.To)
		}
	}
}

// abandon gives up a filling that was taken out for a commit.
func (t *table) abandon(ctx context.Context, f *filling) {
	t.mu.Lock()
	if t.mu.out == f {
		t.mu.out = nil
	}
	t.mu.Unlock()
	t.abort(ctx, f)
}

func (t *table) claims(f *filling) ([]Claim, bool) {
	var cs []Claim
	t.mu.Lock()
	f.claimed = true
	for part, s := range f.spans {
		cs = append(cs, Claim{Span: Span{part, t.mu.marks[part], s.to}})
	}
	ok := !f.dropped
	t.mu.Unlock()
	for i := range cs {
		if l := t.p.lane(cs[i].Partition); l != nil {
			if low, ok := l.low(); ok {
				cs[i].Floor = low.At
			}
		}
	}
	return cs, ok
}

// fail takes the table out of the flow: rows not committed are let go, to be
// read again once the ledger says where the table stands.
func (t *table) fail(ctx context.Context, why error) {
	if ctx.Err() == nil {
		t.p.log.Warn("table lets its rows go", "table", t.name, "err", why)
	}
	t.mu.Lock()
	if t.mu.down == nil {
		t.mu.since = time.Now()
	}
	t.mu.down = why
	t.mu.gen++
	open := t.mu.open
	t.drop(open)
	t.drop(t.mu.out)
	t.mu.open, t.mu.out = nil, nil
	t.mu.Unlock()
	t.abort(ctx, open)
	if errors.Is(why, ErrStale) {
		t.p.lookAtLog()
	}
	t.wake()
}

// letGoAll frees the memory of a table that has not been able to commit for long.
func (t *table) letGoAll(ctx context.Context) {
	t.mu.Lock()
	cancel := t.mu.cancel
	t.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	t.fail(ctx, fmt.Errorf("no commit for %v while others wait for memory", t.p.cfg.LetGoAfter))
}

// drop is called with mu held.
func (t *table) drop(f *filling) {
	if f == nil {
		return
	}
	if !f.dropped {
		f.dropped = true
		t.mu.letGo += f.rows
	}
	t.mu.gen++
	for part, s := range f.spans {
		if _, known := t.mu.marks[part]; !known || s.gone {
			continue // given away meanwhile
		}
		if lag, ok := t.mu.lag[part]; !ok || s.first.At < lag.At {
			t.mu.lag[part] = s.first
		}
	}
}

func (t *table) abort(ctx context.Context, f *filling) {
	if f == nil {
		return
	}
	f.writers.Wait()
	t.p.share.Charge(-f.held)
	_ = f.d.Abort(context.WithoutCancel(ctx)) // what stays behind, the collector of old files finds
}

// close gives up what a table still holds when its pipeline ends.
func (t *table) close(ctx context.Context) {
	t.mu.Lock()
	open := t.mu.open
	t.drop(open)
	t.mu.open = nil
	t.mu.Unlock()
	t.abort(ctx, open)
}

// sync reads the ledger and lets the table take rows again.
func (t *table) sync(ctx context.Context) error {
	if !t.turn.take(ctx) {
		return ctx.Err()
	}
	defer t.turn.give()
	t.mu.Lock()
	tab, down, left := t.mu.t, t.mu.down, t.mu.left
	t.mu.Unlock()
	if down == nil || left {
		return nil
	}
	st := t.p.stamp()
	var err error
	if h := (*Halt)(nil); tab == nil || errors.As(down, &h) {
		if tab, err = t.p.sink.Table(ctx, t.name, st); err != nil {
			return t.why(err)
		}
	}
	t.mu.Lock()
	given := t.mu.given
	t.mu.Unlock()
	parts := t.p.owned()
	l, err := tab.Watermarks(ctx, parts)
	if err != nil {
		return t.why(err)
	}
	if l.Stamp.Newer(st) {
		t.p.lookAtLog()
		return t.why(fmt.Errorf("the table is at %v, this worker at %v: %w", l.Stamp, st, ErrStale))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.given != given { // a mark of a partition given away must not be there when it comes back: it may be of before a replay
		t.wake()
		return nil
	}
	t.mu.t, t.mu.down = tab, nil
	clear(t.mu.marks)
	for _, part := range parts {
		t.mu.marks[part] = l.Marks[part].At
		if lag, ok := t.mu.lag[part]; ok {
			t.mu.lag[part] = later(lag, l.Marks[part].At)
		}
	}
	return nil
}

// look notices what others did to a table that is idle here.
func (t *table) look(ctx context.Context) {
	t.mu.Lock()
	tab, busy := t.mu.t, t.mu.down != nil || t.mu.open != nil || t.mu.out != nil
	t.mu.Unlock()
	if busy {
		return
	}
	l, err := tab.Watermarks(ctx, t.p.owned())
	if err != nil && ctx.Err() == nil {
		t.fail(ctx, err)
	} else if err == nil && l.Stamp.Newer(t.p.stamp()) {
		t.p.lookAtLog()
	}
}

func (t *table) why(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.down == nil || t.mu.down.Error() != err.Error() {
		t.p.log.Warn("table takes no rows", "table", t.name, "err", err)
	}
	t.mu.down = err
	return err
}

// forget removes all that concerns a partition given away. A delivery that
// mixes it with others is dropped, and the others are read again.
func (t *table) forget(ctx context.Context, part Partition) {
	t.mu.Lock()
	open, out := t.mu.open, t.mu.out
	drop := open.span(part) != nil
	if s := out.span(part); s != nil {
		s.gone = true
		if !out.claimed { // its claim would begin at the next owner's mark
			t.drop(out)
			t.mu.out, drop = nil, true // what is open goes on where it ends
		}
	}
	if drop {
		t.drop(open)
		t.mu.open = nil
	} else {
		open = nil
	}
	t.mu.given++
	delete(t.mu.marks, part)
	delete(t.mu.lag, part)
	t.mu.Unlock()
	t.abort(ctx, open)
}

// leave is for a table that was given up: what it lacks holds nobody up any more.
func (t *table) leave(ctx context.Context) {
	t.mu.Lock()
	open := t.mu.open
	t.drop(open)
	t.mu.open, t.mu.left = nil, true
	t.mu.Unlock()
	t.abort(ctx, open)
}

func (t *table) gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.left
}

// lowest returns the first row of the partition that the table lacks and is waited for.
func (t *table) lowest(part Partition) (Cursor, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.left {
		return Cursor{}, false
	}
	low, ok := t.mu.lag[part]
	for _, f := range []*filling{t.mu.out, t.mu.open} {
		if s := f.span(part); s != nil && (!ok || s.first.At < low.At) {
			low, ok = s.first, true
		}
	}
	return low, ok
}

// lags returns from where the table can be brought up to date.
func (t *table) lags(part Partition) (from Cursor, gen int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, ok = t.mu.lag[part]
	return from, t.mu.gen, ok && t.mu.down == nil && !t.mu.left
}

// awaits makes a dead-letter table that lets go wait for a table to be bound: until then
// reading again would find out nothing.
func (t *table) awaits(unbound *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.waits == nil {
		t.mu.waits = map[*table]bool{}
	}
	t.mu.waits[unbound] = true
}

// waiting reports whether a table that it awaits is still not to be had.
func (t *table) waiting() bool {
	t.mu.Lock()
	waits := slices.Collect(maps.Keys(t.mu.waits))
	t.mu.Unlock()
	waiting := false
	for _, o := range waits { // not under two tables' locks
		if !o.up() && !o.gone() {
			waiting = true
			continue
		}
		t.mu.Lock()
		delete(t.mu.waits, o)
		t.mu.Unlock()
	}
	return waiting
}

// late lists the tables that can be brought up to date, and the lowest start.
func (p *Pipeline) late(part Partition) (late []lateTable, from Cursor) {
	for _, t := range p.all() {
		if c, gen, ok := t.lags(part); ok && !t.waiting() {
			if len(late) == 0 || c.At < from.At {
				from = c
			}
			late = append(late, lateTable{t, gen})
		}
	}
	return late, from
}

func wants(late []lateTable, name string) bool {
	return slices.ContainsFunc(late, func(t lateTable) bool { return t.name == name })
}

// ---- What others ask a table ----

func (t *table) unread() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Is(t.mu.down, errUnread)
}

func (t *table) up() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.down == nil
}

// holds reports whether rows of the partition wait for a commit.
func (t *table) holds(part Partition) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.open.span(part) != nil || t.mu.out.span(part) != nil
}

// held returns the bytes in memory of the delivery being filled.
func (t *table) held() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.open == nil {
		return 0
	}
	return t.mu.open.held
}

// committing returns when the commit on its way began; zero: none is.
func (t *table) committing() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.began
}

func (t *table) stuck(after time.Duration) bool {
	began := t.committing()
	return !began.IsZero() && time.Since(began) > after
}

func (t *table) committedAfter(when time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.down == nil && t.mu.last.After(when)
}

// patience is how long the table's loop may sleep.
func (t *table) patience() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := (*Halt)(nil); errors.As(t.mu.down, &h) {
		return t.p.cfg.LogPoll
	} else if t.mu.down != nil {
		return t.p.cfg.Retry
	}
	return t.p.cfg.interval(t.name)
}
