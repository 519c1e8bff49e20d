package s3sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	Ledger   pipeline.Ledger // as the register has it: marks of pending commits are in it
	Accounts []Account       // of the present epoch, newest first
	Commits  int             // of rows, not counting those that were taken back
	Objects  int             // in them
	Rows     int64           // in them
	Bytes    int64           // in them

	Pending []string // manifests of commits that are not published
	LeftOut []string // keys whose rows stay away, by decisions of operators
	Removed []Stored // that are not there: consumers took them, or somebody removed them
	Strange []string // keys that are called like ours and are in no commit: their rows may be duplicates
	Faults  []string // what must not be: the chain is broken, or an object is not what it says
}

// Account is what a commit has of a partition.
type Account struct {
	Commit    string // its manifest
	Partition pipeline.Partition
	From, To  pipeline.Position // of its claim
	Rows      int64
	Sum       uint64 // of the rows' hashes, modulo 2^64; see docs/formats/s3.md
}

// Stored is an object of a commit.
type Stored struct {
	Key  string
	Rows int64
}

// auditor walks down a chain.
type auditor struct {
	*Audit
	t        *table
	contents bool
	expect   map[pipeline.Partition]pipeline.Position // where the next claim down must end; not in it: not known
	epoch    int64
	void     map[string]bool
	skip     map[string]bool
	known    map[string]*object // keys of objects that may be there
	must     []*object          // that are there unless somebody took them
}

// Audit reads the chain of a table, compares its claims with one another and with the
// marks, and looks for every object. With contents it reads them, and compares their
// checksums with those that were staged. Errors are of reading; what is wrong with the
// table is in the audit.
func (s *Sink) Audit(ctx context.Context, name string, contents bool) (*Audit, error) {
	t, err := s.handle(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := t.load(ctx)
	if err != nil {
		return nil, err
	}
	a := &auditor{
		Audit: &Audit{Ledger: pipeline.Ledger{Stamp: r.stamp(s.pipeline), Marks: r.vec}}, t: t, contents: contents,
		expect: map[pipeline.Partition]pipeline.Position{}, epoch: r.Epoch,
		void: map[string]bool{}, skip: map[string]bool{}, known: map[string]*object{},
	}
	for p, m := range r.vec {
		a.expect[p] = m.At.At
	}
	for _, u := range r.Pending {
		a.Pending = append(a.Pending, u.Commit)
	}
	if err := a.walk(ctx, r); err != nil {
		return nil, fmt.Errorf("audit table %s: %w", name, err)
	}
	if err := errors.Join(a.look(ctx), a.list(ctx, r)); err != nil {
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
		if m.Stamp.Epoch == a.Ledger.Stamp.Epoch {
			sum, err := strconv.ParseUint(c.Sum, 16, 64)
			if err != nil {
				a.fault("commit %s: sum %q of %v is no number", m.name(), c.Sum, p)
			}
			a.Accounts = append(a.Accounts, Account{Commit: m.name(), Partition: p, From: c.From, To: c.To, Rows: c.Rows, Sum: sum})
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
			wrong := ""
			switch {
			case err != nil:
			case found.Size != o.Bytes || found.Owner != "" && found.Owner != o.Owner:
				wrong = fmt.Sprintf("has %d bytes and owner %q, staged were %d by %q", found.Size, found.Owner, o.Bytes, o.Owner)
			case a.contents:
				var sum string
				if sum, err = a.t.checksum(gctx, o); err == nil && sum != o.SHA256 {
					wrong = fmt.Sprintf("has SHA-256 %s, staged was %s", sum, o.SHA256)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, fs.ErrNotExist):
				a.Removed = append(a.Removed, Stored{o.Key, o.Rows})
			case err != nil:
				return err
			case wrong != "":
				a.fault("object %s %s", o.Key, wrong)
			}
			return nil
		})
	}
	err := g.Wait()
	slices.SortFunc(a.Removed, func(x, y Stored) int { return strings.Compare(x.Key, y.Key) })
	return err
}

// readBytes is how much of an object is read at a time.
const readBytes = 4 << 20

// checksum returns the SHA-256 of the bytes of an object, in hexadecimal.
func (t *table) checksum(ctx context.Context, o *object) (string, error) {
	h := sha256.New()
	for off := int64(0); off < o.Bytes; off += readBytes {
		piece, err := t.sink.bucket.Range(ctx, o.Key, off, min(readBytes, o.Bytes-off))
		if err != nil {
			return "", fmt.Errorf("read object %s: %w", o.Key, err)
		}
		h.Write(piece)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// list looks for objects that no commit has, those since the register that was read among
// them.
func (a *auditor) list(ctx context.Context, was *register) error {
	var strange []string
	for _, folder := range a.t.names.Folders() {
		for o, err := range a.t.sink.bucket.List(ctx, folder, "") {
			if err != nil {
				return err
			}
			if !strings.Contains(o.Key, "_firehosed/") && a.t.isOurs(o.Key) && a.known[o.Key] == nil {
				strange = append(strange, o.Key)
			}
		}
	}
	if len(strange) == 0 {
		return nil
	}
	since, err := a.since(ctx, was.Seq)
	if err != nil {
		return err
	}
	for _, key := range strange {
		if since[key] {
			continue
		}
		switch _, err := a.t.sink.bucket.Stat(ctx, key); {
		case errors.Is(err, fs.ErrNotExist): // of a commit that is being taken back
		case err != nil:
			return err
		default:
			a.Strange = append(a.Strange, key)
		}
	}
	return nil
}

// since returns the keys of commits that came after a number of the chain.
func (a *auditor) since(ctx context.Context, seq int64) (map[string]bool, error) {
	r, err := a.t.load(ctx)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for name := r.Head; name != "" && seqOf(name) > seq; {
		m, err := a.t.manifest(ctx, name)
		if err != nil {
			return nil, err
		}
		for i := range m.Objects {
			keys[m.Objects[i].Key] = true
		}
		name = m.Prev
	}
	return keys, nil
}
