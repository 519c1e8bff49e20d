package iceberg

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	icego "github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firehosed/firehosed/internal/failpoint"
	"github.com/firehosed/firehosed/pipeline"
)

// Kinds of our commits, in the snapshot's summary.
const (
	kindData   = "data"
	kindBind   = "bind"
	kindFence  = "fence"
	kindResume = "resume"
)

const (
	maxSummaryVector = 600     // bytes of a vector in the summary; a larger one is an object under wm/
	maxSummary       = 1 << 10 // bytes of our summary keys up to which the claims are added
)

// change is a snapshot to add. What it consists of is chosen once and valid for
// every attempt: a second landing is refused as a snapshot id already known.
type change struct {
	id        uuid.UUID
	sid       int64 // snapshot id
	kind      string
	claims    []pipeline.Claim
	files     []icego.DataFile
	manifests []icego.ManifestFile // of files; written by the first attempt
}

func newChange(kind string, id uuid.UUID) *change {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	return &change{id: id, sid: int64(binary.LittleEndian.Uint64(b[:]) >> 1), kind: kind}
}

// edit is what a change does to the register, decided anew on every base.
type edit struct {
	header func(sid, seq int64) *header // nil: the property stays as it is
	vec    pipeline.Vector
	hidden bool // not a commit of ours to whoever walks the ancestors
	extra  icego.Properties
}

// request builds one attempt of ch on one base, whose manifest list and, where
// needed, vector object it writes.
func (t *table) request(ctx context.Context, b *base, ch *change, e *edit, attempt int) ([]icetable.Requirement, []icetable.Update, error) {
	md, parent := b.md, b.reg.head
	fs := t.sink.files(ctx)
	if ch.manifests == nil && len(ch.files) > 0 {
		var err error
		if ch.manifests, err = writeManifests(fs, md, ch); err != nil {
			return nil, nil, err
		}
	}
	failpoint.Hit("commit.afterManifest")
	list := ch.manifests
	var parentID *int64
	if parent != nil {
		parentID = &parent.SnapshotID
		old, err := parent.Manifests(fs)
		if err != nil {
			return nil, nil, fmt.Errorf("read manifest list %s: %w", parent.ManifestList, err)
		}
		list = append(slices.Clip(list), old...)
	}
	snap := &icetable.Snapshot{
		SnapshotID: ch.sid, ParentSnapshotID: parentID, SequenceNumber: md.LastSequenceNumber() + 1,
		TimestampMs:  timestamp(md, parent),
		ManifestList: metadataPath(md, fmt.Sprintf("snap-%d-%d-%s.avro", ch.sid, attempt, ch.id)),
		SchemaID:     &md.CurrentSchema().ID,
	}
	if err := writeManifestList(fs, md, snap, list); err != nil {
		return nil, nil, err
	}
	failpoint.Hit("commit.afterManifestList")
	sum, err := t.summary(ctx, b, ch, e, snap)
	if err != nil {
		return nil, nil, err
	}
	snap.Summary = &icetable.Summary{Operation: icetable.OpAppend, Properties: sum}
	ups, err := t.registerUpdates(md, ch, e, snap)
	if err != nil {
		return nil, nil, err
	}
	ups = append(ups, icetable.NewAddSnapshotUpdate(snap), headUpdate(md, ch.sid))
	return pinned(md, parentID), ups, nil
}

// pinned are the requirements of every commit of ours: this table, this head, this schema.
func pinned(md icetable.Metadata, head *int64) []icetable.Requirement {
	return []icetable.Requirement{
		icetable.AssertTableUUID(md.TableUUID()),
		icetable.AssertRefSnapshotID(icetable.MainBranch, head),
		icetable.AssertCurrentSchemaID(md.CurrentSchema().ID),
	}
}

// headUpdate moves the branch and keeps its retention, which the update would else wipe.
func headUpdate(md icetable.Metadata, sid int64) icetable.Update {
	var refAge, snapAge int64
	keep := 0
	if ref := branchRef(md); ref != nil {
		if ref.MaxRefAgeMs != nil {
			refAge = *ref.MaxRefAgeMs
		}
		if ref.MaxSnapshotAgeMs != nil {
			snapAge = *ref.MaxSnapshotAgeMs
		}
		if ref.MinSnapshotsToKeep != nil {
			keep = *ref.MinSnapshotsToKeep
		}
	}
	return icetable.NewSetSnapshotRefUpdate(icetable.MainBranch, sid, icetable.BranchRef, refAge, snapAge, keep)
}

// timestamp never goes back: the library refuses what is a minute older than the last.
func timestamp(md icetable.Metadata, parent *icetable.Snapshot) int64 {
	ts := max(time.Now().UnixMilli(), md.LastUpdatedMillis())
	if parent != nil {
		ts = max(ts, parent.TimestampMs)
	}
	return ts
}

func metadataPath(md icetable.Metadata, name string) string {
	return strings.TrimSuffix(md.Location(), "/") + "/metadata/" + name
}

func (t *table) registerUpdates(md icetable.Metadata, ch *change, e *edit, snap *icetable.Snapshot) ([]icetable.Update, error) {
	if e.header == nil {
		return nil, nil
	}
	h := e.header(ch.sid, snap.SequenceNumber)
	set, remove, err := h.encode(e.vec, t.sink.pipeline, t.sink.chunkBytes(), md.Properties())
	if err != nil {
		return nil, err
	}
	ups := []icetable.Update{icetable.NewSetPropertiesUpdate(set)}
	if len(remove) > 0 {
		ups = append(ups, icetable.NewRemovePropertiesUpdate(remove))
	}
	return ups, nil
}

// summary returns the snapshot's properties: totals, and our own keys. A standard
// key set by hand would corrupt the totals of every later snapshot, so there is none.
func (t *table) summary(ctx context.Context, b *base, ch *change, e *edit, snap *icetable.Snapshot) (icego.Properties, error) {
	p := totals(b.reg.head, ch.files)
	own := icego.Properties{"firehosed.kind": ch.kind, "firehosed.commit-id": ch.id.String()}
	maps.Copy(own, e.extra)
	if e.hidden {
		maps.Copy(p, own)
		return p, nil
	}
	h := e.header(ch.sid, snap.SequenceNumber)
	own[pipelineKey] = t.sink.pipeline
	own["firehosed.seq"] = strconv.FormatInt(h.Seq, 10)
	own["firehosed.stamp"] = h.stamp(t.sink.pipeline).String()
	vec, err := json.Marshal(e.vec.Packed())
	if err != nil {
		return nil, fmt.Errorf("encode vector: %w", err)
	}
	if len(vec) <= maxSummaryVector {
		own[vectorKey] = string(vec)
	} else {
		own[vectorKey] = inControl
		if err := t.keepVector(ctx, b.md, ch.sid, vec); err != nil {
			return nil, err
		}
	}
	if text := claimText(ch.claims); text != "" && size(own)+len(text) <= maxSummary {
		own["firehosed.claims"] = text
	}
	maps.Copy(p, own)
	return p, nil
}

func size(p icego.Properties) (n int) {
	for k, v := range p {
		n += len(k) + len(v)
	}
	return n
}

func claimText(claims []pipeline.Claim) string {
	parts := make([]string, len(claims))
	for i := range claims {
		c := &claims[i]
		parts[i] = c.Partition.Key() + "[" + string(c.From.At) + "," + string(c.To.At) + ")"
	}
	return strings.Join(parts, " ")
}

// totals continues the parent's totals. A total that the parent lacks stays unknown.
func totals(parent *icetable.Snapshot, files []icego.DataFile) icego.Properties {
	var rows, bytes int64
	for _, f := range files {
		rows += f.Count()
		bytes += f.FileSizeBytes()
	}
	p := icego.Properties{}
	for key, n := range map[string]int64{
		"total-data-files": int64(len(files)), "total-records": rows, "total-files-size": bytes,
		"total-delete-files": 0, "total-position-deletes": 0, "total-equality-deletes": 0,
	} {
		if parent == nil {
			p[key] = strconv.FormatInt(n, 10)
			continue
		}
		if parent.Summary == nil {
			continue
		}
		if old, err := strconv.ParseInt(parent.Summary.Properties[key], 10, 64); err == nil {
			p[key] = strconv.FormatInt(old+n, 10)
		}
	}
	if len(files) > 0 {
		p["added-data-files"] = strconv.Itoa(len(files))
		p["added-records"] = strconv.FormatInt(rows, 10)
		p["added-files-size"] = strconv.FormatInt(bytes, 10)
	}
	return p
}

// writeManifests writes one manifest for each partition spec among the files.
// Sequence numbers and row ids are inherited from the snapshot that lists them.
func writeManifests(fs iceio.WriteFileIO, md icetable.Metadata, ch *change) ([]icego.ManifestFile, error) {
	bySpec := map[int][]icego.ManifestEntry{}
	for _, f := range ch.files {
		spec := int(f.SpecID())
		bySpec[spec] = append(bySpec[spec], icego.NewManifestEntry(icego.EntryStatusADDED, &ch.sid, nil, nil, f))
	}
	var out []icego.ManifestFile
	for _, id := range slices.Sorted(maps.Keys(bySpec)) {
		spec := md.PartitionSpecByID(id)
		if spec == nil {
			return nil, fmt.Errorf("write manifest: the table no longer has partition spec %d", id)
		}
		mf, err := writeManifest(fs, md, *spec, metadataPath(md, fmt.Sprintf("fh-%s-m%d.avro", ch.id, len(out))), ch.sid, bySpec[id])
		if err != nil {
			return nil, err
		}
		out = append(out, mf)
	}
	return out, nil
}

func writeManifest(fs iceio.WriteFileIO, md icetable.Metadata, spec icego.PartitionSpec, path string, sid int64, entries []icego.ManifestEntry) (icego.ManifestFile, error) {
	var buf bytes.Buffer
	mf, err := icego.WriteManifest(path, &buf, md.Version(), spec, md.CurrentSchema(), sid, entries)
	if err == nil {
		err = fs.WriteFile(path, buf.Bytes())
	}
	if err != nil {
		return nil, fmt.Errorf("write manifest %s: %w", path, err)
	}
	return fixEmptyBounds(mf, md.Version()), nil
}

// writeManifestList writes snap's list. For format v3 it gives the snapshot its row ids.
func writeManifestList(fs iceio.WriteFileIO, md icetable.Metadata, snap *icetable.Snapshot, list []icego.ManifestFile) error {
	var buf bytes.Buffer
	var w *icego.ManifestListWriter
	var err error
	first := md.NextRowID()
	if md.Version() >= 3 {
		w, err = icego.NewManifestListWriterV3(&buf, snap.SnapshotID, snap.SequenceNumber, first, snap.ParentSnapshotID)
	} else {
		w, err = icego.NewManifestListWriterV2(&buf, snap.SnapshotID, snap.SequenceNumber, snap.ParentSnapshotID)
	}
	if err == nil {
		err = w.AddManifests(list)
	}
	if err != nil {
		return fmt.Errorf("write manifest list %s: %w", snap.ManifestList, err)
	}
	if next := w.NextRowID(); md.Version() >= 3 && next != nil {
		added := *next - first
		snap.FirstRowID, snap.AddedRows = &first, &added
	}
	if err = w.Close(); err == nil {
		err = fs.WriteFile(snap.ManifestList, buf.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write manifest list %s: %w", snap.ManifestList, err)
	}
	return nil
}

// fixEmptyBounds gives back the bounds that the library drops where a partition
// value is the empty string or empty bytes. Readers take a missing bound for "only
// nulls" and would skip the manifest.
func fixEmptyBounds(mf icego.ManifestFile, version int) icego.ManifestFile {
	ps := mf.Partitions()
	lost := false
	for i := range ps {
		for _, b := range []**[]byte{&ps[i].LowerBound, &ps[i].UpperBound} {
			if *b != nil && **b == nil {
				*b = &[]byte{}
				lost = true
			}
		}
	}
	if !lost {
		return mf
	}
	return icego.NewManifestFile(version, mf.FilePath(), mf.Length(), mf.PartitionSpecID(), mf.SnapshotID()).
		Content(mf.ManifestContent()).SequenceNum(mf.SequenceNum(), mf.MinSequenceNum()).
		AddedFiles(mf.AddedDataFiles()).AddedRows(mf.AddedRows()).
		ExistingFiles(mf.ExistingDataFiles()).ExistingRows(mf.ExistingRows()).
		DeletedFiles(mf.DeletedDataFiles()).DeletedRows(mf.DeletedRows()).
		Partitions(ps).Build()
}
