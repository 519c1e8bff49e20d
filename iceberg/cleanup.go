package iceberg

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/internal/objstore"
)

// metadataName matches the metadata.json files that client-side catalogs write.
var metadataName = regexp.MustCompile(`^(\d+)-[0-9a-f]{8}-[0-9a-f-]{27}(?:\.\w+)?\.metadata\.json$`)

// afterDigits sorts after every name that begins with a digit. Manifests and their
// lists, which are many more than the metadata.json files that stay, begin with letters.
const afterDigits = ":"

// ourName matches the files of ours that lie in a table's data and metadata folders.
var ourName = regexp.MustCompile(`^(?:data/fh-[0-9a-f-]{36}/\d+\.parquet|metadata/(?:fh-[0-9a-f-]{36}-m\d+|snap-\d+-\d+-[0-9a-f-]{36})\.avro)$`)

// removeMetadata removes metadata.json files: those older than the newest ones that
// are kept, and those that lost a race and can no longer win, since the table has
// moved past the version that they would have been. A REST catalog's files are the
// server's business.
func (t *table) removeMetadata(ctx context.Context) (int, error) {
	keep := t.sink.cfg.KeepMetadata
	if keep == 0 || t.sink.cfg.Catalog.REST != nil {
		return 0, nil
	}
	b, err := t.load(ctx)
	if err != nil || !t.created(b.md) {
		return 0, err
	}
	current := path.Base(b.tbl.MetadataLocation())
	now := version(current)
	if now < 0 {
		return 0, nil
	}
	logged, oldest := map[string]bool{current: true}, now // the log itself forgets the oldest
	for e := range b.md.PreviousFiles() {
		name := path.Base(e.MetadataFile)
		logged[name] = true
		if v := version(name); v >= 0 {
			oldest = min(oldest, v)
		}
	}
	bucket, prefix, err := t.sink.storage.at(ctx, metadataPath(b.md, ""))
	if err != nil {
		return 0, err
	}
	clock, err := bucket.Now(ctx)
	if err != nil {
		return 0, err
	}
	var gone []string
	for o, err := range bucket.List(ctx, prefix, "") {
		if err != nil {
			return 0, err
		}
		name := strings.TrimPrefix(o.Key, prefix)
		if name >= afterDigits {
			break
		}
		v := version(name)
		old := v >= 0 && v <= now-keep
		lost := v >= oldest && v <= now && !logged[name] && clock.Sub(o.ModTime) > loserAge
		if name != current && (old || lost) {
			gone = append(gone, o.Key)
		}
	}
	failpoint.Hit("gc.beforeDelete")
	return remove(ctx, bucket, gone)
}

// version returns the number of a metadata.json, -1 for other files.
func version(name string) int {
	m := metadataName.FindStringSubmatch(name)
	if m == nil {
		return -1
	}
	v, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return v
}

// maxGone bounds the files that are removed in one call.
const maxGone = 10_000

// removeOrphans removes files with names of ours that were older than 72 hours by the
// store's clock when the table was loaded, and that no snapshot of it refers to. What
// was not referred to then never will be, as it is older than any file that may still
// be committed.
func (t *table) removeOrphans(ctx context.Context) (removed int, err error) {
	b, err := t.load(ctx)
	if err != nil || !t.created(b.md) {
		return 0, err
	}
	root := strings.TrimSuffix(b.md.Location(), "/") + "/"
	bucket, prefix, err := t.sink.storage.at(ctx, root)
	if err != nil {
		return 0, err
	}
	clock, err := bucket.Now(ctx)
	if err != nil {
		return 0, err
	}
	if b, err = t.load(ctx); err != nil || b.reg.state != OK {
		return 0, err
	}
	used, err := t.referenced(ctx, b)
	if err != nil {
		return 0, err
	}
	failpoint.Hit("gc.beforeList")
	var gone []string
	for _, dir := range []string{"data/fh-", "metadata/fh-", "metadata/snap-"} {
		for o, err := range bucket.List(ctx, prefix+dir, "") {
			if err != nil {
				return removed, err
			}
			name := strings.TrimPrefix(o.Key, prefix)
			if !ourName.MatchString(name) || clock.Sub(o.ModTime) <= orphanAge || used.has(bucket.Location(o.Key)) {
				continue
			}
			if gone = append(gone, o.Key); len(gone) < maxGone {
				continue
			}
			n, err := remove(ctx, bucket, gone)
			if removed += n; err != nil {
				return removed, err
			}
			gone = gone[:0]
		}
	}
	failpoint.Hit("gc.beforeDelete")
	n, err := remove(ctx, bucket, gone)
	return removed + n, err
}

// locations is a sorted set of file locations, eight bytes for each: a table has
// millions of files in a few years. Where two fall together a file stays that could go.
type locations []uint64

func (l locations) has(location string) bool {
	_, found := slices.BinarySearch(l, fingerprint(location))
	return found
}

func fingerprint(location string) uint64 {
	sum := sha256.Sum256([]byte(location))
	return binary.LittleEndian.Uint64(sum[:])
}

// referenced returns what any snapshot of the table refers to, however the locations
// are spelled.
func (t *table) referenced(ctx context.Context, b *base) (used locations, err error) {
	add := func(location string) error {
		b, key, err := t.sink.storage.at(ctx, location)
		if err == nil {
			used = append(used, fingerprint(b.Location(key)))
		}
		return err
	}
	fs := t.sink.files(ctx)
	seen := map[string]bool{}
	for _, s := range b.md.Snapshots() {
		if err := add(s.ManifestList); err != nil {
			return nil, err
		}
		list, err := s.Manifests(fs)
		if err != nil {
			return nil, fmt.Errorf("read manifest list %s: %w", s.ManifestList, err)
		}
		for _, m := range list {
			if seen[m.FilePath()] {
				continue
			}
			seen[m.FilePath()] = true
			if err := add(m.FilePath()); err != nil {
				return nil, err
			}
			for e, err := range m.Entries(fs, true) {
				if err != nil {
					return nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err)
				}
				if err := add(e.DataFile().FilePath()); err != nil {
					return nil, err
				}
			}
		}
	}
	slices.Sort(used)
	return slices.Compact(used), nil
}

// maxVectors bounds the vectors that one run looks at and the next one removes.
const maxVectors = 10_000

// removeVectors removes the vectors of snapshots that the table no longer has. One
// that is not in the table may belong to a commit on its way: only what was not
// there at the last search either, a day ago, is removed. It returns the others.
func (t *table) removeVectors(ctx context.Context, before []string) (removed int, waiting []string, err error) {
	b, err := t.load(ctx)
	if err != nil || b.reg.state != OK {
		return 0, before, err
	}
	store, prefix := t.sink.ctl.Store(), vectorPrefix(b.md)
	keys, err := store.Keys(ctx, prefix)
	if err != nil {
		return 0, before, fmt.Errorf("list %s: %w", prefix, err)
	}
	kept := map[string]bool{}
	for _, s := range b.md.Snapshots() {
		kept[strconv.FormatInt(s.SnapshotID, 10)] = true
	}
	for _, key := range keys {
		id := strings.TrimPrefix(key, prefix)
		switch {
		case kept[id]:
		case slices.Contains(before, id):
			if err := store.Delete(ctx, key); err != nil {
				return removed, before, fmt.Errorf("remove %s: %w", key, err)
			}
			removed++
		case len(waiting) < maxVectors:
			waiting = append(waiting, id)
		}
	}
	return removed, waiting, nil
}

func remove(ctx context.Context, b objstore.Bucket, keys []string) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	if err := b.Delete(ctx, keys...); err != nil {
		return 0, fmt.Errorf("remove %d files: %w", len(keys), err)
	}
	return len(keys), nil
}
