package transform

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// guide is the record of Firehose's developer guide, "Creating partitioning keys with inline parsing".
const guide = `{"type":{"device":"mobile","event":"user_clicked_submit_button"},"customer_id":"1234567890","event_timestamp":1565382027,"region":"sample_region"}`

func newKeys(t testing.TB, query string) *PartitionKeys {
	t.Helper()
	k, err := NewPartitionKeys(query)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPartitionKeysOfTheGuide(t *testing.T) {
	k := newKeys(t, `{customer_id: .customer_id, device: .type.device, year: .event_timestamp| strftime("%Y"), month: .event_timestamp| strftime("%m"), `+
		`day: .event_timestamp| strftime("%d"), hour: .event_timestamp| strftime("%H")}`)
	if diff := cmp.Diff([]string{"customer_id", "device", "year", "month", "day", "hour"}, k.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	got, err := k.Extract([]string{"before"}, []byte(guide))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"before", "1234567890", "mobile", "2019", "08", "09", "20"}, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

// TestPartitionKeysAsJQ compares with what jq 1.6, Firehose's engine, printed: testdata/jq16.py > testdata/jq16.txt.
func TestPartitionKeysAsJQ(t *testing.T) {
	file, err := os.ReadFile("testdata/jq16.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		want := f[2]
		if other, ok := unlikeJQ[f[0]]; ok {
			want = other
		}
		got := "!"
		vals, err := newKeys(t, "{k: ("+f[0]+")}").Extract(nil, []byte(f[1]))
		if err == nil {
			got = vals[0]
		}
		if got != want {
			t.Errorf("%s of %s: got %q, %v, jq 1.6 has %q", f[0], f[1], got, err, f[2])
		}
	}
}

// TestPartitionKeysInAnyZone: the zone of the machine does not show.
func TestPartitionKeysInAnyZone(t *testing.T) {
	local := time.Local
	defer func() { time.Local = local }()
	time.Local = time.FixedZone("EST", -5*3600)
	TestPartitionKeysAsJQ(t)
	vals, err := newKeys(t, `{a: .t | strptime("%Y-%m-%dT%H:%M:%S%z %%Z") | mktime, b: .n | strftime("%H %Z")}`).Extract(nil, []byte(`{"t":"2019-08-09T20:20:27+0900 %Z","n":0}`))
	if diff := cmp.Diff([]string{"1565349627", "00 UTC"}, vals); diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// unlikeJQ are the expressions that give something else here, as docs/formats/objects.md says.
var unlikeJQ = map[string]string{"1e-5": "0.00001"}

func TestPartitionKeyFails(t *testing.T) {
	f := func(query, record, want string) {
		t.Helper()
		vals, err := newKeys(t, query).Extract(nil, []byte(record))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s of %s: got %q, error %v, want one with %q", query, record, vals, err, want)
		}
	}
	f("{a}", `{"a":null}`, `partition key "a" is null`)
	f("{x: 1, a}", `{}`, `partition key "a" is null`)
	f("{a}", `{"a":""}`, `partition key "a" is empty`)
	f("{a}", `{"a":[1]}`, `partition key "a" is an array`)
	f("{a}", `{"a":{}}`, `partition key "a" is an object`)
	f("{a}", `{"a":"`+strings.Repeat("x", 1025)+`"}`, "has 1025 bytes, at most 1024")
	f("{a: empty}", `{}`, `partition key "a" has no value`)
	f("{a: (1, 2)}", `{}`, `partition key "a" has several values`)
	f("{a: .[]}", `{"a":1,"b":2}`, "has several values")
	f("{a: (1, error)}", `{}`, "cannot be evaluated")
	f("{a: .b.c}", `{"b":"x"}`, `partition key "a" cannot be evaluated: `)
	f("{a: .a | fromjson}", `{"a":"`+strings.Repeat("y", 9999)+`"}`, "cannot be evaluated")
	f("{a}", ``, "the record is not JSON")
	f("{a}", `oops`, "the record is not JSON")
	f("{a}", `{"a":1}{"a":2}`, "not one JSON value: take records of several apart")
	f("{a}", "{\"a\":1}\nx", "not one JSON value")
	f("{a: .a - 1}", `{"a":[1]}`, "is no number")
	f("{a: .a * 3}", `{"a":"x"}`, "is no number")
	f("{a: -.a}", `{"a":"x"}`, "is no number")
	f("{a: .a / \",\"}", `{"a":"x,y"}`, "is no number")
	f("{a: .a | gsub(\"x\";\"y\")}", `{"a":"`+strings.Repeat("x", 4097)+`"}`, "a text of 4097 bytes is too long for a regular expression")
	if _, err := newKeys(t, "{a: .b.c}").Extract(nil, []byte(`{"b":"`+strings.Repeat("x", 100_000)+`"}`)); err == nil || len(err.Error()) > 300 {
		t.Errorf("got error %.400v, want a short one", err)
	}
}

func TestPartitionKeyText(t *testing.T) {
	f := func(query, record string, want ...string) {
		t.Helper()
		got, err := newKeys(t, query).Extract(nil, []byte(record))
		if err != nil {
			t.Errorf("%s of %s: %v", query, record, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s of %s (-want +got):\n%s", query, record, diff)
		}
	}
	f("{a}", ` {"a":"x/y"} `+"\n", "x/y")
	f(`{"a b", "c": .c}`, `{"a b":false,"c":true}`, "false", "true")
	f("{a}", `{"a":1.0}`, "1")
	f("{a}", `{"a":1.50}`, "1.5")
	f("{a}", `{"a":12345678901234567890}`, "12345678901234567890") // jq 1.6 rounds to 12345678901234567000
	f("{a}", `{"a":9223372036854775807}`, "9223372036854775807")
	f("{a: .a + 1}", `{"a":9223372036854775807}`, "9223372036854775808")
	f("{a}", `{"a":1e400}`, "1.7976931348623157e+308")
	f("{a}", `{"a":-1`+strings.Repeat("0", 400)+`}`, "-1.7976931348623157e+308")
	f("{a}", `{"a":1,"a":2}`, "2") // as jq does it
	f("{a: .a | fromjson}", `{"a":"1.50"}`, "1.5")
	f(`{a: "\(.a)\("x")-\({b:[1]})"}`, `{"a":1}`, `1x-{"b":[1]}`)
	f("{a: .a[1:][0:2][-1]}", `{"a":[1,2,3,4]}`, "3")
}

// TestWhatIsRefused: nothing that could differ from one reading to the next, or run without end, becomes a query.
func TestWhatIsRefused(t *testing.T) {
	f := func(expression, want string) {
		t.Helper()
		for _, around := range []string{
			"@", "[@][0]", `"\(@)"`, "if @ then 1 else 2 end", "if 1 then 2 elif 3 then @ else 4 end", "1 as $x | 2 + (@)", "{a: (@)}.a", "(@).x?",
			"try (@) catch 1", "try 1 catch (@)", "first(@)", "-(@)", "(@) // 1", "(@), 1", ".[(@)]", `ltrimstr(@)`, `@text "\(@)"`,
		} {
			e := strings.ReplaceAll(strings.ReplaceAll(around, "@text", "\x00"), "@", expression)
			e = strings.ReplaceAll(e, "\x00", "@text")
			if _, err := NewPartitionKeys("{k: (" + e + ")}"); err == nil || !strings.Contains(err.Error(), `query: key "k": `) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got error %v, want one with %q", e, err, want)
			}
		}
	}
	for _, name := range []string{
		"now", "localtime", "env", "input", "inputs", "debug", "halt", "halt_error", "builtins", "modulemeta", "recurse", "paths", "tostream",
		"combinations", "transpose", "splits", "nan", "infinite", "getpath", "input_line_number", "get_search_list",
	} {
		f(name, name+"/0 is not allowed")
	}
	f("$ENV", "$ENV is not allowed")
	f("$ENV.HOME", "$ENV is not allowed")
	f("{$ENV}", "$ENV is not allowed")
	f("$__loc__", "$__loc__ is not allowed")
	f("..", ".. is not allowed")
	f("def f: 1; f", "def is not allowed")
	f("(def now: 1; now)", "def is not allowed")
	f("reduce .[] as $x (0; . + $x)", "reduce is not allowed")
	f("foreach .[] as $x (0; . + $x)", "foreach is not allowed")
	f("label $out | break $out", "label is not allowed")
	f("[range(9)]", "range/1 is not allowed")
	f("limit(1; 2)", "limit/2 is not allowed")
	f("until(. > 1; 2)", "until/2 is not allowed")
	f("repeat(1)", "repeat/1 is not allowed")
	f(`strflocaltime("%Y")`, "strflocaltime/1 is not allowed")
	f("strftime(.f)", "strftime/1: its arguments have to be written out")
	for _, format := range []string{"%Z", "%Y %Z", "%:Z", "%EZ", "%c", "%+", "%", "%%%Z"} {
		f(`strptime("`+format+`")`, "strptime/1: %")
	}
	f("test(.re)", "test/1: its arguments have to be written out")
	f(`gsub("x"; "\(.y)")`, "gsub/2: its arguments have to be written out")
	f(`gsub("x"; "`+strings.Repeat("y", 129)+`")`, "at most 128 bytes")
	f("join(.x)", "join/1: its arguments have to be written out")
	f(".a[.i:]", "the bounds of the slice")
	f(".a[1:][.i]", "has to be a number or name")
	f(".a = 1", "= is not allowed")
	f(".a |= 1", "|= is not allowed")
	f(".a += 1", "+= is not allowed")
	f("del(.a)", "del/1 is not allowed")
	f("@yaml", "@yaml is not allowed")
	f("_firehosed_cost", "_firehosed_cost/0 is not allowed")
	f("{(now|tostring): 1}", "now/0 is not allowed")
	f(". as {(now): $x} | $x", "now/0 is not allowed")
	f(". as [$x, {a: [$y]}] | $x | now", "now/0 is not allowed")
	f(".[now]", "now/0 is not allowed")
}

func TestQueries(t *testing.T) {
	f := func(query, want string) {
		t.Helper()
		if _, err := NewPartitionKeys(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", query, err, want)
		}
	}
	f("", "query: it has 0 characters")
	f(" \n", "query: it has 2 characters")
	f("{a: "+strings.Repeat(" ", 5120)+"1}", "query: it has 5126 characters: write 1 to 5120")
	f("{a: }", "is not jq")
	f(".a", "write one object")
	f("{a: 1}.a", "write one object")
	f("def f: 1; {a: 1}", "write one object")
	f("import \"x\" as x; {a: 1}", "write one object")
	f("{}", "it has 0 keys: write 1 to 50")
	f("{a: 1, a: 2}", `the key "a" comes twice`)
	f("{(.a): 1}", "is computed")
	f(`{"\(.a)": 1}`, "is computed")
	f("{$x}", "is computed")
	f(`{"": 1}`, `the key "" is no name`)
	f(`{"a}b": 1}`, `is no name`)
	f("{a: $x}", `key "a"`)

	keys := make([]string, 51)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d: .k", i)
	}
	f("{"+strings.Join(keys, ",")+"}", "it has 51 keys: write 1 to 50")
	if n := len(newKeys(t, "{"+strings.Join(keys[:50], ",")+"}").Names()); n != 50 {
		t.Errorf("50 keys became %d", n)
	}
}

// TestStepsAreBounded: what grows fast ends by the count of steps, at the same one on every reading, and no try hides it.
func TestStepsAreBounded(t *testing.T) {
	double := func(one string) string { return strings.TrimSuffix(strings.Repeat(one+"|", 60), "|") }
	array := "[" + strings.TrimSuffix(strings.Repeat("1,", 400), ",") + "]"
	for _, query := range []string{
		"{a: (.s|" + double("(.+.)") + ")}",
		"{a: (.s|" + double("[.,.]") + "|length)}",
		"{a: (.s|" + double("{a:.,b:.}") + "|length)}",
		`{a: (.s|` + double(`"\(.)\(.)"`) + `)}`,
		"{a: (.s|" + double("tojson") + ")}",
		"{a: (.s|" + double("@json") + ")}",
		"{a: (.s|" + double("@sh") + ")}",
		"{a: [.l[] as $x | .l[] as $y | $x+$y] | length}",
		"{a: first(.l[] as $x | .l[] as $y | .l[] | select($x + $y == .))}",
		"{a: (try (.s|" + double("(.+.)") + ") catch \"caught\")}",
		"{a: ((.s|" + double("(.+.)") + ")? // \"hidden\")}",
		"{a: ((.s|" + double("[.,.]") + ") == 1)}",
		"{a: [.l[] as $x | .l] | length}",
	} {
		k := newKeys(t, query)
		record := []byte(`{"s":"\"'","l":` + array + `}`)
		_, err := k.Extract(nil, record)
		if err == nil || !strings.Contains(err.Error(), "takes more than 100000 steps") {
			t.Errorf("%.60s: got error %v, want one about steps", query, err)
		}
		used := k.meter.used
		if _, err := newKeys(t, query).Extract(nil, record); err == nil {
			t.Errorf("%.60s: the second reading has a value", query)
		} else if _, err := k.Extract(nil, record); err == nil || k.meter.used != used {
			t.Errorf("%.60s: %d steps, and then %d", query, used, k.meter.used)
		}
	}
	// Products of numbers do not grow for ever.
	if _, err := newKeys(t, "{a: (.n|"+double("(.*.)")+")}").Extract(nil, []byte(`{"n":12345678901}`)); err == nil || !strings.Contains(err.Error(), "more than 1024 bits") {
		t.Errorf("got error %v, want one about bits", err)
	}
	// The keys of a record share the steps.
	one := "[.l[] as $x | .l[:200][] | $x] | length"
	if _, err := newKeys(t, "{a: "+one+"}").Extract(nil, []byte(`{"l":`+array+`}`)); err != nil && !strings.Contains(err.Error(), "steps") {
		t.Error(err)
	}
}

// TestStepsAreCounted pins the count: another version of gojq that counts otherwise would judge records otherwise, and needs a
// new version of the rules.
func TestStepsAreCounted(t *testing.T) {
	f := func(query string, want int) {
		t.Helper()
		k := newKeys(t, query)
		k.plain = 0
		if _, err := k.Extract(nil, []byte(guide)); err != nil {
			t.Fatal(err)
		}
		if k.meter.used != want {
			t.Errorf("%s takes %d steps, want %d", query, k.meter.used, want)
		}
	}
	f("{a: .customer_id}", 4)
	f(`{a: .event_timestamp| strftime("%Y")}`, 10)
	f(`{a: (.region + "-" + .type.device), b: .region}`, 49)
	f(`{a: [.type[]] | join("_") | gsub("[^a-z]+"; "-")}`, 1231)
}

func FuzzPartitionKeys(f *testing.F) {
	f.Add(`.a | gsub("x";"y")`, []byte(`{"a":"x"}`))
	f.Add(`[.a[] | {b: ., c: "\(.)"}] | tojson | .[0:3]`, []byte(`{"a":[1,2]}`))
	f.Add(`.a as [$x] | -$x // (1 + 2)`, []byte(`{"a":[1e5]}`))
	f.Fuzz(func(t *testing.T, expression string, record []byte) {
		k, err := NewPartitionKeys("{k: (" + expression + ")}")
		if err != nil {
			return
		}
		text := func() string {
			vals, err := k.Extract(nil, record)
			return fmt.Sprint(vals, err, k.meter.used > maxSteps)
		}
		first := text()
		if again := text(); again != first {
			t.Errorf("%s of %s: %s, then %s", expression, record, first, again)
		}
	})
}

// TestLookIsTheQuery: what is taken out of a record without parsing it is what the query says, and where the two could
// differ the query decides.
func TestLookIsTheQuery(t *testing.T) {
	f := func(query, record string, looked bool) {
		t.Helper()
		k := newKeys(t, query)
		fast, ok := k.look(nil, []byte(record))
		if ok != looked {
			t.Errorf("%s of %s: looked %v", query, record, ok)
		}
		k.plain = 0
		slow, err := k.Extract(nil, []byte(record))
		if ok && (err != nil || cmp.Diff(slow, fast) != "") {
			t.Errorf("%s of %s: %q, the query says %q, %v", query, record, fast, slow, err)
		}
	}
	f("{a: .a}", `{"a":"x"}`, true)
	f("{a}", ` { "b" : [1,{"a":2},"]}"] , "a" : "x\u00e9\n" } `, true)
	f("{a: .a.b, c: .c}", `{"c":true,"a":{"x":{},"b":-1.50e3}}`, true)
	f(`{a: ."a b"."c"}`, `{"a b":{"c":12345678901234567890}}`, true)
	f("{a: .a}", `{"a":1,"a":2}`, true)
	f("{a: .a.b}", `{"a":{"b":1},"a":{"c":2}}`, false)
	f("{a: .a}", `{"\u0061":"escaped"}`, true)
	f("{a: .a}", `{"a\"":1,"a":2,"x":"\\"}`, true)
	f("{a: .a}", `{"a":null}`, false)
	f("{a: .a}", `{"a":{}}`, false)
	f("{a: .a}", `{"a":""}`, false)
	f("{a: .a}", `{}`, false)
	f("{a: .a}", `[1]`, false)
	f("{a: .a}", `{"a":1} {"a":2}`, false)
	f("{a: .a}", `{"a":1`, false)
	f("{a: .a}", "{\"a\":\"\xff\"}", false)
	f("{a: .a}", `{"a":"`+strings.Repeat("x", 2000)+`"}`, false)
	f("{a: .a}", `{"a":1,"b":"`+strings.Repeat("x", maxSteps)+`"}`, false)
	for _, query := range []string{"{a: .a?}", "{a: .a[0]}", "{a: .[\"a\"]?}", "{a: (.a | tostring)}", "{a: (.a % 2)}", "{a: .}", `{a: .["\(1)"]}`, "{a: .a, b: (.b + 1)}"} {
		if k := newKeys(t, query); k.plain != 0 {
			t.Errorf("%s does more than go down", query)
		}
	}
}

func FuzzLook(f *testing.F) {
	for _, s := range []string{`{"a":{"b":"x"},"c":1}`, `{"a":{"b":[{}]},"c":{"a":1}} `, `{"c":"\ud800","a":{"b":1e5}}`, guide} {
		f.Add(s)
	}
	fast := newKeys(f, "{b: .a.b, c: .c}")
	slow := newKeys(f, "{b: .a.b, c: .c}")
	slow.plain = 0
	f.Fuzz(func(t *testing.T, record string) {
		got, err := fast.Extract(nil, []byte(record))
		want, why := slow.Extract(nil, []byte(record))
		if cmp.Diff(want, got) != "" || (err == nil) != (why == nil) {
			t.Errorf("%q: %q, %v; the query says %q, %v", record, got, err, want, why)
		}
	})
}
