package pipeline

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kinds of entries of the control log, as in docs/design/exactly-once.md 2.2.
const (
	KindAdmit       = "admit"
	KindBound       = "bound"
	KindRev         = "rev"
	KindEpoch       = "epoch"
	KindReplay      = "replay"
	KindGap         = "gap"
	KindIncarnation = "incarnation"
	KindForfeit     = "forfeit"
)

// Entry is one decision of the control log. Which fields count depends on Kind.
type Entry struct {
	N     int64     `json:"n"`
	At    time.Time `json:"at"`
	Who   string    `json:"who"`
	Nonce string    `json:"nonce"`
	Kind  string    `json:"kind"`

	Table string `json:"table,omitempty"` // admit, bound, replay, forfeit: the pipeline's name for it
	Rev   int64  `json:"rev,omitempty"`   // admit, bound: judged by; rev, epoch: the new one

	Identifier []string        `json:"identifier,omitempty"` // bound: in the catalog
	UUID       string          `json:"uuid,omitempty"`       // bound: of the table
	Pinned     json.RawMessage `json:"pinned,omitempty"`     // bound: requirements of a table made by others

	SHA256 string `json:"sha256,omitempty"` // rev, epoch: of the text kept, see Pure
	Config string `json:"config,omitempty"` // rev, epoch: SHA-256 of the configuration in it
	Rules  int    `json:"rules,omitempty"`  // rev, epoch: version of the binary's rules
	Epoch  int64  `json:"epoch,omitempty"`  // epoch

	Replay   int64   `json:"replay,omitempty"`   // replay
	Ancestor string  `json:"ancestor,omitempty"` // replay: the snapshot that the vector belongs to
	Vector   *Packed `json:"vector,omitempty"`   // replay: the marks to go back to
	Start    *Packed `json:"start,omitempty"`    // replay: R, where reading begins again

	Partition string   `json:"partition,omitempty"` // gap: source key; incarnation: source key or stream key
	From      Position `json:"from,omitempty"`      // gap, incarnation
	To        Position `json:"to,omitempty"`        // gap
	Name      string   `json:"name,omitempty"`      // incarnation: of the topic
}

// Control is a pipeline's control prefix: the log of its decisions, its
// revisions, barriers and origins. Everything in it is created once and never
// changed; that alone makes it safe, whoever else works on it. Concurrent use.
type Control struct {
	store    Store
	pipeline string
	who      string

	mu struct {
		sync.Mutex
		log *Decisions
	}
}

// Decisions is the control log read to some point. It is immutable.
type Decisions struct {
	pipeline string
	Entries  []Entry // entry i has N = i+1
}

var pipelineName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// ValidName reports whether a pipeline may be called so: it is the key of all its
// state, part of property names and of object keys.
func ValidName(name string) bool { return pipelineName.MatchString(name) }

// NewControl returns the control prefix of a pipeline. who names this worker in
// the entries that it writes. It makes no call.
func NewControl(store Store, pipeline, who string) *Control {
	c := &Control{store: store, pipeline: pipeline, who: who}
	c.mu.log = &Decisions{pipeline: pipeline}
	return c
}

// Store returns the store below.
func (c *Control) Store() Store { return c.store }

// Own makes the prefix this pipeline's, or says whose it is.
func (c *Control) Own(ctx context.Context) error {
	want, err := json.Marshal(map[string]string{"pipeline": c.pipeline})
	if err != nil {
		return err
	}
	got, err := c.create(ctx, "pipeline.json", want)
	if err != nil {
		return err
	}
	var owner struct {
		Pipeline string `json:"pipeline"`
	}
	if err := json.Unmarshal(got, &owner); err != nil {
		return fmt.Errorf("control prefix: pipeline.json: %w", err)
	}
	if owner.Pipeline != c.pipeline {
		return fmt.Errorf("control prefix belongs to pipeline %q, not to %q: give every pipeline a control prefix of its own", owner.Pipeline, c.pipeline)
	}
	return nil
}

// create makes key hold val if it is absent, and returns what it holds.
func (c *Control) create(ctx context.Context, key string, val []byte) ([]byte, error) {
	if got, err := c.store.Get(ctx, key); err != nil || got != nil {
		return got, wrap(err, "read "+key)
	}
	err := c.store.Swap(ctx, key, nil, val)
	if err == nil {
		return val, nil
	}
	got, again := c.store.Get(ctx, key)
	switch {
	case again != nil:
		return nil, fmt.Errorf("create %s: %w", key, errors.Join(err, again))
	case got == nil:
		return nil, fmt.Errorf("create %s: %w", key, err)
	}
	return got, nil
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Known returns the log as far as it was read.
func (c *Control) Known() *Decisions {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.log
}

// Read reads the log to its end.
func (c *Control) Read(ctx context.Context) (*Decisions, error) {
	log := c.Known()
	entries := log.Entries
	for {
		e, err := c.entry(ctx, int64(len(entries))+1)
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		entries = append(slices.Clip(entries), *e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(entries) > len(c.mu.log.Entries) {
		c.mu.log = &Decisions{c.pipeline, entries}
	}
	return c.mu.log, nil
}

func (c *Control) entry(ctx context.Context, n int64) (*Entry, error) {
	val, err := c.store.Get(ctx, entryKey(n))
	if err != nil || val == nil {
		return nil, wrap(err, fmt.Sprintf("read control log entry %d", n))
	}
	e := &Entry{}
	if err := json.Unmarshal(val, e); err != nil {
		return nil, fmt.Errorf("control log entry %d: %w", n, err)
	}
	if e.N != n {
		return nil, fmt.Errorf("control log entry %d says that it is %d: the control prefix is damaged", n, e.N)
	}
	return e, nil
}

func entryKey(n int64) string { return fmt.Sprintf("log/%010d.json", n) }

// Append reads the log to its end and asks decide for the entry to add, again
// each time somebody else was faster. decide returns nil when the entry has
// become unnecessary, or an error to give up. Append returns the log with the
// decision in it.
func (c *Control) Append(ctx context.Context, decide func(*Decisions) (*Entry, error)) (*Decisions, error) {
	for {
		log, err := c.Read(ctx)
		if err != nil {
			return nil, err
		}
		e, err := decide(log)
		if err != nil || e == nil {
			return log, err
		}
		mine := *e
		mine.N, mine.Who, mine.Nonce = int64(len(log.Entries))+1, c.who, nonce()
		mine.At = time.Now().UTC().Truncate(time.Millisecond)
		val, err := json.Marshal(&mine)
		if err != nil {
			return nil, fmt.Errorf("control log entry %d: %w", mine.N, err)
		}
		err = c.store.Swap(ctx, entryKey(mine.N), nil, val)
		if err == nil {
			return c.Read(ctx)
		}
		there, again := c.entry(ctx, mine.N) // taken, or the answer was lost
		switch {
		case again != nil:
			return nil, errors.Join(err, again)
		case there == nil:
			return nil, fmt.Errorf("append to control log: %w", err)
		case there.Nonce == mine.Nonce:
			return c.Read(ctx)
		}
	}
}

// Forfeit gives a table up: nobody waits for it any more, and rows for it become
// the named drop `forfeited`. It cannot be undone. The table itself is left alone.
func (c *Control) Forfeit(ctx context.Context, table string) error {
	_, err := c.Append(ctx, func(log *Decisions) (*Entry, error) {
		switch {
		case log.Forfeited(table):
			return nil, nil
		case log.last(func(e *Entry) bool { return (e.Kind == KindBound || e.Kind == KindAdmit) && e.Table == table }) == nil:
			return nil, errors.New("the control log knows no table of that name")
		}
		return &Entry{Kind: KindForfeit, Table: table}, nil
	})
	if err != nil {
		return fmt.Errorf("forfeit table %s: %w", table, err)
	}
	return nil
}

func nonce() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	return hex.EncodeToString(b[:])
}

// ---- What the log says ----

// Stamp is the newest stamp.
func (d *Decisions) Stamp() Stamp {
	st := Stamp{Pipeline: d.pipeline}
	for i := range d.Entries {
		switch e := &d.Entries[i]; e.Kind {
		case KindRev:
			st.Rev = e.Rev
		case KindEpoch:
			st.Rev, st.Epoch = e.Rev, e.Epoch
		case KindReplay:
			st.Replay = max(st.Replay, e.Replay)
		}
	}
	return st
}

// Revision is one version of what a record becomes.
type Revision struct {
	Number int64
	Epoch  int64
	SHA256 string // of the text kept, see Control.Pure
	Config string // SHA-256 of the configuration in it
	Rules  int
}

// Revisions lists the revisions of the newest epoch, oldest first.
func (d *Decisions) Revisions() []Revision {
	var rs []Revision
	epoch := int64(0)
	for i := range d.Entries {
		switch e := &d.Entries[i]; e.Kind {
		case KindEpoch:
			epoch, rs = e.Epoch, nil
			fallthrough
		case KindRev:
			rs = append(rs, Revision{e.Rev, epoch, e.SHA256, e.Config, e.Rules})
		}
	}
	return rs
}

// Past finds a revision, of any epoch, with that configuration and those rules.
// The newest one counts.
func (d *Decisions) Past(config string, rules int) (number int64, ok bool) {
	for i := range d.Entries {
		if e := &d.Entries[i]; (e.Kind == KindRev || e.Kind == KindEpoch) && e.Config == config && e.Rules == rules {
			number, ok = e.Rev, true
		}
	}
	return number, ok
}

// Bound returns the newest binding of a table, or nil.
func (d *Decisions) Bound(name string) *Entry {
	return d.last(func(e *Entry) bool { return e.Kind == KindBound && e.Table == name })
}

// BoundFor returns the binding that a judgement under a revision goes by: the
// newest one not younger than the revision, else the oldest; or nil.
func (d *Decisions) BoundFor(name string, rev int64) *Entry {
	if e := d.last(func(e *Entry) bool { return e.Kind == KindBound && e.Table == name && e.Rev <= rev }); e != nil {
		return e
	}
	for i := range d.Entries {
		if e := &d.Entries[i]; e.Kind == KindBound && e.Table == name {
			return e
		}
	}
	return nil
}

// BoundTables lists the tables that were ever bound and not given up, by name.
func (d *Decisions) BoundTables() []string {
	var names []string
	for i := range d.Entries {
		if e := &d.Entries[i]; e.Kind == KindBound && !slices.Contains(names, e.Table) && !d.Forfeited(e.Table) {
			names = append(names, e.Table)
		}
	}
	slices.Sort(names)
	return names
}

// Admitted reports whether a name counts for a judgement under a revision:
// entries from before the revision began, and those that carry it.
func (d *Decisions) Admitted(name string, rev int64) bool {
	return slices.Contains(d.AdmittedNames(rev), name)
}

// AdmittedNames lists the names that count against the table budget of a revision.
func (d *Decisions) AdmittedNames(rev int64) []string {
	var names []string
	began := d.began(rev)
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.Kind == KindAdmit && (e.N < began || e.Rev == rev) && !slices.Contains(names, e.Table) {
			names = append(names, e.Table)
		}
	}
	return names
}

func (d *Decisions) began(rev int64) int64 {
	e := d.last(func(e *Entry) bool { return (e.Kind == KindRev || e.Kind == KindEpoch) && e.Rev == rev })
	if e == nil {
		return 0
	}
	return e.N
}

// Replays returns R: where every partition begins again by the newest replay, and
// whether there was one under the newest epoch.
func (d *Decisions) Replays() (Vector, error) {
	var start *Packed
	for i := range d.Entries {
		switch e := &d.Entries[i]; e.Kind {
		case KindEpoch:
			start = nil
		case KindReplay:
			start = e.Start
		}
	}
	return start.Vector()
}

// Forfeited reports whether nobody waits for a table any more.
func (d *Decisions) Forfeited(name string) bool {
	return d.last(func(e *Entry) bool { return e.Kind == KindForfeit && e.Table == name }) != nil
}

// Gap returns how far an accepted loss of a partition reaches that begins at or
// before at; at itself if there is none.
func (d *Decisions) Gap(p Partition, at Position) Position {
	key := p.Key()
	for again := true; again; {
		again = false
		for i := range d.Entries {
			if e := &d.Entries[i]; e.Kind == KindGap && e.Partition == key && e.From <= at && e.To > at {
				at, again = e.To, true
			}
		}
	}
	return at
}

// Accepted returns the entry that takes a recreated or truncated log as a new one,
// by the key of its stream or partition, or nil.
func (d *Decisions) Accepted(key string) *Entry {
	return d.last(func(e *Entry) bool { return e.Kind == KindIncarnation && e.Partition == key })
}

func (d *Decisions) last(is func(*Entry) bool) *Entry {
	for i := len(d.Entries) - 1; i >= 0; i-- {
		if is(&d.Entries[i]) {
			return &d.Entries[i]
		}
	}
	return nil
}

// ---- Revisions, barriers, origins ----

// SHA256 returns the name under which a pure configuration is kept.
func SHA256(pure []byte) string {
	sum := sha256.Sum256(pure)
	return hex.EncodeToString(sum[:])
}

// KeepPure stores a pure configuration before a log entry names it.
func (c *Control) KeepPure(ctx context.Context, pure []byte) (sha string, err error) {
	sha = SHA256(pure)
	_, err = c.create(ctx, "rev/"+sha+".yaml", pure)
	return sha, err
}

// Pure returns the pure configuration of a revision.
func (c *Control) Pure(ctx context.Context, sha string) ([]byte, error) {
	val, err := c.store.Get(ctx, "rev/"+sha+".yaml")
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", sha, err)
	}
	if val == nil || SHA256(val) != sha {
		return nil, fmt.Errorf("configuration rev/%s.yaml is missing or damaged in the control prefix: restore it from a copy", sha)
	}
	return val, nil
}

// Barrier returns where a revision begins, and whether that is known yet. The
// first revision of an epoch begins at the start of every log.
func (c *Control) Barrier(ctx context.Context, rev int64) (Vector, bool, error) {
	val, err := c.store.Get(ctx, barrierKey(rev))
	if err != nil || val == nil {
		return nil, false, wrap(err, "read "+barrierKey(rev))
	}
	v, err := unpackObject(val)
	return v, err == nil, wrap(err, barrierKey(rev))
}

// SetBarrier fixes where a revision begins, unless somebody did, and returns what holds.
func (c *Control) SetBarrier(ctx context.Context, rev int64, v Vector) (Vector, error) {
	val, err := json.Marshal(v.Packed())
	if err != nil {
		return nil, err
	}
	if val, err = c.create(ctx, barrierKey(rev), val); err != nil {
		return nil, err
	}
	v, err = unpackObject(val)
	return v, wrap(err, barrierKey(rev))
}

func barrierKey(rev int64) string { return fmt.Sprintf("barrier/%d", rev) }

func unpackObject(val []byte) (Vector, error) {
	p := &Packed{}
	if err := json.Unmarshal(val, p); err != nil {
		return nil, err
	}
	return p.Vector()
}

// origin is where the pipeline began on the partitions of one stream.
type origin struct {
	Name string `json:"name,omitempty"` // of the topic
	Packed
}

// Origins returns O of every partition of a stream that was there when the
// pipeline first met it. A partition that is not in it came later and is read
// from its beginning. What is not yet fixed is fixed here, durably: the position
// that first asks for if the stream was there at the pipeline's first start, else
// its oldest record. log must know the stream.
func (c *Control) Origins(ctx context.Context, log Log, epoch int64, stream Partition, first time.Time) (Vector, error) {
	key := originKey(epoch, stream)
	if v, err := c.origin(ctx, key); err != nil || v != nil {
		return v, err
	}
	parts, err := log.Partitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	streams, err := c.firstStreams(ctx, epoch, parts)
	if err != nil {
		return nil, err
	}
	var from time.Time
	if slices.Contains(streams, stream.StreamKey()) {
		from = first
	}
	v := Vector{}
	for _, p := range parts {
		if p.StreamKey() != stream.StreamKey() {
			continue
		}
		at, err := log.Locate(ctx, p, from)
		if err != nil {
			return nil, fmt.Errorf("locate the first position of %v: %w", p, err)
		}
		v[p] = Mark{At: at}
	}
	val, err := json.Marshal(origin{log.Name(stream), *v.Packed()})
	if err != nil {
		return nil, err
	}
	if _, err := c.create(ctx, key, val); err != nil {
		return nil, err
	}
	return c.origin(ctx, key)
}

func (c *Control) origin(ctx context.Context, key string) (Vector, error) {
	val, err := c.store.Get(ctx, key)
	if err != nil || val == nil {
		return nil, wrap(err, "read "+key)
	}
	o := origin{}
	if err := json.Unmarshal(val, &o); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	v, err := o.Vector()
	return v, wrap(err, key)
}

// firstStreams fixes which streams there were at the first start of an epoch.
func (c *Control) firstStreams(ctx context.Context, epoch int64, parts []Partition) ([]string, error) {
	streams := []string{}
	for _, p := range parts {
		streams = append(streams, p.StreamKey())
	}
	slices.Sort(streams)
	val, err := json.Marshal(slices.Compact(streams))
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("origin/%d/first", epoch)
	if val, err = c.create(ctx, key, val); err != nil {
		return nil, err
	}
	streams = nil
	return streams, wrap(json.Unmarshal(val, &streams), key)
}

func originKey(epoch int64, p Partition) string {
	return fmt.Sprintf("origin/%d/%s/%s/%s", epoch, escape(p.Kind), escape(p.Stream), escape(p.Incarnation))
}

// Origin is an origin object, for status and verify.
type Origin struct {
	Stream string // stream key
	Name   string
	At     Vector
}

// AllOrigins returns the origins of an epoch as they are.
func (c *Control) AllOrigins(ctx context.Context, epoch int64) ([]Origin, error) {
	prefix := fmt.Sprintf("origin/%d/", epoch)
	keys, err := c.store.Keys(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list origins: %w", err)
	}
	var out []Origin
	for _, key := range keys {
		val, err := c.store.Get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		if strings.HasSuffix(key, "/first") || val == nil {
			continue
		}
		o := origin{}
		if err := json.Unmarshal(val, &o); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		v, err := o.Vector()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out = append(out, Origin{strings.ReplaceAll(strings.TrimPrefix(key, prefix), "/", ":"), o.Name, v})
	}
	return out, nil
}
