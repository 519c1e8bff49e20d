package archtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dependencyRow is one line of the page's table: module, version, licence, why.
var dependencyRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v\\S+) \\| ([^|]+) \\| ([^|]+) \\|$")

// permissive are the licences that may be linked into an Apache-2.0 program.
var permissive = map[string]bool{"Apache-2.0": true, "BSD-3-Clause": true, "BSD-2-Clause": true, "MIT": true, "MIT and Apache-2.0": true}

// TestDependenciesPage compares docs/dependencies.md with the direct requirements of go.mod.
func TestDependenciesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range dependencyRow.FindAllStringSubmatch(string(page), -1) {
		module, version, licence, why := m[1], m[2], strings.TrimSpace(m[3]), strings.TrimSpace(m[4])
		if documented[module] != "" {
			t.Errorf("%s: listed twice", module)
		}
		documented[module] = version
		if !permissive[licence] {
			t.Errorf("%s: licence %q is not one that we may link", module, licence)
		}
		if len(why) < 10 {
			t.Errorf("%s: say what it is for", module)
		}
	}
	if diff := cmp.Diff(directRequirements(t), documented); diff != "" {
		t.Errorf("docs/dependencies.md does not match go.mod (-go.mod +page):\n%s", diff)
	}
}

func directRequirements(t *testing.T) map[string]string {
	t.Helper()
	if _, err := os.ReadFile("../../go.mod"); err != nil { // seen by the test cache
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	direct := map[string]string{}
	for _, r := range mod.Require {
		if !r.Indirect {
			direct[r.Path] = r.Version
		}
	}
	return direct
}
