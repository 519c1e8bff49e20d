package parquetfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	pqgo "github.com/parquet-go/parquet-go"
)

// sameByBoth fails if arrow-go and parquet-go do not read the same levels and values from
// every column chunk.
func sameByBoth(t testing.TB, data []byte) {
	t.Helper()
	a, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := pqgo.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	groups := b.RowGroups()
	if len(groups) != a.NumRowGroups() {
		t.Fatalf("%d row groups, and %d", a.NumRowGroups(), len(groups))
	}
	for g := range groups {
		chunks := groups[g].ColumnChunks()
		if len(chunks) != a.MetaData().Schema.NumColumns() {
			t.Fatalf("%d columns, and %d", a.MetaData().Schema.NumColumns(), len(chunks))
		}
		for i := range chunks {
			first := streamOfArrow(t, a, g, i)
			second := streamOfParquetGo(t, chunks[i])
			name := a.MetaData().Schema.Column(i).Path()
			if len(first) != len(second) {
				t.Fatalf("row group %d, column %s: %d entries, and %d", g, name, len(first), len(second))
			}
			for k := range first {
				if first[k] != second[k] {
					t.Fatalf("row group %d, column %s, entry %d: arrow-go reads %q, parquet-go %q", g, name, k, first[k], second[k])
				}
			}
		}
	}
}

// streamOfArrow returns the entries of a column chunk as text: repetition level,
// definition level, value.
func streamOfArrow(t testing.TB, r *file.Reader, group, column int) (out []string) {
	t.Helper()
	c, err := r.RowGroup(group).Column(column)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Descriptor()
	add := func(defs, reps []int16, n int64, value func(i int) any) {
		next := 0
		for i := range int(n) {
			def, rep := d.MaxDefinitionLevel(), int16(0)
			if def > 0 {
				def = defs[i]
			}
			if d.MaxRepetitionLevel() > 0 {
				rep = reps[i]
			}
			text := fmt.Sprintf("%d %d", rep, def)
			if def == d.MaxDefinitionLevel() {
				text += fmt.Sprintf(" %v", value(next))
				next++
			}
			out = append(out, text)
		}
	}
	const batch = 1000
	defs, reps := make([]int16, batch), make([]int16, batch)
	for c.HasNext() {
		var n int64
		var err error
		switch c := c.(type) {
		case *file.BooleanColumnChunkReader:
			v := make([]bool, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return v[i] })
		case *file.Int32ColumnChunkReader:
			v := make([]int32, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return v[i] })
		case *file.Int64ColumnChunkReader:
			v := make([]int64, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return v[i] })
		case *file.Float32ColumnChunkReader:
			v := make([]float32, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return v[i] })
		case *file.Float64ColumnChunkReader:
			v := make([]float64, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return v[i] })
		case *file.ByteArrayColumnChunkReader:
			v := make([]parquet.ByteArray, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return hex.EncodeToString(v[i]) })
		case *file.FixedLenByteArrayColumnChunkReader:
			v := make([]parquet.FixedLenByteArray, batch)
			n, _, err = c.ReadBatch(batch, v, defs, reps)
			add(defs, reps, n, func(i int) any { return hex.EncodeToString(v[i]) })
		default:
			t.Fatalf("a column of %T", c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// streamOfParquetGo is streamOfArrow by the other library.
func streamOfParquetGo(t testing.TB, c pqgo.ColumnChunk) (out []string) {
	t.Helper()
	pages := c.Pages()
	defer pages.Close()
	buf := make([]pqgo.Value, 500)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		values := page.Values()
		for {
			n, err := values.ReadValues(buf)
			for _, v := range buf[:n] {
				text := fmt.Sprintf("%d %d", v.RepetitionLevel(), v.DefinitionLevel())
				if !v.IsNull() {
					text += " " + textOf(v)
				}
				out = append(out, text)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		pqgo.Release(page)
	}
}

func textOf(v pqgo.Value) string {
	switch v.Kind() {
	case pqgo.Boolean:
		return strconv.FormatBool(v.Boolean())
	case pqgo.Int32:
		return fmt.Sprint(v.Int32())
	case pqgo.Int64:
		return fmt.Sprint(v.Int64())
	case pqgo.Float:
		return fmt.Sprint(v.Float())
	case pqgo.Double:
		return fmt.Sprint(v.Double())
	default:
		return hex.EncodeToString(v.ByteArray())
	}
}
