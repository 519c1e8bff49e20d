package iceberg

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	icego "github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"
)

const (
	mergeFrom     = 100     // small manifests of one partition spec that are worth a merge
	smallManifest = 4 << 20 // bytes
	bigManifest   = 8 << 20 // bytes of manifests that are merged into one
	mergeTries    = 5       // commits lost before the next run tries again
)

// mergeManifests makes few manifests of many small ones: readers open fewer, and the
// manifest list that every commit copies stays short. It is a snapshot of its own,
// pinned to the head, that changes no row and is no commit of ours to the register.
// The library's own rewrite would lose the bounds of empty partition values.
func (t *table) mergeManifests(ctx context.Context, b *base) (int, error) {
	if b.reg.state != OK || b.reg.head == nil {
		return 0, nil
	}
	fs := t.sink.files(ctx)
	list, err := b.reg.head.Manifests(fs)
	if err != nil {
		return 0, fmt.Errorf("read manifest list %s: %w", b.reg.head.ManifestList, err)
	}
	old := worthMerging(list, t.sink.mergeFrom)
	if len(old) == 0 {
		return 0, nil
	}
	ch := newChange("manifests", newID())
	merged, err := t.writeMerged(fs, b.md, ch, old)
	if err != nil {
		return 0, err
	}
	for try := range mergeTries {
		if try > 0 {
			if b, err = t.load(ctx); err != nil || b.reg.state != OK {
				return 0, err
			}
			if list, err = b.reg.head.Manifests(fs); err != nil {
				return 0, fmt.Errorf("read manifest list %s: %w", b.reg.head.ManifestList, err)
			}
		}
		next, ok := replaced(list, old, merged)
		if !ok { // somebody rewrote them: the next run looks again
			return 0, nil
		}
		if err = t.commitMerged(ctx, b, ch, next, len(old), len(merged), try); err == nil {
			return len(old), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return 0, err
}

// worthMerging returns the small data manifests of the specs that have many.
func worthMerging(list []icego.ManifestFile, from int) map[string]icego.ManifestFile {
	bySpec := map[int32][]icego.ManifestFile{}
	for _, m := range list {
		if m.ManifestContent() == icego.ManifestContentData && m.Length() < smallManifest {
			bySpec[m.PartitionSpecID()] = append(bySpec[m.PartitionSpecID()], m)
		}
	}
	out := map[string]icego.ManifestFile{}
	for _, ms := range bySpec {
		if len(ms) < from {
			continue
		}
		for _, m := range ms {
			out[m.FilePath()] = m
		}
	}
	return out
}

// writeMerged writes the entries of old manifests into new ones, oldest first.
func (t *table) writeMerged(fs iceio.WriteFileIO, md icetable.Metadata, ch *change, old map[string]icego.ManifestFile) ([]icego.ManifestFile, error) {
	ms := slices.SortedFunc(maps.Values(old), func(a, b icego.ManifestFile) int {
		if d := int(a.PartitionSpecID() - b.PartitionSpecID()); d != 0 {
			return d
		}
		return int(a.SequenceNum() - b.SequenceNum())
	})
	var out []icego.ManifestFile
	var entries []icego.ManifestEntry
	var bytes int64
	for i, m := range ms {
		for e, err := range m.Entries(fs, true) {
			if err != nil {
				return nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err)
			}
			sid, seq := e.SnapshotID(), e.SequenceNum()
			entries = append(entries, icego.NewManifestEntry(icego.EntryStatusEXISTING, &sid, &seq, e.FileSequenceNum(), e.DataFile()))
		}
		bytes += m.Length()
		last := i == len(ms)-1 || ms[i+1].PartitionSpecID() != m.PartitionSpecID()
		if !last && bytes < bigManifest {
			continue
		}
		if len(entries) > 0 {
			spec := md.PartitionSpecByID(int(m.PartitionSpecID()))
			if spec == nil {
				return nil, fmt.Errorf("merge manifests: the table has no partition spec %d", m.PartitionSpecID())
			}
			path := metadataPath(md, fmt.Sprintf("fh-%s-m%d.avro", ch.id, len(out)))
			mf, err := writeManifest(fs, md, *spec, path, ch.sid, entries)
			if err != nil {
				return nil, err
			}
			out = append(out, mf)
		}
		entries, bytes = nil, 0
	}
	return out, nil
}

// replaced returns a list with the merged manifests instead of the old ones, if all
// of these are in it.
func replaced(list []icego.ManifestFile, old map[string]icego.ManifestFile, merged []icego.ManifestFile) ([]icego.ManifestFile, bool) {
	next := slices.Clone(merged)
	found := 0
	for _, m := range list {
		if _, is := old[m.FilePath()]; is {
			found++
			continue
		}
		next = append(next, m)
	}
	return next, found == len(old)
}

func (t *table) commitMerged(ctx context.Context, b *base, ch *change, list []icego.ManifestFile, old, merged, try int) error {
	md, parent := b.md, b.reg.head
	snap := &icetable.Snapshot{
		SnapshotID: ch.sid, ParentSnapshotID: &parent.SnapshotID, SequenceNumber: md.LastSequenceNumber() + 1,
		TimestampMs:  timestamp(md, parent),
		ManifestList: metadataPath(md, fmt.Sprintf("snap-%d-%d-%s.avro", ch.sid, try, ch.id)),
		SchemaID:     &md.CurrentSchema().ID,
	}
	if err := writeManifestList(t.sink.files(ctx), md, snap, list); err != nil {
		return err
	}
	p := totals(parent, nil)
	maps.Copy(p, icego.Properties{
		"manifests-replaced": strconv.Itoa(old), "manifests-created": strconv.Itoa(merged),
		"manifests-kept": strconv.Itoa(len(list) - merged), "firehosed.kind": ch.kind, "firehosed.commit-id": ch.id.String(),
	})
	snap.Summary = &icetable.Summary{Operation: icetable.OpReplace, Properties: p}
	return t.once(ctx, pinned(md, &parent.SnapshotID), []icetable.Update{icetable.NewAddSnapshotUpdate(snap), headUpdate(md, ch.sid)})
}
