package demo

import (
	"strings"
	"testing"
)

func TestWorkerTellsWhetherACommitWasInFlight(t *testing.T) {
	f := func(log string, sends, committed int, midCommit bool) {
		t.Helper()
		n := 0
		w := &worker{onSend: func() { n++ }}
		w.mu.inFlight = map[string]int{}
		var copied strings.Builder
		w.read(strings.NewReader(log), &copied)
		if n != sends || w.committed() != committed || w.midCommit() != midCommit {
			t.Errorf("%d sends, %d committed, in flight %t; want %d, %d, %t for\n%s", n, w.committed(), w.midCommit(), sends, committed, midCommit, log)
		}
		if copied.String() != log {
			t.Errorf("the log was copied as\n%s", copied.String())
		}
	}
	const (
		bind  = `{"level":"DEBUG","msg":"commit.send","table":"a","kind":"bind"}` + "\n"
		sendA = `{"level":"DEBUG","msg":"commit.send","table":"a","kind":"data"}` + "\n"
		sendB = `{"level":"DEBUG","msg":"commit.send","table":"b","kind":"data"}` + "\n"
		doneA = `{"level":"DEBUG","msg":"commit.done","table":"a"}` + "\n"
		lost  = `{"level":"DEBUG","msg":"commit.unknown","table":"a"}` + "\n"
	)
	f("", 0, 0, false)
	f(sendA+doneA, 1, 1, false)
	f(sendA, 1, 0, true)
	f(bind+doneA, 0, 1, false)
	f(bind, 0, 0, true)
	f(sendA+sendB+doneA, 2, 1, true)
	f(sendA+lost, 1, 0, false)
	f("not json\n"+sendA, 1, 0, true)
}

func TestWorkerKeepsItsLastWords(t *testing.T) {
	w := &worker{}
	w.mu.inFlight = map[string]int{}
	w.read(strings.NewReader("{\"level\":\"INFO\",\"msg\":\"start\"}\npanic: oh\n{\"level\":\"ERROR\",\"msg\":\"no\"}"), &strings.Builder{})
	if got := strings.Join(w.mu.tail, "|"); got != `panic: oh|{"level":"ERROR","msg":"no"}` {
		t.Errorf("kept %s", got)
	}
}
