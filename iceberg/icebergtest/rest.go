package icebergtest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
)

// REST is an in-process REST catalog: namespaces, and create, load and commit of
// tables. Everybody may ask it until it is told to require a login.
type REST struct {
	URL string
	Tables
	gate      gate
	srv       *httptest.Server
	warehouse string // "": any
	prefix    string // of the paths after /v1, "" or "x/"
	vend      func() map[string]string
}

// Store has the catalog create tables under base, an object store's prefix, put
// metadata there with put, and hand out what vend returns with every table: the
// client's configuration for that store. Call it before the first request.
func (c *REST) Store(base string, put func(location string, data []byte) error, vend func() map[string]string) {
	c.base, c.put, c.vend = base, put, vend
}

// NewREST starts a catalog whose tables live under dir.
func NewREST(dir string) *REST { return newREST(dir, "", "") }

// NewWarehouse starts a catalog as the large ones are: it knows one warehouse by its
// name, and its configuration tells the prefix of that warehouse's paths.
func NewWarehouse(dir, name, prefix string) *REST { return newREST(dir, name, prefix+"/") }

func newREST(dir, warehouse, prefix string) *REST {
	c := &REST{warehouse: warehouse, prefix: prefix}
	c.init(dir)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/oauth/tokens", c.gate.token)
	mux.HandleFunc("GET /v1/config", c.behind(c.config))
	for pattern, h := range map[string]http.HandlerFunc{
		"POST namespaces":                 c.createNamespace,
		"GET namespaces/{ns}":             c.namespace,
		"HEAD namespaces/{ns}":            c.namespace,
		"POST namespaces/{ns}/tables":     c.create,
		"GET namespaces/{ns}/tables/{t}":  c.load,
		"POST namespaces/{ns}/tables/{t}": c.commit,
	} {
		mux.HandleFunc(strings.Replace(pattern, " ", " /v1/"+prefix, 1), c.behind(h))
	}
	c.srv = httptest.NewServer(mux)
	c.URL = c.srv.URL
	return c
}

// behind lets requests through to h that the gate lets in.
func (c *REST) behind(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if status, why := c.gate.check(r); status != 0 {
			refuse(w, status, "NotAuthorizedException", why)
			return
		}
		h(w, r)
	}
}

// Close stops the catalog.
func (c *REST) Close() { c.srv.Close() }

func (c *REST) config(w http.ResponseWriter, r *http.Request) {
	if name := r.FormValue("warehouse"); c.warehouse != "" && name != c.warehouse {
		refuse(w, http.StatusNotFound, "NotFoundException", "no warehouse "+name)
		return
	}
	overrides := map[string]string{}
	if c.prefix != "" {
		overrides["prefix"] = strings.TrimSuffix(c.prefix, "/")
	}
	answer(w, http.StatusOK, plainJSON, map[string]any{"defaults": map[string]string{}, "overrides": overrides})
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
	answer(w, http.StatusOK, plainJSON, map[string]any{"namespace": q.Namespace})
}

func (c *REST) namespace(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.namespaces[r.PathValue("ns")] {
		refuse(w, http.StatusNotFound, "NoSuchNamespaceException", r.PathValue("ns"))
		return
	}
	answer(w, http.StatusOK, plainJSON, map[string]any{"namespace": strings.Split(r.PathValue("ns"), "\x1f"), "properties": map[string]string{}})
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
		q.Location = c.base + "/" + ns + "/" + q.Name
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
	if err := c.store(name, m, entry{n: -1}); err != nil {
		refuse(w, http.StatusInternalServerError, "InternalServerError", err.Error())
		return
	}
	if c.lost() {
		cut(w)
		return
	}
	c.answerTable(w, r, c.mu.tables[name])
}

func (c *REST) load(w http.ResponseWriter, r *http.Request) {
	e, ok := c.shown(tableOf(r))
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchTableException", tableOf(r))
		return
	}
	c.answerTable(w, r, e)
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
	f := c.next()
	var code int
	var typ, msg string
	if !f.Drop {
		code, typ, msg = c.land(tableOf(r), q.Requirements, q.Updates, f.Stale)
		if code == 0 && f.After != nil {
			f.After()
		}
	}
	if code == 0 && f.Status != 0 {
		code, typ, msg = f.Status, f.Type, "injected"
	}
	switch {
	case f.Cut:
		cut(w)
	case code != 0:
		refuse(w, code, typ, msg)
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answerTable(w, r, c.mu.tables[tableOf(r)])
	}
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
	c.keep(name, before, stale)
	return 0, "", ""
}

const plainJSON = "application/json"

func (c *REST) answerTable(w http.ResponseWriter, r *http.Request, e entry) {
	config := map[string]string{}
	if c.vend != nil && r.Header.Get("X-Iceberg-Access-Delegation") == "vended-credentials" {
		config = c.vend()
	}
	answer(w, http.StatusOK, plainJSON, map[string]any{"metadata-location": e.loc, "metadata": e.meta, "config": config})
}

func refuse(w http.ResponseWriter, code int, typ, msg string) {
	answer(w, code, plainJSON, map[string]any{"error": map[string]any{"message": msg, "type": typ, "code": code}})
}
