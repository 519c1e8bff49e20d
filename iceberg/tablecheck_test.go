package iceberg

import (
	"errors"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
)

// refusedAs checks that an error is a halt of a class whose detail has a text.
func refusedAs(t *testing.T, err error, class, detail string) {
	t.Helper()
	halt, ok := errors.AsType[*pipeline.Halt](err)
	if !ok || halt.Class != class || !strings.Contains(halt.Detail, detail) || halt.Remedy == "" {
		t.Errorf("%v, want %s: %s", err, class, detail)
	}
}

// TestCreationIsRefused: a table that cannot be created as configured halts, and
// Refusal tells it before anything was tried.
func TestCreationIsRefused(t *testing.T) {
	st := pipeline.Stamp{Pipeline: "p", Rev: 1}
	f := func(table TableConfig, detail string) {
		t.Helper()
		s := local(t, t.TempDir(), func(c *Config) { c.Tables = map[string]TableConfig{"t": table} }, control.Memory())
		exists, err := s.Refusal(t.Context(), "t", nil)
		if exists {
			t.Error("there is no table yet")
		}
		refusedAs(t, err, pipeline.HaltRefused, detail)
		_, err = s.Table(t.Context(), "t", st)
		refusedAs(t, err, pipeline.HaltRefused, detail)
	}
	f(TableConfig{PartitionBy: []string{"custmer_id"}, Columns: map[string]string{"customer_id": "long"}}, `no column "custmer_id"`)
	f(TableConfig{PartitionBy: []string{"day(id)"}, Columns: map[string]string{"id": "long"}}, "day cannot be applied to id")
	f(TableConfig{PartitionBy: []string{"o.id"}, Columns: map[string]string{"o": "struct<id: long>"}}, `no column "o.id"`)
	f(TableConfig{PartitionBy: []string{"id", "id"}, Columns: map[string]string{"id": "long"}}, "duplicate partition name")
	f(TableConfig{Columns: map[string]string{"t": "timestamptz_ns"}}, "not supported until v3")
}

// TestRefusal: what status tells of tables that took no row yet.
func TestRefusal(t *testing.T) {
	dir, st := t.TempDir(), pipeline.Stamp{Pipeline: "p", Rev: 1}
	s := local(t, dir, nil, control.Memory())
	if exists, err := s.Refusal(t.Context(), "t", []string{p0.StreamKey()}); exists || err != nil {
		t.Fatalf("no table: %v %v", exists, err)
	}
	tab, err := s.Table(t.Context(), "t", st)
	if err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, tab, p0, -1, 10, nil); err != nil {
		t.Fatal(err)
	}
	if exists, err := s.Refusal(t.Context(), "t", []string{p0.StreamKey()}); !exists || err != nil {
		t.Errorf("our own: %v %v", exists, err)
	}

	cfg := DefaultConfig()
	cfg.Warehouse = dir
	other, err := New(cfg, pipeline.NewControl(control.Memory(), "q", "test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close(t.Context()) })
	exists, err := other.Refusal(t.Context(), "t", []string{p0.StreamKey()})
	if !exists {
		t.Error("there is a table")
	}
	refusedAs(t, err, pipeline.HaltClaimed, `from pipeline "p"`)
	if exists, err := other.Refusal(t.Context(), "t", []string{"kafka:x:y"}); !exists || err != nil {
		t.Errorf("other streams: %v %v", exists, err)
	}
}
