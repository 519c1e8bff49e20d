// Package admin serves the HTTP interface of a running worker: health, metrics,
// status, and the few things an operator may ask of a live pipeline.
//
//	GET  /healthz                       200 while the process answers
//	GET  /readyz                        200 ready or degraded, 503 starting or stopping
//	GET  /metrics                       Prometheus text
//	GET  /v1/status                     pipelines, lanes and tables as JSON
//	GET  /debug/pprof/                  profiles, as go tool pprof reads them: heap, profile (CPU) ...
//	POST /v1/pipelines/{name}/pause     stop reading; what was read is committed
//	POST /v1/pipelines/{name}/resume    read on
//	POST /v1/pipelines/{name}/flush     commit now what the tables hold
//
// It listens on loopback unless told otherwise; off loopback every path but the
// two health checks wants a bearer token. Answers are JSON, errors too:
// {"error": "..."}.
package admin
