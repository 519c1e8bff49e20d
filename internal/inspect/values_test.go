package inspect

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowmem "github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/schema"
)

func TestVerifyComparesValues(t *testing.T) {
	w := small(t)
	w.want(Options{Values: true}, proven)

	w.spoil = func(table string, r Row) bool {
		return table == "a" && r == rowAt(0, 3, 2) || table == deadTab && r == rowAt(0, 5, 0)
	}
	w.want(Options{}, proven) // the coordinates are right
	r := w.want(Options{Values: true}, "lost 0 duplicated 0 unexpected 0 pending 0 unverifiable 0 exit 1")
	want := []Finding{
		{Kind: Differs, Table: "a", Partition: partition(0).Key(), Record: "3", Sub: 2}, {Kind: Differs, Table: deadTab, Partition: partition(0).Key(), Record: "5"},
	}
	if r.Differs != 2 || len(r.Findings) != 2 || r.Findings[0] != want[0] || r.Findings[1] != want[1] {
		t.Errorf("%d differ: %v", r.Differs, r.Findings)
	}
}

func TestCanonicalNumbers(t *testing.T) {
	same := func(texts ...string) {
		t.Helper()
		for _, s := range texts[1:] {
			if canonical(s) != canonical(texts[0]) {
				t.Errorf("%s is %s, %s is %s", texts[0], canonical(texts[0]), s, canonical(s))
			}
		}
	}
	same("0", "-0", "0.0", "0e9", "-0.000")
	same("1", "1.0", "1e0", "10e-1", "0.1E+1", "1E0000")
	same("-120", "-1.2e2", "-120.00")
	same("0.1", "0.1000000000000000055511151231257827", "1.0000000000000000555e-1")
	same("1152921504606846976", "1.152921504606846976e18", "1152921504606847000")
	all := []string{
		"0", "1", "-1", "10", "0.1", "9007199254740992", "9007199254740993", "123456789012345678.9", "123456789012345679",
		"9223372036854775807", "9223372036854775806", "1e400", "2e400", "1e-400", "5e-324", "0.30000000000000004", "0.3",
	}
	seen := map[string]string{}
	for _, s := range all {
		if was, ok := seen[canonical(s)]; ok {
			t.Errorf("%s and %s are the same: %s", was, s, canonical(s))
		}
		seen[canonical(s)] = s
	}
}

// table lays JSON lines out in Arrow.
func lay(t *testing.T, fields []arrow.Field, lines string) arrow.RecordBatch {
	t.Helper()
	rec, _, err := array.RecordFromJSON(arrowmem.DefaultAllocator, arrow.NewSchema(fields, nil), strings.NewReader("["+lines+"]"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rec.Release)
	return rec
}

func TestRowsAreEqualWhereverTheirValuesAre(t *testing.T) {
	text, long := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	field := func(name string, of arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: of, Nullable: true}
	}
	rescued := field(schema.Rescued, text)
	typed := []arrow.Field{
		field("n", long), field("at", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}),
		field("o", arrow.StructOf(field("a/b", text), field("d", arrow.PrimitiveTypes.Float64), field("ok", arrow.FixedWidthTypes.Boolean))),
		field("l", arrow.ListOf(arrow.StructOf(field("x", long)))),
		field("m", arrow.MapOf(text, long)), field(schema.ColSub, long), rescued,
	}
	whole := lay(t, typed, `{"n":5,"at":"2026-03-01T08:00:00.25Z","o":{"a/b":"hey","d":1.5,"ok":true},"l":[{"x":1},{"x":null},{"x":3}],
		"m":[{"key":"k","value":7}],"_fh_sub":9}`)
	other := lay(t, []arrow.Field{field("l", arrow.ListOf(arrow.StructOf(field("x", long), field("y", text)))), field("n", text), rescued},
		`{"l":[{"x":1},{},{"x":3}],"_fh_rescued":"{\"/n\":\"5.0\",\"/at\":\"\\\"2026-03-01T09:00:00.250+01:00\\\"\",\"/o\":\"{\\\"a/b\\\":\\\"hey\\\",\\\"d\\\":15e-1,\\\"ok\\\":true,\\\"e\\\":[],\\\"z\\\":null}\",\"/m/k\":\"7\"}"}`)

	h := newHasher()
	sums := func(rec arrow.RecordBatch) []sum {
		s, err := h.rows(rec, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if a, b := sums(whole)[0], sums(other)[0]; a != b || a == (sum{}) {
		t.Errorf("%v, %v", a, b)
	}
	different := lay(t, typed, `{"n":5},{"n":6},{"n":null},{"o":{"d":5}},{"l":[{"x":5}]},{"l":[{"x":null},{"x":5}]},
		{"m":[{"key":"n","value":5}]},{"_fh_rescued":"{\"/n\":\"\\\"5\\\"\"}"},{"_fh_rescued":"{\"/n\":\"true\"}"}`)
	seen := map[sum]int{}
	for i, s := range sums(different) {
		if was, ok := seen[s]; ok {
			t.Errorf("rows %d and %d are the same", was, i)
		}
		seen[s] = i
	}
	// A column may be called otherwise than the key that fills it.
	s := &schema.Schema{Fields: []schema.Field{{Name: "n", Key: "weird key", Type: &schema.Type{Kind: schema.Long}}}}
	renamed := lay(t, []arrow.Field{field("n", long)}, `{"n":5}`)
	kept := lay(t, []arrow.Field{rescued}, `{"_fh_rescued":"{\"/weird key\":\"5\"}"}`)
	a, err := h.rows(renamed, s)
	if err != nil {
		t.Fatal(err)
	}
	if b := sums(kept); a[0] != b[0] {
		t.Errorf("%v, %v", a, b)
	}
}
