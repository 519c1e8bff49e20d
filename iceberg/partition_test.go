package iceberg

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	icego "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
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
	b := present(t, s, name)
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

// TestTimePartitions: each transform of time puts rows where Iceberg's specification
// says, before 1970 too, and a reader that filters by the column finds them.
func TestTimePartitions(t *testing.T) {
	vals := []string{"1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "2026-02-28T23:30:00Z", "2026-03-01T00:30:00Z"}
	for by, want := range map[string][]string{
		"year(v)":  {"-1", "0", "56", "<nil>"}, // years since 1970
		"month(v)": {"-1", "0", "673", "674", "<nil>"},
		"day(v)":   {"1969-12-31", "1970-01-01", "2026-02-28", "2026-03-01", "<nil>"},
		"hour(v)":  {"-1", "0", "492311", "492312", "<nil>"},
	} {
		for _, version := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s v%d", by, version), func(t *testing.T) {
				s := local(t, t.TempDir(), func(c *Config) {
					c.FormatVersion = version
					c.Tables = map[string]TableConfig{"t": {PartitionBy: []string{by}, Columns: map[string]string{"v": "timestamptz"}}}
				}, control.Memory())
				tab := open(t, s, "t")
				if err := deliver(t, tab, p0, -1, 50, func(i int) any {
					if i%5 == 4 {
						return nil
					}
					return vals[i%5]
				}); err != nil {
					t.Fatal(err)
				}
				if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(50)) {
					t.Fatalf("%d rows: %v", len(got), got)
				}
				files, _ := dataFiles(t, s, "t")
				var got []string
				for _, f := range files {
					for _, v := range f.Partition() {
						if d, ok := v.(icego.Date); ok {
							v = d.ToTime().Format("2006-01-02")
						}
						got = append(got, fmt.Sprint(v))
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("partitions %q, want %q", got, want)
				}
				for _, v := range vals {
					if n := found(t, s, "t", v); n != 10 {
						t.Errorf("%d rows with v = %s, want 10", n, v)
					}
				}
			})
		}
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
	if err := d.Commit(t.Context(), pipeline.Stamp{Pipeline: "p", Rev: 1}, []pipeline.Claim{claim(p0, -1, 60)}, pipeline.CutAsked); err != nil {
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
	if err := d.Commit(t.Context(), pipeline.Stamp{Pipeline: "p", Rev: 1}, []pipeline.Claim{claim(p0, -1, 40)}, pipeline.CutAsked); err != nil {
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

// dataFiles returns the data files of a table's head.
func dataFiles(t *testing.T, s *Sink, name string) (out []icego.DataFile, md icetable.Metadata) {
	t.Helper()
	b := present(t, s, name)
	fs := s.files(t.Context())
	list, err := b.reg.head.Manifests(fs)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for e, err := range m.Entries(fs, true) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e.DataFile())
		}
	}
	return out, b.md
}

// TestSortOrderOfOurTables: sort_by is the table's order from when its last column is
// there, and files that are in that order say so.
func TestSortOrderOfOurTables(t *testing.T) {
	dir, store := t.TempDir(), control.Memory()
	with := func(by ...string) *Sink {
		return local(t, dir, func(c *Config) { c.Tables = map[string]TableConfig{"t": {SortBy: by}} }, store)
	}
	s := with("v desc", "_fh_offset")
	tab := open(t, s, "t")
	val := func(i int) any { return i % 3 }
	if err := deliver(t, tab, p0, -1, 10, val); err != nil {
		t.Fatal(err)
	}
	if files, md := dataFiles(t, s, "t"); len(files) != 1 || *cmp.Or(files[0].SortOrderID(), new(int)) != 0 || !md.SortOrder().IsUnsorted() {
		t.Errorf("without the column: order %v, file %v", md.SortOrder(), files[0].SortOrderID())
	}
	want := &schema.Schema{ID: -1, Fields: []schema.Field{{Name: "v", Type: &schema.Type{Kind: schema.String}}}}
	if _, err := tab.Evolve(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, tab, p0, 10, 20, val); err != nil {
		t.Fatal(err)
	}
	check := func(order string, ids ...int) {
		t.Helper()
		files, md := dataFiles(t, s, "t")
		if got := fmt.Sprint(md.SortOrder()); got != order {
			t.Errorf("the table's order is %s, want %s", got, order)
		}
		var got []int
		for _, f := range files {
			if id := f.SortOrderID(); id != nil {
				got = append(got, *id)
			} else {
				got = append(got, 0)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, ids) {
			t.Errorf("files have the orders %v, want %v", got, ids)
		}
	}
	v, off := tab.Schema().Column("v").ID, tab.Schema().Column(schema.ColOffset).ID
	first := fmt.Sprintf("1: [\n%d desc nulls-last\n%d asc nulls-first\n]", v, off)
	check(first, 0, 1)

	// Another order, and the first again: it has its number already.
	s = with("_fh_offset desc")
	tab = open(t, s, "t")
	if err := deliver(t, tab, p0, 20, 30, val); err != nil {
		t.Fatal(err)
	}
	check(fmt.Sprintf("2: [\n%d desc nulls-last\n]", off), 0, 1, 2)
	s = with("v desc", "_fh_offset")
	tab = open(t, s, "t")
	if err := deliver(t, tab, p0, 30, 40, val); err != nil {
		t.Fatal(err)
	}
	check(first, 0, 1, 1, 2)
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(40)) {
		t.Errorf("rows: %v", got)
	}
}

// TestSortOrderOfSeveralRowGroups: a file with more than one sorted run is not in
// order as a whole, and does not say that it is.
func TestSortOrderOfSeveralRowGroups(t *testing.T) {
	s := local(t, t.TempDir(), func(c *Config) {
		c.Tables = map[string]TableConfig{"t": {SortBy: []string{"_fh_offset desc"}}}
	}, control.Memory())
	tab := open(t, s, "t")
	d := begin(t, tab)
	for i := range 2 {
		r := rows(tab.Schema(), i*10, i*10+10, nil)
		if err := d.Write(t.Context(), batch(p0, i*10, i*10+10), r); err != nil {
			t.Fatal(err)
		}
		r.Data.Release()
		for _, l := range d.mu.lanes {
			for _, f := range l.mu.open {
				f.sort.limit = 1 // every batch is a run from here on
			}
		}
	}
	if err := d.Commit(t.Context(), rev1, []pipeline.Claim{claim(p0, -1, 20)}, pipeline.CutAsked); err != nil {
		t.Fatal(err)
	}
	r := rows(tab.Schema(), 20, 30, nil)
	defer r.Data.Release()
	d = begin(t, tab)
	if err := d.Write(t.Context(), batch(p0, 20, 30), r); err != nil {
		t.Fatal(err)
	}
	for _, l := range d.mu.lanes {
		for _, f := range l.mu.open {
			f.sort.limit = 1
		}
	}
	r2 := rows(tab.Schema(), 30, 40, nil)
	defer r2.Data.Release()
	r3 := rows(tab.Schema(), 40, 50, nil)
	defer r3.Data.Release()
	for i, r := range []pipeline.Rows{r2, r3} {
		if err := d.Write(t.Context(), batch(p0, 30+i*10, 40+i*10), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Commit(t.Context(), rev1, []pipeline.Claim{claim(p0, 20, 50)}, pipeline.CutAsked); err != nil {
		t.Fatal(err)
	}
	files, _ := dataFiles(t, s, "t")
	var got []int
	for _, f := range files {
		got = append(got, *cmp.Or(f.SortOrderID(), new(int)))
	}
	slices.Sort(got)
	if !slices.Equal(got, []int{0, 1}) {
		t.Errorf("orders %v, want 1 for the file with one run and 0 for the other", got)
	}
}

// TestSortOrderOfOthers: rows of a table that others made are sorted as it says, by
// transforms too, unless it says something that we cannot compare.
func TestSortOrderOfOthers(t *testing.T) {
	field := func(id int, tr icego.Transform, desc bool, nulls icetable.NullOrder) icetable.SortField {
		dir := icetable.SortASC
		if desc {
			dir = icetable.SortDESC
		}
		return icetable.SortField{SourceIDs: []int{id}, Transform: tr, Direction: dir, NullOrder: nulls}
	}
	f := func(name, want string, id int, fields ...icetable.SortField) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			s := local(t, t.TempDir(), nil, control.Memory())
			foreign(t, s, fields...)
			tab := open(t, s, "t")
			vals := []any{"b1", nil, "a2", "b0", "a3"}
			if err := deliver(t, tab, p0, -1, len(vals), func(i int) any { return vals[i] }); err != nil {
				t.Fatal(err)
			}
			var got []byte
			for r, err := range s.ScanCoordinates(t.Context(), "t", 0, "v") {
				if err != nil {
					t.Fatal(err)
				}
				for i := range r.N {
					got = append(append(got, r.Columns["v"].Bytes[i]...), ' ')
				}
			}
			files, _ := dataFiles(t, s, "t")
			if claimed := *cmp.Or(files[0].SortOrderID(), new(int)); string(got) != want || claimed != id {
				t.Errorf("rows %q under order %d, want %q and %d", got, claimed, want, id)
			}
		})
	}
	f("unsorted", "b1  a2 b0 a3 ", 0)
	f("value", "a2 a3 b0 b1  ", 1, field(1, icego.IdentityTransform{}, false, icetable.NullsLast))
	f("descending", " b1 b0 a3 a2 ", 1, field(1, icego.IdentityTransform{}, true, icetable.NullsFirst))
	f("transform", " a2 a3 b1 b0 ", 1, field(1, icego.TruncateTransform{Width: 1}, false, icetable.NullsFirst))
	f("transform, then value", " a3 a2 b1 b0 ", 1, field(1, icego.TruncateTransform{Width: 1}, false, icetable.NullsFirst),
		field(1, icego.IdentityTransform{}, true, icetable.NullsFirst))
	f("unknown", "b1  a2 b0 a3 ", 0, field(3, icego.IdentityTransform{}, false, icetable.NullsFirst))
}

// foreign makes table t with a string v and a struct, sorted by fields.
func foreign(t *testing.T, s *Sink, fields ...icetable.SortField) {
	t.Helper()
	cat, err := s.catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.CreateNamespace(t.Context(), []string{"default"}, nil); err != nil {
		t.Fatal(err)
	}
	order := icetable.UnsortedSortOrder
	if len(fields) > 0 {
		if order, err = icetable.NewSortOrder(1, fields); err != nil {
			t.Fatal(err)
		}
	}
	sc := icego.NewSchema(0, icego.NestedField{ID: 1, Name: "v", Type: icego.PrimitiveTypes.String},
		icego.NestedField{ID: 2, Name: "s", Type: &icego.StructType{FieldList: []icego.NestedField{
			{ID: 3, Name: "in", Type: icego.PrimitiveTypes.String},
		}}})
	if _, err := cat.CreateTable(s.withFiles(t.Context()), []string{"default", "t"}, sc, icecat.WithSortOrder(order),
		icecat.WithLocation("file://"+t.TempDir())); err != nil {
		t.Fatal(err)
	}
}

// TestOrderOfFloats: Iceberg's, which tells zeros apart and has NaN above all.
func TestOrderOfFloats(t *testing.T) {
	in := []float64{math.NaN(), math.Inf(1), 1, 0, math.Copysign(0, -1), -1, math.Inf(-1)}
	slices.Reverse(in)
	for i := 1; i < len(in); i++ {
		if floatOrder(in[i-1]) >= floatOrder(in[i]) {
			t.Errorf("%v is not before %v", in[i-1], in[i])
		}
	}
}
