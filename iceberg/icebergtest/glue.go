package icebergtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"

	icetable "github.com/apache/iceberg-go/table"
)

// Glue is an AWS Glue Data Catalog in this process: databases, and create, get and
// update of tables over its JSON protocol. A table has a version id; an update that
// names another than the present one is a ConcurrentModificationException, and an
// update that names none overwrites what is there, as in the real one. Metadata is
// read where the client has written it.
type Glue struct {
	URL    string
	Signed Signed // set before the first request; the zero value takes any
	Tables
	srv     *httptest.Server
	account string
}

// NewGlue starts a catalog of an AWS account whose tables live under dir.
func NewGlue(dir, account string) *Glue {
	g := &Glue{account: account}
	g.init(dir)
	g.srv = httptest.NewServer(http.HandlerFunc(g.serve))
	g.URL = g.srv.URL
	return g
}

// Close stops the catalog.
func (g *Glue) Close() { g.srv.Close() }

// request has what the operations are asked with.
type request struct {
	CatalogID     string `json:"CatalogId"`
	Name          string
	DatabaseName  string
	VersionID     *string `json:"VersionId"`
	TableInput    map[string]any
	DatabaseInput struct{ Name string }
}

// glueError is an error as Glue tells it.
type glueError struct {
	status    int
	typ, text string
}

func (g *Glue) serve(w http.ResponseWriter, r *http.Request) {
	if g.Signed != (Signed{}) {
		if err := g.Signed.verify(r); err != nil {
			g.tell(w, &glueError{http.StatusBadRequest, "InvalidSignatureException", err.Error()})
			return
		}
	}
	var q request
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		g.tell(w, &glueError{http.StatusBadRequest, "SerializationException", err.Error()})
		return
	}
	if q.CatalogID != "" && q.CatalogID != g.account {
		g.tell(w, missing("catalog "+q.CatalogID))
		return
	}
	op, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AWSGlue.")
	if op == "UpdateTable" {
		g.update(w, &q)
		return
	}
	out, err := g.operate(op, &q)
	switch {
	case err != nil:
		g.tell(w, err)
	case out == nil:
		cut(w)
	default:
		answer(w, http.StatusOK, amzJSON, out)
	}
}

const amzJSON = "application/x-amz-json-1.1"

func (g *Glue) tell(w http.ResponseWriter, e *glueError) {
	answer(w, e.status, amzJSON, map[string]string{"__type": e.typ, "Message": e.text})
}

func missing(what string) *glueError {
	return &glueError{http.StatusBadRequest, "EntityNotFoundException", what + " is not found"}
}

// operate returns the answer to a request, nil if it is lost.
func (g *Glue) operate(op string, q *request) (map[string]any, *glueError) {
	switch op {
	case "GetTable":
		e, ok := g.shown(q.DatabaseName + "." + q.Name)
		if !ok {
			return nil, missing("table " + q.Name)
		}
		return map[string]any{"Table": e.glueTable(q.DatabaseName)}, nil
	case "CreateTable":
		if bad := g.create(q); bad != nil {
			return nil, bad
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch op {
	case "CreateTable":
		if g.lost() {
			return nil, nil
		}
		return map[string]any{}, nil
	case "GetDatabase":
		if !g.mu.namespaces[q.Name] {
			return nil, missing("database " + q.Name)
		}
		return map[string]any{"Database": map[string]any{"Name": q.Name}}, nil
	case "CreateDatabase":
		if g.mu.namespaces[q.DatabaseInput.Name] {
			return nil, &glueError{http.StatusBadRequest, "AlreadyExistsException", q.DatabaseInput.Name}
		}
		g.mu.namespaces[q.DatabaseInput.Name] = true
		return map[string]any{}, nil
	}
	return nil, &glueError{http.StatusBadRequest, "UnknownOperationException", op}
}

// glueTable is the table as GetTable shows it.
func (e entry) glueTable(database string) map[string]any {
	t := map[string]any{"DatabaseName": database, "VersionId": strconv.Itoa(e.n), "CatalogId": "1", "IsRegisteredWithLakeFormation": false}
	maps.Copy(t, e.input)
	return t
}

func (g *Glue) create(q *request) *glueError {
	e, bad := written(q.TableInput)
	if bad != nil {
		return bad
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	name := q.DatabaseName + "." + fmt.Sprint(q.TableInput["Name"])
	if !g.mu.namespaces[q.DatabaseName] {
		return missing("database " + q.DatabaseName)
	}
	if _, ok := g.mu.tables[name]; ok {
		return &glueError{http.StatusBadRequest, "AlreadyExistsException", "table " + name + " exists"}
	}
	g.mu.tables[name] = e
	return nil
}

// Limits of Glue for the parameters of a table, in bytes.
const (
	maxParamKey   = 255
	maxParamValue = 512_000
)

// written returns the table that a client wrote, with the metadata that it points to.
func written(input map[string]any) (e entry, bad *glueError) {
	refused := func(format string, args ...any) (entry, *glueError) {
		return entry{}, &glueError{http.StatusBadRequest, "InvalidInputException", fmt.Sprintf(format, args...)}
	}
	params, _ := input["Parameters"].(map[string]any)
	for k, v := range params {
		if text, ok := v.(string); !ok || len(k) > maxParamKey || len(text) > maxParamValue {
			return refused("parameter %.300s has %d bytes", k, len(fmt.Sprint(v)))
		}
	}
	loc, _ := params["metadata_location"].(string)
	text, err := os.ReadFile(strings.TrimPrefix(loc, "file://"))
	if err != nil {
		return refused("metadata_location: %v", err)
	}
	meta, err := icetable.ParseMetadataBytes(text)
	if err != nil {
		return refused("metadata_location %s: %v", loc, err)
	}
	return entry{meta: meta, loc: loc, input: input}, nil
}

func (g *Glue) update(w http.ResponseWriter, q *request) {
	f := g.next()
	var bad *glueError
	if !f.Drop {
		bad = g.swap(q, f.Stale)
		if bad == nil && f.After != nil {
			f.After()
		}
	}
	if f.Status != 0 && bad == nil {
		bad = &glueError{f.Status, f.Type, "injected"}
		if f.Type == "" {
			bad.typ = "InternalServiceException"
		}
	}
	switch {
	case f.Cut:
		cut(w)
	case bad != nil:
		g.tell(w, bad)
	default:
		answer(w, http.StatusOK, amzJSON, map[string]any{})
	}
}

// swap replaces a table if the version id is the present one, or none is named.
func (g *Glue) swap(q *request, stale bool) *glueError {
	e, bad := written(q.TableInput)
	if bad != nil {
		return bad
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	name := q.DatabaseName + "." + fmt.Sprint(q.TableInput["Name"])
	before, ok := g.mu.tables[name]
	if !ok {
		return missing("table " + name)
	}
	if q.VersionID != nil && *q.VersionID != strconv.Itoa(before.n) {
		return &glueError{http.StatusBadRequest, "ConcurrentModificationException", "Update table failed due to concurrent modifications."}
	}
	e.n = before.n + 1
	g.mu.tables[name] = e
	g.keep(name, before, stale)
	return nil
}
