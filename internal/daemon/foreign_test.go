package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
)

// TestTableMadeByOthers: a table that another program made is fed as it is. Columns
// are found by their names, none is dropped, narrowed or renumbered, and a record
// that has nothing for a required one is a dead letter, by what the control log
// pinned when the table was bound.
func TestTableMadeByOthers(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	other, err := icebergtest.OpenLake(lake)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	if err := other.Create(t.Context(), "shop.orders", `{"type": "struct", "schema-id": 0, "fields": [
		{"id": 1, "name": "ID", "type": "long", "required": true},
		{"id": 2, "name": "price", "type": "decimal(10, 2)", "required": false},
		{"id": 3, "name": "legacy", "type": "int", "required": false},
		{"id": 4, "name": "day", "type": "date", "required": false}]}`); err != nil {
		t.Fatal(err)
	}
	if err := other.Append(t.Context(), "shop.orders", `[{"ID": 100, "price": "1.50", "legacy": 7}]`); err != nil {
		t.Fatal(err)
	}
	before, err := other.Columns(t.Context(), "shop.orders")
	if err != nil {
		t.Fatal(err)
	}
	produce(t, addr, `{"ID":1,"price":2.25,"day":"2026-03-01"}`, `{"price":3}`, `{"ID":null}`, `{"ID":"four"}`,
		`{"ID":5,"price":"dear"}`, `{"ID":6,"legacy":9999999999,"extra":{"a":true}}`)
	file := write(t, quick(addr, lake, ""))
	l := start(t, file)
	l.committed("shop.orders", 3)
	l.committed("shop_dlq", 3)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}

	rows := func(table string, columns ...string) []string {
		t.Helper()
		got, err := other.Rows(t.Context(), table, columns...)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	if d := cmp.Diff([]string{
		"1 2.25 (null) 2026-03-01 (null)",
		"100 1.5 7 (null) (null)",
		`5 (null) (null) (null) {"/price":"\"dear\""}`,
		"6 (null) 9999999999 (null) (null)",
	}, rows("shop.orders", "ID", "price", "legacy", "day", "_fh_rescued")); d != "" {
		t.Errorf("rows: %s", d)
	}
	if d := cmp.Diff([]string{
		`required /ID shop.orders {"ID":"four"}`, `required /ID shop.orders {"ID":null}`, `required /ID shop.orders {"price":3}`,
	}, rows("default.shop_dlq", "code", "path", "target", "payload")); d != "" {
		t.Errorf("dead letters: %s", d)
	}
	after, err := other.Columns(t.Context(), "shop.orders")
	if err != nil {
		t.Fatal(err)
	}
	before[2] = "3: legacy: optional long" // wider, as Iceberg allows: a record asked for it
	if len(after) <= len(before) || !slices.Equal(after[:len(before)], before) {
		t.Errorf("columns are\n%s\nwant these first\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	if !slices.ContainsFunc(after, func(c string) bool { return strings.Contains(c, "extra: optional struct") }) {
		t.Errorf("no column for what is new: %v", after)
	}
	if pins := pinned(t, lake); !strings.Contains(pins, `"ID"`) || strings.Contains(pins, "price") {
		t.Errorf("the control log pins %s", pins)
	}
	if code, out, errs := firehosed(t, nil, "verify", "--values", "-c", file); code != ExitOK || !strings.Contains(out, "proven: nothing lost, duplicated or unexpected") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// TestTableGetsStricter: an owner makes a column required while the pipeline feeds the
// table. It halts alone; what was read until its requirement is pinned by a revision
// goes in as it was judged, what comes later and lacks a value is a dead letter.
func TestTableGetsStricter(t *testing.T) {
	addr, lake := broker(t), t.TempDir()
	other, err := icebergtest.OpenLake(lake)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	if err := other.Create(t.Context(), "shop.orders", `{"type": "struct", "schema-id": 0, "fields": [
		{"id": 1, "name": "id", "type": "long", "required": true}, {"id": 2, "name": "price", "type": "double", "required": false}]}`); err != nil {
		t.Fatal(err)
	}
	file := write(t, quick(addr, lake, ""))
	require := func(required bool) {
		t.Helper()
		if err := other.Require(t.Context(), "shop.orders", "price", required); err != nil {
			t.Fatal(err)
		}
	}
	produce(t, addr, `{"id":1,"price":1}`, `{"price":2}`)
	l := start(t, file)
	l.committed("shop.orders", 1)
	l.committed("shop_dlq", 1)

	require(true)
	produce(t, addr, `{"id":3,"price":3}`, `{"id":4}`, `{"price":7}`) // the last one takes the dead letters past the others
	halted := "HALTED: table shop.orders is STRICTER: column price (id 2) became required"
	l.wait(halted, func() bool {
		_, out, _ := firehosed(t, nil, "status", "-c", file)
		return strings.Contains(out, halted)
	})
	l.committed("shop_dlq", 2)
	if code, body := l.get("/readyz"); code != 200 {
		t.Errorf("one table halts, and the worker is not ready: %d %s", code, body)
	}
	if code, out, errs := firehosed(t, nil, "table", "rebind", "-c", file, "shop.orders"); code != ExitOK || !strings.Contains(out, "pinned by revision 2") {
		t.Fatalf("rebind: %d %s%s", code, out, errs)
	}
	if code := <-l.code; code != ExitSuperseded {
		t.Errorf("exit code %d", code)
	}
	l = start(t, file)
	l.wait("the halt for a row that was judged before", func() bool {
		return strings.Contains(l.log.String(), "make the column optional until the records that have no value for it are in the table")
	})
	require(false)
	l.committed("shop.orders", 2)
	require(true)
	produce(t, addr, `{"id":5,"price":5}`, `{"id":6}`)
	l.committed("shop_dlq", 1)
	l.committed("shop.orders", 3)
	if code := l.end(); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	rows, err := other.Rows(t.Context(), "shop.orders", "id", "price")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rows)
	if d := cmp.Diff([]string{"1 1", "3 3", "4 (null)", "5 5"}, rows); d != "" {
		t.Errorf("rows: %s", d)
	}
	letters, err := other.Rows(t.Context(), "default.shop_dlq", "code", "path", "payload", "rev")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(letters)
	if d := cmp.Diff([]string{`required /id {"price":2} 1`, `required /id {"price":7} 1`, `required /price {"id":6} 2`}, letters); d != "" {
		t.Errorf("dead letters: %s", d)
	}
	if code, out, errs := firehosed(t, nil, "verify", "--values", "-c", file); code != ExitOK || !strings.Contains(out, "proven: nothing lost, duplicated or unexpected") {
		t.Errorf("verify: %d %s%s", code, out, errs)
	}
}

// pinned returns the entry of the control log that binds shop.orders.
func pinned(t *testing.T, lake string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(lake, "_firehosed", "shop", "log", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"bound"`) && strings.Contains(string(text), `"shop.orders"`) {
			_, pins, _ := strings.Cut(string(text), `"pinned"`)
			return pins
		}
	}
	t.Error("no entry binds shop.orders")
	return ""
}
