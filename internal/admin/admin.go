package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// Pipeline is what the interface needs of a running pipeline.
type Pipeline interface {
	Status() pipeline.Status
	Flush(ctx context.Context) error
	Pause()
	Resume()
}

// Phase is where the worker is in its life.
type Phase string

// The phases. Only Running is ready.
const (
	Starting Phase = "starting"
	Running  Phase = "running"
	Stopping Phase = "stopping"
)

// Worker is the process as the interface shows it. Its functions are called by
// many requests at a time and must not wait.
type Worker struct {
	Version   string
	Phase     func() Phase
	Pipelines func() map[string]Pipeline
	Metrics   http.Handler
}

// flushWait bounds a flush that was asked for.
const flushWait = 60 * time.Second

// Server is the admin interface. Listen makes it, Run serves it.
type Server struct {
	cfg    Config
	worker Worker
	log    *slog.Logger
	ln     net.Listener
}

// Listen takes the configured address. The caller calls Run, which gives it back.
func Listen(ctx context.Context, cfg Config, w Worker, log *slog.Logger) (*Server, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("admin.listen: %s is taken by another process: stop it, or choose another port (0: any free one)", cfg.Listen)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("admin.listen: user %d may not listen on %s: choose a port above 1023", os.Getuid(), cfg.Listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("admin.listen: %s is not an address of this machine: use 127.0.0.1, or 0.0.0.0 with a token", cfg.Listen)
	case err != nil:
		return nil, fmt.Errorf("admin.listen: %s: %w", cfg.Listen, err)
	}
	return &Server{cfg: cfg, worker: w, log: log, ln: ln}, nil
}

// Addr returns the address that was taken, with its port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      flushWait + 10*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	s.log.Info("admin listening", slog.String("addr", s.Addr()))
	if err := srv.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin interface on %s: %w", s.Addr(), err)
	}
	return nil
}

// Handler returns the interface without a listener, for tests.
func (s *Server) Handler() http.Handler {
	open := http.NewServeMux()
	open.HandleFunc("GET /healthz", s.healthz)
	open.HandleFunc("GET /readyz", s.readyz)
	guarded := http.NewServeMux()
	guarded.Handle("GET /metrics", s.worker.Metrics)
	guarded.HandleFunc("GET /v1/status", s.status)
	guarded.HandleFunc("POST /v1/pipelines/{name}/{action}", s.act)
	guarded.HandleFunc("GET /debug/pprof/", pprof.Index)
	guarded.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	open.Handle("/metrics", s.guard(guarded))
	open.Handle("/debug/pprof/", s.guard(guarded))
	open.Handle("/v1/", s.guard(guarded))
	open.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such path: "+r.URL.Path)
	})
	return http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(open, 1<<10))
}

// guard lets requests through that carry the token, or, where none is configured,
// that were sent to this machine under one of its loopback names: a web page in a
// local browser that rebinds its own name is not one of them.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Token == nil {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			if !loopback(strings.Trim(host, "[]")) {
				fail(w, http.StatusForbidden, "this interface answers on loopback names only: use localhost or 127.0.0.1")
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		want, err := s.cfg.Token()
		if err != nil || want == "" {
			s.log.Error("read admin.token", slog.Any("err", err))
			fail(w, http.StatusServiceUnavailable, "the token of this interface cannot be read")
			return
		}
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
		if !ok || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "a bearer token is wanted: Authorization: Bearer ...")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the answer of /readyz.
type readiness struct {
	Status  string   `json:"status"` // ready, degraded, or the phase
	Reasons []string `json:"reasons,omitempty"`
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if p := s.worker.Phase(); p != Running {
		answer(w, http.StatusServiceUnavailable, readiness{Status: string(p)})
		return
	}
	r := readiness{Status: "ready"}
	for _, p := range s.worker.Pipelines() {
		r.Reasons = append(r.Reasons, troubles(p.Status())...)
	}
	if len(r.Reasons) > 0 {
		r.Status = "degraded" // the rest goes on, and a restart would not help
	}
	answer(w, http.StatusOK, r)
}

// downWait is how long a table may take no rows before it counts as trouble: what
// lasts as long as a commit that is tried again is none.
const downWait = 30 * time.Second

// troubles lists what of a pipeline waits for an operator, or for a service.
func troubles(st pipeline.Status) []string {
	var out []string
	if st.Ended != "" {
		out = append(out, fmt.Sprintf("pipeline %s has ended: %s", st.Pipeline, st.Ended))
	}
	for i := range st.Tables {
		if t := &st.Tables[i]; t.Halt != nil {
			out = append(out, fmt.Sprintf("pipeline %s: table %s: %v", st.Pipeline, t.Name, t.Halt))
		} else if t.Down != "" && t.DownFor >= downWait {
			out = append(out, fmt.Sprintf("pipeline %s: table %s has taken no rows for %v: %s", st.Pipeline, t.Name, t.DownFor.Truncate(time.Second), t.Down))
		}
	}
	for i := range st.Lanes {
		if l := &st.Lanes[i]; l.Halt != nil {
			out = append(out, fmt.Sprintf("pipeline %s: partition %s: %v", st.Pipeline, l.Partition, l.Halt))
		}
	}
	return out
}

// Status is the answer of /v1/status.
type Status struct {
	Version   string            `json:"version"`
	Phase     Phase             `json:"phase"`
	Pipelines []pipeline.Status `json:"pipelines"`
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	st := Status{Version: s.worker.Version, Phase: s.worker.Phase(), Pipelines: []pipeline.Status{}}
	ps := s.worker.Pipelines()
	for _, name := range slices.Sorted(maps.Keys(ps)) {
		st.Pipelines = append(st.Pipelines, ps[name].Status())
	}
	answer(w, http.StatusOK, st)
}

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	name, action := r.PathValue("name"), r.PathValue("action")
	p, ok := s.worker.Pipelines()[name]
	if !ok {
		fail(w, http.StatusNotFound, fmt.Sprintf("no pipeline %q is running here", name))
		return
	}
	switch action {
	case "pause":
		p.Pause()
	case "resume":
		p.Resume()
	case "flush":
		ctx, cancel := context.WithTimeout(r.Context(), flushWait)
		defer cancel()
		if err := p.Flush(ctx); err != nil {
			fail(w, http.StatusBadGateway, "flush: "+err.Error())
			return
		}
	default:
		fail(w, http.StatusNotFound, fmt.Sprintf("no action %q: pause, resume or flush", action))
		return
	}
	s.log.Info("admin request", slog.String("pipeline", name), slog.String("action", action), slog.String("from", r.RemoteAddr))
	answer(w, http.StatusOK, map[string]string{"pipeline": name, "done": action})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone, or the next line tells it
}

func fail(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]string{"error": message})
}
