package s3sink

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var mutants = flag.Bool("mutants", false, "run the tests of the protocol against every mutant of testdata/mutants.txt")

// mutant is an entry of testdata/mutants.txt: in a file, to stands for from.
type mutant struct{ head, name, file, from, to string }

func readMutants(t *testing.T) (out []mutant) {
	t.Helper()
	text, err := os.ReadFile("testdata/mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	for entry := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		var m mutant
		var rest string
		m.head, rest, _ = strings.Cut(entry, "\n")
		m.name, _, _ = strings.Cut(m.head, ":")
		m.file, rest, _ = strings.Cut(rest, "\n- ")
		m.from, m.to, _ = strings.Cut(rest, "\n+ ")
		out = append(out, m)
	}
	return out
}

// apply returns the file's text with the rule removed.
func (m mutant) apply(t *testing.T) []byte {
	t.Helper()
	src, err := os.ReadFile(m.file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), m.from); n != 1 {
		t.Fatalf("%q occurs %d times in %s", m.from, n, m.file)
	}
	return []byte(strings.Replace(string(src), m.from, m.to, 1))
}

// TestMutantsApply finds what a change of the code has left of the mutants' texts.
func TestMutantsApply(t *testing.T) {
	for _, m := range readMutants(t) {
		t.Run(m.name, func(t *testing.T) { m.apply(t) })
	}
}

// protocolTests are those that must notice a rule that is missing.
const protocolTests = "^Test(Protocol|Commit.*|Watermarks.*|Killed.*|Swap.*|Manifest.*|Zombie.*|Late.*|Parts.*|Replay.*|Void.*|Old.*|Fence.*|Floors|Judge|Bind.*|Chain.*|OrderIsChecked|ForeignManifest)$"

// TestMutants removes one rule at a time.
func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("builds the package once per mutant, some minutes: run with -mutants")
	}
	for _, m := range readMutants(t) {
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			changed := filepath.Join(dir, m.file)
			if err := os.WriteFile(changed, m.apply(t), 0o600); err != nil {
				t.Fatal(err)
			}
			js, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
			if err != nil {
				t.Fatal(err)
			}
			overlay := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(overlay, js, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet=off", "-failfast", "-run", protocolTests, "-timeout", "5m", ".", "-seeds", "150")
			out, err := cmd.CombinedOutput()
			died := regexp.MustCompile(`(?m)^--- FAIL: (\w+)|seed \d+: .*|panic: .*`).FindAllString(string(out), -1)
			switch {
			case err == nil:
				t.Errorf("survived: %s", m.head)
			case len(died) == 0:
				t.Errorf("broken mutant: %s\n%s", m.head, out)
			default:
				t.Log(strings.Join(died, "; "))
			}
		})
	}
}
