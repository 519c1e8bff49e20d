//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func parsed(t *testing.T, env string) *set {
	t.Helper()
	s, err := parse(env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNth(t *testing.T) {
	s := parsed(t, " commit.sent=error@3; commit.sent=error@5 ;gc.beforeList=error; gc.beforeDelete=error@*;")
	f := func(name string, want string) {
		t.Helper()
		var got strings.Builder
		for range len(want) {
			switch err := s.hit(name); {
			case err == nil:
				got.WriteByte('.')
			case errors.Is(err, ErrInjected) && strings.Contains(err.Error(), name):
				got.WriteByte('x')
			default:
				t.Fatal(err)
			}
		}
		if got.String() != want {
			t.Errorf("%s: %s, want %s", name, &got, want)
		}
	}
	f("commit.sent", "..x.x..")
	f("gc.beforeList", "x..")
	f("gc.beforeDelete", "xxx")
	f("commit.afterLoad", "...")
}

func TestExit(t *testing.T) {
	s := parsed(t, "commit.sent=exit;gc.beforeList=exit(3)@2")
	var codes []int
	s.exit = func(code int) { codes = append(codes, code) }
	for _, name := range []string{"commit.sent", "commit.sent", "gc.beforeList", "gc.beforeList"} {
		if err := s.hit(name); err != nil {
			t.Error(err)
		}
	}
	if len(codes) != 2 || codes[0] != 137 || codes[1] != 3 {
		t.Errorf("exit codes %v", codes)
	}
}

func TestPanic(t *testing.T) {
	s := parsed(t, "commit.sent=panic")
	defer func() {
		if r := recover(); r != "failpoint commit.sent" {
			t.Errorf("recovered %v", r)
		}
	}()
	s.hit("commit.sent")
	t.Error("no panic")
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parsed(t, "commit.sent=sleep(1h)@1")
		start := time.Now()
		if err := s.hit("commit.sent"); err != nil || time.Since(start) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "go (on)@2")
	synctest.Test(t, func(t *testing.T) {
		s := parsed(t, "commit.sent=block("+path+")")
		time.AfterFunc(time.Hour, func() { os.WriteFile(path, nil, 0o600) })
		start := time.Now()
		if err := s.hit("commit.sent"); err != nil || time.Since(start) < time.Hour {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestParseErrors(t *testing.T) {
	f := func(env, want string) {
		t.Helper()
		if _, err := parse(env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q) = %v, want %q", env, err, want)
		}
	}
	f("commit.sent", "want name=action@n")
	f("commit.send=exit", `there is no point "commit.send"`)
	f("commit.sent=explode", `there is no action "explode"`)
	f("commit.sent=exit@0", "want a number from 1")
	f("commit.sent=exit@x", "want a number from 1")
	f("commit.sent=exit(x)", "invalid syntax")
	f("commit.sent=sleep", "invalid duration")
	f("commit.sent=sleep(5s", "parenthesis")
	f("commit.sent=panic(1)", "takes no argument")
}

// TestDoc: the package comment lists the points, all of them and no other.
func TestDoc(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "The points,")
	list, _, _ = strings.Cut(list, "reached from the catalog's side")
	for _, name := range Points() {
		if !strings.Contains(list, name) {
			t.Errorf("the package comment lacks %s", name)
		}
	}
	if n := len(Points()); n != 48 {
		t.Errorf("%d points, want 48", n)
	}
}
