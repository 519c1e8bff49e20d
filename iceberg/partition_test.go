package iceberg

import (
	"fmt"
	"slices"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// coordinates reads the offsets in a table, sorted.
func coordinates(t *testing.T, s *Sink, name string) (out []int) {
	t.Helper()
	for r, err := range s.ScanCoordinates(t.Context(), name, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Columns[schema.ColOffset].Ints {
			out = append(out, int(n))
		}
	}
	slices.Sort(out)
	return out
}

func upTo(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// found counts the rows that a reader finds with v equal to a value.
func found(t *testing.T, s *Sink, name, val string) int64 {
	t.Helper()
	h, err := s.handle(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx := s.withFiles(t.Context())
	tab, err := b.tbl.Scan(icetable.WithRowFilter(icego.EqualTo(icego.Reference("v"), val))).ToArrowTable(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Release()
	return tab.NumRows()
}

func TestPartitions(t *testing.T) {
	vals := []any{"plain", "x/../y %2F", "", nil, "ünï"}
	for _, by := range []string{"v", "truncate(3, v)", "bucket(4, v)", "void(v)"} {
		for _, version := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s v%d", by, version), func(t *testing.T) {
				s := local(t, t.TempDir(), func(c *Config) {
					c.FormatVersion = version
					c.Tables = map[string]TableConfig{"a.b.c": {PartitionBy: []string{by}, Columns: map[string]string{"v": "string"}}}
				}, control.Memory())
				tab, err := s.Table(t.Context(), "a.b.c", pipeline.Stamp{Pipeline: "p", Rev: 1})
				if err != nil {
					t.Fatal(err)
				}
				for i := range 4 {
					if err := deliver(t, tab, p0, i*25-max(0, 1-i), i*25+25, func(i int) any { return vals[i%len(vals)] }); err != nil {
						t.Fatal(err)
					}
				}
				if got := coordinates(t, s, "a.b.c"); !slices.Equal(got, upTo(100)) {
					t.Fatalf("%d rows: %v", len(got), got)
				}
				for _, v := range vals {
					if v == nil {
						continue
					}
					if n := found(t, s, "a.b.c", v.(string)); n != 20 {
						t.Errorf("%d rows with v = %q, want 20", n, v)
					}
				}
			})
		}
	}
}

func TestTimePartitions(t *testing.T) {
	s := local(t, t.TempDir(), func(c *Config) {
		c.Tables = map[string]TableConfig{"t": {
			PartitionBy: []string{"hour(v)", "year(_fh_timestamp)"}, Columns: map[string]string{"v": "timestamptz"},
		}}
	}, control.Memory())
	tab, err := s.Table(t.Context(), "t", pipeline.Stamp{Pipeline: "p", Rev: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, tab, p0, -1, 100, func(i int) any {
		return fmt.Sprintf("2026-03-%02dT%02d:00:00Z", 1+i/25, i%2)
	}); err != nil {
		t.Fatal(err)
	}
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(100)) {
		t.Fatalf("%d rows: %v", len(got), got)
	}
	in, err := s.Inspect(t.Context(), "t")
	if err != nil || in.Records != 100 {
		t.Fatalf("%+v, %v", in, err)
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	s := local(t, t.TempDir(), func(c *Config) {
		c.OpenFiles = 3
		c.Tables = map[string]TableConfig{"t": {PartitionBy: []string{"v"}, Columns: map[string]string{"v": "string"}}}
	}, control.Memory())
	tab, err := s.Table(t.Context(), "t", pipeline.Stamp{Pipeline: "p", Rev: 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := tab.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := rows(tab.Schema(), 0, 60, func(i int) any { return i % 20 })
	defer r.Data.Release()
	if err := d.Write(t.Context(), batch(p0, -1, 60), r); err != nil {
		t.Fatal(err)
	}
	if _, _, full := d.Size(); !full || d.(*delivery).files.Load() > 3 {
		t.Fatalf("full %v, %d files open", full, d.(*delivery).files.Load())
	}
	if err := d.Commit(t.Context(), pipeline.Stamp{Pipeline: "p", Rev: 1}, []pipeline.Claim{claim(p0, -1, 60)}); err != nil {
		t.Fatal(err)
	}
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(60)) {
		t.Fatalf("%d rows: %v", len(got), got)
	}
}

func TestSortBy(t *testing.T) {
	s := local(t, t.TempDir(), func(c *Config) {
		c.Tables = map[string]TableConfig{"t": {SortBy: []string{"v desc", "_fh_offset"}, Columns: map[string]string{"v": "string"}}}
	}, control.Memory())
	tab, err := s.Table(t.Context(), "t", pipeline.Stamp{Pipeline: "p", Rev: 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := tab.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		r := rows(tab.Schema(), i*10, i*10+10, func(i int) any {
			if i%4 == 0 {
				return nil
			}
			return i % 4
		})
		if err := d.Write(t.Context(), batch(p0, i*10, i*10+10), r); err != nil {
			t.Fatal(err)
		}
		r.Data.Release()
	}
	if err := d.Commit(t.Context(), pipeline.Stamp{Pipeline: "p", Rev: 1}, []pipeline.Claim{claim(p0, -1, 40)}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r, err := range s.ScanCoordinates(t.Context(), "t", 0, "v", schema.ColOffset) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.N {
			got = append(got, fmt.Sprintf("%s %2d", r.Columns["v"].Bytes[i], r.Columns[schema.ColOffset].Ints[i]))
		}
	}
	if len(got) != 40 || got[0] != "3  3" || got[9] != "3 39" || got[10] != "2  2" || got[30] != "  0" || got[39] != " 36" {
		t.Fatalf("%q", got)
	}
}
