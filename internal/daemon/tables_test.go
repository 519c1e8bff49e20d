package daemon

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/iceberg"
	"github.com/firehosed/firehosed/internal/admin"
	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
)

// serve runs a file that was loaded and then changed.
func serve(t *testing.T, f *File) *life {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &life{t: t, log: &logBuffer{}, out: &logBuffer{}, stop: cancel, code: make(chan int, 1)}
	log, err := telemetry.NewLogger(l.log, telemetry.LogConfig{Level: "debug", Format: "json"}, false)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{file: f, log: log, metrics: telemetry.New(Version()), mem: newMemory(f.MemoryBudget), keep: func(context.Context) {}}
	d.phase.Store(admin.Starting)
	go func() { l.code <- exitCode(d.serve(ctx, 0, nil, io.Discard)) }()
	t.Cleanup(cancel)
	l.listening()
	return l
}

// TestTableThatCannotBeMade: validate finds it, and should it come to it all the
// same, the table halts where everybody looks.
func TestTableThatCannotBeMade(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	produce(t, addr, `{"a":1}`)
	file := write(t, quick(addr, lake, ""))
	f, _, err := load(file, lookupIn(nil))
	if err != nil {
		t.Fatal(err)
	}
	cfg := f.Pipelines["shop"].Sink.cfg.(*iceberg.Config)
	cfg.Tables = map[string]iceberg.TableConfig{"shop.orders": {PartitionBy: []string{"custmer_id"}}}
	l := serve(t, f)
	l.wait("degraded", func() bool { _, body := l.get("/readyz"); return strings.Contains(body, "degraded") })
	_, body := l.get("/readyz")
	wants(t, body, "table shop.orders: REFUSED", `no column \"custmer_id\"`, "correct what the configuration says of the table")
	_, metrics := l.get("/metrics")
	wants(t, metrics, `firehosed_table_halted{class="REFUSED",pipeline="shop",table="shop.orders"} 1`)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}

	u, err := build(t.Context(), f, "shop", newMemory(f.MemoryBudget), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.close(context.Background()) })
	st := u.state(t.Context())
	if len(st.Tables) != 2 || st.Tables[0].Name != "shop.orders" || st.Tables[0].State != pipeline.HaltRefused || !st.Tables[0].halted() {
		t.Errorf("%+v", st)
	}
	var text strings.Builder
	st.text(&text)
	wants(t, text.String(), "HALTED: table shop.orders is REFUSED")
}
