package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/pipeline"
)

// firehosed runs one command.
func firehosed(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), Process{Args: args, Stdout: &out, Stderr: &errs, LookupEnv: lookupIn(env)})
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	f := func(code int, stdout, stderr string, args ...string) {
		t.Helper()
		c, o, e := firehosed(t, nil, args...)
		if c != code || !strings.Contains(o, stdout) || !strings.Contains(e, stderr) || stderr == "" && e != "" {
			t.Errorf("firehosed %s: %d\n%s\n%s", strings.Join(args, " "), c, o, e)
		}
	}
	f(2, "", "Usage: firehosed COMMAND")
	f(0, "table resume TABLE", "", "help")
	f(0, "--as-new-revision N", "", "help", "run")
	f(0, "Usage: firehosed table resume TABLE", "", "table", "resume", "-h")
	f(0, "firehosed ", "", "version")
	f(0, "firehosed ", "", "--version")
	f(2, "", `unknown command "valdiate"; did you mean "validate"?`, "valdiate")
	f(2, "", `"table" wants one of: table resume, table forfeit, table rebind`, "table")
	f(2, "", `did you mean "table resume"?`, "table", "resum")
	f(2, "", `unknown command "frobnicate"; firehosed help lists all`, "frobnicate")
	f(2, "", `unknown command "nope"; firehosed help lists all`, "help", "nope")
	f(2, "", `unknown command "resume shop.orders"; did you mean "table resume"?`, "resume", "shop.orders")
	f(2, "", `unknown command "accept-gap"; did you mean "offsets accept-gap"?`, "accept-gap")
	f(2, "", "demo: --records -5: a demo has at least one", "demo", "--records", "-5")
	f(2, "", "demo: --kills -1: name how often", "demo", "--kills", "-1")
	f(2, "", "run: flag provided but not defined: -nope", "run", "--nope")
	f(2, "", "offsets skip wants 3 argument(s), PARTITION FROM TO; 1 given", "offsets", "skip", "t/0")
	f(2, "", "run wants no arguments", "run", "file.yaml")
	f(2, "", "no configuration file /nonexistent.yaml: name one with -c FILE", "run", "-c", "/nonexistent.yaml")
	f(2, "", "table resume wants --replay", "table", "resume", "x")
}

// TestFlagsAnywhere: flags may follow arguments.
func TestFlagsAnywhere(t *testing.T) {
	cmd, rest := find([]string{"table", "resume", "orders", "--replay", "-c", "x.yaml"})
	c := &call{}
	if err := c.parse(cmd, rest); err != nil {
		t.Fatal(err)
	}
	if !c.replay || c.file != "x.yaml" || len(c.args) != 1 || c.args[0] != "orders" {
		t.Errorf("%+v", c)
	}
}

func TestValidate(t *testing.T) {
	env := map[string]string{"KAFKA_PASSWORD": "canary-7f3a"}
	good := "../../examples/kafka-scram/firehosed.yaml"
	if code, out, _ := firehosed(t, env, "validate", "-c", good); code != 0 || !strings.Contains(out, "1 pipeline(s), nothing wrong") {
		t.Errorf("%d %s", code, out)
	}
	if code, out, _ := firehosed(t, env, "validate", "-c", good, "--json"); code != 0 || out != `{"pipelines":1,"valid":true}`+"\n" {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := firehosed(t, nil, "validate", "-c", good); code != 2 || !strings.Contains(errs, "sasl.password: environment variable KAFKA_PASSWORD is not set") {
		t.Errorf("%d %s", code, errs)
	}
	code, out, _ := firehosed(t, nil, "validate", "-c", good, "--json")
	var report struct {
		Valid    bool
		Problems []problem
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 2 || report.Valid || len(report.Problems) != 1 || report.Problems[0].Line != 19 {
		t.Errorf("%d %s %v", code, out, err)
	}
}

// TestPrintIsAFile: what validate --print writes means the same, and tells no secret.
func TestPrintIsAFile(t *testing.T) {
	env := map[string]string{"KAFKA_PASSWORD": "canary-7f3a", "CATALOG_CREDENTIAL": "canary-7f3a:x", "FIREHOSED_ADMIN_TOKEN": "canary-7f3a"}
	for _, name := range []string{"quickstart", "routing", "tables", "kafka-scram", "s3-rest-catalog", "many-pipelines", "operations"} {
		code, first, errs := firehosed(t, env, "validate", "--print", "-c", "../../examples/"+name+"/firehosed.yaml")
		if code != 0 {
			t.Fatalf("%s: %d %s", name, code, errs)
		}
		if strings.Contains(first, "canary-7f3a") {
			t.Errorf("%s: a secret is printed:\n%s", name, first)
		}
		file := filepath.Join(t.TempDir(), "printed.yaml")
		if err := os.WriteFile(file, []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		code, second, errs := firehosed(t, env, "validate", "--print", "-c", file)
		if code != 0 || first != second {
			t.Errorf("%s: printed once and twice differ: %d %s\n%s\n%s", name, code, errs, first, second)
		}
	}
}

func TestExitCodes(t *testing.T) {
	f := func(err error, want int) {
		t.Helper()
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, want)
		}
	}
	f(nil, 0)
	f(errors.New("x"), 1)
	f(usagef("x"), 2)
	f(fmt.Errorf("pipeline: %w", errors.Join(errors.New("x"), &pipeline.Superseded{})), 3)
	f(&exitError{code: 4}, 4)
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s", n, got)
		}
	}
	for n, want := range map[int64]string{12: "12B", 1536: "1.5KiB", 50 << 10: "50KiB", 20<<20 + 5: "20MiB", 30 << 30: "30GiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %s", n, got)
		}
	}
}
