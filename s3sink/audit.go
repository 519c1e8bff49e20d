package s3sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/firehosed/firehosed/pipeline"
)

// Audit is what a table's chain says, and whether the bucket agrees.
type Audit struct {
	Stamp      pipeline.Stamp
	Commits    int   // of rows, not counting those that were taken back
	Objects    int   // in them
	Rows       int64 // in them
	Bytes      int64 // in them
	Partitions map[pipeline.Partition]*Account

	Pending []string // manifests of commits that are not published
	LeftOut []string // keys whose rows stay away, by decisions of operators
	Removed []string // keys that are not there: consumers took them, or somebody removed them
	Strange []string // keys that are called like ours and are in no commit: their rows may be duplicates
	Faults  []string // what must not be: the chain is broken, or an object is not what it says
}

// Account is what the commits of the present epoch have of a partition.
type Account struct {
	To   pipeline.Cursor // its mark
	Rows int64
	Sum  uint64 // of the rows' hashes, modulo 2^64; see docs/formats/s3.md
}

// auditor walks down a chain.
type auditor struct {
	*Audit
	t      *table
	expect map[pipeline.Partition]pipeline.Position // where the next claim down must end; not in it: not known
	epoch  int64
	void   map[string]bool
	skip   map[string]bool
	known  map[string]*object // keys of objects that may be there
	must   []*object          // that are there unless somebody took them
}

// Audit reads the chain of a table, compares its claims with one another and with the
// marks, and looks for every object. It reads no object. Errors are of reading; what is
// wrong with the table is in the audit.
func (s *Sink) Audit(ctx context.Context, name string) (*Audit, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := t.load(ctx)
	if err != nil {
		return nil, err
	}
	a := &auditor{
		Audit:  &Audit{Stamp: r.stamp(s.pipeline), Partitions: map[pipeline.Partition]*Account{}},
		t:      t,
		expect: map[pipeline.Partition]pipeline.Position{}, epoch: r.Epoch,
		void: map[string]bool{}, skip: map[string]bool{}, known: map[string]*object{},
	}
	for p, m := range r.vec {
		a.expect[p] = m.At.At
		a.Partitions[p] = &Account{To: m.At}
	}
	for _, u := range r.Pending {
		a.Pending = append(a.Pending, u.Commit)
	}
	if err := a.walk(ctx, r); err != nil {
		return nil, fmt.Errorf("audit table %s: %w", name, err)
	}
	if err := errors.Join(a.look(ctx), a.list(ctx)); err != nil {
		return nil, fmt.Errorf("audit table %s: %w", name, err)
	}
	return a.Audit, nil
}

func (a *auditor) fault(format string, args ...any) {
	a.Faults = append(a.Faults, fmt.Sprintf(format, args...))
}

// walk goes down the chain.
func (a *auditor) walk(ctx context.Context, r *register) error {
	seq := r.Seq
	for name := r.Head; name != ""; seq-- {
		if seqOf(name) != seq {
			a.fault("manifest %s is number %d of the chain", name, seq)
			return nil
		}
		m, err := a.t.manifest(ctx, name)
		if h := (*pipeline.Halt)(nil); errors.As(err, &h) {
			a.fault("%s", h.Detail)
			return nil
		}
		if err != nil {
			return err
		}
		a.take(m)
		name = m.Prev
	}
	if seq != 0 {
		a.fault("the chain ends at number %d", seq+1)
	}
	a.ends("the chain ends")
	return nil
}

// ends wants no claims below a point.
func (a *auditor) ends(why string) {
	for p, at := range a.expect {
		if at != "" {
			a.fault("%s, and no commit has the rows of %v below %q", why, p, at)
		}
	}
}

// take accounts for a manifest. What is below the first one of an epoch is of an older
// one, whose marks are not known.
func (a *auditor) take(m *manifest) {
	if m.Stamp.Epoch < a.epoch {
		a.ends(fmt.Sprintf("epoch %d begins", a.epoch))
		a.expect, a.epoch = map[pipeline.Partition]pipeline.Position{}, m.Stamp.Epoch
	}
	switch {
	case m.Action == actVoid:
		a.void[m.Commit] = true
	case m.Action == actSkip:
		a.skip[m.Commit] = true
		a.LeftOut = append(a.LeftOut, m.LeftOut...)
	case m.Kind == kindData && !a.void[m.name()]:
		a.data(m)
	}
}

// data checks a commit of rows against what is above it.
func (a *auditor) data(m *manifest) {
	a.Commits++
	var rows int64
	claimed, err := m.claimed()
	if err != nil {
		a.fault("%v", err)
	}
	for p, c := range claimed {
		if want, ok := a.expect[p]; ok && want != c.To {
			a.fault("commit %s has rows of %v up to %q, the next one begins at %q", m.name(), p, c.To, want)
		}
		a.expect[p] = c.From
		rows += c.Rows
		if acc := a.Partitions[p]; acc != nil && m.Stamp.Epoch == a.Stamp.Epoch {
			sum, err := strconv.ParseUint(c.Sum, 16, 64)
			if err != nil {
				a.fault("commit %s: sum %q of %v is no number", m.name(), c.Sum, p)
			}
			acc.Rows += c.Rows
			acc.Sum += sum
		}
	}
	for i := range m.Objects {
		o := &m.Objects[i]
		if a.known[o.Key] != nil {
			a.fault("two commits have the object %s", o.Key)
		}
		a.known[o.Key] = o
		a.Objects++
		a.Bytes += o.Bytes
		rows -= o.Rows
		a.Rows += o.Rows
		if !slices.Contains(a.Pending, m.name()) && (!a.skip[m.name()] || !slices.Contains(a.LeftOut, o.Key)) {
			a.must = append(a.must, o)
		}
	}
	if rows != 0 {
		a.fault("commit %s: its claims have %d rows more than its objects", m.name(), rows)
	}
}

// look asks the bucket for every object.
func (a *auditor) look(ctx context.Context) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(a.t.sink.completers)
	for _, o := range a.must {
		g.Go(func() error {
			found, err := a.t.sink.bucket.Stat(gctx, o.Key)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, fs.ErrNotExist):
				a.Removed = append(a.Removed, o.Key)
			case err != nil:
				return err
			case found.Size != o.Bytes || found.Owner != "" && found.Owner != o.Owner:
				a.fault("object %s has %d bytes and owner %q, staged were %d by %q", o.Key, found.Size, found.Owner, o.Bytes, o.Owner)
			}
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(a.Removed)
	return err
}

// list looks for objects that no commit has.
func (a *auditor) list(ctx context.Context) error {
	for _, folder := range a.t.names.folders() {
		for o, err := range a.t.sink.bucket.List(ctx, folder, "") {
			if err != nil {
				return err
			}
			if !strings.Contains(o.Key, "_firehosed/") && a.t.isOurs(o.Key) && a.known[o.Key] == nil {
				a.Strange = append(a.Strange, o.Key)
			}
		}
	}
	return nil
}
