package config

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type testSecret struct{ Env, File string }

type testLimits struct {
	FetchBytes int64         `yaml:"fetch_bytes"`
	MaxRows    int32         `yaml:"max_rows"`
	Wait       time.Duration `yaml:"wait"`
}

func (l *testLimits) SetDefaults() { *l = testLimits{FetchBytes: 1 << 20, Wait: time.Second} }

type testConfig struct {
	Name     string                `yaml:"name"`
	On       bool                  `yaml:"on_by_default"`
	Ratio    float64               `yaml:"ratio"`
	Topics   []string              `yaml:"topics"`
	Limits   testLimits            `yaml:"limits"`
	Tables   map[string]testLimits `yaml:"tables"`
	Optional *testLimits           `yaml:"optional"`
	Password testSecret            `yaml:"password"`
	Token    func(context.Context) (string, error)
	Key      string    `yaml:"key" secret:"true"`
	Source   testUnion `yaml:"source"`
	URI      string    `yaml:"uri"`
}

func (c testConfig) Validate() error {
	if c.Name == "bad" {
		return errors.Join(
			errors.New("name: bad is bad"),
			errors.Join(errors.New("limits.wait: too short"), errors.New(`tables["a.b"].max_rows: too few`)),
			errors.New("tables.a.b.fetch_bytes: not there"),
			errors.New("nothing fits"))
	}
	return nil
}

type testUnion struct {
	name string
	cfg  any
}

func (u *testUnion) Choices() []Choice {
	return []Choice{
		{"kafka", func() any { return &testLimits{FetchBytes: 64 << 20} }},
		{"kinesis", func() any { return &testLimits{} }},
	}
}
func (u *testUnion) Chosen() (string, any)       { return u.name, u.cfg }
func (u *testUnion) Choose(name string, cfg any) { u.name, u.cfg = name, cfg }

func lookup(name string) (string, bool) {
	v, ok := map[string]string{"HOST": "broker-1", "PORT": "9092", "EMPTY": "", "PW": "canary-7f3a", "ROWS": "12"}[name]
	return v, ok
}

func decode(t *testing.T, text string, into any) error {
	t.Helper()
	doc, err := Parse("f.yaml", []byte(text), lookup)
	if err != nil {
		return err
	}
	doc.Root().Decode(into)
	if c, ok := into.(*testConfig); ok && c.Name == "bad" {
		doc.Root().Validated(c.Validate())
	}
	return doc.Err()
}

func TestDecode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := testConfig{On: true, Limits: testLimits{Wait: time.Minute}}
	err := decode(t, `
name: "${HOST}:${PORT}, $${literal} ${NONE:-d} ${EMPTY:-e}"
on_by_default: false
ratio: 1e3
topics: [a, "b", 3]
limits: &l {fetch_bytes: 1.5MiB, max_rows: "${ROWS}"}
tables:
  a.b: {<<: *l, wait: 1h30m}
  c:
  d: *l
optional: {wait: 7d}
password: {env: PW}
token: {env: PW}
key: {file: `+file+`}
source: {kafka: {max_rows: 1_000}}
`, &got)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := got.Token(t.Context()); s != "canary-7f3a" || err != nil {
		t.Errorf("token = %q, %v", s, err)
	}
	got.Token = nil
	name, src := got.Source.Chosen()
	got.Source = testUnion{}
	want := testConfig{
		Name: "broker-1:9092, ${literal} d e", Ratio: 1000, Topics: []string{"a", "b", "3"},
		Limits: testLimits{FetchBytes: 3 << 19, MaxRows: 12, Wait: time.Second},
		Tables: map[string]testLimits{
			"a.b": {FetchBytes: 3 << 19, MaxRows: 12, Wait: 90 * time.Minute},
			"c":   {FetchBytes: 1 << 20, Wait: time.Second},
			"d":   {FetchBytes: 3 << 19, MaxRows: 12, Wait: time.Second},
		},
		Optional: &testLimits{FetchBytes: 1 << 20, Wait: 7 * 24 * time.Hour},
		Password: testSecret{Env: "PW"}, Key: "from-file",
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(testUnion{})); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(&testLimits{FetchBytes: 1 << 20, MaxRows: 1000, Wait: time.Second}, src); name != "kafka" || d != "" {
		t.Errorf("source %q: %s", name, d)
	}
}

func TestProblems(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var cfg testConfig
		err := decode(t, text, &cfg)
		if err == nil {
			t.Errorf("%s: no error", text)
			return
		}
		if got := err.Error(); got != strings.TrimSpace(want) {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, strings.TrimSpace(want))
		}
	}
	f("nname: x\ntopics: a\nlimits: {fetch_bytes: lots, max-rows: 1, zzz: 2}\n", `
f.yaml:1:1: nname: unknown key; did you mean "name"?
f.yaml:2:9: topics: want a list, not the single value "a": write [a, b] or lines that begin with a dash
f.yaml:3:23: limits.fetch_bytes: "lots" is not a size: write a number of bytes or, for example, 64KiB, 256MiB or 1GiB
f.yaml:3:29: limits.max-rows: unknown key; did you mean "max_rows"?
f.yaml:3:42: limits.zzz: unknown key; known: fetch_bytes, max_rows, wait`)
	f("limits: {wait: 60, max_rows: 3000000000}", `
f.yaml:1:16: limits.wait: "60" is not a duration: write, for example, 500ms, 60s, 5m, 12h or 7d
f.yaml:1:30: limits.max_rows: 3000000000 is too large: at most 2147483647`)
	f("name: a\nname: b", "f.yaml:2:7: name: given twice")
	f("on_by_default: maybe", `f.yaml:1:16: on_by_default: "maybe" is neither true nor false`)
	f("name: ${NOPE}", "f.yaml:1:7: name: environment variable NOPE is not set: set it, or give a default as in ${NOPE:-value}")
	f("name: [1]", "f.yaml:1:7: name: want a single value, not a list")
	f("topics: [\"${a-b}\"]", `f.yaml:1:10: topics[0]: "${a-b}" does not name an environment variable: write $${ for a literal ${`)
	f("password: ${PW}", "f.yaml:1:11: password: a secret must not stand in the file: write {env: NAME} or {file: PATH}")
	f("password: {env: NOPE}", "f.yaml:1:11: password: environment variable NOPE is not set: it should hold the secret")
	f("key: {env: PW, file: x}", "f.yaml:1:6: key: a secret has either an env or a file: write {env: NAME} or {file: PATH}")
	f("token: {file: /nonexistent/x}", "f.yaml:1:8: token: there is no file /nonexistent/x: it should hold the secret")
	loose := filepath.Join(t.TempDir(), "loose")
	if err := errors.Join(os.WriteFile(loose, []byte("canary-7f3a"), 0o600), os.Chmod(loose, 0o622)); err != nil {
		t.Fatal(err)
	}
	f("key: {file: "+loose+"}", "f.yaml:1:6: key: others may write to "+loose+", which holds the secret: take that away, as with chmod go-w")
	f("source: {kafak: {}}", `f.yaml:1:10: source.kafak: unknown key; did you mean "kafka"?`)
	f("source: {}", "f.yaml:1:9: source: nothing is given: write one of: kafka, kinesis")
	f("source: {kafka: {}, kinesis: {}}", "f.yaml:1:30: source.kinesis: more than one kind is given: write one of: kafka, kinesis")
	f("name: x\nlimits:\n\twait: 1s\n", "f.yaml:3:1: not valid YAML: a tab stands where spaces are wanted: indent with spaces")
	f("name: @x", "f.yaml:1:1: not valid YAML: found character that cannot start any token")
	f("a: b: c", "f.yaml:1:1: not valid YAML: mapping values are not allowed in this context")
	f("name: x\n---\nname: y\n", "f.yaml:2:1: a second YAML document begins here: write one document per file")
	f("name: bad\ntables:\n  a.b: {max_rows: 3}\nlimits: {}\n", `
f.yaml:1:1: nothing fits
f.yaml:1:7: name: bad is bad
f.yaml:3:8: tables["a.b"].fetch_bytes: not there
f.yaml:3:19: tables["a.b"].max_rows: too few
f.yaml:4:9: limits.wait: too short`)
	f("name: bad\nlimits: {wiat: 1s}\ntables:\n  a.b: {max_rows: x, fetch_byts: 1}\n", `
f.yaml:1:1: nothing fits
f.yaml:1:7: name: bad is bad
f.yaml:2:10: limits.wiat: unknown key; did you mean "wait"?
f.yaml:4:19: tables["a.b"].max_rows: "x" is not a whole number
f.yaml:4:22: tables["a.b"].fetch_byts: unknown key; did you mean "fetch_bytes"?`)
	f("limits: &a {wait: *a}", `f.yaml:1:9: an anchor contains its own alias`)
	f("a: &a [1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d]\n"+
		"f: &f [*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f]", "f.yaml:7:4: more than 100000 values, aliases replaced")
	f(strings.Repeat("[", 70)+strings.Repeat("]", 70), "f.yaml:1:66: nested more than 64 levels deep")
	f("topics: [${HOST}]", `f.yaml:1:1: not valid YAML: did not find expected ',' or ']' (inside [] and {}, a variable has to be quoted: "${NAME}")`)
}

func TestPrint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("canary-7f3a"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig{
		Name: "n", Topics: []string{"a", "1"}, Limits: testLimits{FetchBytes: 64 << 20, Wait: 90 * time.Second},
		Tables: map[string]testLimits{"b.c": {}, "a": {MaxRows: 1}},
		URI:    "postgres://u:canary-7f3a@h/db",
	}
	cfg.Source.Choose("kafka", &testLimits{FetchBytes: 1000})
	doc, err := Parse("f.yaml", []byte("key: {env: PW}\ntoken: {file: "+file+"}\npassword: {env: PW}"), lookup)
	if err != nil {
		t.Fatal(err)
	}
	doc.Root().Decode(&cfg)
	if doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	var b strings.Builder
	if err := doc.Print(&b, &cfg); err != nil {
		t.Fatal(err)
	}
	want := `name: n
on_by_default: false
ratio: 0
topics: [a, "1"]
limits:
  fetch_bytes: 64MiB
  max_rows: 0
  wait: 1m30s
tables:
  a:
    fetch_bytes: 0
    max_rows: 1
    wait: 0s
  b.c:
    fetch_bytes: 0
    max_rows: 0
    wait: 0s
password: {env: PW}
token: {file: ` + file + `}
key: {env: PW}
source:
  kafka:
    fetch_bytes: 1000
    max_rows: 0
    wait: 0s
uri: postgres://u:REDACTED@h/db
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestCanonical(t *testing.T) {
	type route struct {
		Topic string `yaml:"topic"`
		Max   int    `yaml:"max"`
	}
	type pure struct {
		Routes []route          `yaml:"routes"`
		Flag   bool             `yaml:"flag"`
		Wait   time.Duration    `yaml:"wait"`
		Bytes  int64            `yaml:"max_bytes"`
		M      map[string]route `yaml:"m"`
		Sub    struct {
			A string `yaml:"a"`
		} `yaml:"sub"`
	}
	in := pure{
		Routes: []route{{Topic: "a<b\u2028\x7f\"😀"}, {}, {Max: 3}}, Wait: time.Minute, Bytes: 10 << 20,
		M: map[string]route{"y": {}, "x": {Max: 1}},
	}
	got, err := Canonical(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"routes":[{"topic":"a<b\u2028` + "\x7f" + `\"😀"},{},{"max":3}],"wait":"1m","max_bytes":10485760,"m":{"x":{"max":1},"y":{}}}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
	var out pure
	if err := FromCanonical("revision", got, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, out); d != "" {
		t.Error(d)
	}
	if err := FromCanonical("revision", []byte(`{"rotes":[]}`), &out); err == nil || !strings.Contains(err.Error(), "rotes: unknown key") {
		t.Errorf("unknown key: %v", err)
	}
}

func TestSizes(t *testing.T) {
	f := func(s string, want int64) {
		t.Helper()
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	f("0", 0)
	f("1 KiB", 1024)
	f("10MB", 10_000_000)
	f("0.5GiB", 1<<29)
	for _, s := range []string{"-1", "1.5", "MiB", "9999999TiB", "NaNMiB", "1EiB", ""} {
		if n, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a: ${HOST}\nb: [1, {c: *x}]\n")
	f.Add("&x {a: [*x]}")
	f.Add("<<: *a")
	f.Fuzz(func(_ *testing.T, text string) {
		doc, err := Parse("f", []byte(text), lookup)
		if err != nil {
			return
		}
		var cfg testConfig
		doc.Root().Decode(&cfg)
		_ = doc.Err()
	})
}

func TestSchema(t *testing.T) {
	type sub struct {
		N int `yaml:"n"`
	}
	cfg := struct {
		Size    int64          `yaml:"max_bytes"`
		Wait    time.Duration  `yaml:"wait"`
		Secret  testSecret     `yaml:"secret"`
		Subs    map[string]sub `yaml:"subs"`
		List    []string       `yaml:"list"`
		Pointer *sub           `yaml:"pointer"`
	}{Size: 1 << 20, Wait: time.Minute}
	got, err := json.MarshalIndent(SchemaOf(&cfg, func(_ reflect.Type, field string) string { return strings.ToLower(field) }), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"description": "size",`, `"default": "1MiB"`, `"default": "1m"`, `"env": {`, `"additionalProperties": false`,
		"\"list\": {\n   \"description\": \"list\",\n   \"type\": \"array\",\n   \"items\": {\n    \"type\": \"string\"",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
