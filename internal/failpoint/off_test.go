//go:build !failpoint

package failpoint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestOff(t *testing.T) {
	t.Setenv("FIREHOSED_FAILPOINT", "commit.sent=panic@*")
	Hit("commit.sent")
	if err := Err("commit.sent"); err != nil {
		t.Error(err)
	}
	if n := testing.AllocsPerRun(100, func() { Hit("commit.sent"); _ = Err("commit.sent") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNoNames builds a program both ways: the plain one holds no name.
func TestNoNames(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	for _, tag := range []string{"", "failpoint"} {
		out := filepath.Join(t.TempDir(), "program")
		cmd := exec.CommandContext(t.Context(), goTool, "build", "-tags", tag, "-o", out, "./testdata/program")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, text)
		}
		program, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := bytes.Contains(program, []byte("commit.sent")), tag != ""; got != want {
			t.Errorf("with tags %q: the name is in the program: %v, want %v", tag, got, want)
		}
	}
}
