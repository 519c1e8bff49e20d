package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/parquetfile"
	"github.com/firehosed/firehosed/pipeline"
)

// Rows is where some rows of a data file came from. It is valid until the next is
// asked for.
type Rows struct {
	File     string // location of the data file
	Sequence int64  // data sequence number: of the commit that the rows came with, unless compaction mixed them
	Deletes  bool   // the table has delete files: rows of File may have been deleted, and are here all the same
	N        int
	Columns  map[string]pipeline.Column // by name; a column that the table lacks is missing
}

// Named returns columns in the order of their names. One that the table lacks is zero.
func (r *Rows) Named(names []string) []pipeline.Column {
	cols := make([]pipeline.Column, len(names))
	for i, name := range names {
		cols[i] = r.Columns[name]
	}
	return cols
}

// errEnough ends the reading of a file when nobody asks for more.
var errEnough = errors.New("enough")

// ScanCoordinates reads columns of every row that is in a snapshot of a table,
// 0 being its head: by default those that say where a record came from. Files come
// in no order; the rows of a file in theirs. Memory is bounded, whatever the size of
// the table. An error ends the sequence.
func (s *Sink) ScanCoordinates(ctx context.Context, name string, snapshot int64, columns ...string) iter.Seq2[*Rows, error] {
	return func(yield func(*Rows, error) bool) {
		err := s.scan(ctx, name, snapshot, columns, func(r *Rows) error {
			if !yield(r, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, fmt.Errorf("scan table %s: %w", name, err))
		}
	}
}

func (s *Sink) scan(ctx context.Context, name string, snapshot int64, columns []string, each func(*Rows) error) error {
	t, err := s.handle(name)
	if err != nil {
		return err
	}
	b, err := t.load(ctx)
	if err != nil {
		return err
	}
	snap := b.reg.head
	if snapshot != 0 {
		if snap = b.md.SnapshotByID(snapshot); snap == nil {
			return fmt.Errorf("there is no snapshot %d any more", snapshot)
		}
	}
	if snap == nil {
		return nil
	}
	ids, names := scanned(b.md, columns)
	manifests, deletes, err := s.dataManifests(ctx, snap)
	if err != nil {
		return err
	}
	for e, err := range liveFiles(s.files(ctx), manifests) {
		if err != nil {
			return err
		}
		r := &Rows{File: e.DataFile().FilePath(), Sequence: e.SequenceNum(), Deletes: deletes}
		err := s.readFile(ctx, r.File, e.DataFile().FileSizeBytes(), ids, func(b *parquetfile.Block) error {
			r.N, r.Columns = b.Rows, map[string]pipeline.Column{}
			for i, c := range b.Columns {
				if c == nil {
					r.Columns[names[i]] = allNull(b.Rows)
					continue
				}
				r.Columns[names[i]] = pipeline.Column{Null: c.Null, Ints: c.Ints, Bytes: c.Bytes}
			}
			return each(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func allNull(n int) pipeline.Column {
	v := pipeline.Column{Null: make([]bool, n), Ints: make([]int64, n), Bytes: make([][]byte, n)}
	for i := range v.Null {
		v.Null[i] = true
	}
	return v
}

// scanned returns the ids and names of the columns to read: those asked for, or all
// of ours that are not nested.
func scanned(md icetable.Metadata, columns []string) (ids []int, names []string) {
	want := map[string]bool{}
	for _, c := range columns {
		want[c] = true
	}
	for _, f := range md.CurrentSchema().Fields() {
		own := len(columns) == 0 && strings.HasPrefix(f.Name, "_fh_") && !isNested(f.Type)
		if own || want[f.Name] {
			ids, names = append(ids, f.ID), append(names, f.Name)
		}
	}
	return ids, names
}

// dataManifests lists the manifests of a snapshot's data files, and whether it has
// delete files.
func (s *Sink) dataManifests(ctx context.Context, snap *icetable.Snapshot) (data []icego.ManifestFile, deletes bool, err error) {
	all, err := snap.Manifests(s.files(ctx))
	if err != nil {
		return nil, false, fmt.Errorf("read manifest list %s: %w", snap.ManifestList, err)
	}
	for _, m := range all {
		if m.ManifestContent() == icego.ManifestContentDeletes {
			deletes = true
		} else {
			data = append(data, m)
		}
	}
	return data, deletes, nil
}

// liveFiles yields the files that manifests list as live.
func liveFiles(fs files, manifests []icego.ManifestFile) iter.Seq2[icego.ManifestEntry, error] {
	return func(yield func(icego.ManifestEntry, error) bool) {
		for _, m := range manifests {
			for e, err := range m.Entries(fs, true) {
				if err != nil {
					yield(nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

func (s *Sink) readFile(ctx context.Context, location string, size int64, ids []int, each func(*parquetfile.Block) error) error {
	b, key, err := s.storage.at(ctx, location)
	if err != nil {
		return err
	}
	if err := parquetfile.Read(ranges{ctx, b, key, size}, size, ids, each); err != nil {
		return fmt.Errorf("read %s: %w", location, err)
	}
	return nil
}

// ranges reads an object piece by piece, for the length of one scan.
type ranges struct {
	ctx  context.Context
	b    objstore.Bucket
	key  string
	size int64
}

// ReadAt implements io.ReaderAt.
func (r ranges) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), r.size-off)
	if n <= 0 {
		return 0, io.EOF
	}
	data, err := r.b.Range(r.ctx, r.key, off, n)
	if err != nil {
		return 0, err
	}
	if copy(p, data); n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}
