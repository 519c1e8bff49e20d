package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "github.com/firehosed/firehosed/"

// mayImport lists the packages of ours that a package may use. The longest
// matching entry counts, "x/..." is x and all below it, and leaves are free.
// A package that is planned and not there yet may have its rule already.
var mayImport = map[string][]string{
	"schema":                {},
	"pipeline":              {"schema"},
	"pipeline/decode":       {"pipeline", "schema"},
	"pipeline/transform":    {"pipeline", "schema"},
	"pipeline/pipelinetest": {"pipeline", "schema"},
	"consumer":              {"pipeline"},
	"consumer/...":          {"pipeline", "schema", "consumer"},
	"iceberg":               {"pipeline", "schema", "internal/parquetfile", "internal/objstore", "internal/control"},
	"s3sink":                {"pipeline", "schema", "internal/parquetfile", "internal/objstore", "internal/control"},
	"sink":                  {"pipeline", "schema"},
	"sink/...":              {"pipeline", "schema", "sink"},
	"sink/redshift":         {"pipeline", "schema", "sink", "s3sink"},
	"sink/snowflake":        {"pipeline", "schema", "sink", "s3sink"},
	"internal/parquetfile":  {"schema"},
	"internal/convert":      {"schema", "internal/parquetfile"},
	"internal/objstore":     {},
	"internal/control":      {"pipeline", "internal/objstore"},
	"internal/config":       {},
	"internal/telemetry":    {"pipeline"},
	"internal/admin":        {"pipeline", "internal/config"},
	"internal/inspect":      {"pipeline/...", "schema", "iceberg", "internal/control"},
	"internal/demo":         {"pipeline", "internal/config"},
	"internal/model":        {"pipeline"},
	"internal/daemon":       {"..."},
	"internal/docgen":       {"..."},
	"cmd/firehosed":         {"internal/daemon"},
	"integration":           {"..."},
	"integration/checker":   {"-"}, // shares no code with the product, leaves included
}

// leaves do one small job and import nothing of ours. Anyone may use them.
var leaves = []string{"internal/awscfg", "internal/failpoint", "internal/invariant", "internal/retry"}

// livesIn lists where a third-party module may be imported, tests aside.
var livesIn = map[string][]string{
	"github.com/twmb/franz-go":         {"consumer/kafka", "internal/demo", "integration"},
	"github.com/twmb/franz-go/pkg/sr":  {"pipeline/decode"},
	"github.com/twmb/franz-go/plugin":  {"internal/telemetry"},
	"github.com/apache/iceberg-go":     {"iceberg"},
	"github.com/parquet-go/parquet-go": {"internal/parquetfile"},
	"github.com/aws/aws-sdk-go-v2": {
		"consumer/kafka", "consumer/kinesis", "consumer/directput", "iceberg", "s3sink", "sink", "pipeline/transform",
		"internal/objstore", "internal/awscfg", "integration",
	},
	"github.com/google/cel-go":                       {"pipeline/transform"},
	"github.com/itchyny/gojq":                        {"pipeline/transform"},
	"github.com/testcontainers/testcontainers-go":    {"integration"},
	"github.com/prometheus/client_golang":            {"internal/telemetry"},
	"modernc.org/sqlite":                             {"iceberg"},
	"github.com/jackc/pgx/v5":                        {"iceberg"},
	"github.com/apache/arrow-go/v18/parquet/pqarrow": {}, // too slow for the product; tests read with it
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImportDirection(t *testing.T) {
	for _, p := range load(t) {
		self := strings.TrimPrefix(p.ImportPath, root)
		allowed, known := rule(self)
		if !known {
			t.Errorf("%s has no rule: say in mayImport where it stands", self)
			continue
		}
		for _, imp := range p.Imports {
			if dep, ours := strings.CutPrefix(imp, root); ours {
				checkOurs(t, self, dep, allowed)
			} else if in, bound := home(imp); bound && !under(self, in) {
				t.Errorf("%s must not import %s: it lives in %v", self, imp, in)
			}
		}
	}
}

func checkOurs(t *testing.T, self, dep string, allowed []string) {
	t.Helper()
	if !slices.Contains(allowed, "-") && slices.Contains(leaves, dep) {
		return
	}
	inside := under(self, []string{"integration"}) // only black-box tests may use their own kit
	if under(dep, []string{"integration"}) && !inside || !within(dep, allowed) {
		t.Errorf("%s must not import %s", self, dep)
	}
}

func load(t *testing.T) (ps []pkg) {
	t.Helper()
	// The walk lets the test cache see what go list reads.
	if err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 {
			return fs.SkipDir
		}
		if errors.Is(err, fs.ErrNotExist) { // another test's scratch file
			return nil
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", root+"...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// rule returns the entry that fits a package best.
func rule(self string) ([]string, bool) {
	if slices.Contains(leaves, self) || strings.HasSuffix(self, "/archtest") {
		return nil, true
	}
	if a, ok := mayImport[self]; ok {
		return a, true
	}
	if strings.HasSuffix(self, "test") { // a fake beside the real thing: what that may use, and the thing itself
		if i := strings.LastIndex(self, "/"); i > 0 {
			a, ok := rule(self[:i])
			return append(slices.Clone(a), self[:i]), ok
		}
	}
	for dir := self; ; {
		i := strings.LastIndex(dir, "/")
		if i < 0 {
			return nil, false
		}
		dir = dir[:i]
		if a, ok := mayImport[dir+"/..."]; ok {
			return a, true
		}
		if a, ok := mayImport[dir]; ok {
			return append(slices.Clone(a), dir+"/..."), true
		}
	}
}

func within(dep string, allowed []string) bool {
	for _, a := range allowed {
		tree, all := strings.CutSuffix(a, "...")
		if dep == a || all && (tree == "" || dep+"/" == tree || strings.HasPrefix(dep, tree)) {
			return true
		}
	}
	return false
}

// home returns where an import lives, by the longest module path that fits.
func home(imp string) (in []string, bound bool) {
	best := ""
	for mod, dirs := range livesIn {
		if (imp == mod || strings.HasPrefix(imp, mod+"/")) && len(mod) > len(best) {
			best, in, bound = mod, dirs, true
		}
	}
	return in, bound
}

func under(self string, dirs []string) bool {
	for _, d := range dirs {
		if self == d || strings.HasPrefix(self, d+"/") {
			return true
		}
	}
	return false
}

// TestRulesCanFail feeds the rules edges that must be refused and edges that must pass.
func TestRulesCanFail(t *testing.T) {
	f := func(self, dep string, want bool) {
		t.Helper()
		allowed, known := rule(self)
		if got := known && within(dep, allowed); got != want {
			t.Errorf("%s -> %s: allowed = %v, want %v", self, dep, got, want)
		}
	}
	f("schema", "pipeline", false)
	f("pipeline", "iceberg", false)
	f("consumer/kafka", "iceberg", false)
	f("consumer/kafka", "consumer", true)
	f("consumer/kafka/kafkatest", "consumer/kafka", true)
	f("internal/objstore", "pipeline", false)
	f("iceberg", "internal/objstore", true)
	f("internal/daemon", "internal/demo", true)
	f("integration/checker", "schema", false)
	f("elsewhere", "schema", false)

	g := func(self, imp string, want bool) {
		t.Helper()
		in, bound := home(imp)
		if got := !bound || under(self, in); got != want {
			t.Errorf("%s -> %s: allowed = %v, want %v", self, imp, got, want)
		}
	}
	g("pipeline", "github.com/twmb/franz-go/pkg/kgo", false)
	g("consumer/kafka", "github.com/twmb/franz-go/pkg/kgo", true)
	g("consumer/kafka", "github.com/twmb/franz-go/pkg/sr", false)
	g("iceberg", "github.com/apache/arrow-go/v18/parquet/pqarrow", false)
	g("iceberg", "github.com/apache/arrow-go/v18/arrow", true)
}
