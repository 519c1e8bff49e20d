package iceberg

import (
	"context"
	"errors"
	"slices"
	"sync"

	iceio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"
)

const (
	knownTables    = 4    // whose metadata is kept, of one sink
	knownSnapshots = 1000 // of a table, beyond which it is not kept: about 5 MB
)

// known keeps the metadata of the tables that were used last. Where the catalog names
// a metadata.json that is known, it is not read and parsed again: with 500 snapshots
// that is most of what a commit costs. It is the catalog that is asked which one is in
// force, every time; and a metadata.json never changes, so its location is enough.
// Catalogs that send metadata themselves (REST) leave it empty.
type known struct {
	mu struct {
		sync.Mutex
		tables []*knownTable // last used first
	}
}

// knownTable is one metadata.json. As an error it ends the library's load of it.
type knownTable struct {
	location string
	md       icetable.Metadata
}

func (k *knownTable) Error() string { return k.location + " is known" }

// at returns the metadata of a location, or nil.
func (k *known) at(location string) *knownTable {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.mu.tables, func(t *knownTable) bool { return t.location == location })
	if i < 0 {
		return nil
	}
	found := k.mu.tables[i]
	copy(k.mu.tables[1:i+1], k.mu.tables[:i])
	k.mu.tables[0] = found
	return found
}

// keep takes what a metadata.json says in the place of what an older one of the table said.
func (k *known) keep(location string, md icetable.Metadata) {
	small := len(md.Snapshots()) <= knownSnapshots
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.tables = slices.DeleteFunc(k.mu.tables, func(t *knownTable) bool { return t.md.TableUUID() == md.TableUUID() })
	if small {
		k.mu.tables = slices.Insert(k.mu.tables, 0, &knownTable{location, md})
	}
	for len(k.mu.tables) > knownTables {
		k.mu.tables = slices.Delete(k.mu.tables, knownTables, len(k.mu.tables))
	}
}

// reading goes with the context of a call of the catalog that may read a metadata.json.
type reading struct {
	known *known // nil: read it whatever is known
	asked bool   // the catalog's metadata is in files
}

type readingKey struct{}

// loadTable asks the catalog for a table.
func (s *Sink) loadTable(ctx context.Context, cat Catalog, ident icetable.Identifier) (*icetable.Table, error) {
	r := &reading{known: &s.known}
	tbl, err := cat.LoadTable(context.WithValue(s.withFiles(ctx), readingKey{}, r), ident)
	if k := (*knownTable)(nil); errors.As(err, &k) {
		fs := func(ctx context.Context) (iceio.IO, error) { return s.files(ctx), nil }
		return icetable.New(ident, k.md, k.location, fs, cat), nil
	}
	if err == nil && r.asked {
		s.known.keep(tbl.MetadataLocation(), tbl.Metadata())
	}
	return tbl, err
}

// commitTable makes one attempt at a commit. What a commit of rows made of the table is
// known from then on; a binding is read back, to see what the catalog has kept of it.
func (s *Sink) commitTable(ctx context.Context, cat Catalog, ident icetable.Identifier, kind string, reqs []icetable.Requirement, ups []icetable.Update) (icetable.Metadata, error) {
	r := &reading{}
	md, location, err := cat.CommitTable(context.WithValue(s.withFiles(ctx), readingKey{}, r), ident, reqs, ups)
	if err == nil && r.asked && kind == kindData {
		s.known.keep(location, md)
	}
	return md, err
}

// lookup is the part of a read that known can do.
func (r *reading) lookup(name string) *knownTable {
	r.asked = true
	if r.known == nil {
		return nil
	}
	return r.known.at(name)
}
