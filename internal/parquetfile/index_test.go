package parquetfile

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	pqgo "github.com/parquet-go/parquet-go"

	"github.com/firehosed/firehosed/schema"
)

// checkIndexes checks that the indexes of pages and the filters are there where they are
// asked for, and true: parquet-go reads them, and the pages at the places given.
func checkIndexes(t testing.TB, s *schema.Schema, o Options, data []byte) {
	t.Helper()
	f, err := pqgo.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for g, group := range f.RowGroups() {
		for i, chunk := range group.ColumnChunks() {
			name := f.Schema().Columns()[i][0]
			if filter := chunk.BloomFilter(); slices.Contains(o.Bloom, name) && len(f.Schema().Columns()[i]) == 1 && s.Column(name).Type.Kind != schema.Bool {
				checkFilter(t, name, chunk, filter)
			} else if filter != nil {
				t.Fatalf("column %s has a filter", name)
			}
			offsets, err := chunk.OffsetIndex()
			if !o.PageIndex {
				if err == nil && offsets != nil {
					t.Fatalf("row group %d, column %s has an index", g, name)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			checkPages(t, name, group.NumRows(), chunk, offsets)
		}
	}
}

// checkPages reads every page at its place.
func checkPages(t testing.TB, name string, rows int64, chunk pqgo.ColumnChunk, offsets pqgo.OffsetIndex) {
	t.Helper()
	index, err := chunk.ColumnIndex()
	if err != nil && !errors.Is(err, pqgo.ErrMissingColumnIndex) {
		t.Fatal(err)
	}
	pages := chunk.Pages()
	defer pages.Close()
	for p := range offsets.NumPages() {
		if err := pages.SeekToRow(offsets.FirstRowIndex(p)); err != nil {
			t.Fatal(err)
		}
		page, err := pages.ReadPage()
		if err != nil {
			t.Fatalf("column %s, page %d: %v", name, p, err)
		}
		next := rows
		if p+1 < offsets.NumPages() {
			next = offsets.FirstRowIndex(p + 1)
		}
		if page.NumRows() != next-offsets.FirstRowIndex(p) {
			t.Fatalf("column %s, page %d of %d rows, the index says %d to %d", name, p, page.NumRows(), offsets.FirstRowIndex(p), next)
		}
		values := make([]pqgo.Value, page.NumValues())
		n, err := page.Values().ReadValues(values)
		if err != nil && !errors.Is(err, io.EOF) || n != len(values) {
			t.Fatalf("column %s, page %d: %d of %d values, %v", name, p, n, len(values), err)
		}
		if index != nil && index.NumPages() > 0 { // else its values have no order
			checkBounds(t, name, p, chunk.Type(), index, values)
		}
		pqgo.Release(page)
	}
}

func checkBounds(t testing.TB, name string, p int, typ pqgo.Type, index pqgo.ColumnIndex, values []pqgo.Value) {
	t.Helper()
	compare := typ.Compare
	if strings.HasPrefix(name, "dec") && typ.Kind() == pqgo.FixedLenByteArray {
		compare = func(a, b pqgo.Value) int { // which parquet-go takes for bytes without a sign
			return decimalOf(physFixed, a.ByteArray()).Cmp(decimalOf(physFixed, b.ByteArray()))
		}
	}
	nulls := int64(0)
	for _, v := range values {
		switch {
		case v.IsNull():
			nulls++
		case v.Kind() == pqgo.Double && math.IsNaN(v.Double()), v.Kind() == pqgo.Float && math.IsNaN(float64(v.Float())):
		case compare(index.MinValue(p), v) > 0 || compare(v, index.MaxValue(p)) > 0:
			t.Fatalf("column %s, page %d: %v is not within %v and %v", name, p, v, index.MinValue(p), index.MaxValue(p))
		}
	}
	if index.NullCount(p) != nulls || index.NullPage(p) != (nulls == int64(len(values))) {
		t.Fatalf("column %s, page %d: %d nulls of %d, the index says %d, all: %t", name, p, nulls, len(values), index.NullCount(p), index.NullPage(p))
	}
}

// checkFilter checks that a filter has all values, and few others.
func checkFilter(t testing.TB, name string, chunk pqgo.ColumnChunk, filter pqgo.BloomFilter) {
	t.Helper()
	pages := chunk.Pages()
	defer pages.Close()
	n := 0
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		values := make([]pqgo.Value, page.NumValues())
		if k, err := page.Values().ReadValues(values); err != nil && !errors.Is(err, io.EOF) || k != len(values) {
			t.Fatal(k, err)
		}
		for _, v := range values {
			if v.IsNull() {
				continue
			}
			n++
			if filter == nil {
				t.Fatalf("column %s has no filter", name)
			}
			if ok, err := filter.Check(v); err != nil || !ok {
				t.Fatalf("column %s: %v is not in the filter, %v", name, v, err)
			}
		}
		pqgo.Release(page)
	}
	if n == 0 || chunk.Type().Kind() != pqgo.ByteArray {
		return
	}
	found := 0
	for i := range 1000 {
		if ok, _ := filter.Check(pqgo.ByteArrayValue([]byte{0xff, byte(i), byte(i >> 8), 0xfe, 0xff})); ok {
			found++
		}
	}
	if found > 100 {
		t.Errorf("column %s: %d of 1000 other values are in the filter", name, found)
	}
}
