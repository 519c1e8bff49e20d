package schema

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func columns(t *testing.T, s string) *Schema {
	t.Helper()
	typ, err := ParseType("struct<" + s + ">")
	if err != nil {
		t.Fatal(err)
	}
	return &Schema{ID: -1, Fields: typ.Fields}
}

func TestMerge(t *testing.T) {
	f := func(have, want string, limit int, next string, refused ...string) {
		t.Helper()
		h := numbered(columns(t, have))
		got, changed, why := MergeWithin(h, columns(t, want), limit)
		if changed != (next != have) || changed == (got == h) || changed && got.ID != -1 {
			t.Errorf("%s + %s: changed is %v, id %d", have, want, changed, got.ID)
		}
		if g := strings.TrimSuffix(strings.TrimPrefix(show(got), "struct<"), ">"); g != next {
			t.Errorf("%s + %s = %s, want %s", have, want, g, next)
		}
		var lines []string
		for _, r := range why {
			lines = append(lines, r.Path+": "+r.Reason)
		}
		if d := cmp.Diff(refused, lines); d != "" {
			t.Errorf("%s + %s: %s", have, want, d)
		}
		// What the table had keeps its number, what is new has none.
		old := map[string]int{}
		walk(h.Fields, "", func(path string, f Field) { old[path] = f.ID })
		walk(got.Fields, "", func(path string, f Field) {
			if f.ID != old[path] {
				t.Errorf("%s + %s: %s has the id %d, want %d", have, want, path, f.ID, old[path])
			}
		})
		if _, again, _ := MergeWithin(got, columns(t, want), limit); again {
			t.Errorf("%s + %s changes again", show(got), want)
		}
	}
	f("a: long", "a: long", 10, "a: long")
	f("a: long", "a: long, b: string", 10, "a: long, b: string")
	f("a: long", "b: string", 10, "a: long, b: string")
	f("a: int", "a: long", 10, "a: long")
	f("a: long", "a: int", 10, "a: long")
	f("a: float", "a: double", 10, "a: double")
	f("a: decimal(5, 2)", "a: decimal(9, 2)", 10, "a: decimal(9, 2)")
	f("a: decimal(9, 2)", "a: decimal(5, 2)", 10, "a: decimal(9, 2)")
	f("a: decimal(5, 2)", "a: decimal(9, 3)", 10, "a: decimal(5, 2)", "a: decimal(5, 2) cannot become decimal(9, 3)")
	f("a: long", "a: double", 10, "a: long", "a: long cannot become double")
	f("a: long", "a: string, c: date", 10, "a: long, c: date", "a: long cannot become string")
	f("a: struct<b: long>", "a: struct<b: string, c: long>", 10, "a: struct<b: long, c: long>", "a.b: long cannot become string")
	f("a: list<struct<b: int>>", "a: list<struct<b: long, c: boolean>>", 10, "a: list<struct<b: long, c: boolean>>")
	f("a: map<string, struct<b: int>>", "a: map<string, struct<c: long>>", 10, "a: map<string, struct<b: int, c: long>>")
	f("a: map<string, int>", "a: map<long, long>", 10, "a: map<string, long>", "a.key: the key of a map cannot change from string to long")
	f("a: list<long>", "a: struct<b: long>", 10, "a: list<long>", "a: list<long> cannot become struct<b: long>")
	f("Id: long", "id: long", 10, "Id: long", `id: column "Id" differs in case only`)
	f("a: long", "a: long, b: long, c: struct<d: long, e: long>", 3, "a: long, b: long, c: struct<d: long>")
	f("a: long", "b: map<string, long>, c: long", 2, "a: long, c: long", "b: the table has as many columns as it may have")
	f("a: long, b: long", "c: struct<d: long>", 2, "a: long, b: long", "c: the table has as many columns as it may have")
	f("a: long", "b: long, _fh_rescued: string", 1, "a: long, _fh_rescued: string", "b: the table has as many columns as it may have")
	f("a: fixed[3]", "a: fixed[4]", 9, "a: fixed[3]", "a: fixed[3] cannot become fixed[4]")
}

func walk(fields []Field, path string, visit func(path string, f Field)) {
	for _, f := range fields {
		visit(path+f.Name, f)
		walk(f.Type.Fields, path+f.Name+".", visit)
	}
}

func TestMergeKeys(t *testing.T) {
	long := &Type{Kind: Long}
	have := &Schema{Fields: []Field{{ID: 1, Name: "a_b", Key: "a.b", Type: long}, {ID: 2, Name: "r", Type: long, Required: true}}}
	want := &Schema{Fields: []Field{{Name: "a_b", Type: long}, {Name: "x", Key: "$x", Type: long, Required: true}, {Name: "r", Type: long}}}
	next, _, refused := Merge(have, want)
	if len(refused) != 1 || !strings.Contains(refused[0].Reason, `filled from the key "a.b", not "a_b"`) {
		t.Errorf("refused %v", refused)
	}
	x := next.Column("x")
	if x == nil || x.Doc != DocForKey("$x") || x.Required {
		t.Errorf("added %+v", x)
	}
	if r := next.Column("r"); !r.Required || r.ID != 2 {
		t.Errorf("kept %+v", r)
	}
	if next, changed, _ := Merge(nil, want); !changed || len(next.Fields) != 3 || next.Column("r").ID != 0 {
		t.Errorf("a table from nothing: %+v", next)
	}
	if next, changed, _ := Merge(have, nil); changed || next != have {
		t.Error("nothing is wanted, but something changed")
	}
}

func TestJSONKey(t *testing.T) {
	for _, key := range []string{"", "a.b", "\"\\", "x\ny", "é\x01"} {
		f := Field{Name: "n", Doc: DocForKey(key)}
		if got := f.JSONKey(); got != key {
			t.Errorf("a column with the doc %q is filled from %q, want %q", f.Doc, got, key)
		}
	}
	for _, doc := range []string{"", "json key", `json key "x`, "the key"} {
		if got := (&Field{Name: "n", Doc: doc}).JSONKey(); got != "n" {
			t.Errorf("a column with the doc %q is filled from %q", doc, got)
		}
	}
}

func TestParseType(t *testing.T) {
	ok := func(in, want string) {
		t.Helper()
		typ, err := ParseType(in)
		if err != nil {
			t.Error(err)
			return
		}
		if typ.String() != want {
			t.Errorf("%q is %s, want %s", in, typ, want)
		}
		again, err := ParseType(typ.String())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(typ) {
			t.Errorf("%s is read back as %v, %v", typ, again, err)
		}
		back, known := FromArrow(typ.Arrow())
		if typ.Kind != UUID && (!known || back.String() != typ.String()) && !strings.Contains(in, "uuid") {
			t.Errorf("%s comes back from Arrow as %v", typ, back)
		}
	}
	for k := Bool; k < Struct; k++ {
		if name := (&Type{Kind: k}).String(); k != Decimal && k != Fixed {
			ok(name, name)
		}
	}
	ok("  LONG ", "long")
	ok("decimal(38,0)", "decimal(38, 0)")
	ok("fixed[ 16 ]", "fixed[16]")
	ok("list<list<struct<a:long,b:map<string,decimal(10,2)>>>>", "list<list<struct<a: long, b: map<string, decimal(10, 2)>>>>")
	ok(`struct<"a b": uuid, "x\"y": int, é: date>`, `struct<"a b": uuid, "x\"y": int, é: date>`)

	bad := func(in, want string) {
		t.Helper()
		typ, err := ParseType(in)
		if err == nil {
			t.Errorf("%q is %s", in, typ)
		} else if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), fmt.Sprintf("type %q: at ", in)) {
			t.Errorf("%q: %v, want ... %s", in, err, want)
		}
	}
	bad("", "want a type")
	bad("bigint", `Iceberg calls it "long"`)
	bad("strng", `no type is called "strng"`)
	bad("long x", `unexpected "x"`)
	bad("decimal", `want "("`)
	bad("decimal(x,2)", `want a number of digits, got "x`)
	bad("decimal(39,2)", "precision is 1 to 38")
	bad("decimal(2,3)", "scale at most")
	bad("fixed[0]", "1 to 1048576")
	bad("list<long", `want ">"`)
	bad("map<string>", `want ","`)
	bad("struct<>", "want a field's name")
	bad("struct<a long>", `want ":"`)
	bad("struct<a: long, A: long>", `field "A" twice`)
	bad(`struct<"a: long>`, "not closed")
	bad(strings.Repeat("list<", 100), "nested deeper")
}
