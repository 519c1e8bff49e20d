package s3sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/firehosed/firehosed/pipeline"
)

// keys of a table in the control store.
func (t *table) key(rest string) string { return "s3/" + t.name + "/" + rest }

func (t *table) registerKey() string { return t.key("register") }

func (t *table) commitKey(name string) string { return t.key("commit/" + name) }

// read returns the register as it is now, nil: there is none. A damaged one is a
// *Halt.
func (t *table) read(ctx context.Context) (*register, error) {
	raw, err := t.store().Get(ctx, t.registerKey())
	if err != nil {
		return nil, fmt.Errorf("read register of table %s: %w", t.name, err)
	}
	if raw == nil {
		return nil, nil
	}
	r, err := decodeRegister(raw)
	if err != nil {
		return nil, t.halt(pipeline.HaltCorrupt, "%v", err)
	}
	return r, nil
}

// load is read of a table that is bound.
func (t *table) load(ctx context.Context) (*register, error) {
	r, err := t.read(ctx)
	if err == nil && r == nil {
		err = t.halt(pipeline.HaltLost, "its register %s is gone", t.registerKey())
	}
	return r, err
}

// swap writes n in the place of r, which may be nil. Any error: read again.
func (t *table) swap(ctx context.Context, r, n *register) error {
	val, err := n.encode()
	if err != nil {
		return err
	}
	var old []byte
	if r != nil {
		old = r.raw
	}
	if err := t.store().Swap(ctx, t.registerKey(), old, val); err != nil {
		return fmt.Errorf("write register of table %s: %w", t.name, err)
	}
	return nil
}

// append puts a manifest on the chain: it writes the manifest, and then the register
// with the edit made. Any error: read the register again.
func (t *table) append(ctx context.Context, r *register, m *manifest, edit func(n *register)) error {
	m.Seq, m.Prev = r.Seq+1, r.Head
	if err := t.create(ctx, m); err != nil {
		return err
	}
	n := r.next()
	n.Seq, n.Head = m.Seq, m.name()
	edit(n)
	return t.swap(ctx, r, n)
}

// create writes a manifest. Its name has the id of its commit and the number of the
// register before it, of which there is one: what is there already is equal.
func (t *table) create(ctx context.Context, m *manifest) error {
	head, rest, err := m.encode(t.sink.chunk)
	if err != nil {
		return err
	}
	key := t.commitKey(m.name())
	for i, chunk := range rest {
		if err := t.once(ctx, key+"."+strconv.Itoa(i+1), chunk); err != nil {
			return err
		}
	}
	if err := t.once(ctx, key, head); err != nil {
		return err
	}
	t.remember(m)
	return nil
}

// once writes a value that never changes.
func (t *table) once(ctx context.Context, key string, val []byte) error {
	err := t.store().Swap(ctx, key, nil, val)
	if !errors.Is(err, pipeline.ErrStale) {
		if err != nil {
			return fmt.Errorf("write %s: %w", key, err)
		}
		return nil
	}
	got, err := t.store().Get(ctx, key)
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if !bytes.Equal(got, val) {
		return t.halt(pipeline.HaltCorrupt, "%s holds something else than what belongs there", key)
	}
	return nil
}

// maxKnown bounds the manifests that a table remembers.
const maxKnown = 32

func (t *table) remember(m *manifest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.known) >= maxKnown {
		clear(t.mu.known)
	}
	t.mu.known[m.name()] = m
}

// manifest returns a manifest of the chain. One that is missing or damaged is a *Halt.
func (t *table) manifest(ctx context.Context, name string) (*manifest, error) {
	t.mu.Lock()
	m := t.mu.known[name]
	t.mu.Unlock()
	if m != nil {
		return m, nil
	}
	key := t.commitKey(name)
	head, err := t.store().Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if head == nil {
		return nil, t.halt(pipeline.HaltCorrupt, "manifest %s of its chain is gone", key)
	}
	m, err = decodeManifest(name, head, func(i int) ([]byte, error) { return t.store().Get(ctx, key+"."+strconv.Itoa(i)) })
	if errors.Is(err, errDamaged) {
		return nil, t.halt(pipeline.HaltCorrupt, "%v", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	for i := range m.Objects {
		m.Objects[i].Owner = t.owner(m.ID)
	}
	t.remember(m)
	return m, nil
}

// standing is what has become of a commit.
type standing int

const (
	absent    standing = iota // not on the chain
	waiting                   // on the chain, perhaps not all visible
	replaying                 // on the chain, and about to be taken back
	published
	void // taken back for good
)

func (s standing) String() string {
	return [...]string{"not on the chain", "pending", "being replayed", "published", "taken back"}[s]
}

// standingOf tells what has become of a commit that was tried under names: at most one
// of them is on the chain. It walks down from the head, no further than the lowest of
// them.
func (t *table) standingOf(ctx context.Context, r *register, names ...string) (standing, string, error) {
	if len(names) == 0 {
		return absent, "", nil
	}
	tried, lowest := map[string]bool{}, seqOf(names[0])
	for _, name := range names {
		tried[name] = true
		lowest = min(lowest, seqOf(name))
		if u := r.pending(name); u != nil && u.Replaying {
			return replaying, name, nil
		} else if u != nil {
			return waiting, name, nil
		}
	}
	isVoid := false
	for name := r.Head; name != "" && seqOf(name) >= lowest; {
		if tried[name] && isVoid {
			return void, name, nil
		} else if tried[name] {
			return published, name, nil
		}
		m, err := t.manifest(ctx, name)
		if err != nil {
			return absent, "", err
		}
		isVoid = isVoid || m.Action == actVoid && tried[m.Commit]
		name = m.Prev
	}
	return absent, "", nil
}

// pendingOn returns the oldest pending commit that moved a mark of one of the
// partitions, nil: of any. nil: there is none.
func (t *table) pendingOn(ctx context.Context, r *register, ps map[pipeline.Partition]bool) (*manifest, error) {
	for _, u := range r.Pending {
		m, err := t.manifest(ctx, u.Commit)
		if err != nil {
			return nil, err
		}
		if ps == nil {
			return m, nil
		}
		claimed, err := m.claimed()
		if err != nil {
			return nil, t.halt(pipeline.HaltCorrupt, "%v", err)
		}
		for p := range claimed {
			if ps[p] {
				return m, nil
			}
		}
	}
	return nil, nil
}
