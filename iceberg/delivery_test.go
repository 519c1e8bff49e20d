package iceberg

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

var rev1 = pipeline.Stamp{Pipeline: "p", Rev: 1}

func part0(i int) pipeline.Partition {
	p := p0
	p.ID = strconv.Itoa(i)
	return p
}

func open(t *testing.T, s *Sink, name string) pipeline.Table {
	t.Helper()
	tab, err := s.Table(t.Context(), name, rev1)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func begin(t *testing.T, tab pipeline.Table) *delivery {
	t.Helper()
	d, err := tab.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.(*delivery)
}

func withV(c *Config) {
	c.Tables = map[string]TableConfig{"t": {Columns: map[string]string{"v": "string"}}}
}

func TestLanesWriteAtTheSameTime(t *testing.T) {
	s := local(t, t.TempDir(), withV, control.Memory())
	tab := open(t, s, "t")
	d := begin(t, tab)
	var wg sync.WaitGroup
	var claims []pipeline.Claim
	for lane := range 8 {
		claims = append(claims, claim(part0(lane), -1, 40))
		wg.Go(func() {
			for i := range 4 {
				r := rows(tab.Schema(), i*10, i*10+10, func(i int) any { return i })
				if err := d.Write(context.Background(), batch(part0(lane), i*10, i*10+10), r); err != nil {
					t.Error(err)
				}
				r.Data.Release()
			}
		})
	}
	wg.Wait()
	if err := d.Commit(t.Context(), rev1, claims, pipeline.CutAsked); err != nil {
		t.Fatal(err)
	}
	if held, output, _ := d.Size(); held != 0 || output == 0 {
		t.Errorf("%d bytes held, %d put out", held, output)
	}
	files := 0
	for r, err := range s.ScanCoordinates(t.Context(), "t", 0) {
		if err != nil {
			t.Fatal(err)
		}
		files++
		if got := r.Columns[schema.ColOffset].Ints; !slices.IsSorted(got) || len(got) != 40 {
			t.Errorf("%s: offsets %v", r.File, got)
		}
	}
	if files != 8 {
		t.Errorf("%d files, want one for each lane", files)
	}
}

func TestSchemaMovesWhileADeliveryIsFilled(t *testing.T) {
	s := local(t, t.TempDir(), nil, control.Memory())
	tab := open(t, s, "t")
	d := begin(t, tab)
	old := tab.Schema()
	write := func(sc *schema.Schema, from, to int) {
		t.Helper()
		r := rows(sc, from, to, func(i int) any { return i })
		defer r.Data.Release()
		if err := d.Write(t.Context(), batch(p0, from, to), r); err != nil {
			t.Fatal(err)
		}
	}
	write(old, 0, 10)
	evolve := func(k schema.Kind) *schema.Schema {
		t.Helper()
		sc, err := tab.Evolve(t.Context(), &schema.Schema{ID: -1, Fields: []schema.Field{{Name: "v", Type: &schema.Type{Kind: k}}}})
		if err != nil {
			t.Fatal(err)
		}
		return sc
	}
	narrow := evolve(schema.Int)
	write(narrow, 10, 20)
	wide := evolve(schema.Long)
	if k := wide.Column("v").Type.Kind; k != schema.Long {
		t.Fatalf("v is %v after it was promoted", wide.Column("v").Type)
	}
	write(wide, 20, 30)
	write(narrow, 30, 40) // laid out just before the promotion
	if err := d.Commit(t.Context(), rev1, []pipeline.Claim{claim(p0, -1, 40)}, pipeline.CutAsked); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for r, err := range s.ScanCoordinates(t.Context(), "t", 0, "v") {
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Columns["v"].Ints {
			sum += n
		}
	}
	if want := int64((10 + 39) * 30 / 2); sum != want {
		t.Fatalf("sum of v is %d, want %d", sum, want)
	}
}

func TestTwoWorkersAddOneColumn(t *testing.T) {
	r := newRig(t)
	a, b := r.worker(), r.worker()
	long := &schema.Schema{ID: -1, Fields: []schema.Field{{Name: "x", Type: &schema.Type{Kind: schema.Long}}}}
	text := &schema.Schema{ID: -1, Fields: []schema.Field{{Name: "x", Type: &schema.Type{Kind: schema.String}}}}
	r.before(func() {
		if _, err := b.Evolve(t.Context(), text); err != nil {
			t.Error(err)
		}
	})
	got, err := a.Evolve(t.Context(), long)
	r.must(err)
	if k := got.Column("x").Type.Kind; k != schema.String {
		t.Fatalf("x is %v, want the winner's string", got.Column("x").Type)
	}
	if n := len(r.meta().Schemas()); n != 2 {
		t.Fatalf("%d schemas", n)
	}
}

func TestFilesEndAtTheirTargetSize(t *testing.T) {
	s := local(t, t.TempDir(), func(c *Config) { withV(c); c.TargetFileSize = 1 << 20; c.Codec = "none" }, control.Memory())
	tab := open(t, s, "t")
	d := begin(t, tab)
	for i := range 6 {
		r := rows(tab.Schema(), i*1000, i*1000+1000, func(i int) any {
			sum := sha512.Sum512([]byte(strconv.Itoa(i)))
			return fmt.Sprintf("%x%x%x%x", sum, sum[:60], sum[7:], sum[11:])
		})
		if err := d.Write(t.Context(), batch(p0, i*1000, i*1000+1000), r); err != nil {
			t.Fatal(err)
		}
		r.Data.Release()
	}
	if _, _, full := d.Size(); !full {
		t.Error("a file reached its size, the delivery is not full")
	}
	if err := d.Commit(t.Context(), rev1, []pipeline.Claim{claim(p0, -1, 6000)}, pipeline.CutAsked); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, s, "t")); n < 2 || n > 4 {
		t.Errorf("%d files of 3 MB in all", n)
	}
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(6000)) {
		t.Fatalf("%d rows", len(got))
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := local(t, dir, withV, control.Memory())
	tab := open(t, s, "t")
	d := begin(t, tab)
	r := rows(tab.Schema(), 0, 10, func(i int) any { return i })
	defer r.Data.Release()
	if err := d.Write(t.Context(), batch(p0, 0, 10), r); err != nil {
		t.Fatal(err)
	}
	if held, _, _ := d.Size(); held == 0 {
		t.Error("nothing is held")
	}
	for range 2 {
		if err := d.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if held, _, _ := d.Size(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
	if n := countSuffix(filesUnder(t, dir), ".parquet"); n != 0 {
		t.Errorf("%d files", n)
	}
	if err := d.Write(t.Context(), batch(p0, 10, 20), r); err == nil {
		t.Error("an ended delivery took rows")
	}
}

func TestRowsOfNoKnownSchemaAreRefused(t *testing.T) {
	s := local(t, t.TempDir(), withV, control.Memory())
	tab := open(t, s, "t")
	d := begin(t, tab)
	other := &schema.Schema{Fields: []schema.Field{{ID: 99, Name: "v", Type: &schema.Type{Kind: schema.String}}}}
	r := rows(other, 0, 10, func(i int) any { return i })
	defer r.Data.Release()
	if err := d.Write(t.Context(), batch(p0, 0, 10), r); err == nil {
		t.Fatal("rows with an unknown field id were taken")
	}
	if err := d.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lossy is a bucket in which data files go missing, or short, after they were written.
type lossy struct {
	objstore.Bucket
	stat func(objstore.Object, error) (objstore.Object, error)
}

func (b lossy) Stat(ctx context.Context, key string) (objstore.Object, error) {
	o, err := b.Bucket.Stat(ctx, key)
	if strings.HasSuffix(key, ".parquet") {
		return b.stat(o, err)
	}
	return o, err
}

func TestLostOrShortFilesAreNotCommitted(t *testing.T) {
	for name, stat := range map[string]func(objstore.Object, error) (objstore.Object, error){
		"lost":  func(objstore.Object, error) (objstore.Object, error) { return objstore.Object{}, fs.ErrNotExist },
		"short": func(o objstore.Object, err error) (objstore.Object, error) { o.Size--; return o, err },
	} {
		s := local(t, t.TempDir(), withV, control.Memory())
		open := s.storage.open
		s.storage.open = func(ctx context.Context, root string) (objstore.Bucket, error) {
			b, err := open(ctx, root)
			return lossy{b, stat}, err
		}
		tab, err := s.Table(t.Context(), "t", rev1)
		if err != nil {
			t.Fatal(err)
		}
		d := begin(t, tab)
		r := rows(tab.Schema(), 0, 10, func(i int) any { return i })
		if err := d.Write(t.Context(), batch(p0, 0, 10), r); err != nil {
			t.Fatal(err)
		}
		r.Data.Release()
		if err := d.Commit(t.Context(), rev1, []pipeline.Claim{claim(p0, -1, 10)}, pipeline.CutAsked); err == nil {
			t.Errorf("%s: committed", name)
		}
		if l, err := tab.Watermarks(t.Context(), nil); err != nil || len(l.Marks) != 0 {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

// Workers that share a table, each partition claimed by two of them: every row is in
// once, whoever won.
func TestRivalWorkers(t *testing.T) {
	dir, store := t.TempDir(), control.Memory()
	const workers, parts, commits = 4, 2, 5
	open(t, local(t, dir, withV, store), "t")
	var wg sync.WaitGroup
	for w := range workers {
		s := local(t, dir, withV, store)
		tab := open(t, s, "t")
		p := part0(w % parts)
		wg.Go(func() {
			for {
				l, err := tab.Watermarks(context.Background(), []pipeline.Partition{p})
				if err != nil {
					t.Error(err)
					return
				}
				from, n := 0, -1
				if m, ok := l.Marks[p]; ok {
					from, _ = strconv.Atoi(strings.TrimLeft(string(m.At.At), "0"))
					n = from
				}
				if from >= commits*10 {
					return
				}
				d, err := tab.Begin(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				r := rows(tab.Schema(), from, from+10, func(i int) any { return i })
				if err = d.Write(context.Background(), batch(p, from, from+10), r); err == nil {
					err = d.Commit(context.Background(), rev1, []pipeline.Claim{claim(p, n, from+10)}, pipeline.CutAsked)
				}
				r.Data.Release()
				if err != nil && !errors.Is(err, pipeline.ErrStale) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s := local(t, dir, withV, store)
	got := coordinates(t, s, "t")
	var want []int
	for range parts {
		want = append(want, upTo(commits*10)...)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	in, err := s.Inspect(t.Context(), "t")
	if err != nil || in.State != OK || in.Seq != parts*commits || in.Records != int64(len(want)) {
		t.Fatalf("%+v, %v", in, err)
	}
}

// TestFilesSayWhyTheyEnded: the cause of a commit is the reason of the files that it ends.
func TestFilesSayWhyTheyEnded(t *testing.T) {
	s := local(t, t.TempDir(), nil, control.Memory())
	var got []string
	s.obs = Observer{File: func(_ string, _ int64, small bool, reason string) { got = append(got, fmt.Sprint(small, " ", reason)) }}
	tab := open(t, s, "t")
	for i, cause := range []string{pipeline.CutMemory, pipeline.CutInterval} {
		d := begin(t, tab)
		r := rows(tab.Schema(), i*10, i*10+10, nil)
		if err := d.Write(t.Context(), batch(p0, i*10, i*10+10), r); err != nil {
			t.Fatal(err)
		}
		r.Data.Release()
		if err := d.Commit(t.Context(), rev1, []pipeline.Claim{claim(p0, i*10-max(0, 1-i), i*10+10)}, cause); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"true memory", "true interval"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRowGroupsFitTheMemory writes more than a row group may take of little memory: the
// rest has to be out of it already.
func TestRowGroupsFitTheMemory(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Warehouse = t.TempDir()
	withV(&cfg)
	s, err := New(cfg, pipeline.NewControl(control.Memory(), "p", "test"), WithMemory(32<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(t.Context()) }()
	tab := open(t, s, "t")
	d := begin(t, tab)
	long := strings.Repeat("x", 1000)
	for i := 0; i < 20_000; i += 1000 {
		r := rows(tab.Schema(), i, i+1000, func(i int) any { return strconv.Itoa(i) + long })
		if err := d.Write(t.Context(), batch(p0, i, i+1000), r); err != nil {
			t.Fatal(err)
		}
		r.Data.Release()
		if held, _, _ := d.Size(); held > 3*minRowGroupBytes {
			t.Fatalf("%d bytes are held after %d rows of %d bytes, a row group has %d", held, i+1000, len(long), minRowGroupBytes)
		}
	}
	if err := d.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}
