// Package icebergtest is an Iceberg REST catalog in this process, for tests: real
// requirement and update code, metadata files in a local folder, and faults.
package icebergtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// Fault is what happens to one commit request.
type Fault struct {
	Status int    // 0: answered normally; else answered with this status
	Drop   bool   // the commit is not applied; Status says what the client sees
	Stale  bool   // loads answer with the metadata from before this commit, until the next one
	After  func() // called when the commit was applied and not yet answered
}

// REST is an in-process REST catalog: namespaces, and create, load and commit of
// tables. Safe for concurrent use.
type REST struct {
	URL string
	dir string
	srv *httptest.Server

	mu struct {
		sync.Mutex
		fault      func(n int) Fault
		expired    bool // sessions opened so far
		namespaces map[string]bool
		tables     map[string]entry
		stale      map[string]entry // what loads show instead
		commits    int
	}
}

type entry struct {
	meta icetable.Metadata
	loc  string
	n    int
}

// NewREST starts a catalog whose tables live under dir.
func NewREST(dir string) *REST {
	c := &REST{dir: dir}
	c.mu.namespaces, c.mu.tables, c.mu.stale = map[string]bool{}, map[string]entry{}, map[string]entry{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		c.mu.expired = false
		c.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{"defaults": map[string]string{}, "overrides": map[string]string{}})
	})
	mux.HandleFunc("POST /v1/namespaces", c.createNamespace)
	mux.HandleFunc("GET /v1/namespaces/{ns}", c.namespace)
	mux.HandleFunc("HEAD /v1/namespaces/{ns}", c.namespace)
	mux.HandleFunc("POST /v1/namespaces/{ns}/tables", c.create)
	mux.HandleFunc("GET /v1/namespaces/{ns}/tables/{t}", c.load)
	mux.HandleFunc("POST /v1/namespaces/{ns}/tables/{t}", c.commit)
	c.srv = httptest.NewServer(mux)
	c.URL = c.srv.URL
	return c
}

// Close stops the catalog.
func (c *REST) Close() { c.srv.Close() }

// SetFault has f asked about every commit request, counted from 1, before it is
// looked at and without any lock: f may change tables. Nil: no faults.
func (c *REST) SetFault(f func(n int) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.fault = f
}

// Expire makes loads answer 401 until a client opens a new session.
func (c *REST) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.expired = true
}

// Commits returns how many commit requests there were.
func (c *REST) Commits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.commits
}

// Apply changes a table behind every client's back: another engine, an operator.
// The name is "namespace.table".
func (c *REST) Apply(name string, ups ...icetable.Update) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apply(name, ups)
}

// Meta returns the current metadata of "namespace.table", nil if there is none.
func (c *REST) Meta(name string) icetable.Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.tables[name].meta
}

// Drop removes a table.
func (c *REST) Drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.tables, name)
	delete(c.mu.stale, name)
}

func (c *REST) createNamespace(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Namespace []string `json:"namespace"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequestException", err.Error())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.namespaces[strings.Join(q.Namespace, "\x1f")] = true
	answer(w, http.StatusOK, map[string]any{"namespace": q.Namespace})
}

func (c *REST) namespace(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.namespaces[r.PathValue("ns")] {
		refuse(w, http.StatusNotFound, "NoSuchNamespaceException", r.PathValue("ns"))
		return
	}
	answer(w, http.StatusOK, map[string]any{"namespace": strings.Split(r.PathValue("ns"), "\x1f"), "properties": map[string]string{}})
}

func tableOf(r *http.Request) string {
	return strings.ReplaceAll(r.PathValue("ns"), "\x1f", ".") + "." + r.PathValue("t")
}

func (c *REST) create(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Name     string               `json:"name"`
		Schema   *icego.Schema        `json:"schema"`
		Location string               `json:"location"`
		Spec     *icego.PartitionSpec `json:"partition-spec"`
		Props    icego.Properties     `json:"properties"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequestException", err.Error())
		return
	}
	if q.Spec == nil {
		q.Spec = icego.UnpartitionedSpec
	}
	ns := strings.ReplaceAll(r.PathValue("ns"), "\x1f", ".")
	name := ns + "." + q.Name
	if q.Location == "" {
		q.Location = "file://" + filepath.Join(c.dir, ns, q.Name)
	}
	m, err := icetable.NewMetadata(q.Schema, q.Spec, icetable.UnsortedSortOrder, q.Location, q.Props)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BadRequestException", err.Error())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.mu.tables[name]; ok {
		refuse(w, http.StatusConflict, "AlreadyExistsException", name)
		return
	}
	if err := c.store(name, m, 0); err != nil {
		refuse(w, http.StatusInternalServerError, "InternalServerError", err.Error())
		return
	}
	answerTable(w, c.mu.tables[name])
}

func (c *REST) load(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.expired {
		refuse(w, http.StatusUnauthorized, "NotAuthorizedException", "the token is no longer valid")
		return
	}
	e, ok := c.mu.tables[tableOf(r)]
	if old, is := c.mu.stale[tableOf(r)]; is {
		e = old
	}
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchTableException", tableOf(r))
		return
	}
	answerTable(w, e)
}

func (c *REST) commit(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Requirements icetable.Requirements `json:"requirements"`
		Updates      icetable.Updates      `json:"updates"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequestException", err.Error())
		return
	}
	c.mu.Lock()
	c.mu.commits++
	n, ask := c.mu.commits, c.mu.fault
	c.mu.Unlock()
	var f Fault
	if ask != nil {
		f = ask(n)
	}
	if f.Drop {
		refuse(w, f.Status, "Injected", "not applied")
		return
	}
	code, typ, msg := c.land(tableOf(r), q.Requirements, q.Updates, f.Stale)
	if code == 0 && f.After != nil {
		f.After()
	}
	if code == 0 && f.Status != 0 {
		code, typ, msg = f.Status, "Injected", "applied, answer lost"
	}
	if code != 0 {
		refuse(w, code, typ, msg)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answerTable(w, c.mu.tables[tableOf(r)])
}

// land applies a commit, or says how it is refused.
func (c *REST) land(name string, reqs icetable.Requirements, ups icetable.Updates, stale bool) (code int, typ, msg string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, ok := c.mu.tables[name]
	if !ok {
		return http.StatusNotFound, "NoSuchTableException", name
	}
	for _, rq := range reqs {
		if err := rq.Validate(before.meta); err != nil {
			return http.StatusConflict, "CommitFailedException", err.Error()
		}
	}
	if err := c.apply(name, ups); err != nil {
		return http.StatusBadRequest, "BadRequestException", err.Error()
	}
	delete(c.mu.stale, name)
	if stale {
		c.mu.stale[name] = before
	}
	return 0, "", ""
}

// Fresh ends a stale fault: loads show the table as it is.
func (c *REST) Fresh(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.stale, name)
}

func (c *REST) apply(name string, ups []icetable.Update) error {
	e := c.mu.tables[name]
	m, err := icetable.UpdateTableMetadata(e.meta, ups, e.loc)
	if err != nil {
		return err
	}
	return c.store(name, m, e.n+1)
}

func (c *REST) store(name string, m icetable.Metadata, n int) error {
	loc := fmt.Sprintf("%s/metadata/%05d-%s.metadata.json", m.Location(), n, uuid.NewString())
	path := strings.TrimPrefix(loc, "file://")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return err
	}
	back, err := icetable.ParseMetadataBytes(b) // what a client of another process would see
	if err != nil {
		return err
	}
	c.mu.tables[name] = entry{back, loc, n}
	return nil
}

func answerTable(w http.ResponseWriter, e entry) {
	answer(w, http.StatusOK, map[string]any{"metadata-location": e.loc, "metadata": e.meta, "config": map[string]string{}})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, typ, msg string) {
	answer(w, code, map[string]any{"error": map[string]any{"message": msg, "type": typ, "code": code}})
}
