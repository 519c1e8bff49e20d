package iceberg

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/apache/iceberg-go/catalog/rest"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/pipeline"
)

const (
	leaseTime   = 15 * time.Minute
	orphanEvery = 24 * time.Hour // between searches for files that nobody refers to
	orphanAge   = 72 * time.Hour // by the store's clock, before such a file is removed
	loserAge    = time.Hour      // the same for a metadata.json that lost its race
)

// Maintenance is what one run of [Sink.Maintain] did.
type Maintenance struct {
	Manifests int // merged into fewer
	Snapshots int // expired
	Schemas   int // removed that no snapshot has any more
	Metadata  int // metadata.json files removed
	Orphans   int // files removed that no snapshot refers to
	Vectors   int // vectors of snapshots that are gone, removed from the control prefix
}

// lease says who maintains a table. Two at once only waste work.
type lease struct {
	Who     string    `json:"who"`
	Until   time.Time `json:"until"`
	Orphans time.Time `json:"orphans"` // when orphans were last looked for
	Vectors []string  `json:"vectors"` // snapshots that had a vector then and were not in the table
}

// Maintain merges small manifests, and, of a table that this pipeline created,
// expires snapshots and removes schemas, metadata files and others that nothing refers to.
// It does nothing while another worker does the same, or while the table waits for an
// operator. Nothing here is on the path of a commit: a commit that this one loses
// against is left for the next run. Call it every few minutes.
func (s *Sink) Maintain(ctx context.Context, name string) (Maintenance, error) {
	var done Maintenance
	t, err := s.handle(name)
	if err != nil {
		return done, err
	}
	b, err := t.load(ctx)
	if err != nil {
		return done, fmt.Errorf("maintain table %s: %w", name, err)
	}
	if b.reg.state != OK {
		return done, nil
	}
	l, mine, err := t.lease(ctx, b.md)
	if err != nil || !mine {
		return done, err
	}
	steps := []func() error{
		func() (err error) { done.Manifests, err = t.mergeManifests(ctx, b); return err },
		func() (err error) { done.Snapshots, err = t.expire(ctx, b); return err },
		func() (err error) { done.Schemas, err = t.removeSchemas(ctx, b); return err },
		func() (err error) { done.Metadata, err = t.removeMetadata(ctx); return err },
		func() (err error) {
			if time.Since(l.Orphans) < orphanEvery {
				return nil
			}
			if done.Orphans, err = t.removeOrphans(ctx); err != nil {
				return err
			}
			if done.Vectors, l.Vectors, err = t.removeVectors(ctx, l.Vectors); err == nil {
				l.Orphans = time.Now().UTC()
			}
			return err
		},
	}
	var errs []error
	for _, step := range steps {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, step())
	}
	l.Until = time.Time{}
	errs = append(errs, t.release(context.WithoutCancel(ctx), b.md, l))
	if done != (Maintenance{}) {
		s.log.LogAttrs(ctx, slog.LevelInfo, "table maintained", slog.String("table", name), slog.Int("manifests", done.Manifests),
			slog.Int("snapshots", done.Snapshots), slog.Int("schemas", done.Schemas), slog.Int("metadata", done.Metadata),
			slog.Int("orphans", done.Orphans), slog.Int("vectors", done.Vectors))
	}
	if err := errors.Join(errs...); err != nil {
		return done, fmt.Errorf("maintain table %s: %w", name, err)
	}
	return done, nil
}

func leaseKey(md icetable.Metadata) string { return fmt.Sprintf("lease/maint-%s.json", md.TableUUID()) }

// lease takes the table's lease if nobody else holds it.
func (t *table) lease(ctx context.Context, md icetable.Metadata) (lease, bool, error) {
	var l lease
	key, store := leaseKey(md), t.sink.ctl.Store()
	old, err := store.Get(ctx, key)
	if err != nil {
		return l, false, fmt.Errorf("read %s: %w", key, err)
	}
	if old != nil && json.Unmarshal(old, &l) != nil {
		l = lease{} // damaged: it holds nothing that counts
	}
	now := time.Now().UTC()
	if l.Until.After(now) && l.Who != t.sink.who {
		return l, false, nil
	}
	l.Who, l.Until = t.sink.who, now.Add(leaseTime)
	val, err := json.Marshal(l)
	if err != nil {
		return l, false, err
	}
	switch err := store.Swap(ctx, key, old, val); {
	case errors.Is(err, pipeline.ErrStale):
		return l, false, nil
	case err != nil:
		return l, false, fmt.Errorf("write %s: %w", key, err)
	}
	return l, true, nil
}

// release gives the lease up, unless somebody else has taken it.
func (t *table) release(ctx context.Context, md icetable.Metadata, l lease) error {
	key, store := leaseKey(md), t.sink.ctl.Store()
	old, err := store.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	var now lease
	if err := json.Unmarshal(old, &now); err != nil {
		now = lease{} // damaged, or gone: not ours any more
	}
	if now.Who != l.Who {
		return nil
	}
	val, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := store.Swap(ctx, key, old, val); err != nil && !errors.Is(err, pipeline.ErrStale) {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// created reports whether this pipeline made the table: only then are its snapshots
// and files ours to expire.
func (t *table) created(md icetable.Metadata) bool {
	return md.Properties()[createdKey] == t.sink.pipeline
}

// expire removes the oldest snapshots from the metadata when there are a tenth more
// than are kept. It keeps the newest commit of ours, which carries the marks, and
// whatever a branch or tag names. Files are removed later, as orphans. b only says
// whether there is something to do.
func (t *table) expire(ctx context.Context, b *base) (int, error) {
	keep := t.sink.cfg.KeepSnapshots
	due := func(b *base) bool {
		return keep > 0 && t.created(b.md) && b.reg.state == OK && len(b.md.Snapshots()) > keep+keep/10
	}
	if !due(b) {
		return 0, nil
	}
	b, err := t.load(ctx)
	if err != nil || !due(b) {
		return 0, err
	}
	kept := map[int64]bool{}
	for _, ref := range b.md.Refs() {
		n := 0
		for s := b.md.SnapshotByID(ref.SnapshotID); s != nil && n < keep; n++ {
			kept[s.SnapshotID] = true
			if s.ParentSnapshotID == nil {
				break
			}
			s = b.md.SnapshotByID(*s.ParentSnapshotID)
		}
	}
	if b.reg.ours != nil {
		kept[b.reg.ours.SnapshotID] = true
	}
	var ids []int64
	for _, s := range b.md.Snapshots() {
		if !kept[s.SnapshotID] {
			ids = append(ids, s.SnapshotID)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	slices.Sort(ids)
	head := b.reg.head.SnapshotID
	return len(ids), t.once(ctx, pinned(b.md, &head), []icetable.Update{icetable.NewRemoveSnapshotsUpdate(ids, false)})
}

// spareSchemas is how many schemas that no snapshot has a table may keep.
const spareSchemas = 10

// removeSchemas removes the schemas that no snapshot has any more, when there are some:
// each column that a stream brings makes one more, as long as all columns together, and
// every commit writes them all. b only says whether there is something to do.
func (t *table) removeSchemas(ctx context.Context, b *base) (int, error) {
	if len(t.unused(b)) <= spareSchemas {
		return 0, nil
	}
	b, err := t.load(ctx)
	if err != nil {
		return 0, err
	}
	ids := t.unused(b)
	if len(ids) <= spareSchemas {
		return 0, nil
	}
	head := b.reg.head.SnapshotID
	err = t.once(ctx, pinned(b.md, &head), []icetable.Update{icetable.NewRemoveSchemasUpdate(ids)})
	if errors.Is(err, rest.ErrBadRequest) { // a server from before there was such a request
		t.sink.log.LogAttrs(ctx, slog.LevelDebug, "schemas are not removed", slog.String("table", t.name), slog.Any("error", err))
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return len(ids), nil
}

// unused lists the schemas older than the current one that no snapshot has.
func (t *table) unused(b *base) (ids []int) {
	current := b.md.CurrentSchema().ID
	if !t.created(b.md) || b.reg.state != OK || b.reg.head == nil {
		return nil
	}
	used := map[int]bool{}
	for _, s := range b.md.Snapshots() {
		if s.SchemaID != nil {
			used[*s.SchemaID] = true
		}
	}
	for _, s := range b.md.Schemas() {
		if s.ID < current && !used[s.ID] { // the number of a newer one would be given again
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// once sends one commit of maintenance. Losing it is no error of the table.
func (t *table) once(ctx context.Context, reqs []icetable.Requirement, ups []icetable.Update) error {
	cat, err := t.sink.catalog(ctx)
	if err != nil {
		return err
	}
	if err := t.sink.pace.wait(ctx, t.name); err != nil {
		return err
	}
	if _, _, err := cat.CommitTable(t.sink.withFiles(ctx), t.ident, reqs, ups); err != nil {
		return fmt.Errorf("commit to table %s: %w", t.name, err)
	}
	return nil
}

func newWho() string { return rand.Text() }
