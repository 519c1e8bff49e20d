package iceberg

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// local returns a sink over SQLite and a local folder.
func local(t *testing.T, dir string, change func(*Config), store pipeline.Store) *Sink {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Warehouse, cfg.CommitsPerSecond, cfg.CatalogPerSecond = dir, 0, 0
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, pipeline.NewControl(store, "p", "test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// rows lays out offsets [from, to) for a table's schema, with a string column v where it has one.
func rows(s *schema.Schema, from, to int, v func(i int) any) pipeline.Rows {
	var fs []arrow.Field
	var cols []arrow.Array
	for _, name := range []string{schema.ColPartition, schema.ColOffset, schema.ColSub, "v"} {
		f := s.Column(name)
		if f == nil {
			continue
		}
		af := f.ArrowField()
		b := array.NewBuilder(memory.DefaultAllocator, af.Type)
		for i := from; i < to; i++ {
			var val any = i
			switch name {
			case schema.ColPartition, schema.ColSub:
				val = 0
			case "v":
				val = v(i)
			}
			if val == nil {
				b.AppendNull()
			} else if err := b.AppendValueFromString(fmt.Sprint(val)); err != nil {
				panic(err)
			}
		}
		fs, cols = append(fs, af), append(cols, b.NewArray())
		b.Release()
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fs, nil), cols, int64(to-from))
	for _, c := range cols {
		c.Release()
	}
	return pipeline.Rows{Data: rec, Rec: make([]int32, to-from), Sub: make([]int32, to-from)}
}

func batch(p pipeline.Partition, from, to int) *pipeline.Batch {
	return &pipeline.Batch{Span: pipeline.Span{Partition: p, From: at(from), To: at(to)}}
}

func claim(p pipeline.Partition, from, to int) pipeline.Claim {
	return pipeline.Claim{Span: pipeline.Span{Partition: p, From: at(from), To: at(to)}, Floor: at(max(from, 0)).At}
}

// deliver writes and commits [from, to) of one partition.
func deliver(t *testing.T, tab pipeline.Table, p pipeline.Partition, from, to int, v func(int) any) error {
	t.Helper()
	d, err := tab.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := rows(tab.Schema(), max(from, 0), to, v)
	defer r.Data.Release()
	if err := d.Write(t.Context(), batch(p, from, to), r); err != nil {
		t.Fatal(err)
	}
	return d.Commit(t.Context(), pipeline.Stamp{Pipeline: "p", Rev: 1}, []pipeline.Claim{claim(p, from, to)}, pipeline.CutAsked)
}

func TestLocalEndToEnd(t *testing.T) {
	dir, store := t.TempDir(), control.Memory()
	s := local(t, dir, nil, store)
	tab, err := s.Table(t.Context(), "events", pipeline.Stamp{Pipeline: "p", Rev: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := &schema.Schema{ID: -1, Fields: []schema.Field{{Name: "v", Key: "the v", Type: &schema.Type{Kind: schema.String}}}}
	sc, err := tab.Evolve(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if f := sc.Column("v"); f == nil || f.ID == 0 || f.Key != "the v" {
		t.Fatalf("column v after evolving: %+v", f)
	}
	name := func(i int) any { return fmt.Sprintf("row %d", i) }
	if err := deliver(t, tab, p0, -1, 100, name); err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, tab, p0, 100, 250, name); err != nil {
		t.Fatal(err)
	}
	in, err := s.Inspect(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	if in.State != OK || in.Records != 250 || in.Marks[p0].At != at(250) || in.Seq != 2 || in.Bound == nil {
		t.Fatalf("%+v", in)
	}
	again := local(t, dir, nil, store)
	tab, err = again.Table(t.Context(), "events", pipeline.Stamp{Pipeline: "p", Rev: 1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tab.Watermarks(t.Context(), nil)
	if err != nil || l.Marks[p0].At != at(250) || l.Stamp.Rev != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
}

// present loads a table.
func present(t *testing.T, s *Sink, name string) *base {
	t.Helper()
	h, err := s.handle(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}
