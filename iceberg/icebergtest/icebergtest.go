// Package icebergtest has Iceberg catalogs in this process, for tests: a REST catalog
// and AWS Glue. They speak the protocols of the real ones to the real clients, check
// what these log in and sign with, compare and swap, keep metadata in a local folder,
// and can be told to fail, to lose an answer or to let somebody in between.
package icebergtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// Fault is what happens to one commit request.
type Fault struct {
	Status int    // 0: answered normally; else answered with this status
	Type   string // the name of the error in that answer. Default: one of the catalog's own
	Cut    bool   // the connection ends in place of an answer
	Drop   bool   // the commit is not applied; Status or Cut say what the client sees
	Stale  bool   // loads answer with the metadata from before this commit, until the next one
	After  func() // called when the commit was applied and not yet answered
}

// Tables is what the catalogs have in common. Safe for concurrent use.
type Tables struct {
	base string // new tables are created under it
	put  func(location string, data []byte) error

	mu struct {
		sync.Mutex
		fault      func(n int) Fault
		loseCreate bool
		namespaces map[string]bool
		tables     map[string]entry
		stale      map[string]entry // what loads show instead
		commits    int
	}
}

// entry is a table as the catalog knows it.
type entry struct {
	meta  icetable.Metadata
	loc   string
	n     int            // how often it was changed
	input map[string]any // of Glue: the table as the client wrote it
}

func (t *Tables) init(dir string) {
	t.base, t.put = "file://"+dir, putFile
	t.mu.namespaces, t.mu.tables, t.mu.stale = map[string]bool{}, map[string]entry{}, map[string]entry{}
}

// SetFault has f asked about every commit request, counted from 1, before it is
// looked at and without any lock: f may change tables. Nil: no faults.
func (t *Tables) SetFault(f func(n int) Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.fault = f
}

// LoseCreate has the next table be created, and the connection end in place of the
// answer.
func (t *Tables) LoseCreate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.loseCreate = true
}

// lost reports whether the answer to a creation is lost. With the lock.
func (t *Tables) lost() bool {
	was := t.mu.loseCreate
	t.mu.loseCreate = false
	return was
}

// Commits returns how many commit requests there were.
func (t *Tables) Commits() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.commits
}

// Apply changes a table behind every client's back: another engine, an operator.
// The name is "namespace.table".
func (t *Tables) Apply(name string, ups ...icetable.Update) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.apply(name, ups)
}

// Meta returns the current metadata of "namespace.table", nil if there is none.
func (t *Tables) Meta(name string) icetable.Metadata {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.tables[name].meta
}

// Drop removes a table.
func (t *Tables) Drop(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.tables, name)
	delete(t.mu.stale, name)
}

// Fresh ends a stale fault: loads show the table as it is.
func (t *Tables) Fresh(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.stale, name)
}

// next counts a commit request and returns what happens to it.
func (t *Tables) next() Fault {
	t.mu.Lock()
	t.mu.commits++
	n, ask := t.mu.commits, t.mu.fault
	t.mu.Unlock()
	if ask == nil {
		return Fault{}
	}
	return ask(n)
}

// shown returns what a load shows.
func (t *Tables) shown(name string) (entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.mu.tables[name]
	if old, is := t.mu.stale[name]; is && ok {
		e = old
	}
	return e, ok
}

// keep ends a commit: loads show what was before, or what is. With the lock.
func (t *Tables) keep(name string, before entry, stale bool) {
	delete(t.mu.stale, name)
	if stale {
		t.mu.stale[name] = before
	}
}

func (t *Tables) apply(name string, ups []icetable.Update) error {
	e, ok := t.mu.tables[name]
	if !ok {
		return fmt.Errorf("no table %s", name)
	}
	m, err := icetable.UpdateTableMetadata(e.meta, ups, e.loc)
	if err != nil {
		return err
	}
	return t.store(name, m, e)
}

// store writes a metadata.json for a table that was e so far.
func (t *Tables) store(name string, m icetable.Metadata, e entry) error {
	loc := fmt.Sprintf("%s/metadata/%05d-%s.metadata.json", m.Location(), e.n+1, uuid.NewString())
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := t.put(loc, b); err != nil {
		return err
	}
	back, err := icetable.ParseMetadataBytes(b) // what a client of another process would see
	if err != nil {
		return err
	}
	input := maps.Clone(e.input)
	if params, ok := input["Parameters"].(map[string]any); ok {
		params = maps.Clone(params)
		params["metadata_location"] = loc
		input["Parameters"] = params
	}
	t.mu.tables[name] = entry{back, loc, e.n + 1, input}
	return nil
}

func putFile(location string, data []byte) error {
	path := strings.TrimPrefix(location, "file://")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// cut ends the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func answer(w http.ResponseWriter, code int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
