package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

type fakePipeline struct {
	status pipeline.Status
	did    []string
	err    error
}

func (f *fakePipeline) Status() pipeline.Status     { return f.status }
func (f *fakePipeline) Pause()                      { f.did = append(f.did, "pause") }
func (f *fakePipeline) Resume()                     { f.did = append(f.did, "resume") }
func (f *fakePipeline) Flush(context.Context) error { f.did = append(f.did, "flush"); return f.err }

type world struct {
	*Server
	shop  *fakePipeline
	phase Phase
}

func newWorld(t *testing.T, token func() (string, error)) *world {
	t.Helper()
	w := &world{shop: &fakePipeline{status: pipeline.Status{Pipeline: "shop"}}, phase: Running}
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0", Token: token}, Worker{
		Version:   "v1",
		Phase:     func() Phase { return w.phase },
		Pipelines: func() map[string]Pipeline { return map[string]Pipeline{"shop": w.shop} },
		Metrics:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "firehosed_up 1\n") }),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.ln.Close() })
	w.Server = s
	return w
}

func (w *world) do(t *testing.T, method, path string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:9644"+path, nil)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	return rec.Code, strings.TrimSpace(rec.Body.String())
}

func TestRoutes(t *testing.T) {
	w := newWorld(t, nil)
	f := func(method, path string, code int, body string, header ...string) {
		t.Helper()
		if c, b := w.do(t, method, path, header...); c != code || !strings.Contains(b, body) {
			t.Errorf("%s %s = %d %s, want %d %s", method, path, c, b, code, body)
		}
	}
	f("GET", "/healthz", 200, `{"status":"ok"}`)
	f("GET", "/readyz", 200, `{"status":"ready"}`)
	f("GET", "/metrics", 200, "firehosed_up 1")
	f("GET", "/v1/status", 200, `"pipelines":[{"pipeline":"shop"`)
	f("GET", "/debug/pprof/heap?debug=1", 200, "heap profile: ")
	f("POST", "/v1/pipelines/shop/pause", 200, `"done":"pause"`)
	f("POST", "/v1/pipelines/shop/resume", 200, `"done":"resume"`)
	f("POST", "/v1/pipelines/shop/flush", 200, `"done":"flush"`)
	f("POST", "/v1/pipelines/shop/explode", 404, "pause, resume or flush")
	f("POST", "/v1/pipelines/nope/flush", 404, `no pipeline \"nope\"`)
	f("GET", "/v1/pipelines/shop/flush", 405, "")
	f("GET", "/nope", 404, "no such path")
	f("POST", "/v1/pipelines/shop/pause", 403, "", "Sec-Fetch-Site", "cross-site")
	f("GET", "/v1/status", 403, "loopback names only", "Host", "evil.example:9644")
	f("GET", "/debug/pprof/heap", 403, "loopback names only", "Host", "evil.example:9644")
	f("GET", "/debug/pprof/profile", 403, "loopback names only", "Host", "evil.example:9644")
	f("GET", "/debug/pprof/cmdline", 404, "Unknown profile")
	f("GET", "/v1/status", 200, "", "Host", "[::1]:9644")
	w.shop.err = errors.New("catalog is down")
	f("POST", "/v1/pipelines/shop/flush", 502, "catalog is down")
	if got := strings.Join(w.shop.did, " "); got != "pause resume flush flush" {
		t.Errorf("did %s", got)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t, nil)
	w.shop.status.Tables = []pipeline.TableStatus{{Name: "orders", Halt: &pipeline.Halt{Class: pipeline.HaltRewound, Detail: "d", Remedy: "r"}}}
	w.shop.status.Lanes = []pipeline.LaneStatus{{Partition: "p", Halt: &pipeline.Halt{Class: pipeline.HaltTruncated}}}
	w.shop.status.Tables = append(w.shop.status.Tables,
		pipeline.TableStatus{Name: "clicks", Down: "the catalog is down", DownFor: 90*time.Second + 5},
		pipeline.TableStatus{Name: "just now", Down: "somebody was faster", DownFor: time.Second})
	code, body := w.do(t, "GET", "/readyz")
	var r readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	if code != 200 || r.Status != "degraded" || len(r.Reasons) != 3 || !strings.Contains(r.Reasons[0], "table orders: REWOUND: d (r)") ||
		!strings.Contains(r.Reasons[1], "table clicks has taken no rows for 1m30s: the catalog is down") {
		t.Errorf("halted: %d %s", code, body)
	}
	for _, p := range []Phase{Starting, Stopping} {
		w.phase = p
		if code, body := w.do(t, "GET", "/readyz"); code != 503 || !strings.Contains(body, string(p)) {
			t.Errorf("%s: %d %s", p, code, body)
		}
		if code, _ := w.do(t, "GET", "/healthz"); code != 200 {
			t.Errorf("%s: healthz %d", p, code)
		}
	}
}

func TestToken(t *testing.T) {
	token, failure := "s3cret", error(nil)
	w := newWorld(t, func() (string, error) { return token, failure })
	f := func(header string, want int) {
		t.Helper()
		for _, path := range []string{"/metrics", "/v1/status", "/debug/pprof/heap"} {
			if c, b := w.do(t, "GET", path, "Authorization", header, "Host", "firehosed.example"); c != want || strings.Contains(b, "s3cret") {
				t.Errorf("%s with %q = %d %s, want %d", path, header, c, b, want)
			}
		}
	}
	f("", 401)
	f("Bearer ", 401)
	f("Bearer wrong", 401)
	f("s3cret", 401)
	f("Bearer s3cret", 200)
	token = "rotated"
	f("Bearer s3cret", 401)
	f("Bearer rotated", 200)
	failure = errors.New("gone")
	f("Bearer rotated", 503)
	if c, _ := w.do(t, "GET", "/healthz"); c != 200 {
		t.Errorf("healthz = %d", c)
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	w := newWorld(t, nil)
	_, err := Listen(t.Context(), Config{Listen: w.Addr()}, Worker{}, slog.New(slog.DiscardHandler))
	if err == nil || err.Error() != "admin.listen: "+w.Addr()+" is taken by another process: stop it, or choose another port (0: any free one)" {
		t.Errorf("taken: %v", err)
	}
	_, err = Listen(t.Context(), Config{Listen: "192.0.2.1:0"}, Worker{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "not an address of this machine") {
		t.Errorf("foreign: %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.Addr()+"/healthz", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	token := func() (string, error) { return "x", nil }
	f := func(c Config, want string) {
		t.Helper()
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", c.Listen, err, want)
		}
	}
	f(DefaultConfig(), "")
	f(Config{Listen: "off"}, "")
	f(Config{Listen: "localhost:0"}, "")
	f(Config{Listen: "[::1]:80"}, "")
	f(Config{Listen: "0.0.0.0:9644"}, "listen: \"0.0.0.0:9644\" can be reached from other machines: set admin.token")
	f(Config{Listen: ":9644"}, "admin.token")
	f(Config{Listen: ":9644", Token: token}, "")
	f(Config{Listen: "9644"}, "not an address and a port")
	f(Config{Listen: "127.0.0.1:99999"}, "no port")
}
